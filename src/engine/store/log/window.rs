//! Reads a file in pieces for those who walk through it, and goes on where the disk cannot read.

use std::io;
use std::sync::Arc;

use super::format::SECTOR;
use crate::engine::store::disk::DiskFile;

/// How much is read at once at least.
const PIECE: u64 = 1 << 20;
/// What stands for a byte that cannot be read: not zero, so that it is not taken for one that was never written.
const UNREADABLE: u8 = 0xDB;

/// A file, of which a piece is in memory.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    /// Nothing behind this is looked at.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    /// Offsets that could not be read.
    unreadable: Vec<u64>,
}

impl Window {
    pub(super) fn new(file: Arc<dyn DiskFile>, end: u64) -> Self {
        Self { file, end, start: 0, bytes: Vec::new(), unreadable: Vec::new() }
    }

    /// Looks at nothing behind `end`.
    pub(super) fn limit(&mut self, end: u64) {
        self.end = self.end.min(end);
        self.bytes.clear();
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes from `offset` on: as many as asked for, or up to the end.
    pub(super) fn get(&mut self, offset: u64, length: u64) -> &[u8] {
        let length = length.min(self.end.saturating_sub(offset));
        let held = self.start..self.start + self.bytes.len() as u64;
        if !(held.start <= offset && offset + length <= held.end) {
            self.fill(offset, length);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(self.bytes.len());
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// The offset of the first byte from `offset` on that is not zero.
    pub(super) fn first_used(&mut self, mut offset: u64) -> Option<u64> {
        while offset < self.end {
            let piece = self.get(offset, PIECE / 4);
            if let Some(at) = piece.iter().position(|byte| *byte != 0) {
                return Some(offset + at as u64);
            }
            offset += (piece.len() as u64).max(1);
        }
        None
    }

    /// The offset behind the last byte that is not zero, `offset` where all are.
    pub(super) fn used_up_to(&mut self, mut offset: u64) -> u64 {
        let mut used = offset;
        while offset < self.end {
            let piece = self.get(offset, PIECE / 4);
            if let Some(at) = piece.iter().rposition(|byte| *byte != 0) {
                used = offset + at as u64 + 1;
            }
            offset += (piece.len() as u64).max(1);
        }
        used
    }

    /// Where bytes could not be read since this was asked last.
    pub(super) fn take_unreadable(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unreadable)
    }

    fn fill(&mut self, offset: u64, length: u64) {
        let length = length.max(PIECE).min(self.end.saturating_sub(offset));
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize(usize::try_from(length).unwrap_or(0), 0);
        match read_full(&*self.file, &mut self.bytes, offset) {
            // Shorter than it was said to be: it was cut meanwhile.
            Ok(read) => self.bytes.truncate(read),
            Err(_) => self.fill_by_sectors(offset),
        }
    }

    fn fill_by_sectors(&mut self, offset: u64) {
        let mut at = 0;
        while at < self.bytes.len() {
            let place = offset + at as u64;
            let to =
                usize::try_from((place / SECTOR + 1) * SECTOR - offset).unwrap_or(usize::MAX).min(self.bytes.len());
            let sector = &mut self.bytes[at..to];
            if read_full(&*self.file, sector, place).is_err() {
                sector.fill(UNREADABLE);
                self.unreadable.push(place);
            }
            at = to;
        }
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
