//! What a host answers to a change.

use super::{diagnostics, worker, worker_state};
use crate::model::{AnswerAck, Created, DeleteAck, InputAck, InterruptAck, StopAck};
use crate::proto::{runtime_v1 as host, v1};

/// The kind of evidence that tells how many transcript items had come from a new worker.
pub const RUN_SEGMENTS: &str = "run_segments";

/// A worker that was made.
#[must_use]
pub fn host_created(from: Created) -> host::CreateWorkerResponse {
    let Created { worker: made, segments, diagnostics: said } = from;
    host::CreateWorkerResponse {
        worker: Some(worker(made)),
        acceptance_evidence: vec![v1::AcceptanceEvidence {
            kind: RUN_SEGMENTS.to_owned(),
            detail: segments.to_string(),
        }],
        diagnostics: diagnostics(said),
    }
}

/// An input that was taken.
#[must_use]
pub fn host_sent(from: InputAck) -> host::SendInputResponse {
    let InputAck { transcript_sequence, event_id, diagnostics: said } = from;
    host::SendInputResponse { transcript_sequence, event_id, diagnostics: diagnostics(said) }
}

/// A stop.
#[must_use]
pub fn host_stopped(from: StopAck) -> host::StopWorkerResponse {
    let StopAck { event_id, state, diagnostics: said } = from;
    host::StopWorkerResponse { event_id, worker_state: worker_state(state).into(), diagnostics: diagnostics(said) }
}

/// A cancellation.
#[must_use]
pub fn host_cancelled(from: StopAck) -> host::CancelWorkerResponse {
    let host::StopWorkerResponse { event_id, worker_state, diagnostics } = host_stopped(from);
    host::CancelWorkerResponse { event_id, worker_state, diagnostics }
}

/// A question that was answered.
#[must_use]
pub fn host_answered(from: AnswerAck) -> host::AnswerApprovalResponse {
    let AnswerAck { event_id, diagnostics: said } = from;
    host::AnswerApprovalResponse { event_id, diagnostics: diagnostics(said) }
}

/// An interruption.
#[must_use]
pub fn host_interrupted(from: InterruptAck) -> host::InterruptWorkerResponse {
    let InterruptAck { event_id, diagnostics: said } = from;
    host::InterruptWorkerResponse { event_id, diagnostics: diagnostics(said) }
}

/// A deletion.
#[must_use]
pub fn host_deleted(from: DeleteAck) -> host::DeleteWorkerResponse {
    let DeleteAck { diagnostics: said } = from;
    host::DeleteWorkerResponse { diagnostics: diagnostics(said) }
}
