//! Writes a log anew, of what can be read of another one: owner by owner, event by event. Sequences, positions and
//! revisions stay what they were.
//!
//! What it writes are groups of moved records, as cleaning writes them: no other part of the log knows of copies.

use std::io;
use std::path::{Path, PathBuf};

use super::format::{CLOSE, Kind, MOVED, RecordHeader, SECTOR, Seal, SegmentHeader, numbers};
use super::group::{GROUP_OVERHEAD, Group, record_cost};
use super::room::{Keep, Room};
use super::segment::Active;
use super::types::{LogId, LogOptions, Owner, Slot, StoredEvent, StoredValue};
use crate::engine::store::disk::Disk;

/// A group takes this many bytes, or one record.
const GROUP_BYTES: u64 = 1 << 20;
/// Segments are numbered from here on.
const FIRST: u32 = 1;

/// Where an owner begins in the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// Whose.
    pub owner: Owner,
    /// How many changes that expected something have landed.
    pub revision: u64,
    /// The first event that is copied; where none is, one more than the last there was.
    pub first_sequence: u64,
    /// How many numbered events there were before that.
    pub numbers_removed: u64,
}

/// A log that is being written. Without [`Self::finish`] it is none.
#[derive(Debug)]
pub struct LogCopy<'d> {
    disk: &'d dyn Disk,
    dir: PathBuf,
    options: LogOptions,
    log: LogId,
    position: u64,
    ordinal: u64,
    active: Active,
    group: Group,
    /// How many bytes the records of the group take.
    gathered: u64,
    /// What the next record continues.
    last: Last,
}

#[derive(Debug, Clone, Copy, Default)]
struct Last {
    owner: Owner,
    revision: u64,
    count: u64,
    checksum: u32,
}

impl<'d> LogCopy<'d> {
    /// A log in a new directory, whose next submission gets a position above `last_position`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(disk: &'d dyn Disk, dir: &Path, last_position: u64) -> io::Result<Self> {
        let (options, log) = (LogOptions::default(), LogId(rand::random()));
        disk.create_dir(dir)?;
        let header =
            SegmentHeader { log, number: FIRST, oldest: FIRST, position: last_position + 1, ordinal: 1, before: 0 };
        let active = Active::create(disk, dir, FIRST, 0, options.reserve_bytes)?;
        active.begin(disk, dir, &header)?;
        let group = Group::new(Seal::new(log, FIRST));
        let (dir, position, last) = (dir.to_owned(), header.position, Last::default());
        Ok(Self { disk, dir, options, log, position, ordinal: 1, active, group, gathered: 0, last })
    }

    /// Goes on with another owner, whose events follow in order. Each owner comes once.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(&mut self, beginning: Beginning) -> io::Result<()> {
        let Beginning { owner, revision, first_sequence, numbers_removed } = beginning;
        self.last = Last { owner, revision, count: 0, checksum: 0 };
        if first_sequence == 1 {
            return Ok(());
        }
        self.push(Kind::Trim, 0, numbers(first_sequence, numbers_removed), self.position - 1, &[])
    }

    /// Adds an event of this owner.
    ///
    /// # Errors
    /// What the disk says.
    pub fn event(&mut self, event: &StoredEvent) -> io::Result<()> {
        let key = numbers(event.sequence, event.number);
        self.push(Kind::Event, event.tag, key, event.position, &event.payload)
    }

    /// Adds a value of this owner.
    ///
    /// # Errors
    /// What the disk says.
    pub fn value(&mut self, slot: Slot, value: &StoredValue) -> io::Result<()> {
        self.push(Kind::Put, 0, slot.0, value.position, &value.value)
    }

    /// Ends the log as one that was closed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(mut self) -> io::Result<()> {
        self.write()?;
        // The marker has a sector of its own.
        self.make_room(SECTOR + GROUP_OVERHEAD)?;
        self.active.end = self.active.end.next_multiple_of(SECTOR);
        self.begin_group();
        self.write_group(CLOSE)?;
        self.active.give_back();
        self.active.file.sync_data()
    }

    fn push(&mut self, kind: Kind, tag: u8, key: [u8; 16], position: u64, payload: &[u8]) -> io::Result<()> {
        let cost = record_cost(payload.len());
        if self.gathered + cost > GROUP_BYTES {
            self.write()?;
        }
        if self.gathered == 0 {
            self.make_room(GROUP_BYTES.max(GROUP_OVERHEAD + cost))?;
        }
        self.gathered += cost;
        let Last { owner, revision, count, checksum } = self.last;
        let count = count + 1;
        let header = RecordHeader {
            kind,
            tag,
            moved: true,
            length: 0,
            payload: 0,
            position,
            owner,
            key,
            count,
            ordinal: 0,
            revision,
            previous: checksum,
        };
        self.last = Last { count, checksum: self.group.push(header, payload), ..self.last };
        Ok(())
    }

    /// Begins a group that may become this long, in the next segment where this one has no room for it.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let keep = Keep::of_copy(&self.options, self.active.number);
        if self.active.is_too_long_for(bytes, &keep) {
            let number = self.active.number + 1;
            let header = SegmentHeader {
                log: self.log,
                number,
                oldest: FIRST,
                position: self.position,
                ordinal: self.ordinal,
                before: self.active.end,
            };
            let next = Active::create(self.disk, &self.dir, number, bytes, keep.all())?;
            next.begin(self.disk, &self.dir, &header)?;
            std::mem::replace(&mut self.active, next).give_back();
        }
        self.active.take_room(bytes, Room::Ordinary, &keep)?;
        self.begin_group();
        Ok(())
    }

    fn begin_group(&mut self) {
        let Active { number, end, .. } = self.active;
        self.group.begin(Seal::new(self.log, number), number, end, self.ordinal);
    }

    /// Writes what was gathered, if anything was.
    fn write(&mut self) -> io::Result<()> {
        if self.gathered == 0 { Ok(()) } else { self.write_group(MOVED) }
    }

    fn write_group(&mut self, flags: u32) -> io::Result<()> {
        self.ordinal += self.group.records().len() as u64;
        let bytes = self.group.finish(flags, 0, self.position, FIRST);
        self.active.file.write_at(bytes, self.active.end)?;
        self.active.end += bytes.len() as u64;
        self.gathered = 0;
        self.active.file.sync_data()
    }
}
