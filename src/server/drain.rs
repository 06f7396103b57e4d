//! How a server is told to end, in the order of robustness.md: first it takes no more work, later it ends its streams.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::switch::Switch;
use crate::model::{Error, Reason, Result};

/// The two steps of an end. Clones are the same drain.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    intake: CancellationToken,
    streams: Switch,
    calls: TaskTracker,
}

impl Drain {
    /// One that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on: no new connections, GOAWAY to those that are there, and no spawns through a control plane. A host's
    /// engine is closed for itself, since it still has the answers to those it was asked for before.
    pub fn stop_intake(&self) {
        self.intake.cancel();
        self.calls.close();
    }

    /// Waits, once the intake has stopped, until no unary call is in flight.
    pub async fn calls_ended(&self) {
        self.calls.wait().await;
    }

    /// From now on: streams end, each with its last cursor, as `DRAINING`.
    pub fn end_streams(&self) {
        self.streams.turn_on();
    }

    /// Waits for [`Drain::stop_intake`].
    pub async fn intake_stopped(&self) {
        self.intake.cancelled().await;
    }

    /// A unary call that is in flight until this is dropped.
    pub(super) fn call(&self) -> TaskTrackerToken {
        self.calls.token()
    }

    /// What streams listen to.
    pub(super) fn streams(&self) -> &Switch {
        &self.streams
    }

    /// # Errors
    /// [`Reason::Draining`] once the intake has stopped.
    pub(super) fn check_intake(&self) -> Result<()> {
        if self.intake.is_cancelled() { Err(draining()) } else { Ok(()) }
    }
}

/// The server is going away.
pub(super) fn draining() -> Error {
    Error::new(Reason::Draining, "the server is shutting down")
}
