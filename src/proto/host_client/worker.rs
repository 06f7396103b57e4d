//! A worker as its host tells of it → as the control plane does (acceptance 71).

use std::time::{Duration, SystemTime};

use super::diagnostics::known;
use super::{malformed, wrong_identity};
use crate::model::{
    Activity, BundleDigest, BundleId, BundleRef, Diagnostic, ImplementationKind, Labels, Result, RuntimeId,
    RuntimeKind, Termination, TerminationReason, Worker, WorkerId, WorkerState, Workspace, WorkspaceId, display_hint,
    is_plain, truncate_at_char,
};
use crate::proto::{convert, v1};

/// The longest message of a termination, in bytes.
pub(super) const MAX_MESSAGE: usize = 2_048;
/// The longest particulars of an activity, in bytes.
pub(super) const MAX_DETAIL: usize = 512;

/// Reads a worker of the runtime `runtime_id`. Ids are the registry's; what is for people is made safe to show.
///
/// # Errors
/// It is of another runtime, or malformed.
pub fn worker(from: v1::Worker, runtime_id: &RuntimeId) -> Result<Worker> {
    if from.runtime_id != runtime_id.as_str() {
        return Err(wrong_identity());
    }
    let can = from.capabilities.unwrap_or_default();
    let mut diagnostics = vec![Diagnostic::info("remote_runtime_projection", "the worker runs on another host")];
    diagnostics.extend(known(&from.diagnostics));
    diagnostics.truncate(16);
    Ok(Worker {
        runtime_id: runtime_id.clone(),
        worker_id: WorkerId::new(&from.worker_id).map_err(|_| malformed("worker_id"))?,
        workspace_id: WorkspaceId::new(&from.workspace_id).map_err(|_| malformed("workspace_id"))?,
        host_id: runtime_id.host_id(RuntimeKind::Remote.host_prefix()),
        label: display_hint(&from.label),
        labels: Labels::new(from.labels).map_err(|_| malformed("labels"))?.into_inner().into_iter().collect(),
        role: from.role.as_deref().map(display_hint),
        profile: from.profile.as_deref().map(display_hint),
        workspace: Workspace::RemoteRuntime,
        state: state(from.state)?,
        activity: activity(from.activity)?,
        approvals: Box::default(),
        approvals_asked: 0,
        activity_detail: detail(&from.activity_detail),
        activity_since: time(from.activity_since.as_ref()),
        run_generation: from.run_generation,
        created_at: time(from.created_at.as_ref()).ok_or_else(|| malformed("created_at"))?,
        last_seen_at: Some(SystemTime::now()),
        seen_age: Some(Duration::ZERO),
        last_progress_at: time(from.last_progress_at.as_ref()),
        stale: false,
        termination: from.termination.map(termination).transpose()?,
        config_bundle: from.config_bundle.map(bundle).transpose()?,
        implementation: ImplementationKind::RemoteWorkerRuntime,
        display_hint: from.implementation.map(|it| display_hint(&it.display_hint)).unwrap_or_default().into(),
        can_accept_input: can.can_accept_input,
        can_stop: can.can_stop,
        transcript_length: from.transcript_length,
        said_items: 0,
        first_sequence: from.first_sequence,
        first_item_sequence: from.first_item_sequence,
        last_event_id: from.last_event_id,
        diagnostics,
    })
}

fn time(at: Option<&prost_types::Timestamp>) -> Option<SystemTime> {
    at.and_then(convert::system_time)
}

/// A worker's state off the wire.
pub(super) fn state(number: i32) -> Result<WorkerState> {
    Ok(match v1::WorkerState::try_from(number) {
        Ok(v1::WorkerState::Starting) => WorkerState::Starting,
        Ok(v1::WorkerState::Running) => WorkerState::Running,
        Ok(v1::WorkerState::Stopping) => WorkerState::Stopping,
        Ok(v1::WorkerState::Stopped) => WorkerState::Stopped,
        Ok(v1::WorkerState::Cancelled) => WorkerState::Cancelled,
        Ok(v1::WorkerState::Failed) => WorkerState::Failed,
        Ok(v1::WorkerState::Unspecified) | Err(_) => return Err(malformed("state")),
    })
}

/// A worker's activity off the wire; of one that has ended nothing is said.
pub(super) fn activity(number: i32) -> Result<Activity> {
    Ok(match v1::WorkerActivity::try_from(number) {
        Ok(v1::WorkerActivity::Unspecified | v1::WorkerActivity::Idle) => Activity::Idle,
        Ok(v1::WorkerActivity::Busy) => Activity::Busy,
        Ok(v1::WorkerActivity::Waiting) => Activity::Waiting,
        Err(_) => return Err(malformed("activity")),
    })
}

