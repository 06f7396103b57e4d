//! The payloads of a host's frames, as far as a relay must know them: to keep its own view of the worker, and to let
//! nothing through that is not in a field for a worker's text.

use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;

use super::approval::{approval, approval_of};
use super::malformed;
use super::worker::{MAX_DETAIL, MAX_MESSAGE, activity, detail, state, termination, worker};
use crate::model::{
    Activity, DeltaChannel, EventKind, InProgress, OutputDelta, RequestId, Result, RuntimeId, Termination, Worker,
    WorkerState, is_plain,
};
use crate::proto::{convert, v1};

/// The longest id inside a payload, in bytes.
const MAX_ID: usize = 128;
/// The longest word for the end of a turn, in bytes.
const MAX_WORD: usize = 64;
const TOOL_STATUSES: &[&str] = &["pending", "in_progress", "completed", "failed"];
const GAP_REASONS: &[&str] = &["retention", "damaged", "deleted"];
const GAP_RECOVERIES: &[&str] = &["snapshot"];

/// What a frame says, as far as it changes what is known of the worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It has a new state.
    State(WorkerState),
    /// Its transcript has an item of this sequence.
    Item {
        /// The item's place.
        sequence: u64,
        /// The event that appended it, which must be this one.
        event_id: u64,
        /// The worker said it.
        by_worker: bool,
    },
    /// It is saying this.
    Delta(OutputDelta),
    /// It does this now, with these particulars, since then.
    Activity(Activity, Box<str>, Option<SystemTime>),
    /// It did something that is told on as it is.
    Progress,
    /// Events of these sequences cannot be read any more.
    Gap {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// It has ended.
    End(Termination),
    /// A durable event that changes nothing here.
    Other,
    /// A frame that belongs to the connection to the host, and not to the worker.
    Passing,
}

/// Where a stream stands: its first frame.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The worker as it is.
    pub worker: Worker,
    /// What it is saying.
    pub in_progress: Option<InProgress>,
    /// The next durable event that the stream will send.
    pub next_sequence: u64,
}

/// Reads the payload of a snapshot.
///
/// # Errors
/// It is malformed, or of another runtime.
pub fn standing(body: &Bytes, runtime_id: &RuntimeId) -> Result<Standing> {
    let v1::Snapshot { worker: of, first_sequence: _, next_sequence, in_progress } = decode(body, "snapshot")?;
    let speaking = |it| -> Result<InProgress> {
        let v1::InProgress { turn_id, channel: voice, text, offset } = it;
        Ok(InProgress { turn_id: id(turn_id)?.into(), channel: channel(voice)?, text, offset })
    };
    Ok(Standing {
        worker: worker(of.ok_or_else(|| malformed("snapshot.worker"))?, runtime_id)?,
        in_progress: in_progress.map(speaking).transpose()?,
        next_sequence,
    })
}

/// Reads the payload of any other frame.
///
/// # Errors
/// It is malformed.
pub fn said(kind: EventKind, body: &Bytes) -> Result<Said> {
    Ok(match kind {
        EventKind::StateChanged => Said::State(state(decode::<v1::StateChanged>(body, "state_changed")?.state)?),
        EventKind::InputAccepted => {
            request_id(&decode::<v1::InputAccepted>(body, "input_accepted")?.request_id)?;
            Said::Other
        }
        EventKind::ItemAppended => item(decode(body, "item_appended")?)?,
        EventKind::OutputDelta => {
            let v1::OutputDelta { turn_id, channel: voice, offset, text } = decode(body, "output_delta")?;
            Said::Delta(OutputDelta { turn_id: id(turn_id)?.into(), channel: channel(voice)?, offset, text })
        }
        EventKind::TurnStarted => {
            let v1::TurnStarted { turn_id, request_id: of } = decode(body, "turn_started")?;
            request_id(&of)?;
            id(turn_id).map(|_| Said::Progress)?
        }
        EventKind::TurnEnded => {
            let v1::TurnEnded { turn_id, reason } = decode(body, "turn_ended")?;
            open_word(&reason)?;
            id(turn_id).map(|_| Said::Other)?
        }
        EventKind::ToolCall => {
            let v1::ToolCall { turn_id, call_id, title: _, status } = decode(body, "tool_call")?;
            word(&status, TOOL_STATUSES)?;
            id(turn_id).and_then(|_| id(call_id)).map(|_| Said::Progress)?
        }
        EventKind::ApprovalRequested => {
            let v1::ApprovalRequested { approval: asked } = decode(body, "approval_requested")?;
            approval(asked.ok_or_else(|| malformed("approval_requested.approval"))?).map(|_| Said::Progress)?
        }
        EventKind::ApprovalSettled => {
            let v1::ApprovalSettled { approval_id, option_id, caller } = decode(body, "approval_settled")?;
            approval_of(&approval_id)?;
            if caller.len() > MAX_ID || !caller.chars().all(is_plain) {
                return Err(malformed("approval_settled.caller"));
            }
            id(option_id).map(|_| Said::Other)?
        }
        EventKind::ActivityChanged => {
            let v1::ActivityChanged { activity: now, detail: words, since } = decode(body, "activity_changed")?;
            // The frame goes on as it is: what is too long in it cannot be cut here.
            if words.len() > MAX_DETAIL {
                return Err(malformed("activity_changed.detail"));
            }
            Said::Activity(activity(now)?, detail(&words), since.as_ref().and_then(convert::system_time))
        }
        EventKind::Gap => {
            let v1::Gap { from_sequence: from, to_sequence: to, reason, recovery } = decode(body, "gap")?;
            word(&reason, GAP_REASONS)?;
            word(&recovery, GAP_RECOVERIES)?;
            Said::Gap { from, to }
        }
        EventKind::End => {
            let v1::End { termination: how } = decode(body, "end")?;
            let how = how.ok_or_else(|| malformed("end.termination"))?;
            // The frame goes on as it is: what is too long in it cannot be cut here.
            if how.message.len() > MAX_MESSAGE {
                return Err(malformed("end.termination.message"));
            }
            Said::End(termination(how)?)
        }
        EventKind::Snapshot | EventKind::Heartbeat | EventKind::Diagnostic => Said::Passing,
    })
}

