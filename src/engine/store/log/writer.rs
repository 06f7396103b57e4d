//! The one thread that writes: it takes all that waits, lands it with one write and one sync, and settles it.
//!
//! The boundaries that a fault may hit are functions of their own, in this order: [`Writer::write`] (before and after
//! the write), [`Writer::sync`] (after the sync), [`Writer::landed`] (the index follows), then the settling.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::clean::Cleaning;
use super::format::{CLOSE, IDLE, SECTOR, SegmentHeader};
use super::group::{GROUP_OVERHEAD, Group, overhead};
use super::index::MAX_SEGMENT;
use super::measures::Measures;
use super::queue::{Next, Queue, Waiting};
use super::room::Room;
use super::segment::{Active, is_full};
use super::settle::Settle;
use super::shared::{Segment, Shared};
use super::stage::Stage;
use super::trouble::Trouble;
use super::types::LogOptions;
use super::{Doubt, StoreFault};
use crate::engine::store::disk::{Disk, DiskLock};
use crate::failpoint::failpoint;

/// However long a sync takes, nobody is held up for the sake of others as if it took longer than this.
const LONGEST_SYNC: Duration = Duration::from_millis(2);

/// After a failure, this long without work, it is tried whether something can be written again.
const PROBE_AFTER: Duration = Duration::from_secs(2);

/// Where the log goes on.
#[derive(Debug)]
pub(super) struct Head {
    /// The newest segment's number, 0 where there is none.
    pub(super) newest: u32,
    /// How much of the newest segment counts.
    pub(super) end: u64,
    pub(super) oldest: u32,
    /// Of the next submission and the next record.
    pub(super) position: u64,
    pub(super) ordinal: u64,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: LogOptions,
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Arc<Queue>,
    pub(super) settle: Settle,
    pub(super) measures: Measures,
    pub(super) head: Head,
    /// `None`: the newest segment is closed, and the next one is not there yet.
    pub(super) active: Option<Active>,
    pub(super) stage: Stage,
    pub(super) group: Group,
    /// The last group is a marker, or the segment is new: its end is in no doubt.
    pub(super) marked: bool,
    pub(super) cleaning: Cleaning,
    /// How long the last sync took.
    pub(super) sync_took: Duration,
    pub(super) trouble: Trouble,
    /// How often writing has failed since something landed, but for want of room.
    pub(super) failures: u32,
    /// The last that may not use what is kept found no room.
    pub(super) is_full: bool,
    pub(super) lock: Option<Box<dyn DiskLock>>,
}

impl Writer {
    pub(super) fn run(mut self) {
        loop {
            match self.queue.take(self.patience()) {
                Next::Group(waiting) => {
                    self.land(waiting);
                    self.clean_beside_work();
                }
                Next::Quiet => self.quiet(),
                Next::Closed => break,
            }
        }
        self.close();
    }

    /// How long to wait for work before something else is to be done.
    pub(super) fn patience(&self) -> Option<Duration> {
        if self.is_cleaning_due() {
            // Only what is waiting already goes first.
            return Some(Duration::ZERO);
        }
        if self.is_in_trouble() {
            return Some(self.options.idle_after.max(PROBE_AFTER));
        }
        (!self.marked).then_some(self.options.idle_after)
    }

    pub(super) fn quiet(&mut self) {
        if self.is_cleaning_due() {
            self.clean();
        } else if self.is_in_trouble() {
            self.probe();
        } else if !self.marked {
            self.mark(IDLE);
        }
    }

    /// Whether the last that was to be written failed, or it is in doubt what a restart would find: with work or
    /// without, that is to end.
    fn is_in_trouble(&self) -> bool {
        self.failures > 0 || self.active.is_none()
    }

