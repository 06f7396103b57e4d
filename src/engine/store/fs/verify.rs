//! Looks through a data directory whose server does not run, and changes nothing in it: what it finds is what a server
//! would say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::restore::{Restoring, named};
use super::slot::{ORIGIN, ROW, RUNTIME, worker_of};
use crate::engine::store::data_dir::LOGS;
use crate::engine::store::disk::Disk;
use crate::engine::store::log::{Damage, Owner, OwnerState, Reader, Recovered, Slot};
use crate::engine::store::{DataDir, DataDirError, Quarantined, RecordCodec, RecordFault};
use crate::model::{EventKind, WorkerId};

/// What was found in a data directory.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// How many segments were read.
    pub segments: usize,
    /// How many bytes they hold.
    pub bytes: u64,
    /// How many workers there are; of one that was deleted only what it was asked is kept.
    pub workers: usize,
    /// How many events they have.
    pub events: u64,
    /// How many records beside events there are, of the runtime and of the control plane too.
    pub records: usize,
    /// What is not as it was acknowledged.
    pub findings: Vec<Finding>,
    /// What is not as it was written and costs nothing, as `FILE: offset N: what`.
    pub notes: Vec<String>,
}

/// Something that is damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// As `FILE: offset N: what`; the file by its name in the data directory.
    pub place: String,
    /// Whose it is, where that can be told and it is a worker's.
    pub worker_id: Option<WorkerId>,
}

/// Why a directory was not looked through, or not copied.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// It is no data directory that can be held.
    #[error("{0}")]
    Dir(#[from] DataDirError),
    /// There is nothing in it.
    #[error("{}: there is no store in this directory", .0.display())]
    NoStore(PathBuf),
    /// The new directory is one already.
    #[error("{}: is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The copy could not be finished, and is none.
    #[error("{}: the copy could not be finished: {source}", new.display())]
    Unfinished {
        /// Where half of it is.
        new: PathBuf,
        /// Why.
        source: Box<CareError>,
    },
    /// The system refused something; it says what.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Says what is wrong with a value of the control plane's own store.
pub type ControlCheck<'c> = &'c dyn Fn(Slot, &Bytes) -> Result<(), RecordFault>;

/// Reads all of a data directory, which no server has meanwhile.
///
/// # Errors
/// [`CareError`]. Damage is none.
pub fn verify(
    disk: &dyn Disk,
    dir: &Path,
    codec: &dyn RecordCodec,
    control: ControlCheck<'_>,
) -> Result<Verified, CareError> {
    let _held = DataDir::hold_to_read(disk, dir)?;
    let (logs, mut reached) = (logs(disk, dir)?, BTreeMap::new());
    let mut verified = Verified::default();
    match DataDir::look(disk, dir) {
        Ok(looked) => {
            verified.notes.extend(looked.hit);
            reached = looked.reached;
        }
        Err(DataDirError::Damaged { problem, .. }) => {
            let place = format!("identity: offset 0: {problem}");
            verified.findings.push(Finding { place, worker_id: None });
        }
        Err(other) => return Err(other.into()),
    }
    if logs.is_empty() && reached.is_empty() {
        return Err(CareError::NoStore(dir.to_owned()));
    }
    for log in logs {
        let opened = OpenedLog::open(disk, dir, log, codec)?;
        verified.add(&opened, codec, control);
        verified.findings.extend(opened.falls_short(reached.remove(log)));
    }
    verified.findings.extend(reached.into_keys().map(|log| lost(&log)));
    Ok(verified)
}

impl Verified {
    fn add(&mut self, opened: &OpenedLog<'_>, codec: &dyn RecordCodec, control: ControlCheck<'_>) {
        let stats = opened.reader.stats();
        self.segments += stats.segments;
        self.bytes += stats.bytes;
        for state in opened.reader.states() {
            self.workers += usize::from(opened.is_worker(&state));
            self.events += state.last_sequence + 1 - state.first_sequence;
            self.records += state.slots.len();
        }
        self.findings.extend(opened.findings(codec, control));
        self.notes.extend(opened.recovered.notes.iter().map(|note| opened.place(note)));
    }
}

/// A log that was read, and where it lies.
pub(super) struct OpenedLog<'d> {
    dir: &'d Path,
    pub(super) name: &'static str,
    pub(super) reader: Reader,
    pub(super) recovered: Recovered,
}

