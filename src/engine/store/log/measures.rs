//! What is counted of one log.

use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::metrics::families;

/// Counts what one writer does.
#[derive(Debug)]
pub(super) struct Measures {
    batches: Histogram,
    syncs: Histogram,
    failures: Counter,
}

impl Measures {
    /// Of the log that goes by this name.
    pub(super) fn of(store: &str) -> Self {
        let labels = [("store", store)];
        let failures = families::STORE_FAILURES.counter(&labels);
        failures.increment(0);
        Self {
            batches: families::STORE_GROUPS.histogram(&labels),
            syncs: families::STORE_SYNCS.histogram(&labels),
            failures,
        }
    }

    /// A sync took so long, whatever came of it.
    pub(super) fn synced(&self, took: Duration) {
        self.syncs.record(took);
    }

    /// A group landed; one without batches only marks the end or moves records.
    pub(super) fn landed(&self, batches: u64) {
        if let Some(batches) = u32::try_from(batches).ok().filter(|batches| *batches > 0) {
            self.batches.record(batches);
        }
    }

    /// A group did not land.
    pub(super) fn failed(&self) {
        self.failures.increment(1);
    }
}
