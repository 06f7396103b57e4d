//! What a runtime starts from: every record of the log, decoded. A worker of which something is missing or does not
//! decode is quarantined with the place of the fault; what cannot be laid to a worker is a warning; all others go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Inner;
use super::slot::{self, Kind, ORIGIN, ROW, RUNTIME, worker_of};
use crate::engine::row::WorkerOrigin;
use crate::engine::store::log::{Damage, Owner, OwnerState, Reader, Slot, StoredValue, UNREAD};
use crate::engine::store::{EachEnded, Quarantined, RecordCodec, RecordFault, Restored, StoreFault, StoredWorker};

/// Of so many owners the records are read at once: near each other on the disk, as owners are in the order of their making,
/// and never much in memory beside what is kept of them.
const OWNERS_AT_ONCE: usize = 1_024;

/// What was found of a worker so far. A row needs its origin to be read.
#[derive(Default)]
struct Found {
    origin: Option<WorkerOrigin>,
    row: Option<Bytes>,
}

type Workers = BTreeMap<Owner, Found>;

/// The first thing that is wrong with a worker, and where.
type Faults = BTreeMap<Owner, String>;

impl Inner {
    pub(super) fn restore(&self, ended: EachEnded) -> Restored {
        let damage = self.damage.lock().clone();
        let from = Restoring { reader: self.log.reader(), codec: &*self.codec, damage: &damage, above: &self.above };
        let restored = from.restore(ended);
        let quarantined = restored.quarantined.iter().filter_map(|it| slot::owner_of(&it.worker_id));
        *self.quarantined.lock() = quarantined.collect();
        restored
    }
}

/// A log that was read, and what its records are read with.
pub(super) struct Restoring<'l> {
    pub(super) reader: &'l Reader,
    pub(super) codec: &'l dyn RecordCodec,
    /// What was found when it was read.
    pub(super) damage: &'l [Damage],
    /// The directory from which files are named.
    pub(super) above: &'l Path,
}

