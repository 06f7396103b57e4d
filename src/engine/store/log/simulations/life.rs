//! One log's lives, and what must be so between them.

use std::io;
use std::sync::Arc;

use super::model::Model;
use super::submissions::{PLAIN, submission};
use super::*;
use crate::engine::store::disk::Disk;
use crate::engine::store::log::{Change, Log, Reader, Slot, Submission};
use crate::engine::store::{Doubt, StoreFault};

/// How often what happened: a simulation in which nothing goes wrong shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) landed: usize,
    pub(super) failed: usize,
    /// What failed and might be found.
    pub(super) doubted: usize,
    /// What of that was void without anything having landed behind it.
    pub(super) voided: usize,
    pub(super) full: usize,
    pub(super) refused: usize,
    /// The power went, by itself or at the end of a life.
    pub(super) cuts: usize,
    /// What was found to have landed that nobody had been told of.
    pub(super) untold: usize,
    pub(super) torn: usize,
    pub(super) segments_removed: usize,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        let Self { landed, failed, doubted, voided, full, refused, cuts, untold, torn, segments_removed } = other;
        self.landed += landed;
        self.failed += failed;
        self.doubted += doubted;
        self.voided += voided;
        self.full += full;
        self.refused += refused;
        self.cuts += cuts;
        self.untold += untold;
        self.torn += torn;
        self.segments_removed += segments_removed;
    }
}

pub(super) struct Simulation {
    seed: u64,
    pub(super) tally: Tally,
    pub(super) chance: StdRng,
    /// No faults but those that the story sets.
    pub(super) calm: bool,
    disk: SimulatedDisk,
    /// What has landed.
    model: Model,
    /// What failed and a restart may find, until it is void.
    unknown: Vec<(Submission, Doubt)>,
    last_position: u64,
    waiting: tokio::runtime::Runtime,
}

impl Simulation {
    pub(super) fn new(seed: u64, disk: SimulatedDisk) -> Self {
        let waiting = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let chance = StdRng::seed_from_u64(seed);
        let (model, unknown) = (Model::default(), Vec::new());
        Self { seed, tally: Tally::default(), chance, calm: false, disk, model, unknown, last_position: 0, waiting }
    }

    /// From one opening to the next end.
    pub(super) fn live(&mut self) {
        if !self.calm {
            self.trouble();
        }
        let Some(log) = self.open() else { return self.end(None) };
        for _ in 0..self.chance.random_range(1..8) {
            if self.disk.is_dead() {
                break;
            }
            if !self.calm && self.chance.random_bool(0.3) {
                self.room();
            }
            self.burst(&log);
            if self.chance.random_bool(0.2) {
                self.compare(&log, "while it runs");
            }
        }
        if !self.disk.is_dead() {
            self.compare(&log, "at the end");
        }
        self.end(Some(log));
    }

    /// What will go wrong in this life.
    fn trouble(&mut self) {
        let share = [0.0, 0.0, 0.02, 0.1][self.chance.random_range(0..4)];
        self.disk.set_chances(Chances { write: share, sync: share, sync_dir: share / 2.0 });
        if self.chance.random_bool(0.6) {
            self.disk.cut_power_at(self.disk.operations() + self.chance.random_range(1..80));
        }
    }

    /// Room runs out, or comes back.
    fn room(&mut self) {
        let more = self.chance.random_range(0..100_000);
        self.disk.set_room(if self.chance.random() { u64::MAX } else { self.disk.used() + more });
    }

    fn well(&mut self) {
        self.disk.set_chances(Chances::default());
        self.disk.set_room(u64::MAX);
    }

    /// Opens the log and checks what it holds. `None` where the power went.
    fn open(&mut self) -> Option<Log> {
        let (log, recovered) = match self.try_open() {
            Ok(opened) => opened,
            Err(_) if self.disk.is_dead() => return None,
            Err(_) => {
                // Faults may keep it from opening. A disk that is well may not.
                self.well();
                match self.try_open() {
                    Ok(opened) => opened,
                    Err(_) if self.disk.is_dead() => return None,
                    Err(error) => panic!("it does not open on a disk that is well: {error}"),
                }
            }
        };
        assert_eq!(recovered.damage, [], "damage on a disk that damaged nothing");
        self.tally.torn += recovered.notes.iter().filter(|note| note.what.contains("cut short")).count();
        assert!(recovered.last_position >= self.last_position, "positions fell");
        if self.disk.is_dead() {
            return None;
        }
        let found = self.read(&log)?;
        self.settle_unknown(&found);
        found.assert_positions_rise(recovered.last_position);
        self.last_position = recovered.last_position;
        self.model.learn(found);
        Some(log)
    }

    /// How many segments were removed from the front.
    fn segments_removed(&self) -> usize {
        let files = self.disk.list(dir()).unwrap_or_default();
        let oldest = files.iter().filter(|file| file.extension().is_some_and(|it| it == "seg")).min();
        let number = oldest.and_then(|file| file.file_stem()?.to_str()?.parse().ok());
        number.unwrap_or(1usize).saturating_sub(1)
    }

    fn try_open(&self) -> io::Result<(Log, crate::engine::store::log::Recovered)> {
        self.disk.create_dir(dir())?;
        Log::open(Arc::new(self.disk.clone()), dir(), options())
    }

