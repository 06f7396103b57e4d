//! The six messages that carry frames or items, written by hand: they keep those as the bytes that the store has.
//! An embedded message and a `bytes` field are the same on the wire, so that the twins are the contract's messages.

use bytes::Bytes;

use super::v1::{Diagnostic, OperationState};

/// `workplane.v1.ObserveWorkerResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ObserveWorkerResponse {
    /// The encoded `ObservationFrame`.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub frame: Option<Bytes>,
}

/// `workplane.v1.GetTranscriptResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTranscriptResponse {
    /// What became of the request.
    #[prost(enumeration = "OperationState", tag = "1")]
    pub state: i32,
    /// As asked.
    #[prost(string, tag = "2")]
    pub runtime_id: String,
    /// As asked.
    #[prost(string, tag = "3")]
    pub worker_id: String,
    /// As asked.
    #[prost(uint64, tag = "4")]
    pub start: u64,
    /// The limit that was applied.
    #[prost(int32, tag = "5")]
    pub limit: i32,
    /// Items in the whole transcript.
    #[prost(uint64, tag = "6")]
    pub total_items: u64,
    /// The `start` of the next page, if there is more.
    #[prost(uint64, optional, tag = "7")]
    pub next_start: Option<u64>,
    /// The encoded `TranscriptItem`s.
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub items: Vec<Bytes>,
    /// What else there is to say.
    #[prost(message, repeated, tag = "9")]
    pub diagnostics: Vec<Diagnostic>,
}

/// `workplane.v1.StreamTranscriptResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamTranscriptResponse {
    /// The encoded `TranscriptItem`s.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub items: Vec<Bytes>,
    /// The `start` that goes on after this batch.
    #[prost(uint64, tag = "2")]
    pub next_start: u64,
}

/// `workplane.runtime.v1.ObserveWorkerResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HostObserveWorkerResponse {
    /// The encoded `ObservationFrame`.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub frame: Option<Bytes>,
}

/// `workplane.runtime.v1.GetTranscriptResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HostGetTranscriptResponse {
    /// As asked.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// As asked.
    #[prost(uint64, tag = "2")]
    pub start: u64,
    /// The limit that was applied.
    #[prost(int32, tag = "3")]
    pub limit: i32,
    /// Items in the whole transcript.
    #[prost(uint64, tag = "4")]
    pub total_items: u64,
    /// The `start` of the next page, if there is more.
    #[prost(uint64, optional, tag = "5")]
    pub next_start: Option<u64>,
    /// The encoded `TranscriptItem`s.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub items: Vec<Bytes>,
    /// What else there is to say.
    #[prost(message, repeated, tag = "7")]
    pub diagnostics: Vec<Diagnostic>,
}

