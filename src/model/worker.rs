//! A worker, as it is told to callers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::approval::Approval;
use super::diagnostic::Diagnostic;
use super::event::Activity;
use super::id::{HostId, RuntimeId, WorkerId, WorkspaceId};
use super::spawn::BundleRef;

/// What a worker is. The last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerState {
    /// Its program was executed and is not ready yet.
    Starting,
    /// Alive; takes input.
    Running,
    /// Asked to end; has not ended yet.
    Stopping,
    /// Ended as it was asked to.
    Stopped,
    /// Ended, its work given up.
    Cancelled,
    /// Ended by itself.
    Failed,
}

impl WorkerState {
    /// Whether it has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Cancelled | Self::Failed)
    }
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TerminationReason {
    /// It was stopped.
    Stopped,
    /// It was cancelled.
    Cancelled,
    /// Its program exited of its own accord.
    Exited,
    /// Its program was killed by a signal that was not ours.
    Killed,
    /// Its program was killed for its use of memory.
    OutOfMemory,
    /// Its program could not be started.
    StartFailed,
    /// Its program broke the protocol of its driver.
    ProtocolError,
    /// The runtime went away beneath it.
    RuntimeLost,
    /// The runtime shut down in order.
    Drained,
}

impl TerminationReason {
    /// The state a worker ends in for this reason.
    #[must_use]
    pub const fn state(self) -> WorkerState {
        match self {
            Self::Stopped | Self::Drained => WorkerState::Stopped,
            Self::Cancelled => WorkerState::Cancelled,
            Self::Exited
            | Self::Killed
            | Self::OutOfMemory
            | Self::StartFailed
            | Self::ProtocolError
            | Self::RuntimeLost => WorkerState::Failed,
        }
    }
}

/// The cause of a worker's death; kept as long as its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// Why.
    pub reason: TerminationReason,
    /// The exit code of its program, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that killed its program, if one did.
    pub signal: Option<i32>,
    /// For people: who asked and why, or the end of what the program wrote to its standard error.
    pub message: String,
    /// When, by the host's clock.
    pub ended_at: SystemTime,
    /// Which run it was, from 1.
    pub run_generation: u64,
    /// The sequence of the `end` event.
    pub last_sequence: u64,
}

/// Who can see a worker, and who vouches for its identity (acceptance 47, 71).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workspace {
    /// A worker of the embedded runtime.
    BackendInternal,
    /// A worker of a remote runtime.
    RemoteRuntime,
}

/// What runs a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImplementationKind {
    /// The embedded runtime.
    EmbeddedWorkerRuntime,
    /// A runtime on another host.
    RemoteWorkerRuntime,
}

/// A worker as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Its runtime.
    pub runtime_id: RuntimeId,
    /// Its id within the runtime.
    pub worker_id: WorkerId,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// Its host.
    pub host_id: HostId,
    /// For people.
    pub label: String,
    /// The caller's own marks, by key. There are many workers and few marks: a map would cost more than it finds.
    pub labels: Box<[(String, String)]>,
    /// What it was made for.
    pub role: Option<String>,
    /// What it runs, by the profile's name.
    pub profile: Option<String>,
    /// Who sees it.
    pub workspace: Workspace,
    /// What it is.
    pub state: WorkerState,
    /// What it does.
    pub activity: Activity,
    /// What it asked and was not answered; known to its host only, none elsewhere.
    pub approvals: Box<[Arc<Approval>]>,
    /// How many questions it has asked; known to its host only, 0 elsewhere.
    pub approvals_asked: u64,
    /// The particulars of that, in part in its own words; empty where there are none.
    pub activity_detail: Box<str>,
    /// Since when, by the host's clock; absent where nothing else was heard since its program or its runtime started.
    pub activity_since: Option<SystemTime>,
    /// Which run of its program this is, from 1.
    pub run_generation: u64,
    /// When it was made, by the host's clock.
    pub created_at: SystemTime,
    /// When it was last heard of, by the control plane's clock; absent for an embedded one.
    pub last_seen_at: Option<SystemTime>,
    /// How old this knowledge is; absent for an embedded one.
    pub seen_age: Option<Duration>,
    /// When it last said or took anything, by the host's clock.
    pub last_progress_at: Option<SystemTime>,
    /// The host cannot be reached now: this is how it was.
    pub stale: bool,
    /// Why it ended, once it has.
    pub termination: Option<Termination>,
    /// The bundle it was made with.
    pub config_bundle: Option<BundleRef>,
    /// What runs it.
    pub implementation: ImplementationKind,
    /// For people: how its program is spoken to.
    pub display_hint: Cow<'static, str>,
    /// Whether it takes input and can be stopped.
    pub can_accept_input: bool,
    /// Whether it can be stopped.
    pub can_stop: bool,
    /// Items in its transcript.
    pub transcript_length: u64,
    /// Items that came from the worker itself; known to its host only, 0 elsewhere.
    pub said_items: u64,
    /// Sequence of the first event that is kept.
    pub first_sequence: u64,
    /// Sequence of the first transcript item that is kept; one past the last where none is.
    pub first_item_sequence: u64,
    /// Sequence of its last event.
    pub last_event_id: u64,
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// Which workers a list is about. Empty members do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerFilter {
    /// Only workers of this host.
    pub host_id: Option<HostId>,
    /// Only workers of this workspace.
    pub workspace_id: Option<WorkspaceId>,
    /// Only workers that bear all of these.
    pub labels: BTreeMap<String, String>,
    /// Only workers in one of these states.
    pub states: Vec<WorkerState>,
}

impl WorkerFilter {
    /// Whether `worker` is one of those asked for.
    #[must_use]
    pub fn matches(&self, worker: &Worker) -> bool {
        self.host_id.as_ref().is_none_or(|id| *id == worker.host_id)
            && self.workspace_id.as_ref().is_none_or(|id| *id == worker.workspace_id)
            && self.labels.iter().all(|(key, value)| worker.labels.iter().any(|(its, is)| its == key && is == value))
            && (self.states.is_empty() || self.states.contains(&worker.state))
    }
}
