//! Events, transcript items and what is in progress, for the wire. The bytes of [`payload`] are what the store keeps.

use bytes::Bytes;
use prost::Message as _;

use super::{approval, diagnostic, termination, timestamp, worker, worker_state};
use crate::model::{Caller, DeltaChannel, Event, InProgress, RequestId, Role, Settlement, ToolCall, TranscriptItem};
use crate::proto::v1;

/// The encoded payload of an event: the message behind its member of `ObservationFrame.payload`.
#[must_use]
pub fn payload(event: &Event) -> Bytes {
    let bytes = match event {
        Event::StateChanged(state) => v1::StateChanged { state: worker_state(*state).into() }.encode_to_vec(),
        Event::InputAccepted { request_id, transcript_sequence } => {
            let request_id = request_text(request_id.as_ref());
            v1::InputAccepted { request_id, transcript_sequence: *transcript_sequence }.encode_to_vec()
        }
        Event::ItemAppended(item) => v1::ItemAppended { item: Some(transcript_item(item.clone())) }.encode_to_vec(),
        Event::TurnStarted { turn_id, request_id } => {
            v1::TurnStarted { turn_id: turn_id.to_string(), request_id: request_text(request_id.as_ref()) }
                .encode_to_vec()
        }
        Event::TurnEnded { turn_id, reason } => {
            v1::TurnEnded { turn_id: turn_id.to_string(), reason: reason.as_str().to_owned() }.encode_to_vec()
        }
        Event::ToolCall(ToolCall { turn_id, call_id, title, status }) => v1::ToolCall {
            turn_id: turn_id.to_string(),
            call_id: call_id.to_string(),
            title: title.clone(),
            status: status.as_str().to_owned(),
        }
        .encode_to_vec(),
        Event::ApprovalRequested(asked) => v1::ApprovalRequested { approval: Some(approval(asked)) }.encode_to_vec(),
        Event::ApprovalSettled(Settlement { approval_id, option_id, caller }) => v1::ApprovalSettled {
            approval_id: approval_id.to_string(),
            option_id: option_id.as_deref().unwrap_or_default().to_owned(),
            caller: caller.as_ref().map(Caller::to_string).unwrap_or_default(),
        }
        .encode_to_vec(),
        Event::End(end) => v1::End { termination: Some(termination(end.clone())) }.encode_to_vec(),
        Event::OutputDelta(delta) => v1::OutputDelta {
            turn_id: delta.turn_id.to_string(),
            channel: channel(delta.channel).into(),
            offset: delta.offset,
            text: delta.text.clone(),
        }
        .encode_to_vec(),
        Event::ActivityChanged(change) => v1::ActivityChanged {
            activity: worker::activity(change.activity).into(),
            detail: change.detail.clone(),
            since: Some(timestamp(change.since)),
        }
        .encode_to_vec(),
        Event::Diagnostic(said) => diagnostic(said.clone()).encode_to_vec(),
        Event::Gap { from, to, reason } => v1::Gap {
            from_sequence: *from,
            to_sequence: *to,
            reason: reason.as_str().to_owned(),
            recovery: "snapshot".to_owned(),
        }
        .encode_to_vec(),
    };
    bytes.into()
}

fn request_text(id: Option<&RequestId>) -> String {
    id.map(RequestId::to_string).unwrap_or_default()
}

/// An item of a transcript.
#[must_use]
pub fn transcript_item(from: TranscriptItem) -> v1::TranscriptItem {
    let TranscriptItem { sequence, role, content, event_id, created_at, turn_id, continues, truncated_bytes } = from;
    let role = match role {
        Role::User => v1::TranscriptRole::User,
        Role::Assistant => v1::TranscriptRole::Assistant,
        Role::System => v1::TranscriptRole::System,
    };
    v1::TranscriptItem {
        sequence,
        role: role.into(),
        content,
        event_id,
        created_at: Some(timestamp(created_at)),
        turn_id: turn_id.to_string(),
        continues,
        truncated_bytes,
    }
}

/// What a worker is saying.
#[must_use]
pub fn in_progress(from: &InProgress) -> v1::InProgress {
    let InProgress { turn_id, channel: voice, text, offset } = from;
    v1::InProgress {
        turn_id: turn_id.to_string(),
        channel: channel(*voice).into(),
        text: text.clone(),
        offset: *offset,
    }
}

fn channel(from: DeltaChannel) -> v1::OutputChannel {
    match from {
        DeltaChannel::Output => v1::OutputChannel::Output,
        DeltaChannel::Thought => v1::OutputChannel::Thought,
    }
}
