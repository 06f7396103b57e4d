//! Events and frames as bytes: the engine's [`FrameCodec`], in protobuf.

use std::time::SystemTime;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, message, uint64};

use super::convert;
use crate::engine::{Envelope, FrameCodec, StoredInput};
use crate::model::{Event, EventKind, InputKind, RequestId};
use crate::proto::v1;

/// Which payload of `ObservationFrame` has which number, both ways.
macro_rules! fields {
    ($($kind:ident = $number:literal),* $(,)?) => {
        /// The kind of the payload with this number.
        #[must_use]
        pub const fn kind_of_field(number: u32) -> Option<EventKind> {
            match number {
                $($number => Some(EventKind::$kind),)*
                _ => None,
            }
        }

        /// The number of a payload of this kind.
        #[must_use]
        pub const fn field_of_kind(kind: EventKind) -> u32 {
            match kind {
                $(EventKind::$kind => $number,)*
            }
        }
    };
}

fields! {
    Snapshot = 10,
    StateChanged = 11,
    InputAccepted = 12,
    ItemAppended = 13,
    OutputDelta = 14,
    TurnStarted = 15,
    TurnEnded = 16,
    ToolCall = 17,
    ApprovalRequested = 18,
    ApprovalSettled = 19,
    ActivityChanged = 20,
    Diagnostic = 21,
    Heartbeat = 22,
    Gap = 23,
    End = 24,
}

/// Events as the messages of `workplane.v1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProtoCodec;

impl FrameCodec for ProtoCodec {
    fn payload(&self, event: &Event) -> Bytes {
        convert::payload(event)
    }

    fn frame(&self, envelope: &Envelope<'_>, payload: &[u8]) -> Bytes {
        Head {
            runtime_id: envelope.runtime_id.as_str(),
            worker_id: envelope.worker_id.as_str(),
            cursor: &envelope.cursor.encode(),
            sequence: envelope.cursor.sequence,
            observed_at: envelope.observed_at,
        }
        .frame(envelope.kind, payload)
    }

    fn input(&self, accepted: &[u8], item: &[u8]) -> Option<StoredInput> {
        let v1::InputAccepted { request_id, transcript_sequence } = v1::InputAccepted::decode(accepted).ok()?;
        let item = v1::ItemAppended::decode(item).ok()?.item?;
        let kind = match item.role() {
            v1::TranscriptRole::User => InputKind::User,
            v1::TranscriptRole::System => InputKind::System,
            v1::TranscriptRole::Assistant | v1::TranscriptRole::Unspecified => return None,
        };
        let request_id = if request_id.is_empty() { None } else { Some(RequestId::new(&request_id).ok()?) };
        let is_its_own = item.sequence == transcript_sequence;
        is_its_own.then_some(StoredInput { item: transcript_sequence, request_id, kind, content: item.content })
    }
}

/// The envelope of a frame, as it is written.
pub(super) struct Head<'a> {
    pub runtime_id: &'a str,
    pub worker_id: &'a str,
    pub cursor: &'a str,
    pub sequence: u64,
    pub observed_at: SystemTime,
}

impl Head<'_> {
    /// The whole `ObservationFrame`, byte for byte what prost would write.
    pub(super) fn frame(&self, kind: EventKind, payload: &[u8]) -> Bytes {
        let field = field_of_kind(kind);
        let observed_at = convert::timestamp(self.observed_at);
        let texts = [(1, self.runtime_id), (2, self.worker_id), (3, self.cursor)];
        let mut len = message::encoded_len(5, &observed_at) + put_len(field, payload.len());
        len += texts.iter().map(|(number, text)| put_len(*number, text.len())).sum::<usize>();
        if self.sequence != 0 {
            len += uint64::encoded_len(4, &self.sequence);
        }

        let mut bytes = BytesMut::with_capacity(len);
        for (number, text) in texts {
            put(&mut bytes, number, text.as_bytes());
        }
        if self.sequence != 0 {
            uint64::encode(4, &self.sequence, &mut bytes);
        }
        message::encode(5, &observed_at, &mut bytes);
        put(&mut bytes, field, payload);
        debug_assert_eq!(bytes.len(), len);
        bytes.freeze()
    }
}

fn put(bytes: &mut BytesMut, number: u32, value: &[u8]) {
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(value.len() as u64, bytes);
    bytes.put_slice(value);
}

