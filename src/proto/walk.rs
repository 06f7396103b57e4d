//! Reads the top level of encoded messages without decoding what is in them: for bytes that go on as they are.
//!
//! The bytes may come from a host, and so from anybody: every fault is told, nothing panics, and nothing is copied.

use std::ops::Range;

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::codec::kind_of_field;
use crate::model::EventKind;

/// The largest frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// The envelope of an encoded `ObservationFrame`, and its payload as it stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked<'a> {
    /// The runtime it says it is of.
    pub runtime_id: &'a str,
    /// The worker it says it is of.
    pub worker_id: &'a str,
    /// Where a reader stands after it.
    pub cursor: &'a str,
    /// The event's sequence.
    pub sequence: u64,
    /// The encoded `Timestamp`.
    pub observed_at: Bytes,
    /// What it is.
    pub kind: EventKind,
    /// The encoded payload.
    pub body: Bytes,
}

/// What is wrong with bytes that should be a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is larger than [`MAX_FRAME_BYTES`].
    #[error("the frame is too large")]
    TooLarge,
    /// It is no encoded message.
    #[error("the frame cannot be decoded")]
    Undecodable,
    /// It has a field that a frame does not have, or not with this wire type.
    #[error("the frame has an unknown field {0}")]
    Unknown(u32),
    /// It has a field twice, or two payloads.
    #[error("the frame repeats field {0}")]
    Repeated(u32),
    /// It lacks a field.
    #[error("the frame lacks {0}")]
    Missing(&'static str),
}

/// Walks an encoded `ObservationFrame`.
///
/// # Errors
/// The first fault: a frame that is not whole is not given on.
pub fn frame(bytes: &Bytes) -> Result<Walked<'_>, Fault> {
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(Fault::TooLarge);
    }
    let (mut runtime_id, mut worker_id, mut cursor) = (None, None, None);
    let (mut sequence, mut observed_at, mut payload) = (None, None, None);
    for field in Fields::new(bytes) {
        let (number, value) = field?;
        match (number, value) {
            (1, Value::Bytes(range)) => set(&mut runtime_id, text(bytes, range)?, number)?,
            (2, Value::Bytes(range)) => set(&mut worker_id, text(bytes, range)?, number)?,
            (3, Value::Bytes(range)) => set(&mut cursor, text(bytes, range)?, number)?,
            (4, Value::Varint(value)) => set(&mut sequence, value, number)?,
            (5, Value::Bytes(range)) => set(&mut observed_at, bytes.slice(range), number)?,
            (_, Value::Bytes(range)) => {
                let kind = kind_of_field(number).ok_or(Fault::Unknown(number))?;
                set(&mut payload, (kind, bytes.slice(range)), number)?;
            }
            (_, Value::Varint(_) | Value::Fixed) => return Err(Fault::Unknown(number)),
        }
    }
    let (kind, body) = payload.ok_or(Fault::Missing("a payload"))?;
    Ok(Walked {
        runtime_id: runtime_id.ok_or(Fault::Missing("runtime_id"))?,
        worker_id: worker_id.ok_or(Fault::Missing("worker_id"))?,
        cursor: cursor.ok_or(Fault::Missing("cursor"))?,
        // Zero is not written.
        sequence: sequence.unwrap_or_default(),
        observed_at: observed_at.ok_or(Fault::Missing("observed_at"))?,
        kind,
        body,
    })
}

fn set<T>(slot: &mut Option<T>, value: T, number: u32) -> Result<(), Fault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::Repeated(number)),
    }
}

fn text(bytes: &Bytes, range: Range<usize>) -> Result<&str, Fault> {
    std::str::from_utf8(&bytes[range]).map_err(|_| Fault::Undecodable)
}

/// The encoded item inside an encoded `ItemAppended`; `None` where that holds anything else.
#[must_use]
pub fn item_of(body: &Bytes) -> Option<Bytes> {
    let mut fields = Fields::new(body);
    match (fields.next()?, fields.next()) {
        (Ok((1, Value::Bytes(range))), None) => Some(body.slice(range)),
        _ => None,
    }
}

/// The place of an encoded `TranscriptItem` in its transcript.
#[must_use]
pub fn item_sequence(item: &Bytes) -> Option<u64> {
    Fields::new(item).find_map(|field| match field {
        Ok((1, Value::Varint(sequence))) => Some(sequence),
        _ => None,
    })
}

/// A field's value, as far as it matters here.
pub(super) enum Value {
    Varint(u64),
    /// Where it stands.
    Bytes(Range<usize>),
    Fixed,
}