/// `workplane.runtime.v1.StreamTranscriptResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HostStreamTranscriptResponse {
    /// The encoded `TranscriptItem`s.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub items: Vec<Bytes>,
    /// The `start` that goes on after this batch.
    #[prost(uint64, tag = "2")]
    pub next_start: u64,
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_reflect::{Cardinality, DescriptorPool, DynamicMessage, Kind, Value};

    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    /// What a twin writes with every field set, read by the contract's own descriptor, must have every field of it,
    /// and nothing that it does not know.
    fn reads_whole(name: &str, twin: &impl Message) -> DynamicMessage {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let descriptor = pool.get_message_by_name(name).unwrap();
        let message = DynamicMessage::decode(descriptor.clone(), twin.encode_to_vec().as_slice()).unwrap();
        assert_eq!(message.unknown_fields().count(), 0, "{name} writes a field that the contract does not have");
        for field in descriptor.fields() {
            assert!(message.has_field(&field), "{name} does not write {}", field.name());
        }
        message
    }

    /// The twin's field names and numbers, told apart by the value each was given.
    fn number(message: &DynamicMessage, field: &str) -> u64 {
        match message.get_field_by_name(field).unwrap().as_ref() {
            Value::U64(n) => *n,
            Value::I32(n) | Value::EnumNumber(n) => u64::try_from(*n).unwrap(),
            other => panic!("{field} is {other:?}"),
        }
    }

    fn text(message: &DynamicMessage, field: &str) -> String {
        message.get_field_by_name(field).unwrap().as_str().unwrap().to_owned()
    }

    fn item() -> Bytes {
        let item = crate::proto::v1::TranscriptItem { sequence: 7, ..Default::default() };
        item.encode_to_vec().into()
    }

    fn diagnostic() -> Diagnostic {
        Diagnostic { code: "code".to_owned(), ..Default::default() }
    }

    #[test]
    fn the_frame_twins_are_the_contracts_messages() {
        let frame: Bytes =
            crate::proto::v1::ObservationFrame { sequence: 9, ..Default::default() }.encode_to_vec().into();
        let public =
            reads_whole("workplane.v1.ObserveWorkerResponse", &ObserveWorkerResponse { frame: Some(frame.clone()) });
        let host = reads_whole(
            "workplane.runtime.v1.ObserveWorkerResponse",
            &HostObserveWorkerResponse { frame: Some(frame) },
        );
        for message in [public, host] {
            let field = message.get_field_by_name("frame").unwrap();
            assert_eq!(number(field.as_message().unwrap(), "sequence"), 9);
        }
    }

    #[test]
    fn the_stream_twins_are_the_contracts_messages() {
        let public = StreamTranscriptResponse { items: vec![item()], next_start: 3 };
        let host = HostStreamTranscriptResponse { items: vec![item()], next_start: 3 };
        for message in [
            reads_whole("workplane.v1.StreamTranscriptResponse", &public),
            reads_whole("workplane.runtime.v1.StreamTranscriptResponse", &host),
        ] {
            assert_eq!(number(&message, "next_start"), 3);
            assert_eq!(
                number(
                    message.get_field_by_name("items").unwrap().as_list().unwrap()[0].as_message().unwrap(),
                    "sequence"
                ),
                7
            );
        }
    }

    #[test]
    fn the_page_twins_are_the_contracts_messages() {
        let public = GetTranscriptResponse {
            state: 1,
            runtime_id: "runtime".to_owned(),
            worker_id: "worker".to_owned(),
            start: 2,
            limit: 3,
            total_items: 4,
            next_start: Some(5),
            items: vec![item()],
            diagnostics: vec![diagnostic()],
        };
        let public = reads_whole("workplane.v1.GetTranscriptResponse", &public);
        assert_eq!((number(&public, "state"), text(&public, "runtime_id").as_str()), (1, "runtime"));
        let host = HostGetTranscriptResponse {
            worker_id: "worker".to_owned(),
            start: 2,
            limit: 3,
            total_items: 4,
            next_start: Some(5),
            items: vec![item()],
            diagnostics: vec![diagnostic()],
        };
        let host = reads_whole("workplane.runtime.v1.GetTranscriptResponse", &host);
        for message in [public, host] {
            assert_eq!(text(&message, "worker_id"), "worker");
            for (n, field) in (2_u64..).zip(["start", "limit", "total_items", "next_start"]) {
                assert_eq!(number(&message, field), n, "{field}");
            }
        }
    }

    #[test]
    fn what_the_twins_keep_as_bytes_are_messages_in_the_contract() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        for (message, field, of) in [
            ("workplane.v1.ObserveWorkerResponse", "frame", "workplane.v1.ObservationFrame"),
            ("workplane.runtime.v1.ObserveWorkerResponse", "frame", "workplane.v1.ObservationFrame"),
            ("workplane.v1.GetTranscriptResponse", "items", "workplane.v1.TranscriptItem"),
            ("workplane.runtime.v1.GetTranscriptResponse", "items", "workplane.v1.TranscriptItem"),
            ("workplane.v1.StreamTranscriptResponse", "items", "workplane.v1.TranscriptItem"),
            ("workplane.runtime.v1.StreamTranscriptResponse", "items", "workplane.v1.TranscriptItem"),
        ] {
            let field = pool.get_message_by_name(message).unwrap().get_field_by_name(field).unwrap();
            assert!(matches!(field.kind(), Kind::Message(kept) if kept.full_name() == of), "{message}");
            assert_eq!(field.cardinality() == Cardinality::Repeated, field.name() == "items");
        }
    }
}
