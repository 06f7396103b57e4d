//! Lays what was hit or is missing to its owner, and forgets it where it does not matter any more.
//!
//! A record that was hit is known by its header, or by its group's table. One of which neither is left is missed by its
//! owner's next record, whose count is too high; at last by the ordinals, which say that something is missing and not
//! whose it was.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::format::{ALIGN, Kind, RecordHeader, SECTOR, TableEntry, key_check, numbers};
use super::index::{Index, Loc};
use super::types::{Damage, Owner};

/// What is said of what is there and is not read.
pub(in crate::engine::store) const UNREAD: &str = "the disk does not read this, and a restart tries again";

/// A place in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    pub(super) segment: u32,
    pub(super) path: &'p Path,
    pub(super) offset: u64,
}

/// Damage, and the segment in which its evidence is: with that segment the log would forget it, unless it is marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) segment: u32,
    pub(super) damage: Damage,
}

/// What a hit record was, as far as that is known.
#[derive(Debug)]
enum Which {
    /// Its header is sound.
    Known(RecordHeader, Loc),
    /// The event of this sequence.
    Event(u64),
    /// Something of a kind and key with this checksum.
    Keyed(u32),
    /// Not known: records are missing.
    Unknown,
}

#[derive(Debug)]
struct Hit {
    segment: u32,
    damage: Damage,
    which: Which,
}

/// Ordinals that no record has.
#[derive(Debug)]
struct Gap {
    /// Where records were seen last before it.
    segment: u32,
    count: u64,
    damage: Damage,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    hits: HashMap<Owner, Vec<Hit>>,
    gaps: Vec<Gap>,
    /// How many missing records have shown whose they were.
    jumps: u64,
    notes: Vec<Damage>,
    pins: Vec<Pin>,
    /// Sectors that the disk does not read, by segment and offset.
    unread: HashSet<(u32, u64)>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) damage: Vec<Damage>,
    pub(super) notes: Vec<Damage>,
    pub(super) pins: Vec<Pin>,
    /// The disk does not read all of it now.
    pub(super) is_unread: bool,
}

impl Place<'_> {
    pub(super) fn damage(&self, owner: Option<Owner>, what: impl Into<String>) -> Damage {
        Damage { file: self.path.to_path_buf(), offset: self.offset, what: what.into(), owner }
    }
}

impl Ledger {
    /// Something that costs nothing.
    pub(super) fn note(&mut self, place: &Place<'_>, what: impl Into<String>) {
        self.notes.push(place.damage(None, what));
    }

    /// The disk does not read this sector. A restart may find it sound.
    pub(super) fn unread(&mut self, place: &Place<'_>) {
        self.note(place, UNREAD);
        self.unread.insert((place.segment, place.offset / SECTOR));
    }

    /// Something that may have cost anybody something.
    pub(super) fn damage(&mut self, place: &Place<'_>, what: impl Into<String>) {
        self.pins.push(Pin { segment: place.segment, damage: place.damage(None, what) });
    }

    /// No record has the ordinals from one to the other.
    pub(super) fn gap(&mut self, seen: u32, place: &Place<'_>, count: u64) {
        let damage = place.damage(None, format!("{count} records before this are missing, and nothing says whose"));
        self.gaps.push(Gap { segment: seen, count, damage });
    }

    /// A record stands here; whether it follows its owner's last one. `complete`: the log is there from its beginning.
    pub(super) fn follow(&mut self, index: &Index, place: &Place<'_>, header: &RecordHeader, complete: bool) {
        let (count, previous, newest) = index
            .get(header.owner)
            .map_or((0, Some(0), place.segment), |entry| (entry.count, entry.previous, entry.newest));
        if count == 0 && !complete {
            return;
        }
        let expected = count + 1;
        let what = if header.count > expected {
            self.jumps += header.count - expected;
            format!("{} records of this owner before this one are missing", header.count - expected)
        } else if header.count < expected || previous.is_some_and(|previous| previous != header.previous) {
            "this record does not follow its owner's record before it".to_owned()
        } else {
            return;
        };
        let damage = place.damage(Some(header.owner), what);
        self.hit(header.owner, Hit { segment: newest, damage, which: Which::Unknown });
    }

    /// What a sound record makes good: all hits of an owner that is wiped, those of a slot that gets another value. One
    /// that was moved does not: its value may be older than the one that was hit.
    pub(super) fn supersede(&mut self, header: &RecordHeader) {
        if header.moved {
            return;
        }
        let Some(hits) = self.hits.get_mut(&header.owner) else { return };
        let slot = slot_checks(&header.key);
        let gone = |hit: &mut Hit| match header.kind {
            Kind::Wipe => true,
            Kind::Put | Kind::Delete => matches!(&hit.which, Which::Keyed(key) if slot.contains(key)),
            Kind::Event | Kind::Trim => false,
        };
        let superseded: Vec<_> = hits.extract_if(.., gone).collect();
        self.notes.extend(superseded.into_iter().map(|hit| no_matter(hit.damage)));
    }

    /// A record's payload was hit.
    pub(super) fn payload(&mut self, place: &Place<'_>, header: &RecordHeader, loc: Loc) {
        let what = format!("the payload of {} is damaged", named(header.kind));
        let damage = place.damage(Some(header.owner), what);
        self.hit(header.owner, Hit { segment: place.segment, damage, which: Which::Known(*header, loc) });
    }