/// The particulars of a worker's activity off the wire, fit to be shown in one line.
pub(super) fn detail(from: &str) -> Box<str> {
    truncate_at_char(from, MAX_DETAIL).chars().filter(|c| is_plain(*c)).collect()
}

/// How a worker ended, off the wire.
pub(super) fn termination(from: v1::Termination) -> Result<Termination> {
    let v1::Termination { reason, exit_code, signal, message, ended_at, run_generation, last_sequence } = from;
    let reason = match v1::TerminationReason::try_from(reason) {
        Ok(v1::TerminationReason::Stopped) => TerminationReason::Stopped,
        Ok(v1::TerminationReason::Cancelled) => TerminationReason::Cancelled,
        Ok(v1::TerminationReason::Exited) => TerminationReason::Exited,
        Ok(v1::TerminationReason::Killed) => TerminationReason::Killed,
        Ok(v1::TerminationReason::OutOfMemory) => TerminationReason::OutOfMemory,
        Ok(v1::TerminationReason::StartFailed) => TerminationReason::StartFailed,
        Ok(v1::TerminationReason::ProtocolError) => TerminationReason::ProtocolError,
        Ok(v1::TerminationReason::RuntimeLost) => TerminationReason::RuntimeLost,
        Ok(v1::TerminationReason::Drained) => TerminationReason::Drained,
        Ok(v1::TerminationReason::Unspecified) | Err(_) => return Err(malformed("termination.reason")),
    };
    Ok(Termination {
        reason,
        exit_code,
        signal,
        message: truncate_at_char(&message, MAX_MESSAGE).to_owned(),
        ended_at: time(ended_at.as_ref()).ok_or_else(|| malformed("termination.ended_at"))?,
        run_generation,
        last_sequence,
    })
}

fn bundle(from: v1::ConfigBundleRef) -> Result<BundleRef> {
    let v1::ConfigBundleRef { id, digest } = from;
    match (BundleId::new(&id), BundleDigest::new(&digest)) {
        (Ok(id), Ok(digest)) => Ok(BundleRef { id, digest }),
        _ => Err(malformed("config_bundle")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Reason;

    /// A running worker, as a host tells of it.
    pub(in crate::proto::host_client) fn said(runtime_id: &str, worker_id: &str) -> v1::Worker {
        v1::Worker {
            runtime_id: runtime_id.to_owned(),
            worker_id: worker_id.to_owned(),
            workspace_id: "local:test".to_owned(),
            state: v1::WorkerState::Running.into(),
            created_at: Some(convert::timestamp(SystemTime::UNIX_EPOCH)),
            ..Default::default()
        }
    }

    fn read(change: impl FnOnce(&mut v1::Worker)) -> Result<Worker> {
        let mut said = said("remote:primary", "worker-1");
        change(&mut said);
        worker(said, &RuntimeId::new("remote:primary").unwrap())
    }

    #[test]
    fn a_worker_of_a_host_is_shown_as_the_registrys() {
        // acceptance 71
        let shown = read(|said| {
            said.host_id = "made-up".to_owned();
            said.label = "a/b\u{202E}\n".to_owned();
            said.workspace = None;
            said.stale = true;
            said.diagnostics = vec![v1::Diagnostic { code: "made_up".to_owned(), ..Default::default() }];
        })
        .unwrap();
        assert_eq!(shown.host_id.as_str(), "remote-remote-primary-3e64aea0035e79af");
        assert_eq!((shown.label.as_str(), shown.stale), ("ab", false));
        assert_eq!(shown.workspace, Workspace::RemoteRuntime);
        assert_eq!(
            shown.diagnostics.iter().map(|it| it.code.as_ref()).collect::<Vec<_>>(),
            ["remote_runtime_projection"]
        );
    }

    #[test]
    fn what_must_be_there_is_there_and_is_what_it_must_be() {
        // acceptance 72, 80
        let fault = |change: fn(&mut v1::Worker)| read(change).unwrap_err().reason();
        assert_eq!(fault(|said| said.runtime_id = "another".to_owned()), Reason::RemoteRuntimeWrongIdentity);
        for change in [
            (|said| said.worker_id = "a b".to_owned()) as fn(&mut v1::Worker),
            |said| said.workspace_id = String::new(),
            |said| said.state = 0,
            |said| said.state = 99,
            |said| said.created_at = None,
            |said| said.termination = Some(v1::Termination::default()),
            |said| said.config_bundle = Some(v1::ConfigBundleRef { id: "b".to_owned(), digest: "x".to_owned() }),
            |said| said.labels = [("a b".to_owned(), String::new())].into(),
        ] {
            assert_eq!(fault(change), Reason::RemoteRuntimeMalformedResponse);
        }
    }
}
