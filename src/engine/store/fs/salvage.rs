//! Copies what can be read of a data directory whose server does not run into a new one, and says what was left behind.
//!
//! In the copy a worker's events have no gap: where some cannot be read, it begins behind them, as if retention had
//! removed what is before, and the worker's row says so. What of that could be read goes into a file of its own. A worker
//! whose row cannot be read is copied as it is, and quarantined by whoever opens the copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::slot::{ORIGIN, ROW, RUNTIME, worker_of};
use super::verify::{CareError, Finding, OpenedLog, logs, lost};
use crate::engine::store::disk::{Disk, DiskLock};
use crate::engine::store::log::{Beginning, LogCopy, OwnerState, Reader, Slot, StoredEvent, StoredValue};
use crate::engine::store::{DataDir, DataDirError, DirRole, RecordCodec, Select, StoredWorker};
use crate::model::{EventKind, RuntimeId, WorkerId};

/// At most so many events, and bytes of them, are in memory at once.
const EVENTS: usize = 256;
const BYTES: usize = 1 << 20;

/// What a copy holds and what it does not.
#[derive(Debug, Clone, Default)]
pub struct Salvaged {
    /// How many workers have anything in it.
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
    for opened in &opened {
        salvaged.left.extend(opened.damage().chain(opened.falls_short(reached.remove(opened.name))));
        let copy = LogCopy::create(disk, &new.join(opened.name), opened.recovered.last_position)?;
        Salvage { disk, codec, opened, new, copy, salvaged: &mut salvaged }.run()?;
    }
    salvaged.left.extend(reached.into_keys().map(|log| lost(&log)));
    // Last, so that half a copy is none.
    DataDir::found(disk, new, role, runtime_id.as_ref())?;
    Ok(salvaged)
}

/// Makes a directory, which must be empty, and keeps others away from it.
fn take(disk: &dyn Disk, new: &Path) -> Result<Box<dyn DiskLock>, CareError> {
    disk.create_dir(new)?;
    if !disk.list(new)?.is_empty() {
        return Err(CareError::NotEmpty(new.to_owned()));
    }
    Ok(DataDir::hold(disk, new)?)
}

/// The copy of one log.
struct Salvage<'s> {
    disk: &'s dyn Disk,
    codec: &'s dyn RecordCodec,
    opened: &'s OpenedLog<'s>,
    new: &'s Path,
    copy: LogCopy<'s>,
    salvaged: &'s mut Salvaged,
}

impl Salvage<'_> {
    fn run(mut self) -> Result<(), CareError> {
        for state in self.opened.reader.states() {
            self.owner(&state)?;
        }
        Ok(self.copy.finish()?)
    }

    fn owner(&mut self, state: &OwnerState) -> Result<(), CareError> {
        let reader = &self.opened.reader;
        let get = |slot: &Slot| Some((*slot, reader.get(state.owner, *slot).ok()??));
        let mut values: Vec<_> = state.slots.iter().filter_map(get).collect();
        let hit = self.opened.recovered.damage_of(state.owner).is_some();
        let stored = if hit && self.opened.is_runtime() { self.stored(state, &values) } else { None };
        // The events that there should be.
        let mut first = state.first_sequence;
        let mut last = state.last_sequence;
        if let Some(stored) = &stored {
            first = first.min(stored.row.first_sequence);
            last = last.max(stored.row.last_sequence);
        }
        let unreadable = if hit { unreadable(reader, state, first, last) } else { Vec::new() };
        let begins = unreadable.last().map_or(first, |sequence| sequence + 1);
        let numbers_removed = self.numbers_before(state, stored.as_ref(), begins);
        if let Some(mut stored) = stored {
            stored.row.first_sequence = begins;
            stored.row.removed_items = numbers_removed;
            let row = self.codec.row(&stored);
            values.iter_mut().filter(|(slot, _)| *slot == ROW).for_each(|(_, value)| value.value = row.clone());
        }
        let OwnerState { owner, revision, .. } = *state;
        self.copy.begin(Beginning { owner, revision, first_sequence: begins, numbers_removed })?;
        for (slot, value) in &values {
            self.copy.value(*slot, value)?;
        }
        self.salvaged.records += values.len();
        self.salvaged.workers += usize::from(owner != RUNTIME);
        self.events(state, begins)?;
        if begins > first { self.leave(state, first..begins, unreadable.len()) } else { Ok(()) }
    }

    /// The worker's row, if it is that of the owner's last change and of no earlier one.
    fn stored(&self, state: &OwnerState, values: &[(Slot, StoredValue)]) -> Option<StoredWorker> {
        let value = |wanted: Slot| values.iter().find(|(slot, _)| *slot == wanted).map(|(_, value)| &value.value);
        let origin = self.codec.read_origin(value(ORIGIN)?).ok()?;
        let stored = self.codec.read_row(Arc::new(origin), value(ROW)?).ok()?;
        (stored.revision == state.revision && stored.row.last_sequence >= state.last_sequence).then_some(stored)
    }

    /// How many items there were before an event.
    fn numbers_before(&self, state: &OwnerState, stored: Option<&StoredWorker>, sequence: u64) -> u64 {
        if sequence == state.first_sequence {
            return state.numbers_removed;
        }
        let item = self.codec.tag(EventKind::ItemAppended);
        match read_one(&self.opened.reader, state, sequence) {
            Some(event) => event.number - u64::from(event.tag == item),
            None => stored.map_or(state.last_number, |stored| stored.row.transcript_length),
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
        let place = match write_left(self.disk, self.new, &worker_id, left)? {
            Some(file) => format!(
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

/// Writes events as lines of JSON, their payloads in Base64. Returns where, if there are any.
fn write_left(
    disk: &dyn Disk,
    new: &Path,
    worker_id: &WorkerId,
    events: impl Iterator<Item = StoredEvent>,
) -> Result<Option<PathBuf>, CareError> {
    let mut events = events.peekable();
    if events.peek().is_none() {
        return Ok(None);
    }
    let dir = new.join("left-behind");
    disk.create_dir(&dir)?;
    let path = dir.join(format!("{worker_id}.jsonl"));
    let file = disk.create(&path)?;
    let mut offset = 0;
    for StoredEvent { sequence, number: _, position: _, tag, payload } in events {
        let line = line(sequence, tag, &payload);
        file.write_at(line.as_bytes(), offset)?;
        offset += line.len() as u64;
    }
    file.sync_data()?;
    disk.sync_dir(&dir)?;
    Ok(Some(path))
}

fn line(sequence: u64, tag: u8, payload: &Bytes) -> String {
    format!("{{\"sequence\":{sequence},\"tag\":{tag},\"payload\":\"{}\"}}\n", STANDARD.encode(payload))
}