    /// A record's header was hit. Where it was the owner's next event, its place is kept free; a slot's value of before
    /// does not pass for its value.
    pub(super) fn headless(&mut self, index: &mut Index, place: &Place<'_>, entry: &TableEntry, complete: bool) {
        let known = index.entry(entry.owner);
        if known.count > 0 || complete {
            known.count += 1;
        }
        known.previous = None;
        known.newest = place.segment;
        let (sequence, number) = (known.events.last() + 1, known.numbers.last());
        let as_event = |number| key_check(Kind::Event, &numbers(sequence, number)) == entry.key;
        let which = if as_event(number) || as_event(number + 1) {
            known.events.set(sequence, Loc::default());
            if as_event(number + 1) {
                known.numbers.set(number + 1, u32::try_from(sequence).unwrap_or(u32::MAX));
            }
            Which::Event(sequence)
        } else {
            index.lose_value(entry.owner, |slot| slot_checks(&slot.0).contains(&entry.key));
            Which::Keyed(entry.key)
        };
        let damage = place.damage(Some(entry.owner), "the header of a record is damaged");
        self.hit(entry.owner, Hit { segment: place.segment, damage, which });
    }

    fn hit(&mut self, owner: Owner, hit: Hit) {
        self.hits.entry(owner).or_default().push(hit);
    }

    /// Ends it: what still counts, and what does not. `marked`: what is known already of damage in segments that are gone.
    pub(super) fn finish(mut self, index: &Index, marked: Vec<Damage>, paths: impl Fn(u32) -> PathBuf) -> Findings {
        self.settle_hits(index);
        self.find_missing_events(index, &marked, paths);
        let missing: u64 = self.gaps.iter().map(|gap| gap.count).sum();
        if missing > self.jumps {
            let gaps = std::mem::take(&mut self.gaps).into_iter();
            self.pins.extend(gaps.map(|Gap { segment, damage, count: _ }| Pin { segment, damage }));
        }
        let mut damage: Vec<_> = self.pins.iter().map(|pin| pin.damage.clone()).collect();
        // Marked, and its segment still there.
        let told: HashSet<_> = self.pins.iter().map(|pin| place_of(&pin.damage)).collect();
        damage.extend(marked.into_iter().filter(|marked| !told.contains(&place_of(marked))));
        Findings { damage, notes: self.notes, pins: self.pins, is_unread: !self.unread.is_empty() }
    }

    fn settle_hits(&mut self, index: &Index) {
        let mut hits: Vec<_> = std::mem::take(&mut self.hits).into_values().flatten().collect();
        hits.sort_by_key(|hit| (hit.segment, hit.damage.offset));
        for Hit { segment, mut damage, which } in hits {
            let length = if let Which::Known(_, loc) = &which { loc.length() } else { ALIGN as u64 };
            let mut sectors = damage.offset / SECTOR..(damage.offset + length).div_ceil(SECTOR);
            if sectors.any(|sector| self.unread.contains(&(segment, sector))) {
                UNREAD.clone_into(&mut damage.what);
            }
            let entry = damage.owner.and_then(|owner| index.get(owner));
            let counts = match &which {
                Which::Known(header, loc) => index.is_live(header, *loc),
                Which::Event(sequence) => entry.and_then(|entry| entry.events.get(*sequence)).is_some_and(Loc::is_none),
                Which::Keyed(_) | Which::Unknown => true,
            };
            if counts {
                self.pins.push(Pin { segment, damage });
            } else {
                self.notes.push(no_matter(damage));
            }
        }
    }

    /// Of every owner, all events from the first that was not removed to the last must be there.
    fn find_missing_events(&mut self, index: &Index, marked: &[Damage], paths: impl Fn(u32) -> PathBuf) {
        let known = self.pins.iter().map(|pin| &pin.damage).chain(marked);
        let named: HashSet<_> = known.filter_map(|damage| damage.owner).collect();
        for (owner, entry) in index.iter() {
            let begins_late = !entry.events.is_empty() && entry.events.first() > entry.floor.1;
            let hole = entry.events.from(0).find(|(_, loc)| loc.is_none()).map(|(sequence, _)| sequence);
            let Some(sequence) = (if begins_late { Some(entry.floor.1) } else { hole }) else { continue };
            if named.contains(&owner) {
                continue;
            }
            let next = entry.events.from(sequence).map(|(_, loc)| loc).find(|loc| !loc.is_none()).unwrap_or_default();
            let segment = if next.is_none() { entry.newest } else { next.segment() };
            let (path, offset) = (paths(segment), next.offset());
            let place = Place { segment, path: &path, offset };
            let damage = place.damage(Some(owner), format!("event {sequence} before this is missing"));
            self.pins.push(Pin { segment, damage });
        }
    }
}

/// What tells one damage from another: a mark does not tell the runtime's own from what is nobody's.
fn place_of(damage: &Damage) -> (&Path, u64, &str) {
    (&damage.file, damage.offset, &damage.what)
}

/// What tables keep of the records of a slot.
fn slot_checks(slot: &[u8; 16]) -> [u32; 2] {
    [Kind::Put, Kind::Delete].map(|kind| key_check(kind, slot))
}

fn no_matter(mut damage: Damage) -> Damage {
    damage.what.push_str(", and was replaced or removed since");
    damage
}

fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Event => "an event",
        Kind::Put => "a value",
        Kind::Delete | Kind::Trim | Kind::Wipe => "a removal",
    }
}
