//! A worker's origin and row.

use std::sync::Arc;

use super::{known, stored, time, unknown, v1};
use crate::engine::store::StoredWorker;
use crate::engine::{ProcessRecord, Protocol, WorkerOrigin, WorkerRow};
use crate::model::{
    Approval, ApprovalId, ApprovalKind, ApprovalOption, Caller, Diagnostic, Result, Severity, Termination,
    TerminationReason, WorkerId, WorkerState, WorkspaceId,
};
use crate::proto::convert::{self, Scope as _, required};
use crate::proto::host_client::request;

pub(super) fn origin(from: &WorkerOrigin) -> stored::WorkerOrigin {
    let WorkerOrigin {
        worker_id,
        workspace_id,
        caller,
        label,
        labels,
        role,
        profile,
        display_hint,
        config_bundle,
        capabilities,
        created_at,
        diagnostics,
    } = from.clone();
    stored::WorkerOrigin {
        worker_id: worker_id.to_string(),
        workspace_id: workspace_id.to_string(),
        caller: caller.to_string(),
        label,
        labels,
        role,
        profile: Some(request::profile(profile)),
        protocol: protocol(display_hint).into(),
        config_bundle: config_bundle.map(convert::bundle_ref),
        capabilities,
        created_at: Some(convert::timestamp(created_at)),
        diagnostics: convert::diagnostics(diagnostics),
    }
}

pub(super) fn read_origin(from: stored::WorkerOrigin) -> Result<WorkerOrigin> {
    let stored::WorkerOrigin {
        worker_id,
        workspace_id,
        caller,
        label,
        labels,
        role,
        profile,
        protocol,
        config_bundle,
        capabilities,
        created_at,
        diagnostics,
    } = from;
    let diagnostics = diagnostics.into_iter().enumerate();
    Ok(WorkerOrigin {
        worker_id: WorkerId::new(&worker_id)?,
        workspace_id: WorkspaceId::new(&workspace_id)?,
        caller: Caller::new(&caller),
        label,
        labels,
        role,
        profile: required(profile, "profile").and_then(|it| convert::profile_of(it).scope("profile"))?,
        display_hint: read_protocol(protocol)?.as_str(),
        config_bundle: config_bundle.map(convert::bundle_reference).transpose().scope("config_bundle")?,
        capabilities,
        created_at: time(created_at, "created_at")?,
        diagnostics: diagnostics
            .map(|(at, it)| read_diagnostic(it).scope(&format!("diagnostics[{at}]")))
            .collect::<Result<_>>()?,
    })
}

/// The protocol behind the word that is shown for it.
fn protocol(display_hint: &str) -> stored::WorkerProtocol {
    // Every origin's word is that of a protocol, which a test of the engine's rows holds.
    match Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == display_hint) {
        Some(Protocol::Catalog) => stored::WorkerProtocol::Catalog,
        Some(Protocol::Lines) => stored::WorkerProtocol::Lines,
        Some(Protocol::Acp) => stored::WorkerProtocol::Acp,
        None => stored::WorkerProtocol::Unspecified,
    }
}

fn read_protocol(number: i32) -> Result<Protocol> {
    match known(number, "protocol")? {
        stored::WorkerProtocol::Catalog => Ok(Protocol::Catalog),
        stored::WorkerProtocol::Lines => Ok(Protocol::Lines),
        stored::WorkerProtocol::Acp => Ok(Protocol::Acp),
        stored::WorkerProtocol::Unspecified => Err(unknown(number, "protocol")),
    }
}

pub(super) fn row(from: &StoredWorker) -> stored::WorkerRow {
    let StoredWorker { revision, row } = from.clone();
    let WorkerRow {
        // A record of its own, written once.
        origin: _,
        state,
        run_generation,
        process,
        driver,
        last_sequence,
        first_sequence,
        transcript_length,
        removed_items,
        said_items,
        picked_up,
        turns_ended,
        last_accepted,
        last_progress_at,
        restarts,
        last_failure,
        termination,
        approvals,
        approvals_asked,
    } = *row;
    stored::WorkerRow {
        revision,
        state: convert::worker_state(state).into(),
        run_generation,
        process: process.map(|ProcessRecord { pid, start_time, boot }| stored::ProcessRecord { pid, start_time, boot }),
        driver,
        last_sequence,
        first_sequence,
        transcript_length,
        removed_items,
        said_items,
        picked_up,
        turns_ended,
        last_accepted,
        last_progress_at: last_progress_at.map(convert::timestamp),
        restarts: restarts.into_iter().map(convert::timestamp).collect(),
        last_failure: last_failure.map(convert::termination),
        termination: termination.map(convert::termination),
        approvals: approvals.iter().map(|asked| convert::approval(asked)).collect(),
        approvals_asked,
    }
}

