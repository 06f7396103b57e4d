//! What is kept of a worker beside its events: one row, which changes in the same commit as they do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::profile::Protocol;
use super::store::StoreFault;
use crate::model::{
    Activity, Approval, BundleRef, Caller, Diagnostic, HostId, ImplementationKind, ProfileSelector, RuntimeId,
    Termination, TerminationReason, Worker, WorkerId, WorkerState, Workspace, WorkspaceId,
};

/// What a worker is made as, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOrigin {
    /// Its id.
    pub worker_id: WorkerId,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// Who asked for it.
    pub caller: Caller,
    /// For people.
    pub label: String,
    /// The caller's marks.
    pub labels: BTreeMap<String, String>,
    /// What it was made for, as shown.
    pub role: String,
    /// What it runs.
    pub profile: ProfileSelector,
    /// How its program is spoken to.
    pub display_hint: &'static str,
    /// The bundle it was made with.
    pub config_bundle: Option<BundleRef>,
    /// What it may do.
    pub capabilities: Vec<String>,
    /// When it was made, by the host's clock.
    pub created_at: SystemTime,
    /// What was to be said when it was made.
    pub diagnostics: Vec<Diagnostic>,
}

/// The process of a run: enough to find it after this runtime was killed, and to know it from a later one of that pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRecord {
    /// Its process id, which is also its group's.
    pub pid: i32,
    /// When the kernel started it, in clock ticks since boot.
    pub start_time: u64,
    /// Which boot that was: start times of two boots say nothing of each other. 0 where it could not be told.
    pub boot: u64,
}

/// A worker's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// What never changes.
    pub origin: Arc<WorkerOrigin>,
    /// What it is.
    pub state: WorkerState,
    /// Which run of its program this is, from 1.
    pub run_generation: u64,
    /// Its process, while it has one.
    pub process: Option<ProcessRecord>,
    /// What its driver needs in the next run; the driver's own, not looked into.
    pub driver: Bytes,
    /// The sequence of its last event.
    pub last_sequence: u64,
    /// The first event that is kept.
    pub first_sequence: u64,
    /// Items in its transcript, those that retention removed included.
    pub transcript_length: u64,
    /// How many items retention removed from the front.
    pub removed_items: u64,
    /// Items that came from the worker itself.
    pub said_items: u64,
    /// The `input_accepted` event of the last input that was picked up: inputs are picked up in order.
    pub picked_up: u64,
    /// The `input_accepted` event of the last input whose turn ended: turns end in order.
    pub turns_ended: u64,
    /// The `input_accepted` event of its last input, 0 where it had none: behind that one no input waits. `None` where it
    /// is not known.
    pub last_accepted: Option<u64>,
    /// When it last took or said anything.
    pub last_progress_at: Option<SystemTime>,
    /// When its program was started anew, as far as that still counts.
    pub restarts: Vec<SystemTime>,
    /// How its last run failed, where its program was started anew.
    pub last_failure: Option<Termination>,
    /// Why it ended.
    pub termination: Option<Termination>,
    /// What it asked and was not answered, oldest first; few.
    pub approvals: Vec<Arc<Approval>>,
    /// How many questions it has asked: the number of its last one.
    pub approvals_asked: u64,
}

impl WorkerRow {
    /// The row of a worker that is about to be.
    #[must_use]
    pub fn new(origin: WorkerOrigin) -> Self {
        Self {
            origin: Arc::new(origin),
            state: WorkerState::Starting,
            run_generation: 1,
            process: None,
            driver: Bytes::new(),
            last_sequence: 0,
            first_sequence: 1,
            transcript_length: 0,
            removed_items: 0,
            said_items: 0,
            picked_up: 0,
            turns_ended: 0,
            last_accepted: Some(0),
            last_progress_at: None,
            restarts: Vec::new(),
            last_failure: None,
            termination: None,
            approvals: Vec::new(),
            approvals_asked: 0,
        }
    }

    /// Its id.
    #[must_use]
    pub fn worker_id(&self) -> &WorkerId {
        &self.origin.worker_id
    }