fn item(from: v1::ItemAppended) -> Result<Said> {
    let item = from.item.ok_or_else(|| malformed("item_appended.item"))?;
    let by_worker = match v1::TranscriptRole::try_from(item.role) {
        Ok(v1::TranscriptRole::Assistant) => true,
        Ok(v1::TranscriptRole::User | v1::TranscriptRole::System) => false,
        Ok(v1::TranscriptRole::Unspecified) | Err(_) => return Err(malformed("item_appended.item.role")),
    };
    id(item.turn_id)?;
    Ok(Said::Item { sequence: item.sequence, event_id: item.event_id, by_worker })
}

fn channel(number: i32) -> Result<DeltaChannel> {
    match v1::OutputChannel::try_from(number) {
        Ok(v1::OutputChannel::Output) => Ok(DeltaChannel::Output),
        Ok(v1::OutputChannel::Thought) => Ok(DeltaChannel::Thought),
        Ok(v1::OutputChannel::Unspecified) | Err(_) => Err(malformed("channel")),
    }
}

fn decode<M: Message + Default>(body: &Bytes, what: &'static str) -> Result<M> {
    M::decode(body.clone()).map_err(|_| malformed(what))
}

/// A closed word.
fn word(text: &str, closed: &[&str]) -> Result<()> {
    if closed.contains(&text) { Ok(()) } else { Err(malformed("an unknown word")) }
}

/// A word of a list that may grow: of a form that carries nothing else.
fn open_word(text: &str) -> Result<()> {
    let fits = (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    if fits { Ok(()) } else { Err(malformed("a word of another form")) }
}

/// A short text without control characters, or none.
pub(super) fn id(text: String) -> Result<String> {
    if text.len() <= MAX_ID && text.bytes().all(|b| b.is_ascii_graphic()) { Ok(text) } else { Err(malformed("an id")) }
}

fn request_id(text: &str) -> Result<()> {
    if text.is_empty() || RequestId::new(text).is_ok() { Ok(()) } else { Err(malformed("request_id")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    fn turn_ended(reason: &str) -> Result<Said> {
        let body = v1::TurnEnded { turn_id: "turn-1".to_owned(), reason: reason.to_owned() }.encode_to_vec();
        said(EventKind::TurnEnded, &body.into())
    }

    #[test]
    fn the_end_of_a_turn_may_have_a_word_that_is_new() {
        let longest = "x".repeat(64);
        for word in ["written", "NOT_DELIVERED", "end_turn", "a_word_of_a_later_version", &longest] {
            assert_eq!(turn_ended(word).unwrap(), Said::Other, "{word}");
        }
        let too_long = "x".repeat(65);
        for text in ["", "see /etc/passwd", "a.b", "a\n", "wörd", &too_long] {
            assert_eq!(turn_ended(text).unwrap_err().reason(), Reason::RemoteRuntimeMalformedResponse, "{text}");
        }
    }

    #[test]
    fn who_settled_a_question_and_how_is_told_in_a_form_that_carries_nothing_else() {
        let settled = |approval_id: &str, option_id: &str, caller: &str| {
            let [approval_id, option_id, caller] = [approval_id, option_id, caller].map(str::to_owned);
            let body = v1::ApprovalSettled { approval_id, option_id, caller }.encode_to_vec();
            said(EventKind::ApprovalSettled, &body.into()).is_ok()
        };
        assert!(settled("approval-1", "allow_once", "Größe & Söhne") && settled("approval-1", "", ""));
        let long = "x".repeat(129);
        for (approval_id, option_id, caller) in [
            ("", "a", "b"),
            ("a b", "a", "b"),
            ("a", "a b", "c"),
            ("a", &long, "b"),
            ("a", "b", &long),
            ("a", "b", "\u{1b}[2J"),
        ] {
            assert!(!settled(approval_id, option_id, caller), "{approval_id} {option_id} {caller}");
        }
        let nothing = v1::ApprovalRequested { approval: None }.encode_to_vec();
        assert!(said(EventKind::ApprovalRequested, &nothing.into()).is_err());
    }

    #[test]
    fn the_message_of_an_end_is_bounded() {
        let end = |length: usize| {
            let termination = v1::Termination {
                reason: v1::TerminationReason::Exited.into(),
                message: "x".repeat(length),
                ended_at: Some(convert::timestamp(std::time::SystemTime::UNIX_EPOCH)),
                ..Default::default()
            };
            said(EventKind::End, &v1::End { termination: Some(termination) }.encode_to_vec().into())
        };
        let Said::End(termination) = end(MAX_MESSAGE).unwrap() else { panic!("an end") };
        assert_eq!(termination.message.len(), 2_048);
        assert_eq!(end(MAX_MESSAGE + 1).unwrap_err().reason(), Reason::RemoteRuntimeMalformedResponse);
    }
}
