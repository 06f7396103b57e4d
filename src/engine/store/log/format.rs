//! The bytes of the log, version 1: what a segment's header, a group's header, its table and a record's header are made
//! of, and whether what was read is one of them. Pure: it reads and writes no file, and judges nothing.
//!
//! ```text
//! segment   head (4096: the header at 0 and again at 2048), groups, zeros to the end
//! group     header 64, records, table (24 each), trailer 8
//! record    header 88, payload, zeros to a multiple of 8
//! marker    zeros to a multiple of 512, a group without records
//! ```
//!
//! All numbers are little-endian, all checksums CRC32C. The checksums of groups and records begin with where they lie
//! (log, segment, offset): what stands elsewhere, or in another log, is not sound.

use super::types::{LogId, Owner};

/// The version that is written. A newer one is refused.
pub const FORMAT_VERSION: u32 = 1;
/// Where the first group of a segment begins.
pub(super) const HEAD: u64 = 4096;
pub(super) const SEGMENT_HEADER: usize = 128;
/// Where the segment's header stands a second time.
pub(super) const SECOND_HEADER: usize = 2048;
pub(super) const GROUP_HEADER: usize = 64;
pub(super) const TABLE_ENTRY: usize = 24;
pub(super) const RECORD_HEADER: usize = 88;
/// The last bytes of a group: none of them is zero, so that a group whose end was never written shows it.
pub(super) const TRAILER: [u8; 8] = *b"\xA7.end.\xA7\n";
/// Records and groups begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// What a disk writes whole or not at all. A marker begins at a multiple of this, behind zeros, so that it does not go
/// with the group whose end it marks.
pub(super) const SECTOR: u64 = 512;

const SEGMENT_MAGIC: [u8; 8] = *b"wp.log\x8A\n";
const GROUP_MARKER: [u8; 8] = *b"\x93group\xC5\n";
const RECORD_MARKER: [u8; 4] = *b"\xB5rec";

/// What begins the checksums of one segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seal {
    log: u32,
    segment: u32,
}

impl Seal {
    pub(super) fn new(log: LogId, segment: u32) -> Self {
        Self { log: crc32c::crc32c(&log.0), segment }
    }

    fn checksum(self, offset: u64, bytes: &[u8]) -> u32 {
        let mut place = [0; 12];
        place[..4].copy_from_slice(&self.segment.to_le_bytes());
        place[4..].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c_append(self.log, &place), bytes)
    }
}

/// Whether a log may count so far. None does, and so counting on from anything that is sound never overflows.
fn are_numbers(numbers: &[u64]) -> bool {
    numbers.iter().all(|number| *number < 1 << 56)
}

/// How long a record is with its header and the zeros behind it.
pub(super) fn record_length(payload: usize) -> usize {
    (RECORD_HEADER + payload).next_multiple_of(ALIGN)
}

/// What stands at the head of a segment, twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log: LogId,
    pub(super) number: u32,
    /// The oldest segment that belonged to the log.
    pub(super) oldest: u32,
    /// The position that the next submission gets.
    pub(super) position: u64,
    /// The ordinal that the next record gets.
    pub(super) ordinal: u64,
    /// How much of the segment before counts: what lies behind that was never acknowledged. 0 where there is none before.
    pub(super) before: u64,
}

/// What the first bytes of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// One of ours.
    Sound(SegmentHeader),
    /// Of another version: which.
    Version(u32),
    /// Not a header.
    Bad,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        put32(&mut out, 8, FORMAT_VERSION);
        put32(&mut out, 12, self.number);
        out[16..32].copy_from_slice(&self.log.0);
        put64(&mut out, 32, self.position);
        put64(&mut out, 40, self.ordinal);
        put64(&mut out, 48, self.before);
        put32(&mut out, 56, self.oldest);
        let checksum = crc32c::crc32c(&out[..SEGMENT_HEADER - 4]);
        put32(&mut out, SEGMENT_HEADER - 4, checksum);
        out
    }

    /// The whole head of a segment: the header twice, zeros elsewhere.
    pub(super) fn encode_head(&self) -> Vec<u8> {
        let header = self.encode();
        let mut head = vec![0; SECOND_HEADER * 2];
        head[..SEGMENT_HEADER].copy_from_slice(&header);
        head[SECOND_HEADER..][..SEGMENT_HEADER].copy_from_slice(&header);
        head
    }

    /// Magic, version and checksum stand where they stand in every version.
    pub(super) fn decode(bytes: &[u8]) -> Head {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER) else { return Head::Bad };
        let checksum = crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]);
        if bytes[..8] != SEGMENT_MAGIC || get32(bytes, SEGMENT_HEADER - 4) != checksum {
            return Head::Bad;
        }
        match get32(bytes, 8) {
            FORMAT_VERSION if !are_numbers(&[32, 40, 48].map(|at| get64(bytes, at))) => Head::Bad,
            FORMAT_VERSION => Head::Sound(Self {
                log: LogId(get16(bytes, 16)),
                number: get32(bytes, 12),
                oldest: get32(bytes, 56),
                position: get64(bytes, 32),
                ordinal: get64(bytes, 40),
                before: get64(bytes, 48),
            }),
            other => Head::Version(other),
        }
    }
}

