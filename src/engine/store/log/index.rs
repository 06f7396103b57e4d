//! Where everything lies: per owner a word for every event and every slot. What the records of the log say is applied
//! here, in their order, by the scan and by the writer alike.

use std::collections::BTreeMap;

use super::by_owner::{ByOwner, Owners};
use super::dense::Dense;
use super::format::{ALIGN, Kind, RecordHeader, TABLE_ENTRY};
use super::slots::Slots;
use super::types::{Owner, OwnerState, Slot};

/// Where a record lies and about how long it is, in one word: segment (24 bits), offset (25) and length (15), the last
/// two in units of eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub(super) struct Loc(u64);

const LENGTH_BITS: u32 = 15;
const OFFSET_BITS: u32 = 25;
const MAX_LENGTH: u64 = (1 << LENGTH_BITS) - 1;
/// No segment has a higher number.
pub(super) const MAX_SEGMENT: u32 = (1 << 24) - 1;
/// No record begins at or behind this offset.
pub(super) const MAX_OFFSET: u64 = (1 << OFFSET_BITS) * ALIGN as u64;

impl Loc {
    /// `length` is that of the whole record.
    pub(super) fn new(segment: u32, offset: u64, length: u64) -> Self {
        let length = (length / ALIGN as u64).min(MAX_LENGTH);
        Self((u64::from(segment) << (OFFSET_BITS + LENGTH_BITS)) | ((offset / ALIGN as u64) << LENGTH_BITS) | length)
    }

    /// Nothing lies there.
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(super) fn segment(self) -> u32 {
        // 24 bits are left.
        (self.0 >> (OFFSET_BITS + LENGTH_BITS)) as u32
    }

    pub(super) fn offset(self) -> u64 {
        ((self.0 >> LENGTH_BITS) & ((1 << OFFSET_BITS) - 1)) * ALIGN as u64
    }

    /// The record is this long, or longer where [`Self::is_long`].
    pub(super) fn length(self) -> u64 {
        (self.0 & MAX_LENGTH) * ALIGN as u64
    }

    pub(super) fn is_long(self) -> bool {
        self.0 & MAX_LENGTH == MAX_LENGTH
    }

    /// What the record weighs, with its entry in the table.
    fn weight(self) -> u64 {
        self.length() + TABLE_ENTRY as u64
    }
}

/// What a segment weighs, by the lengths that the index knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) total: u64,
    pub(super) live: u64,
    /// It has, or had, records that are longer than the index knows.
    pub(super) has_long: bool,
}

/// What is known of one owner.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) revision: u64,
    /// Of its records; 0: none was seen.
    pub(super) count: u64,
    /// The checksum of its newest record's header; `None`: not known, because that one was hit.
    pub(super) previous: Option<u32>,
    /// The segment of its newest record.
    pub(super) newest: u32,
    pub(super) events: Dense<Loc>,
    /// The sequences of its numbered events, by number.
    pub(super) numbers: Dense<u32>,
    /// What the records of its events take.
    pub(super) event_bytes: u64,
    pub(super) slots: Slots,
    /// The newest trim or wipe, and the first sequence that it leaves.
    pub(super) floor: (Loc, u64),
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            revision: 0,
            count: 0,
            previous: Some(0),
            newest: 0,
            events: Dense::new(),
            numbers: Dense::new(),
            event_bytes: 0,
            slots: Slots::new(),
            floor: (Loc::default(), 1),
        }
    }
}

impl Entry {
    /// It has neither events nor values: only its count is still of use.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.slots.is_empty()
    }

    /// It has events, or values that are its own.
    fn has_any(&self) -> bool {
        !self.events.is_empty() || self.slots.iter().any(|(slot, _)| !slot.is_mark())
    }

    fn state(&self, owner: Owner) -> OwnerState {
        let mut slots: Vec<_> = self.slots.iter().map(|(slot, _)| slot).filter(|slot| !slot.is_mark()).collect();
        slots.sort_unstable();
        OwnerState {
            owner,
            revision: self.revision,
            first_sequence: self.events.first(),
            last_sequence: self.events.last(),
            numbers_removed: self.numbers.first() - 1,
            last_number: self.numbers.last(),
            slots,
        }
    }
}

