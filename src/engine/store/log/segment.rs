//! The segment that is written to: room is taken ahead, so that a full disk is noticed before a byte is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{HEAD, SegmentHeader};
use super::index::MAX_OFFSET;
use super::room::{Keep, Room};
use super::shared::segment_path;
use crate::engine::store::disk::{Disk, DiskFile};

/// A segment that is written to, at its end.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the next group goes.
    pub(super) end: u64,
    /// Up to where room was taken. The file system does not know how where this is `None`.
    allocated: Option<u64>,
}

impl Active {
    /// Makes the file of a segment and takes room for its first group, and so much behind it. An older file of that number
    /// was never used.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, number: u32, bytes: u64, behind: u64) -> io::Result<Self> {
        let path = segment_path(dir, number);
        let file = match disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&path)?;
                disk.create(&path)?
            }
            created => created?,
        };
        let mut active = Self { number, path, file, end: HEAD, allocated: Some(0) };
        if let Err(error) = active.allocate(HEAD + bytes + behind) {
            active.discard(disk);
            return Err(error);
        }
        Ok(active)
    }

    /// Makes it a segment: its header, durable, and its name. From here on the segment before it is closed, even if this
    /// fails: what was written may have landed.
    pub(super) fn begin(&self, disk: &dyn Disk, dir: &Path, header: &SegmentHeader) -> io::Result<()> {
        self.file.write_at(&header.encode_head(), 0)?;
        self.file.sync_data()?;
        disk.sync_dir(dir)
    }

    /// Removes a file that did not become a segment. Where that fails too, it is done when it is tried again.
    pub(super) fn discard(&self, disk: &dyn Disk) {
        let _ = disk.remove(&self.path);
    }

    /// Goes on in a segment that is there.
    pub(super) fn resume(number: u32, path: PathBuf, file: Arc<dyn DiskFile>, end: u64) -> io::Result<Self> {
        let allocated = Some(file.length()?);
        Ok(Self { number, path, file, end, allocated })
    }

    /// Whether a group of this size should rather begin a new segment.
    pub(super) fn is_too_long_for(&self, bytes: u64, keep: &Keep) -> bool {
        self.end > HEAD && self.end + bytes > keep.longest
    }

    /// Sees to it that a group of this size fits, and that what must stay behind it does.
    pub(super) fn take_room(&mut self, bytes: u64, room: Room, keep: &Keep) -> io::Result<()> {
        let Some(allocated) = self.allocated else { return Ok(()) };
        let needed = self.end + bytes;
        if needed >= MAX_OFFSET {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // Cleaning uses up what is kept for it: it takes more only where that is not enough.
        let wanted = needed + if room == Room::Cleaning { keep.margin() } else { keep.all() };
        if wanted <= allocated {
            return Ok(());
        }
        let mut last = Ok(());
        for length in [wanted.next_multiple_of(keep.step), wanted, needed + keep.behind(room)] {
            last = if length <= allocated { Ok(()) } else { self.allocate(length) };
            match &last {
                Err(error) if is_full(error) => {}
                _ => return last,
            }
        }
        last
    }

    fn allocate(&mut self, length: u64) -> io::Result<()> {
        match self.file.allocate(length) {
            Ok(()) => self.allocated = Some(length),
            // It grows as it is written, then.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.allocated = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Gives the room behind the end back.
    pub(super) fn give_back(&mut self) {
        self.give_back_but(0);
    }

    /// Gives the room behind the end back but for so much. What was taken in part, before there was no more, goes with it.
    pub(super) fn give_back_but(&mut self, kept: u64) {
        let length = self.end + kept;
        let has_more = self.allocated.is_some() && self.file.length().is_ok_and(|now| now > length);
        if has_more && self.file.truncate(length).is_ok() {
            self.allocated = Some(length);
        }
    }

    /// Takes back what a write that found no room may have written. Nothing was synced: it never was.
    pub(super) fn take_back(&mut self) -> io::Result<()> {
        self.file.truncate(self.end)?;
        self.allocated = self.allocated.map(|_| self.end);
        Ok(())
    }
}

/// Whether the disk says that there is no room, in one of its ways.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
