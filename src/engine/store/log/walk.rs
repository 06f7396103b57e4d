//! Walks through one segment and says what stands there: sound groups, records that were hit, records that are found
//! without their group. It lays nothing to anybody and judges no sequence: see `damage` and `scan`.

use std::ops::Range;

use super::format::{
    ALIGN, GROUP_HEADER, GroupHeader, HEAD, RECORD_HEADER, RecordHeader, SECTOR, Seal, TABLE_ENTRY, TRAILER,
    TableEntry, may_begin, table_checksum,
};
use super::window::Window;

/// What stands somewhere in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A record, and whether its payload is what it was.
    Record { offset: u64, header: RecordHeader, checksum: u32, sound: bool },
    /// A record whose header was hit; the table says whose it was.
    Headless { offset: u64, entry: TableEntry },
    /// Something was hit that held no record, or nobody knows which.
    Hit { offset: u64, what: &'static str },
}

/// One step of the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A group whose header is sound. `torn`: if it is the last thing that was ever written, it was never acknowledged.
    Group { offset: u64, header: GroupHeader, items: Vec<Item>, torn: bool },
    /// Bytes without a sound header, up to the next sound group or the end, and the records found there. `torn` as above.
    Stray { range: Range<u64>, items: Vec<Item>, torn: bool },
    /// The rest is zeros.
    End { offset: u64 },
}

#[derive(Debug)]
pub(super) struct Walk {
    pub(super) window: Window,
    seal: Seal,
    at: u64,
    /// Behind the last byte of the segment that is not zero, once that was looked for.
    used: Option<u64>,
}

impl Walk {
    pub(super) fn new(window: Window, seal: Seal) -> Self {
        Self { window, seal, at: HEAD, used: None }
    }

