//! The frames that belong to one reader and are kept nowhere: the edge that serves it makes them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message as _;

use super::codec::Head;
use super::{convert, v1};
use crate::engine::SnapshotView;
use crate::model::{Cursor, Diagnostic, EventKind, Incarnation, RuntimeId, WorkerId};

/// One reader's place in a stream.
#[derive(Debug, Clone)]
pub struct Place {
    /// The runtime, as the reader asked for it.
    pub runtime_id: RuntimeId,
    /// The worker.
    pub worker_id: WorkerId,
    /// The store that the sequence belongs to.
    pub incarnation: Incarnation,
    /// The last durable event the reader was sent.
    pub sequence: u64,
}

impl Place {
    /// Resumes after what was sent.
    #[must_use]
    pub fn cursor(&self) -> String {
        Cursor::new(self.incarnation, &self.worker_id, self.sequence).encode()
    }

    /// The worker as it is: the first frame.
    #[must_use]
    pub fn snapshot(&self, view: &SnapshotView, now: SystemTime) -> Bytes {
        let payload = v1::Snapshot {
            first_sequence: view.worker.first_sequence,
            next_sequence: view.resumes_after.saturating_add(1),
            in_progress: view.in_progress.as_deref().map(convert::in_progress),
            worker: Some(convert::worker((*view.worker).clone())),
        };
        self.frame(EventKind::Snapshot, &payload.encode_to_vec(), now)
    }

    /// Nothing happened. `host_seen_age` is how long ago the host was heard of: zero where it is this process.
    #[must_use]
    pub fn heartbeat(&self, host_seen_age: Duration, now: SystemTime) -> Bytes {
        let payload = v1::Heartbeat { host_seen_age: Some(convert::duration(host_seen_age)) };
        self.frame(EventKind::Heartbeat, &payload.encode_to_vec(), now)
    }

    /// A remark on the stream itself.
    #[must_use]
    pub fn diagnostic(&self, said: Diagnostic, now: SystemTime) -> Bytes {
        self.frame(EventKind::Diagnostic, &convert::diagnostic(said).encode_to_vec(), now)
    }

    fn frame(&self, kind: EventKind, payload: &[u8], observed_at: SystemTime) -> Bytes {
        Head {
            runtime_id: self.runtime_id.as_str(),
            worker_id: self.worker_id.as_str(),
            cursor: &self.cursor(),
            sequence: self.sequence,
            observed_at,
        }
        .frame(kind, payload)
    }
}
