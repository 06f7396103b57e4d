//! Workers for the wire.

use super::{bundle_ref, diagnostics, duration, timestamp};
use crate::model::{Activity, ImplementationKind, Termination, TerminationReason, Worker, WorkerState, Workspace};
use crate::proto::v1;

/// A worker.
#[must_use]
pub fn worker(from: Worker) -> v1::Worker {
    v1::Worker {
        activity: activity_of(&from).into(),
        activity_detail: from.activity_detail.into(),
        activity_since: from.activity_since.map(timestamp),
        runtime_id: from.runtime_id.to_string(),
        worker_id: from.worker_id.to_string(),
        workspace_id: from.workspace_id.to_string(),
        host_id: from.host_id.to_string(),
        label: from.label,
        labels: from.labels.into_iter().collect(),
        role: from.role,
        profile: from.profile,
        workspace: Some(workspace(from.workspace)),
        state: worker_state(from.state).into(),
        run_generation: from.run_generation,
        created_at: Some(timestamp(from.created_at)),
        last_seen_at: from.last_seen_at.map(timestamp),
        seen_age: from.seen_age.map(duration),
        last_progress_at: from.last_progress_at.map(timestamp),
        stale: from.stale,
        termination: from.termination.map(termination),
        config_bundle: from.config_bundle.map(bundle_ref),
        implementation: Some(implementation(from.implementation, from.display_hint.into_owned())),
        capabilities: Some(v1::WorkerCapabilities {
            can_accept_input: from.can_accept_input,
            can_stop: from.can_stop,
            can_spawn_followup: false,
        }),
        transcript_length: from.transcript_length,
        first_sequence: from.first_sequence,
        first_item_sequence: from.first_item_sequence,
        last_event_id: from.last_event_id,
        diagnostics: diagnostics(from.diagnostics),
    }
}

/// What a live worker does; of one that has ended it is not said.
fn activity_of(worker: &Worker) -> v1::WorkerActivity {
    if worker.state.is_final() { v1::WorkerActivity::Unspecified } else { activity(worker.activity) }
}

/// What a worker does.
pub(super) fn activity(from: Activity) -> v1::WorkerActivity {
    match from {
        Activity::Idle => v1::WorkerActivity::Idle,
        Activity::Busy => v1::WorkerActivity::Busy,
        Activity::Waiting => v1::WorkerActivity::Waiting,
    }
}

/// What a worker is.
#[must_use]
pub fn worker_state(from: WorkerState) -> v1::WorkerState {
    match from {
        WorkerState::Starting => v1::WorkerState::Starting,
        WorkerState::Running => v1::WorkerState::Running,
        WorkerState::Stopping => v1::WorkerState::Stopping,
        WorkerState::Stopped => v1::WorkerState::Stopped,
        WorkerState::Cancelled => v1::WorkerState::Cancelled,
        WorkerState::Failed => v1::WorkerState::Failed,
    }
}

/// How a worker ended.
#[must_use]
pub fn termination(from: Termination) -> v1::Termination {
    let Termination { reason, exit_code, signal, message, ended_at, run_generation, last_sequence } = from;
    let reason = match reason {
        TerminationReason::Stopped => v1::TerminationReason::Stopped,
        TerminationReason::Cancelled => v1::TerminationReason::Cancelled,
        TerminationReason::Exited => v1::TerminationReason::Exited,
        TerminationReason::Killed => v1::TerminationReason::Killed,
        TerminationReason::OutOfMemory => v1::TerminationReason::OutOfMemory,
        TerminationReason::StartFailed => v1::TerminationReason::StartFailed,
        TerminationReason::ProtocolError => v1::TerminationReason::ProtocolError,
        TerminationReason::RuntimeLost => v1::TerminationReason::RuntimeLost,
        TerminationReason::Drained => v1::TerminationReason::Drained,
    };
    v1::Termination {
        reason: reason.into(),
        exit_code,
        signal,
        message,
        ended_at: Some(timestamp(ended_at)),
        run_generation,
        last_sequence,
    }
}

fn workspace(from: Workspace) -> v1::WorkerWorkspace {
    let visibility = match from {
        Workspace::BackendInternal => "backend_internal",
        Workspace::RemoteRuntime => "remote_runtime",
    };
    v1::WorkerWorkspace { visibility: visibility.to_owned(), identity: "runtime_registry_worker".to_owned() }
}

fn implementation(kind: ImplementationKind, display_hint: String) -> v1::WorkerImplementation {
    let kind = match kind {
        ImplementationKind::EmbeddedWorkerRuntime => "embedded_worker_runtime",
        ImplementationKind::RemoteWorkerRuntime => "remote_worker_runtime",
    };
    v1::WorkerImplementation { kind: kind.to_owned(), display_hint }
}
