//! The cursor of one worker's stream: opaque to callers, checked byte for byte.
//!
//! It is base64url (no padding) of 49 bytes: version 1, the incarnation of the host's store (16), the first 16 bytes of
//! the SHA-256 of the worker's id, the sequence of the last event seen (8, big-endian), and the first 8 bytes of the
//! SHA-256 of all that stands before. So a changed character is told from a cursor that has expired.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::id::WorkerId;

const VERSION: u8 = 1;
const CHECKSUM: usize = 8;
const LEN: usize = 1 + 16 + 16 + 8 + CHECKSUM;
/// Longer texts are refused before they are looked at (api.md: at most 200 bytes).
const MAX_TEXT: usize = 200;

/// A random id drawn when a data directory is made or restored from a copy; a restart keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation([u8; 16]);

impl Incarnation {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(id.into_bytes()))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a reader of one worker's stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Of the store the sequence belongs to.
    pub incarnation: Incarnation,
    worker: [u8; 16],
    /// The last durable event that was seen; 0 before the first.
    pub sequence: u64,
}

/// Why a text is not a usable cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorFault {
    /// It was never handed out as it stands.
    #[error("is not a cursor that was handed out")]
    Malformed,
    /// It belongs to another worker.
    #[error("is the cursor of another worker")]
    OtherWorker,
}

impl Cursor {
    /// The cursor of `worker` after `sequence`.
    #[must_use]
    pub fn new(incarnation: Incarnation, worker: &WorkerId, sequence: u64) -> Self {
        Self { incarnation, worker: worker_key(worker), sequence }
    }

    /// The text that callers get.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.incarnation.0);
        bytes.extend_from_slice(&self.worker);
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&checksum(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a text that [`Cursor::encode`] wrote for `worker`.
    ///
    /// # Errors
    /// [`CursorFault`] when it is anything else.
    pub fn decode(text: &str, worker: &WorkerId) -> Result<Self, CursorFault> {
        if text.len() > MAX_TEXT {
            return Err(CursorFault::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorFault::Malformed)?;
        let bytes: [u8; LEN] = bytes.try_into().map_err(|_| CursorFault::Malformed)?;
        let (body, sum) = bytes.split_at(LEN - CHECKSUM);
        if body[0] != VERSION || sum != checksum(body) {
            return Err(CursorFault::Malformed);
        }
        let cursor = Self {
            incarnation: Incarnation(take(&body[1..17])),
            worker: take(&body[17..33]),
            sequence: u64::from_be_bytes(take(&body[33..41])),
        };
        if cursor.worker == worker_key(worker) { Ok(cursor) } else { Err(CursorFault::OtherWorker) }
    }
}

fn worker_key(worker: &WorkerId) -> [u8; 16] {
    take(&Sha256::digest(worker.as_str().as_bytes())[..16])
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    take(&Sha256::digest(bytes)[..CHECKSUM])
}

/// The first `N` bytes; callers pass slices that have them.
fn take<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went(sequence in any::<u64>()) {
            let worker = WorkerId::generate();
            let cursor = Cursor::new(Incarnation::generate(), &worker, sequence);
            let text = cursor.encode();
            prop_assert!(text.len() <= MAX_TEXT);
            prop_assert_eq!(Cursor::decode(&text, &worker), Ok(cursor));
            prop_assert_eq!(Cursor::decode(&text, &WorkerId::generate()), Err(CursorFault::OtherWorker));
        }

        #[test]
        fn any_changed_character_is_malformed(sequence in any::<u64>(), at in 0_usize..66, to in "[A-Za-z0-9_=+/-]") {
            // acceptance 109
            let worker = WorkerId::generate();
            let text = Cursor::new(Incarnation::generate(), &worker, sequence).encode();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != text);
            prop_assert_eq!(Cursor::decode(&changed, &worker), Err(CursorFault::Malformed));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            prop_assert!(Cursor::decode(&text, &WorkerId::generate()).is_err());
        }
    }
}
