//! What a log must hold, in the plainest form: what its submissions say, done to maps in memory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::super::{Change, Owner, OwnerState, Reader, Slot, Submission};
use crate::engine::store::Select;

/// The tag of events that are numbered, in these simulations.
pub(super) const NUMBERED: u8 = 7;

#[derive(Debug, Clone)]
struct Event {
    tag: u8,
    payload: Bytes,
    number: u64,
    /// `None` where it is not known: its submission was never answered.
    position: Option<u64>,
}

/// What one owner has.
#[derive(Debug, Clone, Default)]
struct Kept {
    revision: u64,
    events: VecDeque<Event>,
    last_sequence: u64,
    last_number: u64,
    slots: BTreeMap<Slot, (Bytes, Option<u64>)>,
}

impl Kept {
    fn first_sequence(&self) -> u64 {
        self.last_sequence + 1 - self.events.len() as u64
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.slots.is_empty()
    }

    fn numbers_removed(&self) -> u64 {
        let kept = self.events.iter().filter(|event| event.tag == NUMBERED).count();
        self.last_number - kept as u64
    }

    /// Whether all of it was as it expects.
    fn apply(&mut self, change: &Change, position: Option<u64>) -> bool {
        if let Some(expect) = change.expect {
            if expect.revision != self.revision || expect.last_sequence.is_some_and(|last| last != self.last_sequence) {
                return false;
            }
            let holds_something = change.wipe
                || change.trim.is_some()
                || !(change.events.is_empty() && change.puts.is_empty() && change.deletes.is_empty());
            self.revision += u64::from(holds_something);
        }
        if change.wipe {
            self.events.clear();
            self.slots.clear();
        }
        for event in &change.events {
            self.last_sequence += 1;
            self.last_number += u64::from(event.tag == NUMBERED);
            let (tag, payload) = (event.tag, event.payload.clone());
            self.events.push_back(Event { tag, payload, number: self.last_number, position });
        }
        for (slot, value) in &change.puts {
            self.slots.insert(*slot, (value.clone(), position));
        }
        for slot in &change.deletes {
            self.slots.remove(slot);
        }
        while change.trim.is_some_and(|first| self.first_sequence() < first) && self.events.pop_front().is_some() {}
        true
    }

    /// What in `found` is not as it is here.
    fn difference(&self, found: &Self) -> Option<String> {
        let range = |kept: &Self| (kept.first_sequence(), kept.last_sequence, kept.numbers_removed(), kept.last_number);
        if range(self) != range(found) {
            return Some(format!("events are {:?}, not {:?}", range(found), range(self)));
        }
        if self.revision != found.revision {
            return Some(format!("the revision is {}, not {}", found.revision, self.revision));
        }
        for (sequence, (ours, theirs)) in (self.first_sequence()..).zip(self.events.iter().zip(&found.events)) {
            if (ours.tag, ours.number, &ours.payload) != (theirs.tag, theirs.number, &theirs.payload) {
                return Some(format!("event {sequence} is another"));
            }
            if ours.position.is_some() && ours.position != theirs.position {
                return Some(format!("event {sequence} is at {:?}, not {:?}", theirs.position, ours.position));
            }
        }
        if !self.slots.keys().eq(found.slots.keys()) {
            return Some(format!("slots are {:?}, not {:?}", found.slots.keys(), self.slots.keys()));
        }
        for (slot, (value, position)) in &self.slots {
            let (theirs, at) = &found.slots[slot];
            if value != theirs || position.is_some() && position != at {
                return Some(format!("{slot:?} is another, or at {at:?} and not {position:?}"));
            }
        }
        None
    }
}

/// What all owners have.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    owners: BTreeMap<Owner, Kept>,
}

impl Model {
    /// Lands a submission, if all is as it expects.
    pub(super) fn apply(&mut self, submission: &Submission, position: Option<u64>) -> bool {
        let before = self.clone();
        let landed = submission
            .changes
            .iter()
            .all(|change| self.owners.entry(change.owner).or_default().apply(change, position));
        if !landed {
            *self = before;
        }
        landed
    }