    /// Where the next step begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn next(&mut self) -> Step {
        let offset = self.marker_or(self.at);
        if let Some(header) = self.group_at(offset) {
            self.at = offset + header.total();
            let (items, torn) = self.items(offset, &header);
            return Step::Group { offset, header, items, torn };
        }
        if self.window.first_used(offset).is_none() {
            return Step::End { offset };
        }
        let items = self.search(offset);
        let torn = self.is_torn_header(offset);
        Step::Stray { range: offset..self.at, items, torn }
    }

    /// Whether anything but zeros stands behind the last step.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.window.first_used(self.at).is_none()
    }

    /// Where the next marker begins, if only zeros lie before it; else `offset`.
    fn marker_or(&mut self, offset: u64) -> u64 {
        let next = offset.next_multiple_of(SECTOR);
        let zeros = self.window.get(offset, next - offset).iter().all(|byte| *byte == 0);
        if zeros && self.group_at(next).is_some() { next } else { offset }
    }

    /// A sound header of a group that ends within the segment.
    fn group_at(&mut self, offset: u64) -> Option<GroupHeader> {
        let end = self.window.end();
        let header = GroupHeader::decode(self.seal, offset, self.window.get(offset, GROUP_HEADER as u64))?;
        (offset + header.total() <= end).then_some(header)
    }

    fn record_at(&mut self, offset: u64, limit: u64) -> Option<Item> {
        let (header, checksum) =
            RecordHeader::decode(self.seal, offset, self.window.get(offset, RECORD_HEADER as u64))?;
        let end = offset + header.total();
        if end > limit {
            return None;
        }
        let payload = self.window.get(offset + RECORD_HEADER as u64, u64::from(header.length));
        let sound = payload.len() == header.length as usize && crc32c::crc32c(payload) == header.payload;
        Some(Item::Record { offset, header, checksum, sound })
    }

    /// What stands in a group, and whether what is wrong with it looks like a write that was cut short.
    fn items(&mut self, offset: u64, header: &GroupHeader) -> (Vec<Item>, bool) {
        let records = offset + GROUP_HEADER as u64;
        let table_at = records + u64::from(header.length);
        let end = offset + header.total();
        let table = self.window.get(table_at, header.table_length()).to_vec();
        let table_sound = table_checksum(&table) == header.table;
        let mut hits = Vec::new();
        let mut items = if table_sound {
            self.by_table(records, table_at, &table)
        } else {
            hits.push(table_at..table_at + header.table_length());
            self.by_headers(records, table_at)
        };
        for item in &items {
            match item {
                Item::Record { sound: true, .. } => {}
                Item::Record { offset, header, .. } => hits.push(*offset..offset + header.total()),
                Item::Headless { offset, entry } => hits.push(*offset..offset + u64::from(entry.length)),
                Item::Hit { offset, .. } => hits.push(*offset..offset + 1),
            }
        }
        if !table_sound {
            items.push(Item::Hit { offset: table_at, what: "the table of a group is damaged" });
        }
        let mut torn = hits.into_iter().any(|hit| self.holds_unwritten(&hit, &(offset..end)));
        let trailer_at = end - TRAILER.len() as u64;
        let trailer = self.window.get(trailer_at, TRAILER.len() as u64);
        if trailer != TRAILER {
            torn |= is_cut_short(trailer);
            items.push(Item::Hit { offset: trailer_at, what: "the end of a group is damaged" });
        }
        (items, torn)
    }

    fn by_table(&mut self, records: u64, limit: u64, table: &[u8]) -> Vec<Item> {
        let mut at = records;
        let entries = table.chunks_exact(TABLE_ENTRY).filter_map(TableEntry::decode);
        let mut items = Vec::new();
        for entry in entries {
            let end = at + u64::from(entry.length);
            let record = self.record_at(at, limit.min(end));
            // One whose header says something else than the table is not the one that was written.
            let record = record.filter(|item| matches!(item, Item::Record { header, .. } if header.entry() == entry));
            items.push(record.unwrap_or(Item::Headless { offset: at, entry }));
            at = end;
        }
        items
    }

    fn by_headers(&mut self, mut at: u64, limit: u64) -> Vec<Item> {
        let mut items = Vec::new();
        while at < limit {
            match self.record_at(at, limit) {
                Some(item) => {
                    at += item.length();
                    items.push(item);
                }
                None => at += ALIGN as u64,
            }
        }
        items
    }

    /// The records from `offset` on, up to the next sound group or the last byte that is not zero.
    fn search(&mut self, offset: u64) -> Vec<Item> {
        let mut items = Vec::new();
        let end = match self.used {
            Some(used) => used,
            None => *self.used.insert(self.window.used_up_to(offset)),
        };
        let mut at = offset;
        while at < end {
            if !may_begin(self.window.get(at, ALIGN as u64)) {
                at += ALIGN as u64;
            } else if at > offset && self.group_at(at).is_some() {
                self.at = at;
                return items;
            } else if let Some(item) = self.record_at(at, self.window.end()) {
                at += item.length();
                items.push(item);
            } else {
                at += ALIGN as u64;
            }
        }
        self.at = at.min(self.window.end());
        items
    }

    /// Whether a group without a sound header looks like one whose write was cut short: the header was not written, or
    /// nothing behind it was, or the group does not end within the file.
    fn is_torn_header(&mut self, offset: u64) -> bool {
        let header_end = offset + GROUP_HEADER as u64;
        let end = self.window.end();
        if header_end > end || self.window.first_used(header_end).is_none() {
            return true;
        }
        let bytes = self.window.get(offset, GROUP_HEADER as u64);
        GroupHeader::decode(self.seal, offset, bytes).is_some()
            || self.holds_unwritten(&(offset..header_end), &(offset..end))
    }

    /// Whether a sector that a hit touches holds nothing but zeros, as far as it belongs to the group.
    fn holds_unwritten(&mut self, hit: &Range<u64>, group: &Range<u64>) -> bool {
        let mut at = hit.start / SECTOR * SECTOR;
        while at < hit.end {
            let from = at.max(group.start);
            let to = (at + SECTOR).min(group.end);
            if to > from && self.window.get(from, to - from).iter().all(|byte| *byte == 0) {
                return true;
            }
            at += SECTOR;
        }
        false
    }
}

impl Step {
    pub(super) fn offset(&self) -> u64 {
        match self {
            Self::Group { offset, .. } | Self::End { offset } => *offset,
            Self::Stray { range, .. } => range.start,
        }
    }

    pub(super) fn may_be_torn(&self) -> bool {
        matches!(self, Self::Group { torn: true, .. } | Self::Stray { torn: true, .. })
    }
}

impl Item {
    fn length(&self) -> u64 {
        match self {
            Self::Record { header, .. } => header.total(),
            Self::Headless { entry, .. } => u64::from(entry.length),
            Self::Hit { .. } => ALIGN as u64,
        }
    }
}

/// The beginning of a trailer and zeros behind it.
fn is_cut_short(trailer: &[u8]) -> bool {
    let written = trailer.iter().zip(TRAILER).take_while(|(byte, right)| **byte == *right).count();
    trailer[written..].iter().all(|byte| *byte == 0)
}
