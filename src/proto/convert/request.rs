//! Requests of `workplane.v1` on one worker, checked: the runtime first, then the worker, then the rest.

use std::time::Duration;

use super::fields::{delivery, enum_value, input_kind, text, words};
use super::std_duration;
use crate::engine::ObserveFrom;
use crate::model::{
    AnswerApproval, Approval, ApprovalId, Cursor, CursorFault, DeleteWorker, Error, Reason, Result, RuntimeId,
    SendInput, StopMode, StopWorker, TerminalIntent, WorkerId, WorkerInput, transcript_limit,
};
use crate::proto::v1;

/// How long an observer hears nothing where it does not say.
const HEARTBEAT: Duration = Duration::from_secs(15);
const MIN_HEARTBEAT: Duration = Duration::from_secs(1);
const MAX_HEARTBEAT: Duration = Duration::from_mins(5);

/// A page of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Whose.
    pub worker_id: WorkerId,
    /// How many items to leave out.
    pub start: u64,
    /// How many items at most.
    pub limit: usize,
}

/// A transcript in batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTranscript {
    /// Whose.
    pub worker_id: WorkerId,
    /// How many items to leave out.
    pub start: u64,
    /// Go on with what is appended.
    pub follow: bool,
}

/// An observation of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe {
    /// Which.
    pub worker_id: WorkerId,
    /// Where it starts.
    pub from: ObserveFrom,
    /// How long nothing may come before a heartbeat.
    pub heartbeat: Duration,
    /// Only replay, up to this sequence.
    pub stop_after: Option<u64>,
}

/// The runtime that is named.
///
/// # Errors
/// It breaks the rule of identifiers.
pub fn runtime_id(text: &str) -> Result<RuntimeId> {
    Ok(RuntimeId::new(text)?)
}

/// The worker that is named, and its runtime, which is checked first (acceptance 21).
///
/// # Errors
/// One of them breaks the rule of identifiers.
pub fn worker_ids(runtime_id: &str, worker_id: &str) -> Result<(RuntimeId, WorkerId)> {
    Ok((RuntimeId::new(runtime_id)?, WorkerId::new(worker_id)?))
}

/// An error that names what it is about.
fn of_worker(error: Error, runtime_id: &RuntimeId, worker_id: &WorkerId) -> Error {
    error.with("runtime_id", runtime_id).with("worker_id", worker_id)
}

/// Checks an input.
///
/// # Errors
/// Names the bad field.
pub fn send_input(from: v1::SendInputRequest) -> Result<(RuntimeId, SendInput)> {
    let v1::SendInputRequest { runtime_id, worker_id, kind, content, delivery: how, request_id: _ } = from;
    let (runtime_id, worker_id) = worker_ids(&runtime_id, &worker_id)?;
    let input = WorkerInput::new(input_kind(kind)?, content)?;
    Ok((runtime_id, SendInput { worker_id, input, delivery: delivery(how)? }))
}

/// Checks a stop.
///
/// # Errors
/// Names the bad field.
pub fn stop_worker(from: v1::StopWorkerRequest) -> Result<(RuntimeId, StopWorker)> {
    let v1::StopWorkerRequest { runtime_id, worker_id, reason, mode, request_id: _ } = from;
    let (runtime_id, worker_id) = worker_ids(&runtime_id, &worker_id)?;
    let mode = stop_mode(mode)?;
    let reason = text(reason, "reason")?;
    Ok((runtime_id, StopWorker { worker_id, intent: TerminalIntent::Stop, reason, mode }))
}

/// Checks a cancellation.
///
/// # Errors
/// Names the bad field.
pub fn cancel_worker(from: v1::CancelWorkerRequest) -> Result<(RuntimeId, StopWorker)> {
    let v1::CancelWorkerRequest { runtime_id, worker_id, reason, request_id: _ } = from;
    let (runtime_id, worker_id) = worker_ids(&runtime_id, &worker_id)?;
    let reason = text(reason, "reason")?;
    Ok((runtime_id, StopWorker { worker_id, intent: TerminalIntent::Cancel, reason, mode: StopMode::Graceful }))
}

/// Checks an interruption.
///
/// # Errors
/// Names the bad field.
pub fn interrupt_worker(from: &v1::InterruptWorkerRequest) -> Result<(RuntimeId, WorkerId)> {
    let v1::InterruptWorkerRequest { runtime_id, worker_id, request_id: _ } = from;
    worker_ids(runtime_id, worker_id)
}

/// Checks a deletion.
///
/// # Errors
/// Names the bad field.
pub fn delete_worker(from: v1::DeleteWorkerRequest) -> Result<(RuntimeId, DeleteWorker)> {
    let v1::DeleteWorkerRequest { runtime_id, worker_id, force, request_id: _ } = from;
    let (runtime_id, worker_id) = worker_ids(&runtime_id, &worker_id)?;
    Ok((runtime_id, DeleteWorker { worker_id, force }))
}

