//! What a runtime starts from: every record of the log, decoded. A worker of which something is missing or does not
//! decode is quarantined with the place of the fault; what cannot be laid to a worker is a warning; all others go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Inner;
use super::slot::{self, Kind, ORIGIN, ROW, RUNTIME, worker_of};
use crate::engine::row::WorkerOrigin;
use crate::engine::store::log::{Damage, Owner, OwnerState, Reader, Slot, StoredValue};
use crate::engine::store::{Quarantined, RecordCodec, RecordFault, Restored, StoreFault, StoredWorker};

/// What was found of a worker so far.
#[derive(Default)]
struct Found {
    origin: Option<Arc<WorkerOrigin>>,
    row: Option<Row>,
    /// The first thing that is wrong with it, and where.
    fault: Option<String>,
}

/// A row needs its origin to be read, which mostly lies before it.
enum Row {
    Read(StoredWorker),
    Waiting(Bytes),
}

impl Found {
    fn fault(&mut self, place: String) {
        self.fault.get_or_insert(place);
    }
}

type Workers = BTreeMap<Owner, Found>;

impl Inner {
    pub(super) fn restore(&self) -> Restored {
        let damage = self.damage.lock().clone();
        let from = Restoring { reader: self.log.reader(), codec: &*self.codec, damage: &damage, above: &self.above };
        let restored = from.restore();
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
    pub(super) fn restore(&self) -> Restored {
        let mut restored = Restored::default();
        let mut workers = Workers::new();
        for damage in self.damage {
            lay(damage.owner, self.place_of(damage), &mut workers, &mut restored.warnings);
        }
        let reader = self.reader;
        reader.each_value(|owner, slot, value| {
            if let Err(fault) = self.take(owner, slot, value, &mut workers, &mut restored) {
                let place = self.place(owner, slot, &fault);
                lay(Some(owner), place, &mut workers, &mut restored.warnings);
            }
        });
        for state in reader.owners().into_iter().filter(|state| state.owner != RUNTIME) {
            let found = workers.remove(&state.owner).unwrap_or_default();
            self.judge(&state, found, &mut restored);
        }
        // Nothing is left of these but that something was there.
        for (owner, found) in workers {
            restored.quarantined.extend(found.fault.map(|place| quarantined(owner, None, place)));
        }
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
        let value = value.map_err(|fault| RecordFault(fault.to_string()))?.value;
        let other = |what: &str| Err(RecordFault(format!("{what}: it is another than the one that was put here")));
        match slot::kind(slot) {
            Kind::Origin => {
                let origin = self.codec.read_origin(&value)?;
                if slot::owner_of(&origin.worker_id) != Some(owner) {
                    return other("worker_origin.worker_id");
                }
                workers.entry(owner).or_default().origin = Some(Arc::new(origin));
            }
            Kind::Row => {
                let found = workers.entry(owner).or_default();
                found.row = Some(match &found.origin {
                    Some(origin) => Row::Read(self.codec.read_row(Arc::clone(origin), &value)?),
                    // A copy: what was read is part of a much larger piece of the log, which is to go again.
                    None => Row::Waiting(Bytes::copy_from_slice(&value)),
                });
            }
            Kind::Receipt => {
                let receipt = self.codec.read_receipt(&value)?;
                // That of a worker that was deleted for its damage is the runtime's own.
                let is_its = owner == RUNTIME || slot::owner_of_receipt(&receipt) == owner;
                if slot::receipt(&receipt.key) != slot || !is_its {
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

    /// Says what a worker is, once all of it was looked at.
    fn judge(&self, state: &OwnerState, found: Found, restored: &mut Restored) {
        let Found { origin, row, mut fault } = found;
        let has_events = state.first_sequence <= state.last_sequence;
        let stored = match (origin, row) {
            // A worker that was deleted, and whose receipts are kept.
            (None, None) if fault.is_none() && !has_events => return,
            (Some(_), Some(Row::Read(stored))) => Ok(Some(stored)),
            (Some(origin), Some(Row::Waiting(row))) => self.codec.read_row(origin, &row).map(Some),
            (None, _) => Err(RecordFault("worker_origin: it is missing".to_owned())),
            (_, None) => Err(RecordFault("worker_row: it is missing".to_owned())),
        };
        let stored = stored.and_then(|stored| match stored.as_ref().and_then(|stored| differs(stored, state)) {
            Some(what) => Err(RecordFault(format!("worker_row: {what}"))),
            None => Ok(stored),
        });
        let stored = stored.unwrap_or_else(|problem| {
            fault.get_or_insert_with(|| self.place(state.owner, ROW, &problem));
            None
        });
        match (fault, stored) {
            (None, Some(worker)) => restored.workers.push(worker),
            (None, None) => {}
            (Some(place), stored) => restored.quarantined.push(quarantined(state.owner, stored, place)),
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
fn lay(owner: Option<Owner>, place: String, workers: &mut Workers, warnings: &mut Vec<String>) {
    match owner {
        Some(owner) if owner != RUNTIME => workers.entry(owner).or_default().fault(place),
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
