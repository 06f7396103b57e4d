//! Builds the bytes of one group.

use super::format::{
    ALIGN, GROUP_HEADER, GroupHeader, RECORD_HEADER, RecordHeader, Seal, TABLE_ENTRY, TRAILER, record_length,
    table_checksum,
};
use super::index::Loc;

/// What a group needs beside its records and their entries in the table.
pub(super) const GROUP_OVERHEAD: u64 = (GROUP_HEADER + TRAILER.len()) as u64;

/// What a group with so many records weighs beside them.
pub(super) fn overhead(records: usize) -> u64 {
    GROUP_OVERHEAD + (records * TABLE_ENTRY) as u64
}

/// How much a record with such a payload adds to a group.
pub(super) fn record_cost(payload: usize) -> u64 {
    (record_length(payload) + TABLE_ENTRY) as u64
}

/// A record of a group, as the index takes it in.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) header: RecordHeader,
    pub(super) checksum: u32,
    pub(super) loc: Loc,
}

/// A group that is being built for one place in one segment. It is used again for the next.
#[derive(Debug)]
pub(super) struct Group {
    seal: Seal,
    segment: u32,
    offset: u64,
    ordinal: u64,
    bytes: Vec<u8>,
    table: Vec<u8>,
    records: Vec<Placed>,
}

impl Group {
    pub(super) fn new(seal: Seal) -> Self {
        Self { seal, segment: 0, offset: 0, ordinal: 0, bytes: Vec::new(), table: Vec::new(), records: Vec::new() }
    }

    /// Begins anew: a group for `offset` of this segment, whose first record gets this ordinal.
    pub(super) fn begin(&mut self, seal: Seal, segment: u32, offset: u64, ordinal: u64) {
        (self.seal, self.segment, self.offset, self.ordinal) = (seal, segment, offset, ordinal);
        self.bytes.clear();
        self.bytes.resize(GROUP_HEADER, 0);
        self.table.clear();
        self.records.clear();
    }

    /// Adds a record. Of its header, the ordinal and all that follows from the payload is filled in here. Returns the
    /// header's checksum.
    pub(super) fn push(&mut self, mut header: RecordHeader, payload: &[u8]) -> u32 {
        header.ordinal = self.ordinal + self.records.len() as u64;
        // A submission's size is bounded far below 4 GiB.
        header.length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        header.payload = crc32c::crc32c(payload);
        let start = self.bytes.len();
        let offset = self.offset + start as u64;
        self.bytes.resize(start + RECORD_HEADER, 0);
        let checksum = header.encode(self.seal, offset, &mut self.bytes[start..]);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        self.table.extend_from_slice(&header.entry().encode());
        let loc = Loc::new(self.segment, offset, header.total());
        self.records.push(Placed { header, checksum, loc });
        checksum
    }

    pub(super) fn records(&self) -> &[Placed] {
        &self.records
    }

    /// Completes it; what is to be written.
    pub(super) fn finish(&mut self, flags: u32, submissions: u32, position: u64, oldest: u32) -> &[u8] {
        let length = self.bytes.len() - GROUP_HEADER;
        let header = GroupHeader {
            flags,
            submissions,
            // Bounded as above.
            records: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            length: u32::try_from(length).unwrap_or(u32::MAX),
            position,
            ordinal: self.ordinal,
            table: table_checksum(&self.table),
            oldest,
        };
        self.bytes.extend_from_slice(&self.table);
        self.bytes.extend_from_slice(&TRAILER);
        header.encode(self.seal, self.offset, &mut self.bytes[..GROUP_HEADER]);
        &self.bytes
    }
}
