//! Copies what can be read of a data directory whose server does not run into a new one, and says what was left behind.
//!
//! In the copy a worker's events have no gap: where some cannot be read, it begins behind them, as if retention had
//! removed what is before, and the worker's row says so. What of that could be read goes into a file of its own
//! (`left.rs`). So does all of a worker whose origin or row cannot be read: nobody could serve it. Its receipts are
//! copied, as those of a deleted worker are kept. At last the copy is read as a server reads it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::left::LeftBehind;
use super::slot::{self, ORIGIN, ROW, RUNTIME, worker_of};
use super::verify::{CareError, ControlCheck, Finding, OpenedLog, logs, lost};
use crate::engine::receipts::Receipt;
use crate::engine::store::data_dir::UNFINISHED;
use crate::engine::store::disk::{Disk, DiskLock};
use crate::engine::store::log::{Beginning, LogCopy, Owner, OwnerState, Reader, Slot, StoredEvent, StoredValue};
use crate::engine::store::{DataDir, DataDirError, DirRole, RecordCodec, Select, StoredWorker};
use crate::model::{EventKind, RuntimeId};

/// At most so many events, and bytes of them, are in memory at once.
const EVENTS: usize = 256;
const BYTES: usize = 1 << 20;

/// What a copy holds and what it does not.
#[derive(Debug, Clone, Default)]
pub struct Salvaged {
    /// How many workers are served from it.
    pub workers: usize,
    /// How many events they have.
    pub events: u64,
    /// How many records beside events there are, of the runtime and of the control plane too.
    pub records: usize,
    /// What was left behind: what is damaged in the old directory, and what could not be kept for it.
    pub left: Vec<Finding>,
}

/// Copies all that can be read into `new`, which is empty or not there. A directory that does not say what it is becomes
/// that of `runtime_id`, which is not looked at otherwise.
///
/// # Errors
/// [`CareError`]. Damage is none. What is in `new` then is no data directory.
pub fn salvage(
    disk: &dyn Disk,
    dir: &Path,
    new: &Path,
    runtime_id: Option<&RuntimeId>,
    codec: &dyn RecordCodec,
    control: ControlCheck<'_>,
) -> Result<Salvaged, CareError> {
    let _held = DataDir::hold_to_read(disk, dir)?;
    let logs = logs(disk, dir)?;
    if logs.is_empty() {
        return Err(CareError::NoStore(dir.to_owned()));
    }
    let mut salvaged = Salvaged::default();
    let mut reached = BTreeMap::new();
    let (role, runtime_id) = match DataDir::look(disk, dir) {
        Ok(looked) => {
            reached = looked.reached;
            (looked.role, looked.runtime_id)
        }
        Err(DataDirError::Damaged { problem, .. }) => {
            let role = if logs.contains(&"control") { DirRole::ControlPlane } else { DirRole::Host };
            let hint = match role {
                DirRole::Host if runtime_id.is_none() => {
                    "; the copy has another runtime id, unless `--runtime-id` names it"
                }
                _ => "",
            };
            let place = format!("identity: offset 0: {problem}{hint}");
            salvaged.left.push(Finding { place, worker_id: None });
            (role, runtime_id.cloned())
        }
        Err(other) => return Err(other.into()),
    };
    // First of all, so that nothing is made of what cannot be read at all.
    let opened: Vec<_> = logs.iter().map(|name| OpenedLog::open(disk, dir, name, codec)).collect::<Result<_, _>>()?;
    let _new = take(disk, new)?;
    let mut fill = || {
        for opened in &opened {
            salvaged.left.extend(opened.damage().chain(opened.falls_short(reached.remove(opened.name))));
            let copy = LogCopy::create(disk, &new.join(opened.name), opened.recovered.last_position)?;
            let left = LeftBehind { disk, codec, new };
            Salvage { codec, control, opened, left, copy, salvaged: &mut salvaged }.run()?;
            let found = OpenedLog::open(disk, new, opened.name, codec)?.findings(codec, control);
            salvaged.left.extend(found.into_iter().map(in_copy));
        }
        salvaged.left.extend(std::mem::take(&mut reached).into_keys().map(|log| lost(&log)));
        // Last, so that half a copy is none.
        DataDir::found(disk, new, role, runtime_id.as_ref())?;
        disk.remove(&new.join(UNFINISHED))?;
        Ok(disk.sync_dir(new)?)
    };
    match fill() {
        Ok(()) => Ok(salvaged),
        Err(source) => Err(CareError::Unfinished { new: new.to_owned(), source: Box::new(source) }),
    }
}

