//! Runtimes and hosts for the wire.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{diagnostics, duration, timestamp};
use crate::model::{
    Host, HostId, MAX_INPUT_BYTES, MAX_PAGE_SIZE, RuntimeCapabilities, RuntimeInfo, RuntimeKind, RuntimeStatus,
    SourceKind, SourceStatus, TRANSCRIPT_PAGE_MAX,
};
use crate::proto::{runtime_v1, v1};

/// A runtime, as the control plane tells of it.
#[must_use]
pub fn runtime(from: RuntimeInfo) -> v1::Runtime {
    v1::Runtime {
        runtime_id: from.runtime_id.to_string(),
        label: from.label,
        kind: match from.kind {
            RuntimeKind::Embedded => v1::RuntimeKind::Embedded,
            RuntimeKind::Remote => v1::RuntimeKind::Remote,
        }
        .into(),
        status: runtime_status(from.status).into(),
        source: Some(source(source_kind(from.kind), SourceStatus::Active)),
        host_ids: from.host_ids.iter().map(HostId::to_string).collect(),
        capabilities: Some(capabilities(from.capabilities)),
        version: from.version,
        features: from.features,
        incarnation: from.incarnation.map(|id| id.to_string()).unwrap_or_default(),
        cordoned: from.cordoned,
        seen_age: from.seen_age.map(duration),
        diagnostics: diagnostics(from.diagnostics),
        // Labels come with registration.
        labels: BTreeMap::new(),
    }
}

/// How a runtime is.
#[must_use]
pub fn runtime_status(from: RuntimeStatus) -> v1::RuntimeStatus {
    match from {
        RuntimeStatus::Running => v1::RuntimeStatus::Running,
        RuntimeStatus::Stopped => v1::RuntimeStatus::Stopped,
        RuntimeStatus::Unavailable => v1::RuntimeStatus::Unavailable,
        RuntimeStatus::Configured => v1::RuntimeStatus::Configured,
    }
}

fn source_kind(kind: RuntimeKind) -> SourceKind {
    match kind {
        RuntimeKind::Embedded => SourceKind::EmbeddedWorkerRuntime,
        RuntimeKind::Remote => SourceKind::RemoteGrpc,
    }
}

/// Through what the registry has a runtime (acceptance 3).
fn source(kind: SourceKind, status: SourceStatus) -> v1::RuntimeSource {
    let (kind, note) = match kind {
        SourceKind::EmbeddedWorkerRuntime => (
            v1::RuntimeSourceKind::EmbeddedWorkerRuntime,
            "The worker runtime inside the control plane; the registry names it and its workers.",
        ),
        SourceKind::RemoteGrpc => (
            v1::RuntimeSourceKind::RemoteGrpc,
            "A worker runtime on another host, reached over gRPC; the registry names it and its workers.",
        ),
    };
    v1::RuntimeSource {
        kind: kind.into(),
        status: match status {
            SourceStatus::Active => v1::RuntimeSourceStatus::Active,
            SourceStatus::Reserved => v1::RuntimeSourceStatus::Reserved,
        }
        .into(),
        identity_authority: v1::RuntimeIdentityAuthority::RuntimeRegistryProjection.into(),
        note: note.to_owned(),
    }
}

/// What a runtime or its host can do.
#[must_use]
pub fn capabilities(from: RuntimeCapabilities) -> v1::RuntimeCapabilities {
    v1::RuntimeCapabilities {
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
        workspace_scope: from.workspace_scope,
        max_workers: from.max_workers,
        os: from.os,
        arch: from.arch,
    }
}

/// A host.
#[must_use]
pub fn host(from: Host) -> v1::Host {
    let Host {
        runtime_id,
        host_id,
        label,
        kind,
        status,
        observed_at,
        last_seen_at,
        capabilities: can,
        diagnostics: said,
    } = from;
    v1::Host {
        runtime_id: runtime_id.to_string(),
        host_id: host_id.to_string(),
        label,
        kind: kind.to_owned(),
        status: status.to_owned(),
        observed_at: Some(timestamp(observed_at)),
        last_seen_at: last_seen_at.map(timestamp),
        capabilities: Some(capabilities(can)),
        diagnostics: diagnostics(said),
    }
}

/// A runtime, as a host tells of itself to the control plane.
#[must_use]
pub fn host_runtime(from: RuntimeInfo, now: SystemTime, store_backend: &str) -> runtime_v1::GetRuntimeResponse {
    let RuntimeInfo {
        runtime_id,
        label,
        status,
        capabilities: can,
        version,
        features,
        incarnation,
        counts,
        diagnostics: said,
        // How the control plane knows a runtime is its own business.
        kind: _,
        host_ids: _,
        cordoned: _,
        seen_age: _,
        last_seen_at: _,
    } = from;
    runtime_v1::GetRuntimeResponse {
        runtime_id: runtime_id.to_string(),
        display_name: label,
        incarnation: incarnation.map(|id| id.to_string()).unwrap_or_default(),
        version,
        features,
        limits: Some(limits(can.max_workers)),
        capabilities: Some(capabilities(can)),
        now: Some(timestamp(now)),
        counts: Some(runtime_v1::WorkerCounts {
            total: counts.total,
            active: counts.active,
            stopped: counts.stopped,
            cancelled: counts.cancelled,
            failed: counts.failed,
        }),
        status: runtime_status(status).into(),
        store_backend: store_backend.to_owned(),
        diagnostics: diagnostics(said),
    }
}

fn limits(max_workers: u32) -> runtime_v1::RuntimeLimits {
    runtime_v1::RuntimeLimits {
        max_workers,
        // The three are constants that fit by far.
        max_transcript_limit: i32::try_from(TRANSCRIPT_PAGE_MAX).unwrap_or(i32::MAX),
        max_page_size: i32::try_from(MAX_PAGE_SIZE).unwrap_or(i32::MAX),
        max_input_bytes: u32::try_from(MAX_INPUT_BYTES).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_kind_its_status_and_a_fixed_note() {
        // acceptance 3
        let mut notes = Vec::new();
        for (kind, told) in [
            (SourceKind::EmbeddedWorkerRuntime, v1::RuntimeSourceKind::EmbeddedWorkerRuntime),
            (SourceKind::RemoteGrpc, v1::RuntimeSourceKind::RemoteGrpc),
        ] {
            for (status, is) in [
                (SourceStatus::Active, v1::RuntimeSourceStatus::Active),
                (SourceStatus::Reserved, v1::RuntimeSourceStatus::Reserved),
            ] {
                let source = source(kind, status);
                assert_eq!((source.kind(), source.status()), (told, is));
                assert_eq!(source.identity_authority(), v1::RuntimeIdentityAuthority::RuntimeRegistryProjection);
                notes.push(source.note);
            }
        }
        assert!(notes[0] == notes[1] && notes[2] == notes[3] && notes[0] != notes[2] && !notes[0].is_empty());
        assert_eq!(source_kind(RuntimeKind::Embedded), SourceKind::EmbeddedWorkerRuntime);
        assert_eq!(source_kind(RuntimeKind::Remote), SourceKind::RemoteGrpc);
    }
}
