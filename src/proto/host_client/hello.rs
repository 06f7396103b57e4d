//! What a host says it is.

use std::time::SystemTime;

use super::diagnostics::known;
use super::{malformed, wrong_identity};
use crate::model::{
    Diagnostic, Incarnation, Result, RuntimeCapabilities, RuntimeId, RuntimeStatus, WorkerCounts, display_hint,
    truncate_at_char,
};
use crate::proto::{convert, runtime_v1 as host, v1};

/// How many features are remembered.
const MAX_FEATURES: usize = 64;

/// A host as it describes itself; checked to be the runtime that was expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// A name for people; may be empty.
    pub display_name: String,
    /// Of its store.
    pub incarnation: Incarnation,
    /// The version of workplane it runs.
    pub version: String,
    /// The optional parts of the protocol that it has.
    pub features: Vec<String>,
    /// What it can do.
    pub capabilities: RuntimeCapabilities,
    /// Whether it takes work.
    pub status: RuntimeStatus,
    /// How many workers it holds.
    pub counts: WorkerCounts,
    /// Its clock.
    pub now: SystemTime,
    /// What else it says of itself.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the answer of `GetRuntime` of the runtime that is known as `expected`.
///
/// # Errors
/// It is another runtime, or the answer is malformed.
pub fn hello(from: host::GetRuntimeResponse, expected: &RuntimeId) -> Result<Hello> {
    let host::GetRuntimeResponse {
        runtime_id,
        display_name,
        incarnation,
        version,
        features,
        limits: _,
        capabilities: can,
        now,
        counts,
        status,
        store_backend: _,
        diagnostics: said,
    } = from;
    if runtime_id != expected.as_str() {
        return Err(wrong_identity());
    }
    Ok(Hello {
        display_name: display_hint(&display_name),
        incarnation: Incarnation::parse(&incarnation).ok_or_else(|| malformed("incarnation"))?,
        version: display_hint(&version),
        features: features.into_iter().filter(|word| is_word(word)).take(MAX_FEATURES).collect(),
        capabilities: capabilities(can.ok_or_else(|| malformed("capabilities"))?),
        status: match v1::RuntimeStatus::try_from(status) {
            Ok(v1::RuntimeStatus::Running) => RuntimeStatus::Running,
            Ok(v1::RuntimeStatus::Stopped) => RuntimeStatus::Stopped,
            _ => return Err(malformed("status")),
        },
        counts: counts.map(worker_counts).unwrap_or_default(),
        now: now.as_ref().and_then(convert::system_time).ok_or_else(|| malformed("now"))?,
        diagnostics: known(&said),
    })
}

/// A feature is a short word.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn capabilities(from: v1::RuntimeCapabilities) -> RuntimeCapabilities {
    let word = |text: String| truncate_at_char(&display_hint(&text), 64).to_owned();
    RuntimeCapabilities {
        can_list_hosts: from.can_list_hosts,
        can_list_workers: from.can_list_workers,
        can_get_worker: from.can_get_worker,
        can_spawn_worker: from.can_spawn_worker,
        can_stop_worker: from.can_stop_worker,
        can_accept_input: from.can_accept_input,
        has_workspace_fs: from.has_workspace_fs,
        has_shell: from.has_shell,
        has_git: from.has_git,
        supports_worktrees: from.supports_worktrees,
        supports_backend_internal_tools: from.supports_backend_internal_tools,
        workspace_scope: word(from.workspace_scope),
        max_workers: from.max_workers,
        os: word(from.os),
        arch: word(from.arch),
    }
}

fn worker_counts(from: host::WorkerCounts) -> WorkerCounts {
    let host::WorkerCounts { total, active, stopped, cancelled, failed } = from;
    WorkerCounts { total, active, stopped, cancelled, failed }
}
