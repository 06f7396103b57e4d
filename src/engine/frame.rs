//! Events as bytes. What is encoded and stored is an event's payload, once, when it is born; the envelope is put in
//! front of it once, when the event is published or read back, and never once per reader.
//!
//! The engine knows no wire format: `app` hands it the [`FrameCodec`].

use std::time::SystemTime;

use bytes::Bytes;

use crate::model::{Cursor, Event, EventKind, InputKind, RequestId, RuntimeId, WorkerId};

/// A durable event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its place among the worker's durable events, from 1.
    pub sequence: u64,
    /// Its commit's place among all commits of the runtime.
    pub position: u64,
    /// When it happened, by the host's clock.
    pub observed_at: SystemTime,
    /// What it is.
    pub kind: EventKind,
    /// The encoded payload.
    pub body: Bytes,
}

/// What stands in front of a payload.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The runtime of the worker.
    pub runtime_id: &'a RuntimeId,
    /// The worker.
    pub worker_id: &'a WorkerId,
    /// Where a reader stands once it has seen this; its sequence is the frame's.
    pub cursor: Cursor,
    /// When it happened.
    pub observed_at: SystemTime,
    /// What it is.
    pub kind: EventKind,
}

/// A frame ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The event's sequence; for what is not durable, that of the last durable event.
    pub sequence: u64,
    /// What it is.
    pub kind: EventKind,
    /// The whole encoded frame.
    pub wire: Bytes,
}

/// An input as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredInput {
    /// Its place in the transcript.
    pub item: u64,
    /// Of the request that gave it.
    pub request_id: Option<RequestId>,
    /// Of which sort it is.
    pub kind: InputKind,
    /// What it says.
    pub content: String,
}

/// Turns events into bytes.
pub trait FrameCodec: Send + Sync + 'static {
    /// The payload of an event.
    fn payload(&self, event: &Event) -> Bytes;

    /// The whole frame: the envelope and the payload behind it.
    fn frame(&self, envelope: &Envelope<'_>, payload: &[u8]) -> Bytes;

    /// Reads an input back: from the payloads of its `input_accepted` and of the item that is adjacent to it. `None` where
    /// they are not what this wrote.
    fn input(&self, accepted: &[u8], item: &[u8]) -> Option<StoredInput>;
}