    /// Lands what waits, as one group, and settles it in order.
    pub(super) fn land(&mut self, waiting: Vec<Waiting>) {
        let Err(fault) = self.prepare(&waiting) else { return self.land_prepared(waiting) };
        // What must keep the reserve steps back; what is vital tries without.
        let (vital, ordinary): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|waiting| waiting.submission.vital);
        for waiting in ordinary {
            waiting.settle(Err(fault));
        }
        if vital.is_empty() {
            return;
        }
        match self.prepare(&vital) {
            Ok(()) => self.land_prepared(vital),
            Err(fault) => {
                for waiting in vital {
                    waiting.settle(Err(fault));
                }
            }
        }
    }

    fn prepare(&mut self, waiting: &[Waiting]) -> Result<(), StoreFault> {
        let bytes = waiting.iter().map(|waiting| waiting.cost).sum();
        let room = if waiting.iter().all(|waiting| waiting.submission.vital) { Room::Vital } else { Room::Ordinary };
        self.make_room(bytes, room)
    }

    fn land_prepared(&mut self, waiting: Vec<Waiting>) {
        self.begin_group();
        let (mut outcomes, mut staged) = (Vec::with_capacity(waiting.len()), 0);
        {
            let state = self.shared.state.read();
            for waiting in &waiting {
                let position = self.head.position + staged;
                let outcome = self.stage.submit(&state.index, &mut self.group, &waiting.submission, position);
                staged += u64::from(outcome.is_ok());
                outcomes.push(outcome.map(|()| position));
            }
        }
        let landed = if staged == 0 { Ok(()) } else { self.write_group(0, staged) };
        if landed.is_ok() && staged > 0 {
            self.marked = false;
        }
        self.queue.settled(waiting.iter().map(Waiting::events).sum(), self.sync_took.min(LONGEST_SYNC));
        let outcomes = outcomes.into_iter().map(|outcome| outcome.and_then(|position| landed.map(|()| position)));
        self.settle.group(waiting.into_iter().zip(outcomes).collect());
    }

    /// A group without records: the last real one is not the last any more.
    pub(super) fn mark(&mut self, flags: u32) {
        // Where there is no room for it, or the write fails, what is known is known all the same; it is tried after the
        // next group again.
        self.marked = true;
        if self.active.is_some() && self.make_room(SECTOR + GROUP_OVERHEAD, Room::Vital).is_ok() {
            if let Some(active) = &mut self.active {
                active.end = active.end.next_multiple_of(SECTOR);
            }
            self.begin_group();
            let _ = self.write_group(flags, 0);
        }
    }

    /// Tries whether something can be written again: who was told that nothing can, or sends only what is in doubt, brings
    /// no work.
    fn probe(&mut self) {
        if self.make_room(SECTOR + GROUP_OVERHEAD, Room::Vital).is_ok() {
            self.mark(IDLE);
        }
    }

    pub(super) fn begin_group(&mut self) {
        self.stage.clear();
        if let Some(active) = &self.active {
            let seal = self.shared.seal(active.number);
            self.group.begin(seal, active.number, active.end, self.head.ordinal);
        }
    }

    /// Makes the group that was built durable, or closes its segment.
    pub(super) fn write_group(&mut self, flags: u32, submissions: u64) -> Result<(), StoreFault> {
        self.write_group_of(flags, submissions, self.head.oldest)
    }

    /// As [`Self::write_group`], of a log that has this oldest segment once the group has landed.
    pub(super) fn write_group_of(&mut self, flags: u32, submissions: u64, oldest: u32) -> Result<(), StoreFault> {
        match self.write(flags, submissions, oldest).and_then(|bytes| self.sync().map(|()| bytes)) {
            Ok(bytes) => {
                self.head.oldest = oldest;
                self.landed(bytes, submissions);
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn write(&mut self, flags: u32, submissions: u64, oldest: u32) -> io::Result<u64> {
        let Some(active) = &mut self.active else { return Err(io::ErrorKind::NotFound.into()) };
        // At most as many as one group takes.
        let submissions = u32::try_from(submissions).unwrap_or(u32::MAX);
        let bytes = self.group.finish(flags, submissions, self.head.position, oldest);
        failpoint!("log-before-write");
        if let Err(error) = active.file.write_at(bytes, active.end) {
            // Never synced, so that it can be taken back; else the segment is closed.
            let taken_back = is_full(&error) && active.take_back().is_ok();
            if !taken_back {
                self.abandon_segment(&error);
            }
            return Err(error);
        }
        Ok(bytes.len() as u64)
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(active) = &self.active else { return Err(io::ErrorKind::NotFound.into()) };
        failpoint!("log-after-write");
        let begun = Instant::now();
        let synced = active.file.sync_data();
        self.sync_took = begun.elapsed();
        self.measures.synced(self.sync_took);
        synced.inspect_err(|error| self.abandon_segment(error))
    }

    /// The group is durable: all follows.
    fn landed(&mut self, bytes: u64, submissions: u64) {
        failpoint!("log-after-sync");
        self.measures.landed(submissions);
        self.failures = 0;
        self.shared.failing.store(false, Ordering::Relaxed);
        self.head.position += submissions;
        self.head.ordinal += self.group.records().len() as u64;
        if let Some(active) = &mut self.active {
            active.end += bytes;
            self.head.end = active.end;
        }
        let mut state = self.shared.state.write();
        for placed in self.group.records() {
            state.index.apply(&placed.header, placed.checksum, placed.loc);
        }
        state.index.weigh(self.head.newest, overhead(self.group.records().len()));
        state.ends.insert(self.head.newest, self.head.end);
        state.groups += 1;
        state.submissions += submissions;
        drop(state);
        self.cleaning.written += bytes;
        self.unpin_wiped();
    }

    fn failed(&mut self, error: &io::Error) -> StoreFault {
        self.measures.failed();
        self.count(error);
        self.is_full |= is_full(error);
        // The header of the next segment says that the group does not count. It is better there before anyone is told;
        // where it cannot be made now, nothing is acknowledged until it is, and a restart may find the group sound.
        let is_void = self.active.is_some() || self.begin_segment(0, Room::Ordinary).is_ok();
        match (is_void, is_full(error)) {
            (true, true) => StoreFault::Full,
            (true, false) => StoreFault::Failed,
            (false, _) => StoreFault::Unknown(Doubt(self.head.newest.into())),
        }
    }

    fn abandon_segment(&mut self, error: &io::Error) {
        if let Some(mut active) = self.active.take() {
            tracing::error!(
                "{}: offset {}: a group could not be made durable, and the segment is closed: {error}",
                active.path.display(),
                active.end,
            );
            // The next segment may need the room that was kept here.
            active.give_back();
        }
    }

    /// Sees to it that there is a segment with room for a group of this size at its end.
    pub(super) fn make_room(&mut self, bytes: u64, room: Room) -> Result<(), StoreFault> {
        let made = self.try_make_room(bytes, room);
        self.trouble.tell(&self.dir, made.as_ref().err(), room);
        let no_room = made.as_ref().is_err_and(is_full);
        // What is vital finding room says nothing of the others.
        if made.is_err() || room == Room::Ordinary {
            self.shared.full.store(no_room, Ordering::Relaxed);
        }
        if room == Room::Ordinary {
            self.is_full = no_room;
        }
        if let Err(error) = &made {
            self.count(error);
        }
        made.map_err(|error| if is_full(&error) { StoreFault::Full } else { StoreFault::Failed })
    }

    /// Once may be chance; more often, until something lands, is a disk that takes nothing.
    fn count(&mut self, error: &io::Error) {
        if !is_full(error) {
            self.failures = self.failures.saturating_add(1);
            self.shared.failing.store(self.failures > 1, Ordering::Relaxed);
        }
    }

    /// Begins the next segment, with room for a group of this size. Where there is a segment, what is kept there is handed
    /// over if there is no other room; the new one may then have less behind that group than it should.
    pub(super) fn begin_segment(&mut self, bytes: u64, room: Room) -> io::Result<()> {
        let number = self.head.newest + 1;
        if number > MAX_SEGMENT {
            return Err(io::Error::other("the log has too many segments"));
        }
        let next = self.create_segment(number, bytes, room)?;
        let oldest = if self.head.newest == 0 { number } else { self.head.oldest };
        let header = SegmentHeader {
            log: self.shared.log,
            number,
            oldest,
            position: self.head.position,
            ordinal: self.head.ordinal,
            before: self.head.end,
        };
        let old = self.active.take();
        let begun = next.begin(&*self.disk, &self.dir, &header);
        if let Some(mut old) = old {
            old.give_back();
        }
        if let Err(error) = begun {
            next.discard(&*self.disk);
            let place = format!("{}: offset 0: the segment could not be begun", next.path.display());
            return Err(io::Error::new(error.kind(), format!("{place}: {error}")));
        }
        self.head = Head { newest: number, end: next.end, oldest, ..self.head };
        self.register(&next);
        self.active = Some(next);
        self.marked = true;
        Ok(())
    }

    pub(super) fn register(&self, active: &Active) {
        let mut state = self.shared.state.write();
        let segment = Segment { path: active.path.clone(), file: Arc::clone(&active.file) };
        state.segments.insert(active.number, Arc::new(segment));
        state.ends.insert(active.number, active.end);
    }

    fn close(mut self) {
        self.mark(CLOSE);
        if let Some(active) = &mut self.active {
            active.give_back();
        }
        drop(self.lock.take());
    }
}
