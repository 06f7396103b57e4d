//! A log on a simulated disk, and all that it holds as one value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::engine::store::disk::Disk;
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::{
    Change, Expect, Log, LogOptions, NewEvent, Owner, OwnerState, Reader, Recovered, Slot, StoredEvent, StoredValue,
    Submission,
};
use crate::engine::store::{Commit, Select, StoreFault};

pub(super) const NUMBERED: u8 = 7;

pub(super) fn dir() -> &'static Path {
    Path::new("/data/log")
}

/// No markers but at close: what a test does not write is not there.
pub(super) fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 << 10,
        reserve_bytes: 8 << 10,
        allocate_step: 4 << 10,
        idle_after: Duration::from_hours(1),
        numbered_tag: Some(NUMBERED),
        // The test fails, and its process goes on.
        ..LogOptions::default()
    }
}

pub(super) struct Bed {
    pub(super) disk: SimulatedDisk,
    pub(super) log: Log,
    pub(super) recovered: Recovered,
}

impl Bed {
    pub(super) fn new(seed: u64) -> Self {
        Self::open(SimulatedDisk::new(seed), options())
    }

    pub(super) fn open(disk: SimulatedDisk, options: LogOptions) -> Self {
        disk.create_dir(dir()).unwrap();
        let (log, recovered) = Log::open(Arc::new(disk.clone()), dir(), options).unwrap();
        Self { disk, log, recovered }
    }

    /// The process is killed, and another one opens the log.
    pub(super) fn killed(self) -> Self {
        let disk = self.disk.restart();
        Self::open(disk, options())
    }

    /// The power goes, and another process opens the log.
    pub(super) fn without_power(self) -> Self {
        self.disk.cut_power();
        self.killed()
    }

    /// The log is closed and opened again.
    pub(super) fn reopened(self) -> Self {
        self.log.close();
        Self::open(self.disk.clone(), options())
    }

    pub(super) fn land(&self, changes: Vec<Change>) -> Result<u64, StoreFault> {
        wait(self.log.commit(Submission { changes, vital: false }))
    }

    pub(super) fn land_vital(&self, changes: Vec<Change>) -> Result<u64, StoreFault> {
        wait(self.log.commit(Submission { changes, vital: true }))
    }

    pub(super) fn content(&self) -> Content {
        content(self.log.reader())
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        segments(&self.disk)
    }
}

pub(super) fn segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let files = disk.list(dir()).unwrap();
    files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "seg")).collect()
}

pub(super) fn wait(commit: Commit) -> Result<u64, StoreFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(commit)
}

pub(super) fn owner(name: u8) -> Owner {
    Owner([name; 16])
}

pub(super) fn slot(name: u8) -> Slot {
    Slot([name; 16])
}

pub(super) fn change(name: u8) -> Change {
    Change { owner: owner(name), ..Change::default() }
}

impl Change {
    pub(super) fn event(mut self, tag: u8, payload: &[u8]) -> Self {
        self.events.push(NewEvent { tag, payload: Bytes::copy_from_slice(payload) });
        self
    }

    pub(super) fn put(mut self, name: u8, value: &[u8]) -> Self {
        self.puts.push((slot(name), Bytes::copy_from_slice(value)));
        self
    }

    pub(super) fn delete(mut self, name: u8) -> Self {
        self.deletes.push(slot(name));
        self
    }

    pub(super) fn trim(mut self, below: u64) -> Self {
        self.trim = Some(below);
        self
    }

    pub(super) fn wipe(mut self) -> Self {
        self.wipe = true;
        self
    }

    pub(super) fn at(mut self, revision: u64) -> Self {
        self.expect = Some(Expect { revision, last_sequence: None });
        self
    }
}

/// What one owner has, or why that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) state: OwnerState,
    pub(super) events: Vec<StoredEvent>,
    pub(super) values: BTreeMap<Slot, Option<StoredValue>>,
}

pub(super) type Content = BTreeMap<Owner, Result<Owned, StoreFault>>;

/// All that can be read.
pub(super) fn content(reader: &Reader) -> Content {
    reader.states().map(|state| (state.owner, owned(reader, state))).collect()
}

fn owned(reader: &Reader, state: OwnerState) -> Result<Owned, StoreFault> {
    let mut events: Vec<StoredEvent> = Vec::new();
    loop {
        let after = events.last().map_or(state.first_sequence - 1, |event| event.sequence);
        let some = reader.read(state.owner, Select::EventsAfter(after), 1_000, 1 << 20)?;
        if some.is_empty() {
            break;
        }
        events.extend(some);
    }
    let value = |slot: &Slot| Ok((*slot, reader.get(state.owner, *slot)?));
    let values = state.slots.iter().map(value).collect::<Result<_, StoreFault>>()?;
    Ok(Owned { state, events, values })
}
