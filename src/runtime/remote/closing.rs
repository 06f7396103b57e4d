//! The end of a remote runtime, and what is told to those who still wait for something of it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::model::{Error, Reason, RuntimeId};

/// Cancelled when the runtime is dropped: all its tasks end.
#[derive(Debug, Default)]
pub(super) struct Closing {
    token: CancellationToken,
    moved: AtomicBool,
}

impl Closing {
    /// Another runtime of the same id takes the place of this one.
    pub(super) fn moved(&self) {
        self.moved.store(true, Ordering::Release);
    }

    /// The token that ends everything.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Waits for the end.
    pub(super) async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// What the end means: a runtime that has moved is back at the next attempt, any other one is gone.
    pub(super) fn error(&self, runtime_id: &RuntimeId) -> Error {
        if self.moved.load(Ordering::Acquire) {
            Error::new(Reason::RemoteRuntimeNetworkError, "the runtime is reached at another place now: try again")
                .with("runtime_id", runtime_id)
        } else {
            Error::unknown_runtime(runtime_id)
        }
    }
}
