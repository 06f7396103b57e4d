//! What retention removed on the host while nobody here had read it yet: the host refuses our cursor and names the oldest
//! one that is still good, and what lies between is told as a gap.

use std::time::SystemTime;

use crate::engine::{Envelope, FrameCodec as _, Published};
use crate::model::{Cursor, Error, Event, EventKind, GapReason, Incarnation, Reason, RuntimeId, WorkerId};
use crate::proto::ProtoCodec;

/// The events of one worker that cannot be read any more.
pub(super) struct Gap<'a> {
    pub runtime_id: &'a RuntimeId,
    pub worker_id: &'a WorkerId,
    pub incarnation: Incarnation,
    /// The last event that was read.
    pub after: u64,
}

impl Gap<'_> {
    /// The frame that stands for what is missing, where `error` says that something is: at most up to `last`, the last
    /// event that the host has told of.
    pub(super) fn of(self, error: &Error, last: u64) -> Option<Published> {
        if error.reason() != Reason::CursorExpired {
            return None;
        }
        let (_, oldest) = error.metadata().iter().find(|(key, _)| *key == "oldest_cursor")?;
        let cursor = Cursor::decode(oldest, self.worker_id).ok()?;
        let to = cursor.sequence;
        if cursor.incarnation != self.incarnation || to <= self.after || to > last {
            return None;
        }
        let body = ProtoCodec.payload(&Event::Gap { from: self.after + 1, to, reason: GapReason::Retention });
        let (runtime_id, worker_id, kind) = (self.runtime_id, self.worker_id, EventKind::Gap);
        let envelope = Envelope { runtime_id, worker_id, cursor, observed_at: SystemTime::now(), kind };
        Some(Published { sequence: to, kind, wire: ProtoCodec.frame(&envelope, &body) })
    }
}
