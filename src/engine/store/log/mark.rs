//! What stays in the log of damage whose segment is to go: a value of its owner, in a slot of the log's own, that says
//! where it was and what. So it is told at every start, until all that the owner has is wiped. The file itself stays
//! beside the log for as long as any damage is told.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::damage::Pin;
use super::format::{RECORD_HEADER, RecordHeader, Seal};
use super::index::{Index, Loc};
use super::shared::{Segment, segment_number, segment_path};
use super::types::{Change, Damage, Owner, Slot};

/// How a slot of the log's own begins. No caller's does.
const OWN: [u8; 8] = [0xff; 8];

impl Slot {
    /// Whether it is the log's own.
    pub(super) fn is_mark(self) -> bool {
        self.0.starts_with(&OWN)
    }
}

/// The change that marks what is pinned.
pub(super) fn mark(pin: &Pin) -> Change {
    let Damage { file, offset, what, owner } = &pin.damage;
    let number = segment_number(file).unwrap_or(pin.segment);
    let value = format!("{number}: {offset}: {what}");
    let mut slot = [0xff; 16];
    slot[OWN.len()..].copy_from_slice(&Sha256::digest(&value)[..16 - OWN.len()]);
    Change { owner: owner.unwrap_or_default(), puts: vec![(Slot(slot), value.into())], ..Change::default() }
}

/// What the marks of these owners say.
pub(super) fn marked<'s>(
    index: &Index,
    owners: &BTreeSet<Owner>,
    dir: &Path,
    segment: impl Fn(u32) -> Option<(&'s Segment, Seal)>,
) -> Vec<Damage> {
    let mut marked = Vec::new();
    for owner in owners {
        let slots = index.get(*owner).into_iter().flat_map(|entry| entry.slots.iter());
        for (_, loc) in slots.filter(|(slot, _)| slot.is_mark()) {
            // One that cannot be read is damage of that owner, and told as such.
            let value = segment(loc.segment()).and_then(|(segment, seal)| read(segment, seal, loc));
            marked.extend(value.and_then(|value| damage(*owner, dir, &value)));
        }
    }
    marked.sort_by(|a, b| (&a.file, a.offset, &a.what).cmp(&(&b.file, b.offset, &b.what)));
    marked
}

fn read(segment: &Segment, seal: Seal, loc: Loc) -> Option<Bytes> {
    let mut bytes = vec![0; usize::try_from(loc.length()).ok()?];
    let read = super::window::read_full(&*segment.file, &mut bytes, loc.offset()).ok()?;
    let (header, _) = RecordHeader::decode(seal, loc.offset(), bytes.get(..read)?)?;
    let payload = bytes.get(RECORD_HEADER..RECORD_HEADER + header.length as usize)?;
    (crc32c::crc32c(payload) == header.payload).then(|| Bytes::copy_from_slice(payload))
}

fn damage(owner: Owner, dir: &Path, value: &[u8]) -> Option<Damage> {
    let mut parts = str::from_utf8(value).ok()?.splitn(3, ": ");
    let (number, offset, what) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Damage {
        file: segment_path(dir, number.parse().ok()?),
        offset: offset.parse().ok()?,
        what: what.to_owned(),
        owner: Some(owner).filter(|owner| *owner != Owner::default()),
    })
}