impl<'d> OpenedLog<'d> {
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &'d Path,
        name: &'static str,
        codec: &dyn RecordCodec,
    ) -> io::Result<Self> {
        let (reader, recovered) = Reader::open(disk, &dir.join(name), Some(codec.tag(EventKind::ItemAppended)))?;
        Ok(Self { dir, name, reader, recovered })
    }

    /// Whether it is the log of a runtime, whose owners are workers.
    pub(super) fn is_runtime(&self) -> bool {
        self.name == "log"
    }

    /// Whether an owner is a worker of which more is left than the answers that it gave.
    pub(super) fn is_worker(&self, state: &OwnerState) -> bool {
        let own = |slot: &Slot| matches!(*slot, ORIGIN | ROW);
        let has_any = state.first_sequence <= state.last_sequence || state.slots.iter().any(own);
        self.is_runtime() && state.owner != RUNTIME && has_any
    }

    /// Where the value of a slot lies, and what is wrong with it.
    pub(super) fn place_of(&self, owner: Owner, slot: Slot, what: &str) -> String {
        let place = self.reader.place(owner, slot);
        place.map_or_else(|| format!("{}: {what}", self.name), |(file, offset)| named(self.dir, &file, offset, what))
    }

    /// What the log says is damaged.
    pub(super) fn damage(&self) -> impl Iterator<Item = Finding> {
        let worker = |damage: &Damage| damage.owner.filter(|owner| *owner != RUNTIME).map(worker_of);
        let finding = move |damage| Finding { place: self.place(damage), worker_id: worker(damage) };
        self.recovered.damage.iter().map(finding)
    }

    /// That it does not go as far as it had come.
    pub(super) fn falls_short(&self, reached: Option<u64>) -> Option<Finding> {
        let position = self.recovered.last_position;
        let reached = reached.filter(|reached| position < *reached)?;
        if self.reader.stats().segments == 0 {
            return Some(lost(self.name));
        }
        let place = format!("{}: offset 0: its last position is {position}, and had been {reached}", self.name);
        Some(Finding { place, worker_id: None })
    }

    /// All that is wrong: what the log says, what does not decode, and what does not fit together.
    pub(super) fn findings(&self, codec: &dyn RecordCodec, control: ControlCheck<'_>) -> BTreeSet<Finding> {
        let mut findings: BTreeSet<_> = self.damage().collect();
        if self.is_runtime() {
            let damage = &self.recovered.damage;
            let restored = Restoring { reader: &self.reader, codec, damage, above: self.dir }.restore(drop);
            let quarantined = |it: Quarantined| Finding { place: it.place, worker_id: Some(it.worker_id) };
            findings.extend(restored.quarantined.into_iter().map(quarantined));
            findings.extend(restored.warnings.into_iter().map(|place| Finding { place, worker_id: None }));
        } else {
            self.reader.each_value(&self.reader.owners(), |owner, slot, value| {
                let read = value.map_err(|fault| RecordFault(fault.to_string()));
                if let Err(fault) = read.and_then(|it| control(slot, &it.value)) {
                    let (file, offset) = self.reader.place(owner, slot).unwrap_or_default();
                    let place = named(self.dir, &file, offset, &fault.0);
                    findings.insert(Finding { place, worker_id: None });
                }
            });
        }
        findings
    }

    fn place(&self, damage: &Damage) -> String {
        let Damage { file, offset, what, owner: _ } = damage;
        named(self.dir, file, *offset, what)
    }
}

/// That a log is gone.
pub(super) fn lost(log: &str) -> Finding {
    Finding { place: format!("{log}: offset 0: it is gone, and with it what was acknowledged"), worker_id: None }
}

/// The logs that are there, by their names.
pub(super) fn logs(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<&'static str>> {
    let mut logs = Vec::new();
    for name in LOGS {
        match disk.list(&dir.join(name)) {
            Ok(_) => logs.push(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(logs)
}
