//! What is counted of the calls to one host.

use std::collections::HashMap;

use metrics::{Counter, Histogram};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::metrics::families;
use crate::model::{Error, Reason, Result, RuntimeId};

/// The outcome of a call that was not made: the host is in trouble, and spared.
pub(super) const SPARED: &str = "spared";

/// Counts what is called of one host.
pub(super) struct Measures {
    runtime_id: RuntimeId,
    /// By method and outcome: made when there is the first.
    calls: Mutex<HashMap<(&'static str, &'static str), Counter>>,
    seconds: Histogram,
    retries: Counter,
}

impl Measures {
    pub(super) fn of(runtime_id: &RuntimeId) -> Self {
        let labels = [("runtime_id", runtime_id.as_str())];
        let retries = families::HOST_RETRIES.counter(&labels);
        retries.increment(0);
        Self {
            runtime_id: runtime_id.clone(),
            calls: Mutex::default(),
            seconds: families::HOST_CALL_SECONDS.histogram(&labels),
            retries,
        }
    }

    /// A call is made once more.
    pub(super) fn retried(&self) {
        self.retries.increment(1);
    }

    /// A call is over. Returns its outcome.
    pub(super) fn called<A>(&self, method: &'static str, answer: &Result<A>, began: Instant) -> &'static str {
        self.seconds.record(began.elapsed());
        let outcome = outcome(answer);
        self.ended(method, outcome);
        outcome
    }

    /// A call ended so.
    pub(super) fn ended(&self, method: &'static str, outcome: &'static str) {
        let mut calls = self.calls.lock();
        let counter = calls.entry((method, outcome)).or_insert_with(|| {
            let labels = [("runtime_id", self.runtime_id.as_str()), ("method", method), ("outcome", outcome)];
            families::HOST_CALLS.counter(&labels)
        });
        counter.increment(1);
    }
}

/// What an operator tells apart.
fn outcome<A>(answer: &Result<A>) -> &'static str {
    match answer.as_ref().map_err(Error::reason) {
        Ok(_) => "ok",
        Err(Reason::RemoteRuntimeNetworkError) => "unreached",
        Err(Reason::RemoteRuntimeTimeout | Reason::DeadlineExceeded) => "timeout",
        Err(Reason::RemoteRuntimeMalformedResponse) => "malformed",
        Err(Reason::RemoteRuntimeAuthFailed) => "unauthenticated",
        Err(Reason::Overloaded) => "overloaded",
        Err(_) => "refused",
    }
}
