//! What happens to a worker, as its stream tells it.

use std::sync::Arc;
use std::time::SystemTime;

use super::approval::{Approval, Settlement};
use super::diagnostic::Diagnostic;
use super::id::RequestId;
use super::transcript::TranscriptItem;
use super::worker::{Termination, WorkerState};

/// A turn of a worker: the work on one input. Empty where output belongs to no turn.
pub type TurnId = Arc<str>;

/// Which of a worker's voices a delta belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaChannel {
    /// What it says.
    Output,
    /// What it thinks aloud.
    Thought,
}

/// Whether a live worker works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It waits for input.
    Idle,
    /// It works on a turn.
    Busy,
    /// It waits for an answer it asked for.
    Waiting,
}

/// Why a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnEndReason {
    /// The input was written to the program.
    Written,
    /// The worker ended before the input was picked up.
    NotDelivered,
    /// The input was picked up, and it cannot be known what became of it.
    RuntimeLost,
    /// The program has answered.
    EndTurn,
    /// The program stopped at a number of tokens.
    MaxTokens,
    /// The program stopped at a number of its own requests.
    MaxTurnRequests,
    /// The program refused to go on.
    Refusal,
    /// The turn was broken off.
    Cancelled,
    /// The program answered with an error, or ended before it answered.
    Failed,
}

impl TurnEndReason {
    /// Every one there is.
    pub const ALL: [Self; 9] = [
        Self::Written,
        Self::NotDelivered,
        Self::RuntimeLost,
        Self::EndTurn,
        Self::MaxTokens,
        Self::MaxTurnRequests,
        Self::Refusal,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::NotDelivered => "NOT_DELIVERED",
            Self::RuntimeLost => "RUNTIME_LOST",
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::MaxTurnRequests => "max_turn_requests",
            Self::Refusal => "refusal",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A piece of what a worker is saying, before it is an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputDelta {
    /// The turn it belongs to; may be empty.
    pub turn_id: TurnId,
    /// Which voice.
    pub channel: DeltaChannel,
    /// Bytes of this item's text before `text`.
    pub offset: u64,
    /// The new text.
    pub text: String,
}

/// What a worker has said so far of an item that is not finished: the last 64 KiB of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InProgress {
    /// The turn it belongs to; may be empty.
    pub turn_id: TurnId,
    /// Which voice.
    pub channel: DeltaChannel,
    /// The text.
    pub text: String,
    /// Bytes of the item's text before `text`.
    pub offset: u64,
}

impl InProgress {
    /// The most text that is kept of what is in progress, in bytes.
    const MAX_BYTES: usize = 64 * 1024;

    /// What is in progress once `delta` has been said after `before`.
    #[must_use]
    pub fn extended(before: Option<Self>, delta: &OutputDelta) -> Self {
        let mut now = match before {
            Some(same)
                if same.turn_id == delta.turn_id
                    && same.channel == delta.channel
                    && same.offset + same.text.len() as u64 == delta.offset =>
            {
                same
            }
            _ => Self {
                turn_id: delta.turn_id.clone(),
                channel: delta.channel,
                text: String::new(),
                offset: delta.offset,
            },
        };
        now.text.push_str(&delta.text);
        if now.text.len() > Self::MAX_BYTES {
            let cut = now.text.ceil_char_boundary(now.text.len() - Self::MAX_BYTES);
            now.text.drain(..cut);
            now.offset += cut as u64;
        }
        now
    }
}

/// How the use of a tool goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolStatus {
    /// It has not begun.
    Pending,
    /// It is under way.
    InProgress,
    /// It is done.
    Completed,
    /// It has failed.
    Failed,
}

impl ToolStatus {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// A worker uses a tool, or that use has another status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The turn it belongs to; may be empty.
    pub turn_id: TurnId,
    /// The use, unique for the turn: 1 to 128 visible characters of ASCII.
    pub call_id: Arc<str>,
    /// What it is, in the worker's words.
    pub title: String,
    /// How it goes.
    pub status: ToolStatus,
}

/// A change of a live worker's activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityChange {
    /// What it does now.
    pub activity: Activity,
    /// In the worker's words; may be empty.
    pub detail: String,
    /// Since when.
    pub since: SystemTime,
}

