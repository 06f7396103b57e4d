//! Workers whose records cannot be read: they are listed and can be deleted, and nothing else is done with them. What is
//! wrong is told by its place, as `FILE: offset N: what`, and costs no other worker anything. Where the disk did not read
//! them, the next start may: nothing is written of a worker meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::core::{Engine, Slot};
use super::row::{WorkerOrigin, WorkerRow};
use super::store::{Quarantined, StoreFault};
use super::tail::{Progress, Tail};
use super::worker::store_error;
use crate::model::{Caller, Diagnostic, Error, ProfileSelector, Result, Worker, WorkerId, WorkerState, WorkspaceId};

/// How many places are told beside the runtime itself; the log has all of them.
const MAX_TOLD: usize = 15;

/// What an operator can do, and until when it is told.
const WORKER_REMEDY: &str = ", and it can only be deleted, or what can be read be copied by `workplane store salvage`";
const STORE_REMEDY: &str = ", which is told until what can be read is copied by `workplane store salvage`";

impl Engine {
    /// What is to be said of this runtime itself.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let words = "the store has no room: what is new is refused until there is some";
        let full = self.0.parts.store.is_full().then(|| Diagnostic::warning("store_full", words));
        full.into_iter().chain(self.0.warnings.read().iter().cloned()).take(MAX_TOLD + 1).collect()
    }

    /// Lists what cannot be restored, and notes what was damaged and belongs to nobody.
    pub(super) fn restore_damaged(&self, quarantined: Vec<Quarantined>, warnings: &[String]) {
        for place in warnings {
            tracing::warn!(%place, "the store was damaged; what was hit there belongs to no worker");
        }
        let mut told: Vec<_> = warnings
            .iter()
            .take(MAX_TOLD)
            .map(|place| Diagnostic::warning("store_damaged", format!("the store was damaged{STORE_REMEDY}: {place}")))
            .collect();
        if warnings.len() > MAX_TOLD {
            let more = warnings.len() - MAX_TOLD;
            told.push(Diagnostic::warning("store_damaged", format!("the store was damaged in {more} more places")));
        }
        *self.0.warnings.write() = told;
        for hit in quarantined {
            self.quarantine(hit);
        }
    }

    /// Lists a worker with which nothing can be done but to delete it.
    pub(super) fn quarantine(&self, Quarantined { worker_id, row, place }: Quarantined) {
        tracing::error!(%worker_id, %place, "a worker's records cannot be read: it is quarantined");
        let row = row.unwrap_or_else(|| Box::new(nameless(worker_id.clone())));
        let mut worker = (*self.view(&row)).clone();
        worker.state = WorkerState::Failed;
        worker.can_accept_input = false;
        worker.can_stop = false;
        // How it ended, if it had, is among what cannot be relied on.
        worker.termination = None;
        let message = format!("the worker's records cannot be read{WORKER_REMEDY}: {place}");
        worker.diagnostics.insert(0, Diagnostic::error("worker_quarantined", message));
        let slot = Slot { tail: Arc::new(Tail::new(Arc::new(worker))), inbox: None, quarantined: true };
        self.0.workers.write().insert(worker_id, slot);
    }

    /// A worker with which something can be done.
    pub(super) fn sound(&self, worker_id: &WorkerId) -> Result<Slot> {
        let slot = self.slot(worker_id)?;
        if slot.quarantined {
            return Err(Error::quarantined(worker_id));
        }
        Ok(slot)
    }

    /// What a caller is told of a fault of the store; what was found damaged is told beside its worker as well.
    pub(super) fn read_fault(&self, worker_id: &WorkerId, fault: StoreFault) -> Error {
        if fault == StoreFault::Damaged
            && let Ok(slot) = self.slot(worker_id)
        {
            found_damaged(&slot.tail, self.0.parts.store.damage(worker_id).as_deref());
        }
        store_error(fault)
    }
}

/// Notes beside a worker that some of what is stored of it was found damaged.
pub(super) fn found_damaged(tail: &Tail, place: Option<&str>) {
    const CODE: &str = "worker_damaged";
    if tail.view().diagnostics.iter().any(|said| said.code == CODE) {
        return;
    }
    let message = match place {
        Some(place) => format!("the worker's records were damaged: {place}"),
        None => "the worker's records were damaged; the runtime's log says where".to_owned(),
    };
    let said = Diagnostic::error(CODE, message);
    tail.publish(|view: &mut Worker| view.diagnostics.push(said), Progress::Kept, []);
}

/// What stands for the row of a worker of which nothing but the id is left.
fn nameless(worker_id: WorkerId) -> WorkerRow {
    let created_at = worker_id.made_at().unwrap_or(SystemTime::UNIX_EPOCH);
    WorkerRow::new(WorkerOrigin {
        label: worker_id.to_string(),
        worker_id,
        workspace_id: WorkspaceId::unknown(),
        caller: Caller::anonymous(),
        labels: BTreeMap::new(),
        role: String::new(),
        profile: ProfileSelector::RuntimeDefault,
        display_hint: "",
        config_bundle: None,
        capabilities: Vec::new(),
        created_at,
        diagnostics: Vec::new(),
    })
}
