//! Frames and transcript items on one line each, for people. A `String` takes all that is written to it.

use std::fmt::Write as _;

use super::failure::described;
use super::output::{plain, word};
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{ObservationFrame, Termination, TranscriptItem, WorkerActivity, WorkerState};

/// A transcript item: number, role, content.
pub(super) fn item_line(item: &TranscriptItem) -> String {
    let role = word(item.role().as_str_name(), "TRANSCRIPT_ROLE");
    let mut text = format!("{:>5}  {role:<9}  {}", item.sequence, plain(&item.content));
    if item.continues {
        text.push_str(" …");
    }
    if item.truncated_bytes > 0 {
        let _ = write!(text, " ({} bytes dropped)", item.truncated_bytes);
    }
    text
}

/// That there were events or items before the first one that is kept.
pub(super) fn front_is_gone(what: &str, first: u64) -> Option<String> {
    match first {
        0 | 1 => None,
        2 => Some(format!("{what} 1 is no longer kept")),
        _ => Some(format!("{what}s 1-{} are no longer kept", first - 1)),
    }
}

/// A frame: the worker's count of events, what happened, and to what.
pub(super) fn frame_line(frame: &ObservationFrame) -> String {
    let (kind, text) = frame.payload.as_ref().map_or(("unknown", String::new()), told);
    format!("{:>5}  {kind:<18}  {text}", frame.sequence).trim_end().to_owned()
}

fn told(payload: &Payload) -> (&'static str, String) {
    match payload {
        Payload::Snapshot(snapshot) => {
            let worker = snapshot.worker.clone().unwrap_or_default();
            let state = state_word(worker.state());
            let mut text = format!("{state}, {} events, {} items", worker.last_event_id, worker.transcript_length);
            if let Some(saying) = &snapshot.in_progress {
                let _ = write!(text, ", saying: {}", plain(&saying.text));
            }
            ("snapshot", text)
        }
        Payload::StateChanged(change) => ("state_changed", state_word(change.state())),
        Payload::InputAccepted(input) => ("input_accepted", format!("item {}", input.transcript_sequence)),
        Payload::ItemAppended(appended) => {
            ("item_appended", appended.item.as_ref().map(item_line).unwrap_or_default().trim_start().to_owned())
        }
        Payload::OutputDelta(delta) => {
            let channel = word(delta.channel().as_str_name(), "OUTPUT_CHANNEL");
            ("output_delta", format!("{channel} {}: {}", delta.offset, plain(&delta.text)))
        }
        Payload::TurnStarted(turn) => ("turn_started", plain(&turn.turn_id).into()),
        Payload::TurnEnded(turn) => ("turn_ended", format!("{} {}", plain(&turn.turn_id), plain(&turn.reason))),
        Payload::ToolCall(call) => ("tool_call", format!("{}: {}", plain(&call.title), plain(&call.status))),
        Payload::ApprovalRequested(asked) => {
            let approval = asked.approval.clone().unwrap_or_default();
            ("approval_requested", format!("{}: {}", plain(&approval.approval_id), plain(&approval.title)))
        }
        Payload::ApprovalSettled(settled) => {
            ("approval_settled", format!("{}: {}", plain(&settled.approval_id), plain(&settled.option_id)))
        }
        Payload::ActivityChanged(change) => {
            ("activity_changed", format!("{} {}", activity_word(change.activity()), plain(&change.detail)))
        }
        Payload::Diagnostic(diagnostic) => ("diagnostic", described(diagnostic)),
        Payload::Heartbeat(_) => ("heartbeat", String::new()),
        Payload::Gap(gap) => {
            ("gap", format!("events {} to {} are gone: {}", gap.from_sequence, gap.to_sequence, plain(&gap.reason)))
        }
        Payload::End(end) => ("end", end.termination.as_ref().map(termination).unwrap_or_default()),
    }
}

/// How a worker ended, in words.
pub(super) fn termination(end: &Termination) -> String {
    let mut text = word(end.reason().as_str_name(), "TERMINATION_REASON");
    if let Some(code) = end.exit_code {
        let _ = write!(text, ", exit code {code}");
    }
    if let Some(signal) = end.signal {
        let _ = write!(text, ", signal {signal}");
    }
    if !end.message.is_empty() {
        let _ = write!(text, ": {}", plain(&end.message));
    }
    text
}

pub(super) fn state_word(state: WorkerState) -> String {
    word(state.as_str_name(), "WORKER_STATE")
}

pub(super) fn activity_word(activity: WorkerActivity) -> String {
    word(activity.as_str_name(), "WORKER_ACTIVITY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{End, ItemAppended, TerminationReason, TranscriptRole};

    #[test]
    fn a_frame_is_one_line_that_steers_nothing() {
        let item = TranscriptItem {
            sequence: 2,
            role: TranscriptRole::Assistant.into(),
            content: "a\x1b[2J\nb".to_owned(),
            truncated_bytes: 9,
            ..TranscriptItem::default()
        };
        let payload = Some(Payload::ItemAppended(ItemAppended { item: Some(item) }));
        let frame = ObservationFrame { sequence: 7, payload, ..ObservationFrame::default() };
        let line = "    7  item_appended       2  assistant  a\\u{1b}[2J\\nb (9 bytes dropped)";
        assert_eq!(frame_line(&frame), line);
    }

    #[test]
    fn only_a_front_that_is_gone_is_said_to_be() {
        assert_eq!([0, 1].map(|first| front_is_gone("event", first)), [None, None]);
        assert_eq!(front_is_gone("item", 2).unwrap(), "item 1 is no longer kept");
        assert_eq!(front_is_gone("event", 2_699).unwrap(), "events 1-2698 are no longer kept");
    }

    #[test]
    fn the_end_says_how() {
        let termination = Termination {
            reason: TerminationReason::Exited.into(),
            exit_code: Some(3),
            message: "the program exited".to_owned(),
            ..Termination::default()
        };
        let payload = Some(Payload::End(End { termination: Some(termination) }));
        let frame = ObservationFrame { sequence: 9, payload, ..ObservationFrame::default() };
        assert_eq!(frame_line(&frame), "    9  end                 exited, exit code 3: the program exited");
    }
}
