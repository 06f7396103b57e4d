//! What is known of workers' logs since they were last looked at: nothing is read again to find what is known already,
//! and what cannot be done is said once.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::Goal;
use crate::engine::core::Slot;
use crate::model::WorkerId;

/// Why a log was cut no further than to where it begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rest {
    /// That was enough, and what it begins with was observed then.
    Since(SystemTime),
    /// What it begins with is needed, as long as nothing more has happened.
    Needed,
    /// What it begins with is damaged.
    Damaged,
}

/// Between which events a log was when it was looked at, and what was found at its beginning.
#[derive(Debug)]
struct Known {
    first_sequence: u64,
    last_sequence: u64,
    rest: Rest,
}

/// What is known of all of them.
#[derive(Debug, Default)]
pub(in crate::engine) struct KnownLogs(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    logs: HashMap<WorkerId, Known>,
    /// Those of which it was said that something cannot be done.
    warned: HashSet<WorkerId>,
}

impl KnownLogs {
    /// Whether it may be that something can be removed.
    pub(super) fn may_win(&self, worker_id: &WorkerId, slot: &Slot, goal: Goal) -> bool {
        let view = slot.tail.view();
        let known = self.0.lock();
        let Some(known) = known.logs.get(worker_id).filter(|known| known.first_sequence == view.first_sequence) else {
            return true;
        };
        match (known.rest, goal) {
            (Rest::Since(at), Goal::Before(before)) => at < before,
            (Rest::Since(_), Goal::Bytes(_)) => true,
            (Rest::Needed, _) => known.last_sequence != view.last_event_id,
            (Rest::Damaged, _) => false,
        }
    }

    /// So far a log can be cut, and that is why.
    pub(super) fn note(&self, worker_id: &WorkerId, first_sequence: u64, last_sequence: u64, rest: Rest) {
        self.0.lock().logs.insert(worker_id.clone(), Known { first_sequence, last_sequence, rest });
    }

    /// Whether it was not said before that something cannot be done with this one.
    pub(super) fn warns(&self, worker_id: &WorkerId) -> bool {
        self.0.lock().warned.insert(worker_id.clone())
    }

    /// It could be done.
    pub(super) fn done(&self, worker_id: &WorkerId) {
        self.0.lock().warned.remove(worker_id);
    }

    /// Forgets workers that are not there any more.
    pub(super) fn keep(&self, is_there: impl Fn(&WorkerId) -> bool) {
        let mut known = self.0.lock();
        known.logs.retain(|worker_id, _| is_there(worker_id));
        known.warned.retain(|worker_id| is_there(worker_id));
    }
}