fn put_len(number: u32, len: usize) -> usize {
    key_len(number) + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use prost::Message as _;
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::model::{
        Activity, ActivityChange, Cursor, DeltaChannel, Diagnostic, Incarnation, OutputDelta, RequestId, Role,
        RuntimeId, Termination, TerminationReason, ToolCall, ToolStatus, TranscriptItem, TurnEndReason, WorkerId,
        WorkerState,
    };
    use crate::proto::{FILE_DESCRIPTOR_SET, v1, walk};

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn events() -> impl Strategy<Value = Event> {
        let request_id = || Some(RequestId::new("r-1").unwrap());
        prop_oneof![
            Just(Event::StateChanged(WorkerState::Running)),
            any::<u64>().prop_map(move |n| Event::InputAccepted { request_id: request_id(), transcript_sequence: n }),
            (any::<u64>(), any::<String>(), any::<u64>(), any::<bool>()).prop_map(
                |(sequence, content, event_id, continues)| {
                    Event::ItemAppended(TranscriptItem {
                        sequence,
                        role: Role::Assistant,
                        content,
                        event_id,
                        created_at: at(event_id >> 24),
                        turn_id: "t".into(),
                        continues,
                        truncated_bytes: 0,
                    })
                }
            ),
            Just(Event::TurnStarted { turn_id: "t".into(), request_id: request_id() }),
            Just(Event::TurnEnded { turn_id: "".into(), reason: TurnEndReason::NotDelivered }),
            any::<String>().prop_map(|title| {
                let (turn_id, call_id, status) = ("t".into(), "call-1".into(), ToolStatus::InProgress);
                Event::ToolCall(ToolCall { turn_id, call_id, title, status })
            }),
            any::<String>().prop_map(|message| {
                Event::End(Termination {
                    reason: TerminationReason::Exited,
                    exit_code: Some(0),
                    signal: None,
                    message,
                    ended_at: at(5),
                    run_generation: 1,
                    last_sequence: 9,
                })
            }),
            any::<String>().prop_map(|text| {
                Event::OutputDelta(OutputDelta { turn_id: "t".into(), channel: DeltaChannel::Thought, offset: 1, text })
            }),
            Just(Event::ActivityChanged(ActivityChange {
                activity: Activity::Busy,
                detail: String::new(),
                since: at(1),
            })),
            Just(Event::Diagnostic(Diagnostic::info("code", "words"))),
        ]
    }

    proptest! {
        #[test]
        fn a_frame_is_byte_for_byte_what_prost_writes(event in events(), sequence in any::<u64>(), millis in 0..u64::MAX >> 24) {
            let runtime_id = RuntimeId::new("runtime").unwrap();
            let worker_id = WorkerId::generate();
            let cursor = Cursor::new(Incarnation::generate(), &worker_id, sequence);
            let envelope = Envelope {
                runtime_id: &runtime_id,
                worker_id: &worker_id,
                cursor,
                observed_at: at(millis),
                kind: event.kind(),
            };
            let payload = ProtoCodec.payload(&event);
            let wire = ProtoCodec.frame(&envelope, &payload);
            let decoded = v1::ObservationFrame::decode(wire.clone()).unwrap();
            prop_assert_eq!(&decoded.encode_to_vec(), &wire);
            prop_assert_eq!(decoded.sequence, sequence);
            prop_assert_eq!(&decoded.cursor, &cursor.encode());
            prop_assert!(decoded.payload.is_some());
            let walked = walk::frame(&wire).unwrap();
            prop_assert_eq!((walked.kind, walked.body), (event.kind(), payload));
        }
    }

    #[test]
    fn a_stored_input_is_read_back_as_it_was_given() {
        let item = |role| {
            let (content, turn_id) = ("tell me\n".to_owned(), "turn-7".into());
            Event::ItemAppended(TranscriptItem {
                sequence: 4,
                role,
                content,
                event_id: 8,
                created_at: at(1),
                turn_id,
                continues: false,
                truncated_bytes: 0,
            })
        };
        for (role, kind) in [(Role::User, InputKind::User), (Role::System, InputKind::System)] {
            for request_id in [None, Some(RequestId::new("r-1").unwrap())] {
                let accepted = Event::InputAccepted { request_id: request_id.clone(), transcript_sequence: 4 };
                let read = ProtoCodec.input(&ProtoCodec.payload(&accepted), &ProtoCodec.payload(&item(role)));
                let content = "tell me\n".to_owned();
                assert_eq!(read, Some(StoredInput { item: 4, request_id, kind, content }));
            }
        }
        let other = Event::InputAccepted { request_id: None, transcript_sequence: 5 };
        assert_eq!(ProtoCodec.input(&ProtoCodec.payload(&other), &ProtoCodec.payload(&item(Role::User))), None);
        assert_eq!(ProtoCodec.input(b"\xff", &ProtoCodec.payload(&item(Role::User))), None);
    }

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let frame = pool.get_message_by_name("workplane.v1.ObservationFrame").unwrap();
        let oneof = frame.oneofs().next().unwrap();
        for field in oneof.fields() {
            let kind = kind_of_field(field.number()).unwrap();
            assert_eq!(field_of_kind(kind), field.number());
            let camel: String =
                field.name().split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();
            assert_eq!(format!("{kind:?}"), camel);
        }
        assert_eq!(oneof.fields().len(), (0..100).filter_map(kind_of_field).count());
    }
}