/// The top-level fields of a message; ends at the first fault.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn field(&mut self) -> Option<(u32, Value)> {
        let mut rest = &self.bytes[self.at..];
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(decode_varint(&mut rest).ok()?),
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let start = self.bytes.len() - rest.len();
                rest = rest.get(len..)?;
                Value::Bytes(start..start + len)
            }
            WireType::SixtyFourBit => {
                rest = rest.get(8..)?;
                Value::Fixed
            }
            WireType::ThirtyTwoBit => {
                rest = rest.get(4..)?;
                Value::Fixed
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        self.at = self.bytes.len() - rest.len();
        Some((number, value))
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<(u32, Value), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.at = self.bytes.len();
        }
        Some(field.ok_or(Fault::Undecodable))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::v1::{self, observation_frame::Payload};

    fn frames() -> impl Strategy<Value = v1::ObservationFrame> {
        let payload = prop_oneof![
            any::<String>().prop_map(|content| {
                let item = v1::TranscriptItem { sequence: 3, content, ..Default::default() };
                Payload::ItemAppended(v1::ItemAppended { item: Some(item) })
            }),
            any::<u64>().prop_map(|to_sequence| Payload::Gap(v1::Gap { to_sequence, ..Default::default() })),
            Just(Payload::Heartbeat(v1::Heartbeat::default())),
            Just(Payload::End(v1::End::default())),
        ];
        (".{1,9}", ".{1,9}", ".{1,9}", any::<u64>(), any::<i64>(), payload).prop_map(
            |(runtime_id, worker_id, cursor, sequence, seconds, payload)| v1::ObservationFrame {
                runtime_id,
                worker_id,
                cursor,
                sequence,
                observed_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
                payload: Some(payload),
            },
        )
    }

    fn agrees(bytes: &Bytes, walked: &Walked<'_>) {
        let decoded = v1::ObservationFrame::decode(bytes.clone()).unwrap();
        assert_eq!(walked.runtime_id, decoded.runtime_id);
        assert_eq!(walked.worker_id, decoded.worker_id);
        assert_eq!(walked.cursor, decoded.cursor);
        assert_eq!(walked.sequence, decoded.sequence);
        assert_eq!(prost_types::Timestamp::decode(walked.observed_at.clone()).ok(), decoded.observed_at);
        if let Some(Payload::ItemAppended(appended)) = decoded.payload {
            assert_eq!(walked.kind, EventKind::ItemAppended);
            assert_eq!(v1::ItemAppended::decode(walked.body.clone()).unwrap(), appended);
            let item = item_of(&walked.body).unwrap();
            assert_eq!(item_sequence(&item), Some(3));
            assert_eq!(v1::TranscriptItem::decode(item).unwrap(), appended.item.unwrap());
        }
    }

    proptest! {
        #[test]
        fn a_walk_sees_what_a_decoder_sees(message in frames()) {
            let bytes = Bytes::from(message.encode_to_vec());
            agrees(&bytes, &frame(&bytes).unwrap());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            _ = frame(&bytes);
            _ = item_of(&bytes);
            _ = item_sequence(&bytes);
        }

        #[test]
        fn a_damaged_frame_is_refused_or_read_as_a_decoder_reads_it(
            message in frames(), at in any::<prop::sample::Index>(), to in any::<u8>()
        ) {
            let mut bytes = message.encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let bytes = Bytes::from(bytes);
            if let Ok(walked) = frame(&bytes)
                && let Ok(decoded) = v1::ObservationFrame::decode(bytes.clone())
            {
                prop_assert_eq!(walked.sequence, decoded.sequence);
                prop_assert_eq!(walked.worker_id, decoded.worker_id);
            }
        }

        #[test]
        fn a_frame_said_twice_or_cut_is_refused(message in frames(), cut in any::<prop::sample::Index>()) {
            let bytes = message.encode_to_vec();
            let twice = Bytes::from([bytes.as_slice(), &bytes].concat());
            prop_assert!(matches!(frame(&twice), Err(Fault::Repeated(_))));
            let cut = Bytes::from(bytes[..cut.index(bytes.len())].to_vec());
            prop_assert!(frame(&cut).is_err());
        }
    }

    #[test]
    fn what_is_unknown_or_too_large_is_refused() {
        let mut bytes = v1::ObservationFrame { sequence: 1, ..Default::default() }.encode_to_vec();
        assert_eq!(frame(&Bytes::from(bytes.clone())), Err(Fault::Missing("a payload")));
        prost::encoding::encode_key(99, WireType::LengthDelimited, &mut bytes);
        bytes.push(0);
        assert_eq!(frame(&Bytes::from(bytes)), Err(Fault::Unknown(99)));
        assert_eq!(frame(&Bytes::from(vec![0; MAX_FRAME_BYTES + 1])), Err(Fault::TooLarge));
    }
}