/// Checks an answer to what a worker asks.
///
/// # Errors
/// Names the bad field.
pub fn answer_approval(from: v1::AnswerApprovalRequest) -> Result<(RuntimeId, AnswerApproval)> {
    let v1::AnswerApprovalRequest { runtime_id, worker_id, approval_id, decision, request_id: _ } = from;
    let (runtime_id, worker_id) = worker_ids(&runtime_id, &worker_id)?;
    Ok((runtime_id, answer(worker_id, &approval_id, decision)?))
}

pub(super) fn answer(worker_id: WorkerId, approval_id: &str, decision: String) -> Result<AnswerApproval> {
    let approval_id = ApprovalId::new(approval_id)?;
    let decision = words(decision, "decision", Approval::MAX_OPTION_ID)?;
    Ok(AnswerApproval { worker_id, approval_id, decision })
}

pub(super) fn stop_mode(number: i32) -> Result<StopMode> {
    Ok(match enum_value(number, "mode")? {
        v1::StopMode::Unspecified | v1::StopMode::Graceful => StopMode::Graceful,
        v1::StopMode::Force => StopMode::Force,
    })
}

/// Checks a request for a page of a transcript.
///
/// # Errors
/// Names the bad field, or is [`Reason::LimitTooLarge`].
pub fn transcript(from: v1::GetTranscriptRequest) -> Result<(RuntimeId, Transcript)> {
    let v1::GetTranscriptRequest { runtime_id, worker_id, start, limit } = from;
    let (runtime_id, worker_id) = worker_ids(&runtime_id, &worker_id)?;
    let limit = transcript_limit(limit).map_err(|error| of_worker(error, &runtime_id, &worker_id))?;
    Ok((runtime_id, Transcript { worker_id, start, limit }))
}

/// Checks a request for a transcript in batches.
///
/// # Errors
/// Names the bad field.
pub fn stream_transcript(from: v1::StreamTranscriptRequest) -> Result<(RuntimeId, StreamTranscript)> {
    let v1::StreamTranscriptRequest { runtime_id, worker_id, start, follow } = from;
    let (runtime_id, worker_id) = worker_ids(&runtime_id, &worker_id)?;
    Ok((runtime_id, StreamTranscript { worker_id, start, follow }))
}

/// Checks a request to observe a worker, its cursor included (acceptance 109).
///
/// # Errors
/// Names the bad field, or is [`Reason::CursorMalformed`].
pub fn observe(from: v1::ObserveWorkerRequest) -> Result<(RuntimeId, Observe)> {
    let v1::ObserveWorkerRequest { runtime_id, worker_id, cursor, start, heartbeat_interval } = from;
    let (runtime_id, worker_id) = worker_ids(&runtime_id, &worker_id)?;
    let from = observe_from(cursor.as_deref(), start, &worker_id);
    let from = from.map_err(|error| of_worker(error, &runtime_id, &worker_id))?;
    let heartbeat = heartbeat(heartbeat_interval)?;
    Ok((runtime_id, Observe { worker_id, from, heartbeat, stop_after: None }))
}

/// A cursor wins over a start.
pub(super) fn observe_from(cursor: Option<&str>, start: i32, worker_id: &WorkerId) -> Result<ObserveFrom> {
    let start = match enum_value(start, "start")? {
        v1::ObserveStart::Unspecified | v1::ObserveStart::Now => ObserveFrom::Now,
        v1::ObserveStart::Beginning => ObserveFrom::Beginning,
    };
    let Some(text) = cursor else { return Ok(start) };
    match Cursor::decode(text, worker_id) {
        Ok(cursor) => Ok(ObserveFrom::After(cursor)),
        Err(fault @ (CursorFault::Malformed | CursorFault::OtherWorker)) => {
            Err(Error::field_as(Reason::CursorMalformed, "cursor", fault.to_string()).with("worker_id", worker_id))
        }
    }
}

