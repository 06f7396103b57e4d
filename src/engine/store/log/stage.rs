//! Turns submissions into records. What is staged counts as landed for what comes behind it in the same group; a group
//! that does not land is forgotten whole, with all that was staged in it.

use bytes::Bytes;

use super::StoreFault;
use super::by_owner::ByOwner;
use super::format::{Kind, RecordHeader, numbers};
use super::group::{GROUP_OVERHEAD, Group, record_cost};
use super::index::{Entry, Index};
use super::types::{Change, Owner, Submission};

/// An owner as it will be once the group has landed.
#[derive(Debug, Clone)]
struct Staged {
    revision: u64,
    count: u64,
    previous: u32,
    first: u64,
    last: u64,
    last_number: u64,
    /// The sequences of the numbered events in this group, which follow those of the index.
    numbered: Vec<u64>,
}

impl Staged {
    fn of(entry: Option<&Entry>) -> Self {
        let (first, last) = entry.map_or((1, 0), |entry| (entry.events.first(), entry.events.last()));
        Self {
            revision: entry.map_or(0, |entry| entry.revision),
            count: entry.map_or(0, |entry| entry.count),
            previous: entry.and_then(|entry| entry.previous).unwrap_or(0),
            first,
            last,
            last_number: entry.map_or(0, |entry| entry.numbers.last()),
            numbered: Vec::new(),
        }
    }
}

/// The owners of one group. It is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Stage {
    owners: ByOwner<Staged>,
}

/// How many bytes a group of this submission alone would take at most.
pub(super) fn cost(submission: &Submission) -> u64 {
    GROUP_OVERHEAD + submission.changes.iter().map(cost_of_change).sum::<u64>()
}

fn cost_of_change(change: &Change) -> u64 {
    let events = change.events.iter().map(|event| record_cost(event.payload.len()));
    let puts = change.puts.iter().map(|(_, value)| record_cost(value.len()));
    let bare = change.deletes.len() as u64 + u64::from(change.wipe) + u64::from(change.trim.is_some());
    events.chain(puts).sum::<u64>() + bare * record_cost(0)
}

impl Stage {
    pub(super) fn clear(&mut self) {
        self.owners.clear();
    }

    /// Adds the records of a submission to the group, or nothing where what it expects is not so.
    pub(super) fn submit(
        &mut self,
        index: &Index,
        group: &mut Group,
        submission: &Submission,
        position: u64,
    ) -> Result<(), StoreFault> {
        self.check(index, submission)?;
        for change in &submission.changes {
            self.change(index, group, change, position);
        }
        Ok(())
    }

    fn owner(&mut self, index: &Index, owner: Owner) -> &mut Staged {
        self.owners.entry(owner).or_insert_with(|| Staged::of(index.get(owner)))
    }

    /// Whether all that it expects is so, counting what its own changes bring before.
    fn check(&mut self, index: &Index, submission: &Submission) -> Result<(), StoreFault> {
        for (at, change) in submission.changes.iter().enumerate() {
            let Some(expect) = change.expect else { continue };
            let before = submission.changes[..at].iter().filter(|before| before.owner == change.owner);
            let (mut raised, mut added) = (0, 0);
            for before in before {
                raised += u64::from(before.expect.is_some() && has_records(before));
                added += before.events.len() as u64;
            }
            let staged = self.owner(index, change.owner);
            let last = staged.last + added;
            if staged.revision + raised != expect.revision || expect.last_sequence.is_some_and(|other| other != last) {
                return Err(StoreFault::OutOfOrder);
            }
        }
        Ok(())
    }

    fn change(&mut self, index: &Index, group: &mut Group, change: &Change, position: u64) {
        let mut record = Recorder { position, owner: change.owner, staged: self.owner(index, change.owner), group };
        if change.expect.is_some() && has_records(change) {
            record.staged.revision += 1;
        }
        if change.wipe {
            record.remove(Kind::Wipe, record.staged.last + 1, record.staged.last_number);
        }
        for event in &change.events {
            record.event(event.tag, index.is_numbered(event.tag), &event.payload);
        }
        for (slot, value) in &change.puts {
            record.push(Kind::Put, 0, slot.0, value);
        }
        for slot in &change.deletes {
            record.push(Kind::Delete, 0, slot.0, &Bytes::new());
        }
        if let Some(below) = change.trim {
            let first = below.min(record.staged.last + 1);
            // One that removes nothing is written all the same: it carries the revision.
            let first = first.max(record.staged.first);
            let removed = numbered_below(index.get(change.owner), record.staged, first);
            record.remove(Kind::Trim, first, removed);
        }
    }

    /// Adds a copy of a record that lies in an older segment.
    pub(super) fn moved(&mut self, index: &Index, group: &mut Group, header: &RecordHeader, payload: &Bytes) {
        let staged = self.owner(index, header.owner);
        // A wipe that was moved must not remove what came after it; as a trim it says the same of the sequences.
        let kind = if header.kind == Kind::Wipe { Kind::Trim } else { header.kind };
        let mut record = Recorder { position: header.position, owner: header.owner, staged, group };
        record.push_as(kind, header.tag, header.key, payload, true);
    }
}

fn has_records(change: &Change) -> bool {
    let Change { owner: _, expect: _, wipe, events, puts, deletes, trim } = change;
    *wipe || !events.is_empty() || !puts.is_empty() || !deletes.is_empty() || trim.is_some()
}

/// How many of the owner's numbered events lie below a sequence.
fn numbered_below(entry: Option<&Entry>, staged: &Staged, first: u64) -> u64 {
    if first > staged.last {
        return staged.last_number;
    }
    let here = staged.numbered.iter().filter(|sequence| **sequence >= first).count() as u64;
    if here < staged.numbered.len() as u64 {
        return staged.last_number - here;
    }
    let landed = entry.map_or(0, |entry| {
        entry.numbers.first() - 1 + entry.numbers.partition(|sequence| u64::from(*sequence) < first)
    });
    landed.min(staged.last_number)
}

/// Writes records of one owner.
struct Recorder<'s> {
    position: u64,
    owner: Owner,
    staged: &'s mut Staged,
    group: &'s mut Group,
}

impl Recorder<'_> {
    fn event(&mut self, tag: u8, numbered: bool, payload: &Bytes) {
        self.staged.last += 1;
        if numbered {
            self.staged.last_number += 1;
            self.staged.numbered.push(self.staged.last);
        }
        self.push(Kind::Event, tag, numbers(self.staged.last, self.staged.last_number), payload);
    }

    fn remove(&mut self, kind: Kind, first: u64, removed: u64) {
        self.staged.first = first;
        self.push(kind, 0, numbers(first, removed), &Bytes::new());
    }

    fn push(&mut self, kind: Kind, tag: u8, key: [u8; 16], payload: &Bytes) {
        self.push_as(kind, tag, key, payload, false);
    }

    fn push_as(&mut self, kind: Kind, tag: u8, key: [u8; 16], payload: &Bytes, moved: bool) {
        self.staged.count += 1;
        let header = RecordHeader {
            kind,
            tag,
            moved,
            length: 0,
            payload: 0,
            position: self.position,
            owner: self.owner,
            key,
            count: self.staged.count,
            ordinal: 0,
            revision: self.staged.revision,
            previous: self.staged.previous,
        };
        self.staged.previous = self.group.push(header, payload);
    }
}
