//! What a batch is in the log.

use bytes::Bytes;

use super::slot::{Kind, ORIGIN, ROW, RUNTIME, bundle, kind, owner_of, owner_of_receipt, receipt};
use super::{Inner, stamped};
use crate::engine::store::log::{Change, Expect, NewEvent, Owner, Slot, Submission};
use crate::engine::store::{Batch, Deletion, Forgotten, StoreFault, StoredWorker, WorkerChange};
use crate::model::WorkerId;

impl Inner {
    /// The submission that a batch is.
    ///
    /// # Errors
    /// `OutOfOrder` where its events do not follow one another.
    pub(super) fn submission(&self, batch: Batch) -> Result<Submission, StoreFault> {
        let Batch { worker, bundles, removed_bundles, receipts, forgotten, deleted, vital } = batch;
        let mut changes = Changes::default();
        if let Some(Deletion { worker_id, revision }) = deleted {
            let owner = owner(&worker_id)?;
            let reader = self.log.reader();
            if !reader.owner(owner).is_some_and(|known| known.slots.contains(&ROW)) {
                return Err(StoreFault::OutOfOrder);
            }
            let change = changes.of(owner);
            change.expect = revision.map(|revision| Expect { revision, last_sequence: None });
            change.deletes = vec![ORIGIN, ROW];
            change.trim = Some(u64::MAX);
        }
        if let Some(worker) = worker {
            self.change(&mut changes, worker)?;
        }
        for it in bundles {
            changes.put(RUNTIME, bundle(it.digest()), self.codec.bundle(&it));
        }
        for it in removed_bundles {
            changes.of(RUNTIME).deletes.push(bundle(&it.digest));
        }
        for it in receipts {
            changes.put(owner_of_receipt(&it), receipt(&it.key.short()), self.codec.receipt(&it));
        }
        for Forgotten { key, worker_id } in forgotten {
            let (owner, slot) = (worker_id.as_ref().and_then(owner_of).unwrap_or(RUNTIME), receipt(&key));
            changes.of(owner).deletes.push(slot);
            // That of a worker that was deleted for its damage.
            if owner != RUNTIME && self.log.reader().place(RUNTIME, slot).is_some() {
                changes.of(RUNTIME).deletes.push(slot);
            }
        }
        Ok(Submission { changes: changes.0, vital })
    }

    fn change(&self, changes: &mut Changes, change: WorkerChange) -> Result<(), StoreFault> {
        let WorkerChange { worker_id, revision, events, row } = change;
        let owner = owner(&worker_id)?;
        let last = row.last_sequence.checked_sub(events.len() as u64).ok_or(StoreFault::OutOfOrder)?;
        if !events.iter().zip(last + 1..).all(|(event, sequence)| event.sequence == sequence) {
            return Err(StoreFault::OutOfOrder);
        }
        // Most rows have never lost an event, so that nothing is looked up for them.
        let trim = Some(row.first_sequence).filter(|first| *first > 1);
        let reader = self.log.reader();
        let trim = trim.filter(|first| reader.first_sequence(owner) < *first);
        let into = changes.of(owner);
        into.expect = Some(Expect { revision, last_sequence: Some(last) });
        into.trim = trim;
        into.events = (events.into_iter())
            .map(|event| NewEvent { tag: self.codec.tag(event.kind), payload: stamped(event.observed_at, &event.body) })
            .collect();
        if revision == 0 {
            into.puts.push((ORIGIN, self.codec.origin(&row.origin)));
        }
        into.puts.push((ROW, self.codec.row(&StoredWorker { revision: revision + 1, row })));
        Ok(())
    }

    /// The receipts of a worker of which not all can be read.
    ///
    /// # Errors
    /// `OutOfOrder` where there is no such worker.
    pub(super) fn receipts_of_damaged(&self, worker_id: &WorkerId) -> Result<(Owner, Vec<Slot>), StoreFault> {
        let owner = owner(worker_id)?;
        let known = self.log.reader().owner(owner);
        if known.is_none() && !self.quarantined.lock().contains(&owner) {
            return Err(StoreFault::OutOfOrder);
        }
        let mut slots = known.map(|known| known.slots).unwrap_or_default();
        slots.retain(|slot| kind(*slot) == Kind::Receipt);
        Ok((owner, slots))
    }

    /// The submission that lays what can be read of these receipts to the runtime itself, if there is any. Blocks.
    pub(super) fn keep(&self, owner: Owner, receipts: &[Slot]) -> Option<Submission> {
        let reader = self.log.reader();
        let puts: Vec<_> =
            receipts.iter().filter_map(|slot| Some((*slot, reader.get(owner, *slot).ok()??.value))).collect();
        let is_any = !puts.is_empty();
        // What it makes room for is much more.
        is_any.then(|| Submission { changes: vec![Change { owner: RUNTIME, puts, ..Change::default() }], vital: true })
    }

    /// The submission that deletes a worker of which not all can be read, with its receipts.
    ///
    /// # Errors
    /// As [`Self::submission`].
    pub(super) fn erasure(&self, batch: Batch, owner: Owner) -> Result<Submission, StoreFault> {
        let wipe = Change { owner, wipe: true, ..Change::default() };
        let Submission { changes, vital } = self.submission(Batch { deleted: None, ..batch })?;
        Ok(Submission { changes: [wipe].into_iter().chain(changes).collect(), vital })
    }
}

fn owner(worker_id: &WorkerId) -> Result<Owner, StoreFault> {
    owner_of(worker_id).ok_or(StoreFault::Failed)
}

/// Changes, one for each owner.
#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn of(&mut self, owner: Owner) -> &mut Change {
        let at = self.0.iter().position(|change| change.owner == owner).unwrap_or_else(|| {
            self.0.push(Change { owner, ..Change::default() });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    fn put(&mut self, owner: Owner, slot: Slot, value: Bytes) {
        self.of(owner).puts.push((slot, value));
    }
}
