//! What there is in a runtime, counted by looking: for lists of runtimes, and for those who watch it.

use super::core::Engine;
use crate::model::{WorkerCounts, WorkerState};

/// How many of everything there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Workers that start.
    pub starting: u64,
    /// Workers that run.
    pub running: u64,
    /// Workers that were asked to end.
    pub stopping: u64,
    /// Workers that ended as they were asked to.
    pub stopped: u64,
    /// Workers that ended, their work given up.
    pub cancelled: u64,
    /// Workers that ended by themselves, and those that are quarantined.
    pub failed: u64,
    /// Of these, those whose records cannot be read.
    pub quarantined: u64,
    /// Answers that are kept for requests that come again.
    pub receipts: u64,
}

impl Engine {
    /// Counts.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census { receipts: self.0.receipts.count(), ..Census::default() };
        for slot in self.0.workers.read().values() {
            let state = match slot.tail.view().state {
                WorkerState::Starting => &mut census.starting,
                WorkerState::Running => &mut census.running,
                WorkerState::Stopping => &mut census.stopping,
                WorkerState::Stopped => &mut census.stopped,
                WorkerState::Cancelled => &mut census.cancelled,
                WorkerState::Failed => &mut census.failed,
            };
            *state += 1;
            census.quarantined += u64::from(slot.quarantined);
        }
        census
    }

    /// How many workers it holds.
    #[must_use]
    pub fn counts(&self) -> WorkerCounts {
        let Census { starting, running, stopping, stopped, cancelled, failed, .. } = self.census();
        let active = starting + running + stopping;
        WorkerCounts { total: active + stopped + cancelled + failed, active, stopped, cancelled, failed }
    }
}