    /// The worker as callers see it. The adapters of the port add what only they know.
    #[must_use]
    pub fn view(&self, runtime_id: &RuntimeId, host_id: &HostId) -> Worker {
        let origin = &self.origin;
        let mut worker = Worker {
            runtime_id: runtime_id.clone(),
            worker_id: origin.worker_id.clone(),
            workspace_id: origin.workspace_id.clone(),
            host_id: host_id.clone(),
            label: origin.label.clone(),
            labels: origin.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            role: Some(origin.role.clone()),
            profile: Some(crate::model::display_hint(origin.profile.label())),
            workspace: Workspace::BackendInternal,
            state: self.state,
            activity: Activity::Idle,
            approvals: Box::default(),
            approvals_asked: 0,
            activity_detail: Box::default(),
            activity_since: None,
            run_generation: self.run_generation,
            created_at: origin.created_at,
            last_seen_at: None,
            seen_age: None,
            last_progress_at: None,
            stale: false,
            termination: None,
            config_bundle: origin.config_bundle.clone(),
            implementation: ImplementationKind::EmbeddedWorkerRuntime,
            display_hint: origin.display_hint.into(),
            can_accept_input: false,
            can_stop: true,
            transcript_length: 0,
            said_items: 0,
            first_sequence: 0,
            first_item_sequence: 0,
            last_event_id: 0,
            diagnostics: origin.diagnostics.clone(),
        };
        self.refresh(&mut worker);
        worker
    }

    /// What it does. A program of lines is not known to be at anything; an agent works from one turn to the next as long as
    /// there is one.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let is_agent = self.origin.display_hint == Protocol::Acp.as_str() && !self.state.is_final();
        let in_turn = self.turns_ended < self.picked_up;
        let is_next = self.state == WorkerState::Running && self.last_accepted.is_some_and(|at| self.turns_ended < at);
        match is_agent && (in_turn || is_next) {
            _ if !self.approvals.is_empty() => Activity::Waiting,
            true => Activity::Busy,
            false => Activity::Idle,
        }
    }

    /// Brings a view of this worker up to this row.
    pub fn refresh(&self, worker: &mut Worker) {
        worker.state = self.state;
        worker.activity = self.activity();
        worker.run_generation = self.run_generation;
        worker.approvals = self.approvals.as_slice().into();
        worker.approvals_asked = self.approvals_asked;
        worker.last_progress_at = self.last_progress_at;
        worker.can_accept_input = matches!(self.state, WorkerState::Starting | WorkerState::Running);
        worker.can_stop = !self.state.is_final();
        worker.transcript_length = self.transcript_length;
        worker.said_items = self.said_items;
        worker.first_sequence = self.first_sequence;
        worker.first_item_sequence = self.removed_items + 1;
        worker.last_event_id = self.last_sequence;
        worker.diagnostics.retain(|diagnostic| diagnostic.code != END_NOT_STORED);
        if let Some(failure) = &self.last_failure {
            worker.diagnostics.retain(|diagnostic| diagnostic.code != RUN_FAILED);
            worker.diagnostics.push(run_failed(failure));
        }
        if worker.termination.is_none() {
            worker.termination.clone_from(&self.termination);
        }
    }
}

/// The code of the diagnostic that tells of an end that is not stored.
const END_NOT_STORED: &str = "worker_end_not_stored";

/// Whether a view says that its worker's program is gone, and nothing of that is stored.
pub(super) fn is_end_not_stored(worker: &Worker) -> bool {
    worker.diagnostics.iter().any(|diagnostic| diagnostic.code == END_NOT_STORED)
}

/// Says so on a view, until the worker's row has changed.
pub(super) fn tell_end_not_stored(worker: &mut Worker, fault: StoreFault) {
    if !is_end_not_stored(worker) {
        let message =
            format!("its program is gone, and this cannot be stored yet: {fault}; it is tried again and again");
        worker.diagnostics.push(Diagnostic::error(END_NOT_STORED, message));
    }
    worker.can_accept_input = false;
}

/// The code of the diagnostic that tells of a run that failed.
const RUN_FAILED: &str = "worker_run_failed";

/// What is told of a run that failed; never in the program's own words.
fn run_failed(failure: &Termination) -> Diagnostic {
    let cause = match (failure.reason, failure.exit_code, failure.signal) {
        (TerminationReason::RuntimeLost, ..) => "its runtime went away".to_owned(),
        (TerminationReason::StartFailed, ..) => "its program could not be executed".to_owned(),
        (_, Some(code), _) => format!("its program exited with code {code}"),
        (_, None, Some(signal)) => format!("its program was killed by signal {signal}"),
        _ => "its program is gone".to_owned(),
    };
    Diagnostic::warning(RUN_FAILED, format!("run {} failed: {cause}; another one followed", failure.run_generation))
}