pub(super) fn heartbeat(asked: Option<prost_types::Duration>) -> Result<Duration> {
    let Some(asked) = asked else { return Ok(HEARTBEAT) };
    std_duration(&asked)
        .filter(|interval| (MIN_HEARTBEAT..=MAX_HEARTBEAT).contains(interval))
        .ok_or_else(|| Error::field("heartbeat_interval", "must be 1 s to 5 min"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Incarnation, InputDelivery, InputKind};

    fn observed(change: impl FnOnce(&mut v1::ObserveWorkerRequest)) -> Result<Observe> {
        let mut request = v1::ObserveWorkerRequest {
            runtime_id: "r".to_owned(),
            worker_id: "worker-1".to_owned(),
            ..Default::default()
        };
        change(&mut request);
        observe(request).map(|(_, observe)| observe)
    }

    #[test]
    fn an_input_is_queued_for_the_user_where_nothing_is_said() {
        // acceptance 9
        let request = v1::SendInputRequest {
            runtime_id: "r".to_owned(),
            worker_id: "w".to_owned(),
            content: "hi".to_owned(),
            ..Default::default()
        };
        let (_, asked) = send_input(request.clone()).unwrap();
        assert_eq!((asked.input.kind(), asked.delivery), (InputKind::User, InputDelivery::Queue));
        let refused = |change: fn(&mut v1::SendInputRequest)| {
            let mut request = request.clone();
            change(&mut request);
            send_input(request).unwrap_err().fields()[0].field.clone()
        };
        assert_eq!(refused(|r| r.content = " ".to_owned()), "content");
        assert_eq!(refused(|r| r.kind = 9), "kind");
        assert_eq!(refused(|r| r.delivery = -1), "delivery");
        assert_eq!(refused(|r| r.worker_id = "é".to_owned()), "worker_id");
    }

    #[test]
    fn both_ids_are_checked_the_runtimes_first() {
        // acceptance 21, 26, 49
        let first = |runtime_id, worker_id| {
            let error = worker_ids(runtime_id, worker_id).unwrap_err();
            (error.reason(), error.fields()[0].field.clone())
        };
        assert_eq!(first("a.b", " "), (Reason::InvalidIdentifier, "runtime_id".to_owned()));
        assert_eq!(first("a", " "), (Reason::InvalidIdentifier, "worker_id".to_owned()));
        assert_eq!(first("a", ""), (Reason::InvalidIdentifier, "worker_id".to_owned()));
        let unobserved = observed(|r| r.runtime_id = "/".to_owned()).unwrap_err();
        assert_eq!(unobserved.fields()[0].field, "runtime_id");
        let unobserved = observed(|r| r.worker_id = String::new()).unwrap_err();
        assert_eq!(unobserved.fields()[0].field, "worker_id");
    }

    #[test]
    fn stops_are_graceful_unless_forced_and_reasons_are_bounded() {
        // acceptance 10, 126
        let request = |mode, reason: &str| v1::StopWorkerRequest {
            runtime_id: "r".to_owned(),
            worker_id: "w".to_owned(),
            reason: reason.to_owned(),
            mode,
            request_id: String::new(),
        };
        assert_eq!(stop_worker(request(0, "")).unwrap().1.mode, StopMode::Graceful);
        assert_eq!(stop_worker(request(2, "why")).unwrap().1.mode, StopMode::Force);
        let long = stop_worker(request(0, &"x".repeat(2_049))).unwrap_err();
        assert_eq!(long.fields()[0].field, "reason");
    }

    #[test]
    fn a_cursor_wins_over_a_start_and_is_checked_whole() {
        // acceptance 109
        let worker_id = WorkerId::new("worker-1").unwrap();
        let cursor = Cursor::new(Incarnation::generate(), &worker_id, 4);
        let observe = observed(|r| {
            r.cursor = Some(cursor.encode());
            r.start = v1::ObserveStart::Beginning.into();
        });
        assert_eq!(observe.unwrap().from, ObserveFrom::After(cursor));
        let other = Cursor::new(Incarnation::generate(), &WorkerId::new("worker-2").unwrap(), 4).encode();
        for bad in ["", "x", &other] {
            let refused = observed(|r| r.cursor = Some(bad.to_owned())).unwrap_err();
            assert_eq!(refused.reason(), Reason::CursorMalformed);
        }
    }

    #[test]
    fn heartbeats_come_between_every_second_and_every_five_minutes() {
        assert_eq!(observed(|_| {}).unwrap().heartbeat, Duration::from_secs(15));
        let every = |seconds, nanos| {
            observed(|r| r.heartbeat_interval = Some(prost_types::Duration { seconds, nanos })).map(|o| o.heartbeat)
        };
        assert_eq!(every(1, 0).unwrap(), Duration::from_secs(1));
        for (seconds, nanos) in [(0, 999_999_999), (300, 1), (-1, 0), (1, -1), (i64::MAX, 0)] {
            assert_eq!(every(seconds, nanos).unwrap_err().fields()[0].field, "heartbeat_interval");
        }
    }

    #[test]
    fn a_page_of_a_transcript_has_its_default_and_its_cap() {
        // acceptance 2, 93, 126
        let ask = |limit| {
            transcript(v1::GetTranscriptRequest {
                runtime_id: "r".to_owned(),
                worker_id: "w".to_owned(),
                start: 0,
                limit,
            })
        };
        assert_eq!(ask(0).unwrap().1.limit, 256);
        let refused = ask(257).unwrap_err();
        assert_eq!(refused.reason(), Reason::LimitTooLarge);
        let metadata: Vec<_> = refused.metadata().iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(metadata, [("limit", "257"), ("max", "256"), ("runtime_id", "r"), ("worker_id", "w")]);
        assert_eq!(ask(-1).unwrap_err().fields()[0].field, "limit");
    }
}
