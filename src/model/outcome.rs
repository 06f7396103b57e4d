//! What became of what was asked.

use bytes::Bytes;

use super::bundle::BundleSummary;
use super::diagnostic::Diagnostic;
use super::worker::{Worker, WorkerState};

/// A worker that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// It, as it is.
    pub worker: Worker,
    /// How many transcript items had come from it when this was answered.
    pub segments: u64,
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// An input that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputAck {
    /// Its place in the transcript.
    pub transcript_sequence: u64,
    /// The sequence of its `input_accepted` event.
    pub event_id: u64,
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// An end that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopAck {
    /// The sequence of the `end` event; absent while the worker is still stopping.
    pub event_id: Option<u64>,
    /// What the worker is now.
    pub state: WorkerState,
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// A question that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerAck {
    /// The sequence of the `approval_settled` event.
    pub event_id: u64,
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// An interruption.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterruptAck {
    /// The sequence of the `turn_ended` event; absent where no turn was running, or it has not ended yet.
    pub event_id: Option<u64>,
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// A worker whose record is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteAck {
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// One page of a list of workers, ids rising.
#[derive(Debug, Clone, Default)]
pub struct WorkerPage {
    /// The workers.
    pub workers: Vec<Worker>,
    /// There are more after the last of these.
    pub more: bool,
}

/// One page of a list of bundles, by id and then digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundlePage {
    /// The bundles.
    pub bundles: Vec<BundleSummary>,
    /// There are more after the last of these.
    pub more: bool,
}

/// One page of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscriptPage {
    /// Items in the whole transcript.
    pub total_items: u64,
    /// Where the next page starts, if there is more.
    pub next_start: Option<u64>,
    /// The items, each as its encoded message.
    pub items: Vec<Bytes>,
}