/// Where everything lies.
#[derive(Debug)]
pub(super) struct Index {
    /// Boxed, so that what the map keeps free for more of them is small.
    owners: ByOwner<Box<Entry>>,
    weights: BTreeMap<u32, Weight>,
    /// Owners that have neither events nor values.
    empty: Owners,
    numbered: Option<u8>,
}

impl Index {
    pub(super) fn new(numbered: Option<u8>) -> Self {
        Self { owners: ByOwner::default(), weights: BTreeMap::new(), empty: Owners::default(), numbered }
    }

    pub(super) fn get(&self, owner: Owner) -> Option<&Entry> {
        self.owners.get(&owner).map(|entry| &**entry)
    }

    pub(super) fn entry(&mut self, owner: Owner) -> &mut Entry {
        self.owners.entry(owner).or_default()
    }

    pub(super) fn is_numbered(&self, tag: u8) -> bool {
        self.numbered == Some(tag)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Owner, &Entry)> {
        self.owners.iter().map(|(owner, entry)| (*owner, &**entry))
    }

    pub(super) fn state(&self, owner: Owner) -> Option<OwnerState> {
        self.owners.get(&owner).map(|entry| entry.state(owner))
    }

    /// Every owner that has something; in order.
    pub(super) fn owners(&self) -> Vec<Owner> {
        let some = self.owners.iter().filter(|(_, entry)| entry.has_any());
        let mut owners: Vec<_> = some.map(|(owner, _)| *owner).collect();
        owners.sort_unstable();
        owners
    }

    /// Takes in a record that lies at `loc` and whose header has this checksum.
    pub(super) fn apply(&mut self, header: &RecordHeader, checksum: u32, loc: Loc) {
        let numbered = self.is_numbered(header.tag);
        let entry = self.owners.entry(header.owner).or_default();
        let weights = &mut self.weights;
        entry.revision = header.revision;
        entry.count = header.count;
        entry.previous = Some(checksum);
        entry.newest = loc.segment();
        let weight = weights.entry(loc.segment()).or_default();
        weight.total += loc.length();
        weight.has_long |= loc.is_long();
        let (first, second) = header.numbers();
        match header.kind {
            Kind::Event if first < entry.floor.1 => {}
            Kind::Event => {
                born(weights, loc);
                let before = entry.events.set(first, loc).unwrap_or_default();
                died(weights, before);
                entry.event_bytes = (entry.event_bytes + loc.length()).saturating_sub(before.length());
                if numbered {
                    entry.numbers.set(second, u32::try_from(first).unwrap_or(u32::MAX));
                }
            }
            Kind::Put => {
                born(weights, loc);
                died(weights, entry.slots.set(Slot(header.key), loc).unwrap_or_default());
            }
            Kind::Delete => died(weights, entry.slots.remove(Slot(header.key)).unwrap_or_default()),
            Kind::Trim | Kind::Wipe => {
                born(weights, loc);
                if header.kind == Kind::Wipe {
                    std::mem::replace(&mut entry.slots, Slots::new()).iter().for_each(|(_, loc)| died(weights, loc));
                }
                died(weights, std::mem::replace(&mut entry.floor, (loc, first)).0);
                let bytes = &mut entry.event_bytes;
                entry.events.drop_below(first, |loc| {
                    *bytes = bytes.saturating_sub(loc.length());
                    died(weights, loc);
                });
                entry.numbers.drop_below(second.saturating_add(1), drop);
            }
        }
        if entry.is_empty() {
            self.empty.insert(header.owner);
        } else if !self.empty.is_empty() {
            self.empty.remove(&header.owner);
        }
    }

