//! Runtimes and their hosts, as they are told to callers.

use std::time::{Duration, SystemTime};

use super::cursor::Incarnation;
use super::diagnostic::Diagnostic;
use super::id::{HostId, RuntimeId};

/// Where a runtime runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Inside the control plane.
    Embedded,
    /// On a host of its own.
    Remote,
}

impl RuntimeKind {
    /// The prefix of its host's id (acceptance 44, 69).
    #[must_use]
    pub const fn host_prefix(self) -> &'static str {
        match self {
            Self::Embedded => "embedded-",
            Self::Remote => "remote-",
        }
    }
}

/// What is known of a runtime's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeStatus {
    /// It takes calls.
    Running,
    /// It was stopped.
    Stopped,
    /// It was reached once and cannot be reached now.
    Unavailable,
    /// It is known and was not reached yet.
    Configured,
}

/// Through what a runtime is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The embedded engine.
    EmbeddedWorkerRuntime,
    /// A gRPC client to the host.
    RemoteGrpc,
}

/// Whether a source is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStatus {
    /// It is.
    Active,
    /// Its place is kept.
    Reserved,
}

/// What a runtime, or its host, can do (acceptance 4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, missing_docs, reason = "the fields of the contract, by their names in api.md")]
pub struct RuntimeCapabilities {
    pub can_list_hosts: bool,
    pub can_list_workers: bool,
    pub can_get_worker: bool,
    pub can_spawn_worker: bool,
    pub can_stop_worker: bool,
    pub can_accept_input: bool,
    pub has_workspace_fs: bool,
    pub has_shell: bool,
    pub has_git: bool,
    pub supports_worktrees: bool,
    pub supports_backend_internal_tools: bool,
    pub workspace_scope: String,
    pub max_workers: u32,
    pub os: String,
    pub arch: String,
}

impl RuntimeCapabilities {
    /// Those of the embedded runtime (acceptance 46).
    #[must_use]
    pub fn embedded(available: bool, max_workers: u32) -> Self {
        Self {
            // A worker that has ended can be asked to, at any time: it answers with its end.
            can_stop_worker: true,
            supports_backend_internal_tools: true,
            workspace_scope: "backend_internal".to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            ..Self::remote(available, max_workers)
        }
    }

    /// Those of a remote runtime that was not reached yet (acceptance 70).
    #[must_use]
    pub fn remote(available: bool, max_workers: u32) -> Self {
        Self {
            can_list_hosts: true,
            can_list_workers: available,
            can_get_worker: available,
            can_spawn_worker: available,
            can_stop_worker: available,
            can_accept_input: available,
            has_workspace_fs: false,
            has_shell: false,
            has_git: false,
            supports_worktrees: false,
            supports_backend_internal_tools: false,
            workspace_scope: "remote_runtime_backend_private".to_owned(),
            max_workers,
            os: "remote".to_owned(),
            arch: "remote".to_owned(),
        }
    }
}

/// An optional part of the protocol between the control plane and a host. A host names those it has; what needs one is
/// not sent to a host without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// It keeps config bundles, and workers can be spawned with one.
    ConfigBundles,
    /// It removes those that no worker uses.
    ConfigBundleRemoval,
    /// Its workers ask for leave, and can be answered.
    Approvals,
    /// Turns of its workers can be interrupted.
    Interruption,
}

impl Feature {
    /// Those that this version has.
    pub const ALL: &[Self] = &[Self::ConfigBundles, Self::ConfigBundleRemoval, Self::Approvals, Self::Interruption];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigBundles => "config_bundles",
            Self::ConfigBundleRemoval => "config_bundle_removal",
            Self::Approvals => "approvals",
            Self::Interruption => "interruption",
        }
    }

    /// The feature that a word on the wire stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|feature| feature.as_str() == word)
    }
}

/// How many workers a runtime holds, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "counts of workers by their state")]
pub struct WorkerCounts {
    pub total: u64,
    pub active: u64,
    pub stopped: u64,
    pub cancelled: u64,
    pub failed: u64,
}

/// A runtime as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeInfo {
    /// Its id.
    pub runtime_id: RuntimeId,
    /// For people.
    pub label: String,
    /// Where it runs.
    pub kind: RuntimeKind,
    /// How it is.
    pub status: RuntimeStatus,
    /// Its hosts: one.
    pub host_ids: Vec<HostId>,
    /// What it can do.
    pub capabilities: RuntimeCapabilities,
    /// Its version; empty until it was reached.
    pub version: String,
    /// The features it names.
    pub features: Vec<String>,
    /// Of its store; absent until it was reached.
    pub incarnation: Option<Incarnation>,
    /// It takes no new workers.
    pub cordoned: bool,
    /// How long ago it answered; absent for an embedded one, and for one that never did.
    pub seen_age: Option<Duration>,
    /// When it last answered, by the control plane's clock.
    pub last_seen_at: Option<SystemTime>,
    /// Workers it holds.
    pub counts: WorkerCounts,
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// The host of a runtime.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Its runtime.
    pub runtime_id: RuntimeId,
    /// Its id.
    pub host_id: HostId,
    /// For people.
    pub label: String,
    /// `embedded-worker-runtime-host` or `remote-worker-runtime-host`.
    pub kind: &'static str,
    /// `available`, `unavailable` or `configured`.
    pub status: &'static str,
    /// When this was put together.
    pub observed_at: SystemTime,
    /// When it was last heard of; absent for an embedded one.
    pub last_seen_at: Option<SystemTime>,
    /// What it can do.
    pub capabilities: RuntimeCapabilities,
    /// What else there is to say.
    pub diagnostics: Vec<Diagnostic>,
}
