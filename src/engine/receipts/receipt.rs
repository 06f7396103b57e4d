//! What a request is known by, and what it was answered with.

use std::fmt;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::engine::row::WorkerRow;
use crate::model::{BundleRef, CallContext, Fingerprint, WorkerId};

/// The scope of a request id: workspace, caller, method and the id itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReceiptKey([u8; 32]);

/// The first bytes of a key, under which its receipt is found: they are those of a SHA-256, and no two are alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShortKey(pub [u8; 15]);

impl ReceiptKey {
    /// The key of a call of `method`; `None` where it bears no request id.
    #[must_use]
    pub fn of(ctx: &CallContext, method: &str) -> Option<Self> {
        let request_id = ctx.request_id.as_ref()?;
        let mut hash = Sha256::new();
        for part in [ctx.workspace.as_str(), ctx.caller.as_str(), method, request_id.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Some(Self(hash.finalize().into()))
    }

    /// The key as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key that was stored as `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Under what it is found.
    #[must_use]
    pub fn short(&self) -> ShortKey {
        ShortKey(std::array::from_fn(|at| self.0[at]))
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.short().fmt(f)
    }
}

impl fmt::Debug for ShortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// What a request did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It made the worker.
    Created(WorkerId),
    /// Its input was taken.
    Input {
        /// By this worker.
        worker_id: WorkerId,
        /// The item's place in the transcript.
        transcript_sequence: u64,
        /// The sequence of the `input_accepted` event.
        event_id: u64,
    },
    /// It asked the worker to end.
    Stopping(WorkerId),
    /// Its answer was taken.
    Answered {
        /// By this worker.
        worker_id: WorkerId,
        /// The sequence of the `approval_settled` event.
        event_id: u64,
    },
    /// It asked the worker to break off its turn.
    Interrupted {
        /// This worker.
        worker_id: WorkerId,
        /// The `input_accepted` event of that turn's input; absent where none was running.
        turn: Option<u64>,
    },
    /// It stored the bundle.
    Bundle(BundleRef),
    /// It removed the bundle.
    BundleRemoved(BundleRef),
    /// It deleted the worker.
    Deleted {
        /// Which.
        worker_id: WorkerId,
        /// Its row as it was last, for repeats of what was asked of it before; absent where that could not be read.
        last: Option<Box<WorkerRow>>,
    },
}

impl Outcome {
    /// The worker it was about, if it was about one.
    #[must_use]
    pub fn worker_id(&self) -> Option<&WorkerId> {
        match self {
            Self::Created(worker_id)
            | Self::Input { worker_id, .. }
            | Self::Stopping(worker_id)
            | Self::Answered { worker_id, .. }
            | Self::Interrupted { worker_id, .. }
            | Self::Deleted { worker_id, .. } => Some(worker_id),
            Self::Bundle(_) | Self::BundleRemoved(_) => None,
        }
    }
}

/// A request's answer, kept with its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Under what it is found.
    pub key: ReceiptKey,
    /// What the request was.
    pub fingerprint: Fingerprint,
    /// What it did.
    pub outcome: Outcome,
    /// When, by the host's clock.
    pub at: SystemTime,
}