    /// An owner of this name that has something, or never had: one that had may be forgotten, and then counts anew.
    pub(super) fn unspent(&self, name: u8) -> Owner {
        let mut owner = Owner([name; 16]);
        while self.owners.get(&owner).is_some_and(|kept| kept.revision + kept.last_sequence > 0 && kept.is_empty()) {
            owner.0[15] += 1;
        }
        owner
    }

    /// Of an owner that has nothing, nobody sees whether these have landed: it is not used again.
    pub(super) fn spend(&mut self, unknown: &[Submission]) {
        for change in unknown.iter().flat_map(|submission| &submission.changes) {
            let kept = self.owners.entry(change.owner).or_default();
            if kept.is_empty() && (change.expect.is_some() || !change.events.is_empty()) {
                kept.revision = kept.revision.max(1);
            }
        }
    }

    pub(super) fn revision(&self, owner: Owner) -> u64 {
        self.owners.get(&owner).map_or(0, |kept| kept.revision)
    }

    /// An owner's first and last sequence.
    pub(super) fn sequences(&self, owner: Owner) -> (u64, u64) {
        self.owners.get(&owner).map_or((1, 0), |kept| (kept.first_sequence(), kept.last_sequence))
    }

    /// All that can be read of a log.
    pub(super) fn read(reader: &Reader) -> Self {
        Self { owners: reader.states().map(|state| (state.owner, kept(reader, &state))).collect() }
    }

    /// The first thing in `found` that is not as it is here.
    pub(super) fn difference(&self, found: &Self) -> Option<String> {
        let nothing = Kept::default();
        for owner in self.owners.keys().chain(found.owners.keys()) {
            let ours = self.owners.get(owner).unwrap_or(&nothing);
            let theirs = found.owners.get(owner).unwrap_or(&nothing);
            // Of an owner that has nothing, the log may know nothing.
            let forgotten = ours.is_empty() && !found.owners.contains_key(owner);
            if !forgotten && let Some(difference) = ours.difference(theirs) {
                return Some(format!("{owner}: {difference}"));
            }
        }
        None
    }

    /// Takes what was found, which is the same but knows all positions.
    pub(super) fn learn(&mut self, found: Self) {
        self.owners.extend(found.owners);
    }

    /// Every event's position must be above that of the one before, and none above `last`.
    pub(super) fn assert_positions_rise(&self, last: u64) {
        for (owner, kept) in &self.owners {
            let positions: Vec<_> = kept.events.iter().filter_map(|event| event.position).collect();
            assert!(positions.is_sorted(), "{owner}: positions fall: {positions:?}");
            assert!(positions.iter().all(|position| *position <= last), "{owner}: above {last}: {positions:?}");
        }
    }
}

/// All that can be read of an owner, in pieces.
fn kept(reader: &Reader, state: &OwnerState) -> Kept {
    let owner = state.owner;
    let mut events = VecDeque::new();
    let mut after = state.first_sequence - 1;
    loop {
        let some = reader.read(owner, Select::EventsAfter(after), 3, 4_000);
        let some = some.unwrap_or_else(|fault| panic!("{owner}: after {after}: {fault}"));
        let Some(last) = some.last() else { break };
        assert_eq!(some[0].sequence, after + 1, "{owner}: a gap");
        after = last.sequence;
        for event in some {
            let position = Some(event.position);
            events.push_back(Event { tag: event.tag, payload: event.payload, number: event.number, position });
        }
    }
    assert_eq!(after, state.last_sequence, "{owner}: it has another last event than it says");
    let value = |slot| {
        let value = reader.get(owner, slot).unwrap_or_else(|fault| panic!("{owner}: {slot:?}: {fault}"));
        let value = value.unwrap_or_else(|| panic!("{owner}: {slot:?} has no value"));
        (slot, (value.value, Some(value.position)))
    };
    let slots = state.slots.iter().map(|slot| value(*slot)).collect();
    let kept = Kept {
        revision: state.revision,
        events,
        last_sequence: state.last_sequence,
        last_number: state.last_number,
        slots,
    };
    assert_eq!(kept.first_sequence(), state.first_sequence, "{owner}");
    assert_eq!(kept.numbers_removed(), state.numbers_removed, "{owner}");
    kept
}
