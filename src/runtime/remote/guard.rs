//! What stands between the calls and a host in trouble: its breaker and its budget of retries, kept by all of its calls
//! and connections together.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::{Breaker, Leave, Trouble};
use super::recover::Tokens;
use crate::metrics::families;
use crate::model::RuntimeId;
use crate::runtime::BreakerState;

/// The guard of one host.
#[derive(Debug)]
pub(super) struct Guard {
    runtime_id: RuntimeId,
    breaker: Mutex<Breaker>,
    tokens: Mutex<Tokens>,
    openings: Counter,
}

/// Leave for one attempt, and what becomes of it.
pub(super) struct Pass {
    guard: Arc<Guard>,
    leave: Leave,
    /// Since when it waits for the host, where it says something of that when its caller no longer does.
    waits_since: Option<Instant>,
    was_sent: bool,
}

impl Pass {
    /// Whether how this attempt goes decides on all others.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.leave, Leave::Probe(_))
    }

    /// It waits for the host from now on; else it does not.
    pub(super) fn waits(&mut self, waits: bool) {
        self.waits_since = waits.then(Instant::now);
    }

    /// The request is on its way: the host may do what it asks.
    pub(super) fn sent(&mut self) {
        self.was_sent = true;
    }

    /// Whether the host may have done what was asked.
    pub(super) fn was_sent(&self) -> bool {
        self.was_sent
    }

    /// It went well.
    pub(super) fn succeeded(&mut self) {
        self.guard.tokens.lock().succeeded();
        self.answered();
    }

    /// The host answered, whatever it said.
    pub(super) fn answered(&mut self) {
        self.waits_since = None;
        if self.guard.breaker.lock().answered(self.leave, Instant::now()) {
            self.guard.closed();
        }
    }

    /// The host was not reached, or the connection to it broke.
    pub(super) fn failed(&mut self, trouble: Trouble) {
        self.waits_since = None;
        let opened = self.guard.breaker.lock().failed(self.leave, Instant::now(), trouble);
        self.guard.opened(opened, trouble);
    }

    /// The host did not answer from `began` to now.
    pub(super) fn unanswered(&mut self, began: Instant) {
        self.waits_since = None;
        let opened = self.guard.breaker.lock().unanswered(self.leave, began, Instant::now());
        self.guard.opened(opened, Trouble::Unanswered);
    }
}

impl Drop for Pass {
    /// Its caller no longer waits. A probe that has no outcome leaves its place to the next call.
    fn drop(&mut self) {
        match self.waits_since {
            Some(began) => self.unanswered(began),
            None => self.guard.breaker.lock().abandoned(self.leave, Instant::now()),
        }
    }
}

impl Guard {
    pub(super) fn new(runtime_id: RuntimeId) -> Self {
        let openings = families::HOST_BREAKER_OPENED.counter(&[("runtime_id", runtime_id.as_str())]);
        openings.increment(0);
        Self { runtime_id, breaker: Mutex::new(Breaker::new()), tokens: Mutex::new(Tokens::new()), openings }
    }

    /// Leave for an attempt; else how long there will be none.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Pass, Duration> {
        let leave = self.breaker.lock().admit(Instant::now())?;
        Ok(self.pass(leave))
    }

    /// Of what asks for no leave: an observer's stream, or a look-out.
    pub(super) fn unasked(self: &Arc<Self>) -> Pass {
        let leave = self.breaker.lock().unasked();
        self.pass(leave)
    }

    fn pass(self: &Arc<Self>, leave: Leave) -> Pass {
        Pass { guard: Arc::clone(self), leave, waits_since: None, was_sent: false }
    }

    /// How long there will be no leave, if so.
    pub(super) fn is_open(&self) -> Option<Duration> {
        self.breaker.lock().is_open(Instant::now())
    }

    /// The state of the breaker, and what is left of the budget of retries.
    pub(super) fn standing(&self) -> (BreakerState, f64) {
        (self.breaker.lock().state(), self.tokens.lock().left())
    }

    /// No connection could be made.
    pub(super) fn unreached(&self) {
        let opened = self.breaker.lock().unreached(Instant::now());
        self.opened(opened, Trouble::Unreached);
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

    fn opened(&self, wait: Option<Duration>, trouble: Trouble) {
        if let Some(wait) = wait {
            self.openings.increment(1);
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(runtime_id = %self.runtime_id, ?trouble, wait_ms, "a host is asked nothing for a while");
        }
    }

    fn closed(&self) {
        tracing::info!(runtime_id = %self.runtime_id, "a host is asked again");
    }
}