/// Makes a directory, which must be empty, keeps others away from it, and marks it as what it is not yet.
fn take(disk: &dyn Disk, new: &Path) -> Result<Box<dyn DiskLock>, CareError> {
    disk.create_dir(new)?;
    if !disk.list(new)?.is_empty() {
        return Err(CareError::NotEmpty(new.to_owned()));
    }
    let held = DataDir::hold(disk, new)?;
    disk.create(&new.join(UNFINISHED))?;
    disk.sync_dir(new)?;
    Ok(held)
}

fn in_copy(finding: Finding) -> Finding {
    Finding { place: format!("in the copy: {}", finding.place), ..finding }
}

/// The copy of one log.
struct Salvage<'s> {
    codec: &'s dyn RecordCodec,
    control: ControlCheck<'s>,
    opened: &'s OpenedLog<'s>,
    left: LeftBehind<'s>,
    copy: LogCopy<'s>,
    salvaged: &'s mut Salvaged,
}

impl Salvage<'_> {
    fn run(mut self) -> Result<(), CareError> {
        for state in self.opened.reader.states() {
            let values = self.values(&state);
            if self.opened.is_worker(&state) {
                self.worker(&state, values)?;
            } else {
                self.begin(&state, state.first_sequence, state.numbers_removed, &values)?;
            }
        }
        Ok(self.copy.finish()?)
    }

    /// The values that can be read. What a server would not take is told and is none.
    fn values(&mut self, state: &OwnerState) -> Vec<(Slot, StoredValue)> {
        let owner = state.owner;
        let get = |slot: &Slot| Some((*slot, self.opened.reader.get(owner, *slot).ok()??));
        let values: Vec<_> = state.slots.iter().filter_map(get).collect();
        let (good, bad): (Vec<_>, Vec<_>) =
            values.into_iter().partition(|(slot, value)| self.is_served(owner, *slot, &value.value));
        let worker_id = (owner != RUNTIME).then(|| worker_of(owner));
        self.salvaged.left.extend(bad.into_iter().map(|(slot, _)| Finding {
            place: self.opened.place_of(owner, slot, "it does not decode, and is not in the copy"),
            worker_id: worker_id.clone(),
        }));
        good
    }

    /// Whether a value is what it should be. A worker's own records are judged together.
    fn is_served(&self, owner: Owner, slot: Slot, value: &Bytes) -> bool {
        if !self.opened.is_runtime() {
            return (self.control)(slot, value).is_ok();
        }
        match slot::kind(slot) {
            slot::Kind::Origin | slot::Kind::Row => true,
            slot::Kind::Receipt => {
                let is_its = |it: &Receipt| owner == RUNTIME || slot::owner_of_receipt(it) == owner;
                self.codec.read_receipt(value).is_ok_and(|it| slot::receipt(&it.key.short()) == slot && is_its(&it))
            }
            slot::Kind::Bundle => self.codec.read_bundle(value).is_ok_and(|it| slot::bundle(it.digest()) == slot),
            slot::Kind::Unknown => false,
        }
    }

    fn worker(&mut self, state: &OwnerState, mut values: Vec<(Slot, StoredValue)>) -> Result<(), CareError> {
        let Some(mut stored) = self.stored(state, &values) else { return self.unserved(state, values) };
        let reader = &self.opened.reader;
        // The events that there should be.
        let first = state.first_sequence.min(stored.row.first_sequence);
        let last = state.last_sequence.max(stored.row.last_sequence);
        let hit = self.opened.recovered.damage_of(state.owner).is_some();
        let unreadable = if hit { unreadable(reader, state, first, last) } else { Vec::new() };
        let begins = unreadable.last().map_or(first, |sequence| sequence + 1);
        let numbers_removed = self.numbers_before(state, &stored, begins);
        if hit {
            stored.row.first_sequence = begins;
            stored.row.removed_items = numbers_removed;
            let row = self.codec.row(&stored);
            values.iter_mut().filter(|(slot, _)| *slot == ROW).for_each(|(_, value)| value.value = row.clone());
        }
        self.begin(state, begins, numbers_removed, &values)?;
        self.salvaged.workers += 1;
        self.events(state, begins)?;
        if begins > first { self.leave(state, first..begins, unreadable.len()) } else { Ok(()) }
    }

    fn begin(
        &mut self,
        state: &OwnerState,
        first_sequence: u64,
        numbers_removed: u64,
        values: &[(Slot, StoredValue)],
    ) -> Result<(), CareError> {
        let OwnerState { owner, revision, .. } = *state;
        self.copy.begin(Beginning { owner, revision, first_sequence, numbers_removed })?;
        self.salvaged.records += values.len();
        Ok(values.iter().try_for_each(|(slot, value)| self.copy.value(*slot, value))?)
    }

    /// A worker that nobody could serve: of the copy it is as one that was deleted, and what it had is left behind.
    fn unserved(&mut self, state: &OwnerState, values: Vec<(Slot, StoredValue)>) -> Result<(), CareError> {
        let (own, kept): (Vec<_>, Vec<_>) = values.into_iter().partition(|(slot, _)| matches!(*slot, ORIGIN | ROW));
        self.begin(state, state.last_sequence + 1, state.last_number, &kept)?;
        let worker_id = worker_of(state.owner);
        let events = (state.first_sequence..=state.last_sequence)
            .filter_map(|sequence| read_one(&self.opened.reader, state, sequence));
        let own = own.iter().map(|(slot, value)| (*slot, &*value.value));
        let left = self.left.write(&worker_id, own, events)?;
        let what = left.map_or_else(
            || "nothing of it can be read".to_owned(),
            |(file, events)| format!("{events} events and what else of it can be read are in {}", file.display()),
        );
        let name = self.opened.name;
        let place = format!("{name}: what says what this worker is cannot be read: it is not in the copy; {what}");
        self.salvaged.left.push(Finding { place, worker_id: Some(worker_id) });
        Ok(())
    }

    /// The worker's row, if it is that of the owner's last change and of no earlier one.
    fn stored(&self, state: &OwnerState, values: &[(Slot, StoredValue)]) -> Option<StoredWorker> {
        let value = |wanted: Slot| values.iter().find(|(slot, _)| *slot == wanted).map(|(_, value)| &value.value);
        let origin = self.codec.read_origin(value(ORIGIN)?).ok()?;
        let is_its_own = slot::owner_of(&origin.worker_id) == Some(state.owner);
        let stored = self.codec.read_row(Arc::new(origin), value(ROW)?).ok().filter(|_| is_its_own)?;
        (stored.revision == state.revision && stored.row.last_sequence >= state.last_sequence).then_some(stored)
    }

    /// How many items there were before an event.
    fn numbers_before(&self, state: &OwnerState, stored: &StoredWorker, sequence: u64) -> u64 {
        if sequence == state.first_sequence {
            return state.numbers_removed;
        }
        let item = self.codec.tag(EventKind::ItemAppended);
        match read_one(&self.opened.reader, state, sequence) {
            Some(event) => event.number - u64::from(event.tag == item),
            None => stored.row.transcript_length,
        }
    }

    /// Copies the events from one on, which can all be read.
    fn events(&mut self, state: &OwnerState, from: u64) -> Result<(), CareError> {
        let mut after = from - 1;
        while after < state.last_sequence {
            let events = self.opened.reader.read(state.owner, Select::EventsAfter(after), EVENTS, BYTES);
            let events = events.map_err(|fault| {
                std::io::Error::other(format!("event {} of {} was sound and is not: {fault}", after + 1, state.owner))
            })?;
            for event in &events {
                self.copy.event(event)?;
                after = event.sequence;
            }
            self.salvaged.events += events.len() as u64;
        }
        Ok(())
    }

    /// Puts what can be read of the events that are not in the copy into a file, and tells.
    fn leave(&mut self, state: &OwnerState, range: std::ops::Range<u64>, unreadable: usize) -> Result<(), CareError> {
        let (first, last) = (range.start, range.end - 1);
        let worker_id = worker_of(state.owner);
        let left = range.filter_map(|sequence| read_one(&self.opened.reader, state, sequence));
        let place = match self.left.write(&worker_id, std::iter::empty(), left)? {
            Some((file, _)) => format!(
                "{}: events {first} to {last}, of which {unreadable} cannot be read, are not in the copy; the others are \
                 in {}",
                self.opened.name,
                file.display()
            ),
            None => format!("{}: events {first} to {last} cannot be read", self.opened.name),
        };
        self.salvaged.left.push(Finding { place, worker_id: Some(worker_id) });
        Ok(())
    }
}

/// The events of a range that cannot be read, by their sequences.
fn unreadable(reader: &Reader, state: &OwnerState, first: u64, last: u64) -> Vec<u64> {
    let mut unreadable = Vec::new();
    let mut after = first - 1;
    while after < last {
        match reader.read(state.owner, Select::EventsAfter(after), EVENTS, BYTES).as_deref() {
            Ok([next, .., end]) if next.sequence == after + 1 => after = end.sequence,
            Ok([next]) if next.sequence == after + 1 => after = next.sequence,
            _ => {
                after += 1;
                unreadable.push(after);
            }
        }
    }
    unreadable
}

fn read_one(reader: &Reader, state: &OwnerState, sequence: u64) -> Option<StoredEvent> {
    let events = reader.read(state.owner, Select::EventsAfter(sequence - 1), 1, BYTES).ok()?;
    events.into_iter().next().filter(|event| event.sequence == sequence)
}