pub(super) fn read_row(origin: Arc<WorkerOrigin>, from: stored::WorkerRow) -> Result<StoredWorker> {
    let stored::WorkerRow {
        state,
        run_generation,
        process,
        driver,
        last_sequence,
        first_sequence,
        transcript_length,
        removed_items,
        said_items,
        picked_up,
        turns_ended,
        last_accepted,
        last_progress_at,
        termination,
        revision,
        restarts,
        last_failure,
        approvals,
        approvals_asked,
    } = from;
    let row = WorkerRow {
        origin,
        state: read_state(state)?,
        run_generation,
        process: process.map(|stored::ProcessRecord { pid, start_time, boot }| ProcessRecord { pid, start_time, boot }),
        driver,
        last_sequence,
        first_sequence,
        transcript_length,
        removed_items,
        said_items,
        picked_up,
        turns_ended,
        last_accepted,
        last_progress_at: last_progress_at.map(|at| time(Some(at), "last_progress_at")).transpose()?,
        restarts: restarts.into_iter().map(|at| time(Some(at), "restarts")).collect::<Result<_>>()?,
        last_failure: last_failure.map(read_termination).transpose().scope("last_failure")?,
        termination: termination.map(read_termination).transpose().scope("termination")?,
        approvals: approvals
            .into_iter()
            .enumerate()
            .map(|(at, it)| read_approval(it).map(Arc::new).scope(&format!("approvals[{at}]")))
            .collect::<Result<_>>()?,
        approvals_asked,
    };
    Ok(StoredWorker { revision, row: Box::new(row) })
}

fn read_state(number: i32) -> Result<WorkerState> {
    Ok(match known(number, "state")? {
        v1::WorkerState::Starting => WorkerState::Starting,
        v1::WorkerState::Running => WorkerState::Running,
        v1::WorkerState::Stopping => WorkerState::Stopping,
        v1::WorkerState::Stopped => WorkerState::Stopped,
        v1::WorkerState::Cancelled => WorkerState::Cancelled,
        v1::WorkerState::Failed => WorkerState::Failed,
        v1::WorkerState::Unspecified => return Err(unknown(number, "state")),
    })
}

fn read_termination(from: v1::Termination) -> Result<Termination> {
    let v1::Termination { reason, exit_code, signal, message, ended_at, run_generation, last_sequence } = from;
    let reason = match known(reason, "reason")? {
        v1::TerminationReason::Stopped => TerminationReason::Stopped,
        v1::TerminationReason::Cancelled => TerminationReason::Cancelled,
        v1::TerminationReason::Exited => TerminationReason::Exited,
        v1::TerminationReason::Killed => TerminationReason::Killed,
        v1::TerminationReason::OutOfMemory => TerminationReason::OutOfMemory,
        v1::TerminationReason::StartFailed => TerminationReason::StartFailed,
        v1::TerminationReason::ProtocolError => TerminationReason::ProtocolError,
        v1::TerminationReason::RuntimeLost => TerminationReason::RuntimeLost,
        v1::TerminationReason::Drained => TerminationReason::Drained,
        v1::TerminationReason::Unspecified => return Err(unknown(reason, "reason")),
    };
    let ended_at = time(ended_at, "ended_at")?;
    Ok(Termination { reason, exit_code, signal, message, ended_at, run_generation, last_sequence })
}

fn read_approval(from: v1::Approval) -> Result<Approval> {
    let v1::Approval { approval_id, turn_id, title, options, requested_at } = from;
    let option = |v1::ApprovalOption { option_id, label, kind }| ApprovalOption {
        option_id: option_id.into(),
        label,
        kind: ApprovalKind::parse(&kind),
    };
    Ok(Approval {
        approval_id: ApprovalId::new(&approval_id)?,
        turn_id: turn_id.into(),
        title,
        options: options.into_iter().map(option).collect(),
        requested_at: time(requested_at, "requested_at")?,
    })
}

fn read_diagnostic(from: v1::Diagnostic) -> Result<Diagnostic> {
    let v1::Diagnostic { code, severity, message } = from;
    let severity = match known(severity, "severity")? {
        v1::DiagnosticSeverity::Info => Severity::Info,
        v1::DiagnosticSeverity::Warning => Severity::Warning,
        v1::DiagnosticSeverity::Error => Severity::Error,
        v1::DiagnosticSeverity::Unspecified => return Err(unknown(severity, "severity")),
    };
    Ok(Diagnostic { code: code.into(), severity, message: message.into() })
}
