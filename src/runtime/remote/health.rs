//! What is known of a host: what it said last that it is, when, and what failed since.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::model::{Error, RuntimeStatus};
use crate::proto::host_client::Hello;

/// A skew of the clocks up to this is not worth a word (api.md).
const TOLERATED_SKEW: Duration = Duration::from_secs(2);

/// The state of one host, kept by its probe and by every call.
#[derive(Debug)]
pub(super) struct Health {
    state: Mutex<Known>,
    /// Whether the first attempt to reach the host is over.
    tried: watch::Sender<bool>,
}

/// What is known at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// What the host said last that it is; `None` until it was reached once.
    pub hello: Option<Arc<Hello>>,
    /// When it was last heard of.
    pub seen: Option<(Instant, SystemTime)>,
    /// Why it cannot be reached now.
    pub failure: Option<Error>,
    /// How far its clock is from ours, where that is worth a word.
    pub skew: Option<Duration>,
}

impl Known {
    /// Acceptance 67, 68.
    pub(super) fn status(&self) -> RuntimeStatus {
        match (&self.hello, &self.failure) {
            (None, _) => RuntimeStatus::Configured,
            (Some(_), Some(_)) => RuntimeStatus::Unavailable,
            (Some(hello), None) => hello.status,
        }
    }
}

impl Health {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), tried: watch::Sender::new(false) }
    }

    /// The host said what it is.
    pub(super) fn greeted(&self, hello: Hello) {
        let now = SystemTime::now();
        let skew = now.duration_since(hello.now).unwrap_or_else(|ahead| ahead.duration());
        *self.state.lock() = Known {
            hello: Some(Arc::new(hello)),
            seen: Some((Instant::now(), now)),
            failure: None,
            skew: (skew > TOLERATED_SKEW).then_some(skew),
        };
        self.tried.send_replace(true);
    }

    /// The host answered something.
    pub(super) fn heard(&self) {
        let mut known = self.state.lock();
        known.seen = Some((Instant::now(), SystemTime::now()));
        known.failure = None;
    }

    /// The host could not be reached, or is not what it should be.
    pub(super) fn failed(&self, error: &Error) {
        self.state.lock().failure = Some(error.clone());
        self.tried.send_replace(true);
    }

    /// What is known now.
    pub(super) fn known(&self) -> Known {
        self.state.lock().clone()
    }

    /// Waits until the first attempt to reach the host is over, or `until`.
    pub(super) async fn tried(&self, until: Instant) {
        let mut tried = self.tried.subscribe();
        // Past `until`, or with nobody trying any more, what is known has to do.
        let _ = timeout_at(until, tried.wait_for(|tried| *tried)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Incarnation, RuntimeCapabilities, WorkerCounts};

    fn hello(now: SystemTime) -> Hello {
        Hello {
            display_name: String::new(),
            incarnation: Incarnation::generate(),
            version: String::new(),
            features: Vec::new(),
            capabilities: RuntimeCapabilities::remote(true, 1),
            status: RuntimeStatus::Running,
            counts: WorkerCounts::default(),
            now,
            diagnostics: Vec::new(),
        }
    }

    #[test]
    fn a_clock_that_is_more_than_two_seconds_off_is_worth_a_word_either_way() {
        let skew = |now| {
            let health = Health::new();
            health.greeted(hello(now));
            health.known().skew
        };
        assert_eq!(skew(SystemTime::now()), None);
        assert_eq!(skew(SystemTime::now() - Duration::from_millis(1_500)), None);
        for off in [SystemTime::now() - Duration::from_secs(3), SystemTime::now() + Duration::from_secs(4)] {
            assert!(skew(off).is_some_and(|skew| skew > TOLERATED_SKEW));
        }
    }
}
