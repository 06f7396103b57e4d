//! Which owner and slot of the log holds what. Part of the format: none of this changes.
//!
//! A slot's first byte says what it is; where there are many, the first 15 bytes of a SHA-256 follow. The whole of that
//! is in the value, and is compared when it is read.

use crate::engine::receipts::{Receipt, ShortKey};
use crate::engine::store::log::{Owner, Slot};
use crate::model::{BundleDigest, WorkerId};

/// Of the runtime itself.
pub(super) const RUNTIME: Owner = Owner([0; 16]);
/// What never changes of a worker.
pub(super) const ORIGIN: Slot = named(1, &[0; 15]);
/// What changes of a worker.
pub(super) const ROW: Slot = named(2, &[0; 15]);

/// What a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Origin,
    Row,
    Receipt,
    Bundle,
    /// Of no kind that this version knows.
    Unknown,
}

pub(super) fn kind(slot: Slot) -> Kind {
    match slot.0[0] {
        _ if slot == ORIGIN => Kind::Origin,
        _ if slot == ROW => Kind::Row,
        3 => Kind::Receipt,
        4 => Kind::Bundle,
        _ => Kind::Unknown,
    }
}

pub(super) fn receipt(key: &ShortKey) -> Slot {
    named(3, &key.0)
}

pub(super) fn bundle(digest: &BundleDigest) -> Slot {
    let mut first = [0; 15];
    // A digest is 64 hexadecimal digits.
    for (byte, digits) in first.iter_mut().zip(digest.as_str().as_bytes().chunks(2)) {
        *byte = digits.iter().fold(0, |value, digit| value << 4 | hex(*digit));
    }
    named(4, &first)
}

/// Whose a receipt is: that of the worker it is about.
pub(super) fn owner_of_receipt(receipt: &Receipt) -> Owner {
    receipt.outcome.worker_id().and_then(owner_of).unwrap_or(RUNTIME)
}

/// The owner that a worker is. Ids of workers are made by the engine and are UUIDs; none other is stored, and none that
/// would be the runtime itself.
pub(super) fn owner_of(worker_id: &WorkerId) -> Option<Owner> {
    worker_id.uuid().map(Owner).filter(|owner| *owner != RUNTIME)
}

/// The worker that an owner is.
pub(super) fn worker_of(owner: Owner) -> WorkerId {
    WorkerId::from_uuid(owner.0)
}

const fn named(kind: u8, rest: &[u8; 15]) -> Slot {
    let mut slot = [0; 16];
    slot[0] = kind;
    let mut at = 0;
    while at < rest.len() {
        slot[at + 1] = rest[at];
        at += 1;
    }
    Slot(slot)
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 0,
    }
}