/// Something that happened to a worker. Durable ones count in its sequence; the others are told to who is listening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Durable: the worker has a new state.
    StateChanged(WorkerState),
    /// Durable: an input was taken; its item follows.
    InputAccepted {
        /// The id of the request that brought it.
        request_id: Option<RequestId>,
        /// The item's place in the transcript.
        transcript_sequence: u64,
    },
    /// Durable: the transcript grew by one item.
    ItemAppended(TranscriptItem),
    /// Durable: work on an input begins.
    TurnStarted {
        /// The turn.
        turn_id: TurnId,
        /// The id of the request that brought the input.
        request_id: Option<RequestId>,
    },
    /// Durable: work on an input is over.
    TurnEnded {
        /// The turn.
        turn_id: TurnId,
        /// How.
        reason: TurnEndReason,
    },
    /// Durable: the worker uses a tool, or that use has another status.
    ToolCall(ToolCall),
    /// Durable: the worker asks something that somebody has to answer.
    ApprovalRequested(Arc<Approval>),
    /// Durable: a question has its answer, or needs none any more.
    ApprovalSettled(Settlement),
    /// Durable, the last of all: the worker has ended.
    End(Termination),
    /// Not kept: a piece of an item in the making.
    OutputDelta(OutputDelta),
    /// Not kept: the worker does something else now.
    ActivityChanged(ActivityChange),
    /// Not kept: something worth knowing.
    Diagnostic(Diagnostic),
    /// Not kept, and for one reader alone: stands in place of durable events that cannot be read any more.
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
        /// Why.
        reason: GapReason,
    },
}

/// Why durable events cannot be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// They were removed for their age or size.
    Retention,
    /// The worker's record was deleted while it was read.
    Deleted,
}

impl GapReason {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Deleted => "deleted",
        }
    }
}

/// What an event is, without what it says: the payloads of an observation frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the payload of its name in api.md")]
pub enum EventKind {
    Snapshot,
    StateChanged,
    InputAccepted,
    ItemAppended,
    OutputDelta,
    TurnStarted,
    TurnEnded,
    ToolCall,
    ApprovalRequested,
    ApprovalSettled,
    ActivityChanged,
    Diagnostic,
    Heartbeat,
    Gap,
    End,
}

impl EventKind {
    /// Whether events of this kind are stored and counted.
    #[must_use]
    pub const fn is_durable(self) -> bool {
        match self {
            Self::StateChanged
            | Self::InputAccepted
            | Self::ItemAppended
            | Self::TurnStarted
            | Self::TurnEnded
            | Self::ToolCall
            | Self::ApprovalRequested
            | Self::ApprovalSettled
            | Self::End => true,
            Self::Snapshot
            | Self::OutputDelta
            | Self::ActivityChanged
            | Self::Diagnostic
            | Self::Heartbeat
            | Self::Gap => false,
        }
    }
}

impl Event {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::StateChanged(_) => EventKind::StateChanged,
            Self::InputAccepted { .. } => EventKind::InputAccepted,
            Self::ItemAppended(_) => EventKind::ItemAppended,
            Self::TurnStarted { .. } => EventKind::TurnStarted,
            Self::TurnEnded { .. } => EventKind::TurnEnded,
            Self::ToolCall(_) => EventKind::ToolCall,
            Self::ApprovalRequested(_) => EventKind::ApprovalRequested,
            Self::ApprovalSettled(_) => EventKind::ApprovalSettled,
            Self::End(_) => EventKind::End,
            Self::OutputDelta(_) => EventKind::OutputDelta,
            Self::ActivityChanged(_) => EventKind::ActivityChanged,
            Self::Diagnostic(_) => EventKind::Diagnostic,
            Self::Gap { .. } => EventKind::Gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(offset: u64, text: &str) -> OutputDelta {
        OutputDelta { turn_id: "".into(), channel: DeltaChannel::Output, offset, text: text.into() }
    }

    #[test]
    fn what_is_in_progress_keeps_its_last_64_kib_whole() {
        let first = InProgress::extended(None, &delta(0, &"é".repeat(40_000)));
        assert!(first.text.len() <= InProgress::MAX_BYTES);
        assert_eq!(first.offset + first.text.len() as u64, 80_000);
        let more = InProgress::extended(Some(first), &delta(80_000, "end"));
        assert!(more.text.ends_with("éend"));
        let fresh = InProgress::extended(Some(more), &delta(0, "new"));
        assert_eq!((fresh.offset, fresh.text.as_str()), (0, "new"));
    }
}
