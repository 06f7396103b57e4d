//! What stands between the calls and a host in trouble: its breaker and its budget of retries, kept by all of its calls
//! and connections together.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::{Breaker, Leave, Trouble};
use super::recover::Tokens;
use crate::model::RuntimeId;

/// The guard of one host.
#[derive(Debug)]
pub(super) struct Guard {
    runtime_id: RuntimeId,
    breaker: Mutex<Breaker>,
    tokens: Mutex<Tokens>,
}

/// Leave for one attempt; a probe that is dropped without an outcome leaves its place to the next call.
pub(super) struct Pass {
    guard: Arc<Guard>,
    leave: Leave,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Leave::Probe(number) = self.leave {
            self.guard.breaker.lock().abandoned(number, Instant::now());
        }
    }
}

impl Guard {
    pub(super) fn new(runtime_id: RuntimeId) -> Self {
        Self { runtime_id, breaker: Mutex::new(Breaker::new()), tokens: Mutex::new(Tokens::new()) }
    }

    /// Leave for an attempt; else how long there will be none.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Pass, Duration> {
        let leave = self.breaker.lock().admit(Instant::now())?;
        Ok(Pass { guard: Arc::clone(self), leave })
    }

    /// How long there will be no leave, if so.
    pub(super) fn is_open(&self) -> Option<Duration> {
        self.breaker.lock().is_open(Instant::now())
    }

    /// A call went well.
    pub(super) fn succeeded(&self) {
        self.tokens.lock().succeeded();
        self.answered();
    }

    /// The host answered, whatever it said.
    pub(super) fn answered(&self) {
        if self.breaker.lock().answered(Instant::now()) {
            self.closed();
        }
    }

    /// The host was not reached, or did not answer.
    pub(super) fn failed(&self, trouble: Trouble) {
        let opened = self.breaker.lock().failed(Instant::now(), trouble);
        if let Some(wait) = opened {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(runtime_id = %self.runtime_id, ?trouble, wait_ms, "a host is asked nothing for a while");
        }
    }

    /// There is a new connection, on which the host has said who it is.
    pub(super) fn reached(&self) {
        if self.breaker.lock().reached() {
            self.closed();
        }
    }

    /// Whether an attempt that failed in a passing way may be made again.
    pub(super) fn may_retry(&self) -> bool {
        let mut tokens = self.tokens.lock();
        tokens.failed();
        tokens.suffice()
    }

    fn closed(&self) {
        tracing::info!(runtime_id = %self.runtime_id, "a host is asked again");
    }
}