    /// The newest record of a slot was hit: the value before it is not the slot's any more.
    pub(super) fn lose_value(&mut self, owner: Owner, is_it: impl Fn(Slot) -> bool) {
        let Some(entry) = self.owners.get_mut(&owner) else { return };
        let hit = entry.slots.iter().map(|(slot, _)| slot).find(|slot| is_it(*slot));
        if let Some(loc) = hit.and_then(|slot| entry.slots.remove(slot)) {
            died(&mut self.weights, loc);
        }
    }

    /// The record at `loc` is not to be had any more, and was marked as lost.
    pub(super) fn lose(&mut self, header: &RecordHeader, loc: Loc) {
        if !self.is_live(header, loc) {
            return;
        }
        let Some(entry) = self.owners.get_mut(&header.owner) else { return };
        match header.kind {
            Kind::Event => {
                entry.events.set(header.numbers().0, Loc::default());
                entry.event_bytes = entry.event_bytes.saturating_sub(loc.length());
            }
            Kind::Put => _ = entry.slots.remove(Slot(header.key)),
            // They hold nothing that could be lost.
            Kind::Delete | Kind::Trim | Kind::Wipe => return,
        }
        died(&mut self.weights, loc);
    }

    /// Whether the record at `loc` still counts.
    pub(super) fn is_live(&self, header: &RecordHeader, loc: Loc) -> bool {
        let Some(entry) = self.owners.get(&header.owner) else { return false };
        match header.kind {
            Kind::Event => entry.events.get(header.numbers().0) == Some(loc),
            Kind::Put => entry.slots.get(Slot(header.key)) == Some(loc),
            Kind::Delete => false,
            // Of an owner that has nothing, it goes when the owner is forgotten.
            Kind::Trim | Kind::Wipe => entry.floor.0 == loc && !(entry.is_empty() && entry.newest == loc.segment()),
        }
    }

    /// Bytes of a segment that are no record.
    pub(super) fn weigh(&mut self, segment: u32, bytes: u64) {
        self.weights.entry(segment).or_default().total += bytes;
    }

    pub(super) fn weight(&self, segment: u32) -> Weight {
        self.weights.get(&segment).copied().unwrap_or_default()
    }

    pub(super) fn weight_of_all(&self) -> Weight {
        self.weights.values().fold(Weight::default(), |sum, weight| Weight {
            total: sum.total + weight.total,
            live: sum.live + weight.live,
            has_long: sum.has_long || weight.has_long,
        })
    }

    /// Whether nothing in a segment counts any more, but for what goes with owners that have nothing.
    pub(super) fn is_done_with(&self, segment: u32) -> bool {
        let forgotten = self.empty.iter().filter_map(|owner| self.owners.get(owner));
        let rest = forgotten.filter(|entry| entry.newest <= segment && entry.floor.0.segment() == segment);
        self.weight(segment).live == rest.map(|entry| entry.floor.0.weight()).sum::<u64>()
    }

    /// A segment is gone, and with it the last records of owners that have nothing.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        self.weights.remove(&segment);
        let owners = &mut self.owners;
        self.empty.retain(|owner| {
            let gone = owners.get(owner).is_none_or(|entry| entry.newest <= segment);
            if gone {
                owners.remove(owner);
            }
            !gone
        });
    }

    /// Gives back what the scan took too much.
    pub(super) fn shrink(&mut self) {
        for entry in self.owners.values_mut() {
            entry.events.shrink();
            entry.numbers.shrink();
            entry.slots.shrink();
        }
        self.owners.shrink_to_fit();
    }
}

fn born(weights: &mut BTreeMap<u32, Weight>, loc: Loc) {
    weights.entry(loc.segment()).or_default().live += loc.weight();
}

fn died(weights: &mut BTreeMap<u32, Weight>, loc: Loc) {
    if let Some(weight) = weights.get_mut(&loc.segment()).filter(|_| !loc.is_none()) {
        weight.live = weight.live.saturating_sub(loc.weight());
    }
}