    /// All that the log holds, unless the power goes meanwhile.
    fn read(&self, log: &Log) -> Option<Model> {
        // Reading makes no power go, but the log's own thread may work beside it.
        let cut_at = self.disk.keep_power();
        let found = (!self.disk.is_dead()).then(|| Model::read(log.reader()));
        cut_at.inspect(|operation| self.disk.cut_power_at(*operation));
        found
    }

    /// What is there must be what was known to be there, and what was in doubt whole or not at all.
    fn settle_unknown(&mut self, found: &Model) {
        let unknown: Vec<_> = self.unknown.drain(..).map(|(submission, _)| submission).collect();
        let mut landed = self.model.clone();
        let applied = unknown.iter().all(|submission| landed.apply(submission, None));
        assert!(applied, "what is in doubt does not follow what has landed");
        if let Some(difference) = self.model.difference(found) {
            let whole = landed.difference(found);
            assert_eq!(whole, None, "{difference} ({} outcomes were in doubt)", unknown.len());
            self.tally.untold += 1;
            self.model = landed;
        }
        self.model.spend(&unknown);
    }

    /// Some submissions at once, each on those before it.
    fn burst(&mut self, log: &Log) {
        let mut staged = self.model.clone();
        let mut commits = Vec::new();
        for _ in 0..self.chance.random_range(1..10) {
            let submission = submission(&mut self.chance, &staged);
            staged.apply(&submission, None);
            commits.push((log.commit(submission.clone()), submission));
        }
        for (commit, submission) in commits {
            let outcome = self.waiting.block_on(commit);
            self.settled(log, outcome, submission);
        }
    }

    fn settled(&mut self, log: &Log, outcome: Result<u64, StoreFault>, submission: Submission) {
        match outcome {
            Ok(position) => {
                assert!(position > self.last_position, "positions fell from {} to {position}", self.last_position);
                self.last_position = position;
                self.tally.landed += 1;
                let void = self.unknown.drain(..).all(|(_, doubt)| log.reader().is_void(doubt));
                assert!(void, "something landed behind what is in doubt");
                assert!(self.model.apply(&submission, Some(position)), "it landed on what it did not expect");
            }
            Err(StoreFault::Failed) => self.tally.failed += 1,
            Err(StoreFault::Unknown(doubt)) => {
                self.tally.doubted += 1;
                self.unknown.push((submission, doubt));
            }
            Err(StoreFault::Damaged) => panic!("damage on a disk that damaged nothing"),
            Err(StoreFault::Full) => self.tally.full += 1,
            Err(StoreFault::OutOfOrder | StoreFault::Overloaded) => self.tally.refused += 1,
        }
    }

    fn compare(&mut self, log: &Log, when: &str) {
        let Some(found) = self.read(log) else { return };
        if let Some(difference) = self.model.difference(&found) {
            panic!("{when}: {difference}");
        }
    }

    /// The life ends: in order, killed, or as the power went.
    fn end(&mut self, log: Option<Log>) {
        if let Some(log) = &log
            && self.chance.random()
        {
            log.close();
        }
        if let Some(log) = &log {
            // What is void is never found.
            let before = self.unknown.len();
            self.unknown.retain(|(_, doubt)| !log.reader().is_void(*doubt));
            self.tally.voided += before - self.unknown.len();
        }
        self.tally.segments_removed += self.segments_removed();
        if self.chance.random() {
            self.disk.cut_power();
        }
        self.tally.cuts += usize::from(self.disk.is_dead());
        // What is left of the log finds that its process is dead.
        self.disk = self.disk.restart();
        drop(log);
    }

    /// A life in which a submission meets faults of the disk.
    pub(super) fn fail(&mut self, faults: &[Fault]) {
        let log = self.open().expect("the power stays");
        self.burst(&log);
        for fault in faults {
            self.disk.fail_next(*fault);
        }
        let payload = bytes::Bytes::from(vec![1; self.chance.random_range(0..3_000)]);
        let changes = vec![Change { owner: PLAIN, puts: vec![(Slot([9; 16]), payload)], ..Change::default() }];
        let submission = Submission { changes, vital: false };
        // It lands where the faults hit something else that the log had to do.
        let outcome = self.waiting.block_on(log.commit(submission.clone()));
        self.settled(&log, outcome, submission);
        self.end(Some(log));
    }

    pub(super) fn cut_power(&mut self) {
        self.disk.cut_power();
        self.disk = self.disk.restart();
    }

    /// The disk is well: all that was acknowledged is there, and the log takes more.
    pub(super) fn recover(&mut self) {
        self.well();
        self.disk.keep_power();
        let log = self.open().expect("the power stays");
        let burst = self.chance.random_range(1..4);
        for _ in 0..burst {
            let mut submission = submission(&mut self.chance, &self.model);
            for change in &mut submission.changes {
                change.expect = None;
            }
            let outcome = self.waiting.block_on(log.commit(submission.clone()));
            outcome.unwrap_or_else(|fault| panic!("the disk is well and the log is not: {fault}"));
            self.settled(&log, outcome, submission);
        }
        log.close();
        drop(log);
        let (reader, recovered) = Reader::open(&self.disk, dir(), options().numbered_tag).unwrap();
        assert_eq!(recovered.damage, []);
        assert_eq!(recovered.last_position, self.last_position);
        assert_eq!(self.model.difference(&Model::read(&reader)), None);
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was WORKPLANE_SEED={}", self.seed);
        }
    }
}
