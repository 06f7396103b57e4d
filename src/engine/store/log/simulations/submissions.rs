//! Submissions by chance: what owners of all sorts may ask of a log.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use super::super::{Change, Expect, NewEvent, Owner, Slot, Submission};
use super::model::{Model, NUMBERED};

/// How many owners there are at a time that have events.
const OWNERS: u8 = 5;
const SLOTS: u8 = 3;
/// It has values only, and nobody expects anything of it: it may lose all and go on, as the runtime's own may.
pub(super) const PLAIN: Owner = Owner([OWNERS; 16]);

/// A submission on what `staged` will be when all before it have landed. Some expect what is not so.
pub(super) fn submission(random: &mut StdRng, staged: &Model) -> Submission {
    let mut staged = staged.clone();
    let mut submission = Submission { vital: random.random_bool(0.2), ..Submission::default() };
    for _ in 0..if random.random_bool(0.2) { 3 } else { 1 } {
        let change = change(random, &staged);
        let alone = Submission { changes: vec![change.clone()], vital: false };
        staged.apply(&alone, None);
        submission.changes.push(change);
    }
    submission
}

fn change(random: &mut StdRng, staged: &Model) -> Change {
    if random.random_bool(0.1) {
        return plain_change(random);
    }
    let owner = staged.unspent(random.random_range(0..OWNERS));
    let (first, last) = staged.sequences(owner);
    let mut change = Change { owner, wipe: random.random_bool(0.02), ..Change::default() };
    if random.random_bool(0.7) {
        let wrong = u64::from(random.random_bool(0.05));
        let last_sequence = random.random_bool(0.7).then_some(last);
        change.expect = Some(Expect { revision: staged.revision(owner) + wrong, last_sequence });
    }
    for _ in 0..random.random_range(0..4) {
        let tag = if random.random_bool(0.5) { NUMBERED } else { random.random() };
        change.events.push(NewEvent { tag, payload: payload(random) });
    }
    for _ in 0..random.random_range(0..3) {
        change.puts.push((slot(random), payload(random)));
    }
    if random.random_bool(0.2) {
        change.deletes.push(slot(random));
    }
    if random.random_bool(0.15) {
        let all = random.random_bool(0.1);
        change.trim = Some(if all { u64::MAX } else { random.random_range(first..=last + 1) });
    }
    change
}

fn plain_change(random: &mut StdRng) -> Change {
    let mut change = Change { owner: PLAIN, wipe: random.random_bool(0.1), ..Change::default() };
    if random.random() {
        change.puts.push((slot(random), payload(random)));
    } else {
        change.deletes.push(slot(random));
    }
    change
}

fn slot(random: &mut StdRng) -> Slot {
    Slot([random.random_range(0..SLOTS); 16])
}

/// Mostly small; some larger than a sector or than a page, some of zeros, some of what stands in the log itself.
fn payload(random: &mut StdRng) -> Bytes {
    let longest = [0, 40, 300, 2_000, 9_000][random.random_range(0..5)];
    let length = random.random_range(0..=longest);
    match random.random_range(0..6) {
        0 => vec![0; length].into(),
        1 => b"\x93group\xC5\n\xB5rec\x01\0\0\0".iter().copied().cycle().take(length).collect(),
        _ => {
            let mut bytes = vec![0; length];
            random.fill(&mut bytes[..]);
            bytes.into()
        }
    }
}
