//! What ends a stream from outside, before its worker has ended: a drain, or that its caller's token is gone. Its deadline
//! is the stream's own, or its layer's.

use std::sync::Arc;

use super::callers::{Pass, unauthenticated};
use super::drain::draining;
use super::switch::Switch;
use crate::model::Error;

/// The ends of one stream.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    drain: Switch,
    /// Where a token was asked for.
    pass: Option<Arc<Pass>>,
}

/// Which of them it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The server goes away.
    Draining,
    /// The caller's token is in force no more.
    Revoked,
}

impl Ends {
    pub(super) fn new(drain: &Switch, pass: Option<Arc<Pass>>) -> Self {
        Self { drain: drain.clone(), pass }
    }

    /// The one that has come, if any.
    pub(super) fn come(&self) -> Option<End> {
        if self.pass.as_ref().is_some_and(|pass| pass.is_revoked()) {
            return Some(End::Revoked);
        }
        self.drain.is_on().then_some(End::Draining)
    }

    /// Waits for one.
    pub(super) async fn coming(&self) -> End {
        let Some(pass) = &self.pass else {
            self.drain.on().await;
            return End::Draining;
        };
        tokio::select! {
            biased;
            () = pass.revoked() => End::Revoked,
            () = self.drain.on() => End::Draining,
        }
    }
}

impl From<End> for Error {
    fn from(end: End) -> Self {
        match end {
            End::Draining => draining(),
            End::Revoked => unauthenticated(),
        }
    }
}