/// A group that says only that all is well up to here.
pub(super) const IDLE: u32 = 1;
/// A group of records that were copied from an older segment.
pub(super) const MOVED: u32 = 2;
/// The last group before the log was closed.
pub(super) const CLOSE: u32 = 4;

/// What stands before what one write brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct GroupHeader {
    pub(super) flags: u32,
    /// How many submissions it holds: they have the positions from `position` on.
    pub(super) submissions: u32,
    pub(super) records: u32,
    /// How many bytes the records take: the table follows them.
    pub(super) length: u32,
    pub(super) position: u64,
    /// The ordinal of its first record; every record that was ever written has the next one.
    pub(super) ordinal: u64,
    pub(super) table: u32,
    /// The oldest segment that belongs to the log. Older files are leftovers.
    pub(super) oldest: u32,
}

impl GroupHeader {
    /// How long the group is, all in all.
    pub(super) fn total(&self) -> u64 {
        (GROUP_HEADER + TRAILER.len()) as u64 + u64::from(self.length) + self.table_length()
    }

    /// How long its table is.
    pub(super) fn table_length(&self) -> u64 {
        u64::from(self.records) * TABLE_ENTRY as u64
    }

    pub(super) fn encode(&self, seal: Seal, offset: u64, out: &mut [u8]) {
        out[..8].copy_from_slice(&GROUP_MARKER);
        put32(out, 8, self.flags);
        put32(out, 12, self.submissions);
        put32(out, 16, self.records);
        put32(out, 20, self.length);
        put64(out, 24, self.position);
        put64(out, 32, self.ordinal);
        put32(out, 40, self.table);
        put32(out, 44, self.oldest);
        out[48..60].fill(0);
        let checksum = seal.checksum(offset, &out[..60]);
        put32(out, 60, checksum);
    }

    /// `None` where there is no sound header.
    pub(super) fn decode(seal: Seal, offset: u64, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER)?;
        let is_sound = bytes[..8] == GROUP_MARKER && get32(bytes, 60) == seal.checksum(offset, &bytes[..60]);
        if !is_sound || !are_numbers(&[24, 32].map(|at| get64(bytes, at))) {
            return None;
        }
        Some(Self {
            flags: get32(bytes, 8),
            submissions: get32(bytes, 12),
            records: get32(bytes, 16),
            length: get32(bytes, 20),
            position: get64(bytes, 24),
            ordinal: get64(bytes, 32),
            table: get32(bytes, 40),
            oldest: get32(bytes, 44),
        })
    }
}

/// What a group's table says of a record: enough to know whose it was when its own header was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableEntry {
    pub(super) owner: Owner,
    /// The record's length, all in all.
    pub(super) length: u32,
    /// The checksum of its kind and key.
    pub(super) key: u32,
}

impl TableEntry {
    pub(super) fn encode(&self) -> [u8; TABLE_ENTRY] {
        let mut out = [0; TABLE_ENTRY];
        out[..16].copy_from_slice(&self.owner.0);
        put32(&mut out, 16, self.length);
        put32(&mut out, 20, self.key);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..TABLE_ENTRY)?;
        Some(Self { owner: Owner(get16(bytes, 0)), length: get32(bytes, 16), key: get32(bytes, 20) })
    }
}