impl Restoring<'_> {
    pub(super) fn restore(&self, mut ended: impl FnMut(StoredWorker)) -> Restored {
        let mut restored = Restored::default();
        let mut faults = Faults::new();
        for damage in self.damage {
            lay(damage.owner, self.place_of(damage), &mut faults, &mut restored.warnings);
        }
        let reader = self.reader;
        for owners in reader.owners().chunks(OWNERS_AT_ONCE) {
            let mut workers = Workers::new();
            reader.each_value(owners, |owner, slot, value| {
                if let Err(fault) = self.take(owner, slot, value, &mut workers, &mut restored) {
                    lay(Some(owner), self.place(owner, slot, &fault), &mut faults, &mut restored.warnings);
                }
            });
            for state in owners.iter().filter(|owner| **owner != RUNTIME).filter_map(|owner| reader.owner(*owner)) {
                let found = workers.remove(&state.owner).unwrap_or_default();
                match self.judge(&state, found, faults.remove(&state.owner)) {
                    Ok(Some(worker)) if worker.row.state.is_final() => ended(worker),
                    Ok(worker) => restored.workers.extend(worker),
                    Err(quarantined) => restored.quarantined.push(quarantined),
                }
            }
        }
        // Nothing is left of these but that something was there.
        restored.quarantined.extend(faults.into_iter().map(|(owner, place)| quarantined(owner, None, place)));
        restored
    }

    /// Takes in a value.
    fn take(
        &self,
        owner: Owner,
        slot: Slot,
        value: Result<StoredValue, StoreFault>,
        workers: &mut Workers,
        restored: &mut Restored,
    ) -> Result<(), RecordFault> {
        let value = value
            .map_err(|fault| {
                RecordFault(match fault {
                    StoreFault::Failed => UNREAD.to_owned(),
                    fault => fault.to_string(),
                })
            })?
            .value;
        let other = |what: &str| Err(RecordFault(format!("{what}: it is another than the one that was put here")));
        match slot::kind(slot) {
            Kind::Origin => {
                let origin = self.codec.read_origin(&value)?;
                if slot::owner_of(&origin.worker_id) != Some(owner) {
                    return other("worker_origin.worker_id");
                }
                workers.entry(owner).or_default().origin = Some(origin);
            }
            Kind::Row => workers.entry(owner).or_default().row = Some(value),
            Kind::Receipt => {
                let receipt = self.codec.read_receipt(&value)?;
                // That of a worker that was deleted for its damage is the runtime's own.
                let is_its = owner == RUNTIME || slot::owner_of_receipt(&receipt) == owner;
                if slot::receipt(&receipt.key.short()) != slot || !is_its {
                    return other("receipt.key");
                }
                restored.receipts.push(receipt);
            }
            Kind::Bundle => {
                let bundle = self.codec.read_bundle(&value)?;
                if slot::bundle(bundle.digest()) != slot {
                    return other("bundle.metadata.digest");
                }
                restored.bundles.push(Arc::new(bundle));
            }
            Kind::Unknown => return Err(RecordFault("a record of no kind that this version knows".to_owned())),
        }
        Ok(())
    }

    /// Says what a worker is, once all of it was looked at. One that was deleted, and whose receipts are kept, is none.
    fn judge(
        &self,
        state: &OwnerState,
        found: Found,
        fault: Option<String>,
    ) -> Result<Option<StoredWorker>, Quarantined> {
        let has_events = state.first_sequence <= state.last_sequence;
        let stored = match (found.origin, found.row) {
            (None, None) if fault.is_none() && !has_events => return Ok(None),
            (Some(origin), Some(row)) => self.codec.read_row(Arc::new(origin), &row),
            (None, _) => Err(RecordFault("worker_origin: it is missing".to_owned())),
            (_, None) => Err(RecordFault("worker_row: it is missing".to_owned())),
        };
        let stored = stored.and_then(|stored| match differs(&stored, state) {
            Some(what) => Err(RecordFault(format!("worker_row: {what}"))),
            None => Ok(stored),
        });
        match (fault, stored) {
            (None, Ok(worker)) => Ok(Some(worker)),
            (None, Err(problem)) => Err(quarantined(state.owner, None, self.place(state.owner, ROW, &problem))),
            (Some(place), stored) => Err(quarantined(state.owner, stored.ok(), place)),
        }
    }

    fn place_of(&self, damage: &Damage) -> String {
        let Damage { file, offset, what, owner: _ } = damage;
        self.named(file, *offset, what)
    }

    /// Where a value lies and what is wrong with it.
    fn place(&self, owner: Owner, slot: Slot, fault: &RecordFault) -> String {
        let reader = self.reader;
        // Without the record itself, the place of the other one says whose it was.
        let place = reader.place(owner, slot).or_else(|| reader.place(owner, ORIGIN));
        place.map_or_else(|| format!("log: {fault}"), |(file, offset)| self.named(&file, offset, &fault.0))
    }

    /// Files are named from the data directory on.
    fn named(&self, file: &Path, offset: u64, what: &str) -> String {
        named(self.above, file, offset, what)
    }
}

/// A place as it is told: files are named from the data directory on.
pub(super) fn named(above: &Path, file: &Path, offset: u64, what: &str) -> String {
    let file = file.strip_prefix(above).unwrap_or(file);
    format!("{}: offset {offset}: {what}", file.display())
}

/// Lays a fault to a worker, or to the store where it is nobody's.
fn lay(owner: Option<Owner>, place: String, faults: &mut Faults, warnings: &mut Vec<String>) {
    match owner {
        Some(owner) if owner != RUNTIME => {
            faults.entry(owner).or_insert(place);
        }
        _ => warnings.push(place),
    }
}

fn quarantined(owner: Owner, stored: Option<StoredWorker>, place: String) -> Quarantined {
    Quarantined { worker_id: worker_of(owner), row: stored.map(|stored| stored.row), place }
}

/// In what a row is not that of the events that are there.
fn differs(stored: &StoredWorker, state: &OwnerState) -> Option<String> {
    let StoredWorker { revision, row } = stored;
    let OwnerState { first_sequence, last_sequence, numbers_removed, last_number, .. } = state;
    let pairs = [
        ("revision", *revision, state.revision),
        ("first_sequence", row.first_sequence, *first_sequence),
        ("last_sequence", row.last_sequence, *last_sequence),
        ("transcript_length", row.transcript_length, *last_number),
        ("removed_items", row.removed_items, *numbers_removed),
    ];
    let (what, says, is) = pairs.into_iter().find(|(_, says, is)| says != is)?;
    Some(format!("its {what} is {says}, and the log's {is}"))
}