/// The checksum of a table, which the group's header holds.
pub(super) fn table_checksum(table: &[u8]) -> u32 {
    crc32c::crc32c(table)
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Adds an event. Key: its sequence, and how many numbered events there are up to it.
    Event = 1,
    /// Gives a slot a value. Key: the slot.
    Put = 2,
    /// Takes a slot's value away. Key: the slot.
    Delete = 3,
    /// Removes events from the front. Key: the sequence of the first that stays, and how many numbered ones went.
    Trim = 4,
    /// Removes all that the owner has, damage included. Key: as with a trim.
    Wipe = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Event, Self::Put, Self::Delete, Self::Trim, Self::Wipe].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: Kind,
    pub(super) tag: u8,
    /// Whether it was copied from an older segment.
    pub(super) moved: bool,
    /// Of the payload.
    pub(super) length: u32,
    pub(super) payload: u32,
    /// Of the submission that it came with.
    pub(super) position: u64,
    pub(super) owner: Owner,
    pub(super) key: [u8; 16],
    /// Its place among all records of its owner, from 1 on.
    pub(super) count: u64,
    /// Its place among all records.
    pub(super) ordinal: u64,
    /// The owner's revision once this has landed.
    pub(super) revision: u64,
    /// The checksum of the header of the owner's record before this one; 0 where there is none.
    pub(super) previous: u32,
}

impl RecordHeader {
    pub(super) fn total(&self) -> u64 {
        record_length(self.length as usize) as u64
    }

    /// The key of an event, a trim or a wipe.
    pub(super) fn numbers(&self) -> (u64, u64) {
        (get64(&self.key, 0), get64(&self.key, 8))
    }

    /// Writes the header and returns its checksum, which the owner's next record names.
    pub(super) fn encode(&self, seal: Seal, offset: u64, out: &mut [u8]) -> u32 {
        out[..4].copy_from_slice(&RECORD_MARKER);
        out[4] = self.kind as u8;
        out[5] = self.tag;
        out[6] = u8::from(self.moved);
        out[7] = 0;
        put32(out, 8, self.length);
        put32(out, 12, self.payload);
        put64(out, 16, self.position);
        out[24..40].copy_from_slice(&self.owner.0);
        out[40..56].copy_from_slice(&self.key);
        put64(out, 56, self.count);
        put64(out, 64, self.ordinal);
        put64(out, 72, self.revision);
        put32(out, 80, self.previous);
        let checksum = seal.checksum(offset, &out[..84]);
        put32(out, 84, checksum);
        checksum
    }

    /// The header and its checksum; `None` where there is no sound one.
    pub(super) fn decode(seal: Seal, offset: u64, bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes = bytes.get(..RECORD_HEADER)?;
        let checksum = get32(bytes, 84);
        if bytes[..4] != RECORD_MARKER || checksum != seal.checksum(offset, &bytes[..84]) {
            return None;
        }
        let header = Self {
            kind: Kind::of(bytes[4])?,
            tag: bytes[5],
            moved: bytes[6] & 1 != 0,
            length: get32(bytes, 8),
            payload: get32(bytes, 12),
            position: get64(bytes, 16),
            owner: Owner(get16(bytes, 24)),
            key: get16(bytes, 40),
            count: get64(bytes, 56),
            ordinal: get64(bytes, 64),
            revision: get64(bytes, 72),
            previous: get32(bytes, 80),
        };
        let (first, second) = if matches!(header.kind, Kind::Put | Kind::Delete) { (0, 0) } else { header.numbers() };
        let numbers = [header.position, header.count, header.ordinal, header.revision, first, second];
        are_numbers(&numbers).then_some((header, checksum))
    }

    /// What the table says of this record.
    pub(super) fn entry(&self) -> TableEntry {
        // A record is far below 4 GiB: a submission's size is bounded.
        let length = u32::try_from(self.total()).unwrap_or(u32::MAX);
        TableEntry { owner: self.owner, length, key: key_check(self.kind, &self.key) }
    }
}

/// What the table keeps of a kind and a key.
pub(super) fn key_check(kind: Kind, key: &[u8; 16]) -> u32 {
    crc32c::crc32c_append(kind as u32, key)
}

/// The key of an event, a trim or a wipe.
pub(super) fn numbers(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    put64(&mut key, 0, first);
    put64(&mut key, 8, second);
    key
}

/// Whether a group or a record may begin here: a cheap look before the checksum.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.starts_with(&GROUP_MARKER) || bytes.starts_with(&RECORD_MARKER)
}

fn put32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put64(out: &mut [u8], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn get16(bytes: &[u8], at: usize) -> [u8; 16] {
    array(bytes, at)
}

/// The callers have checked the length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
