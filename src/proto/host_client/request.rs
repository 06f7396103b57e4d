//! Model → requests of a host. A request names no runtime: the host is it.

use std::time::Duration;

use crate::engine::ObserveFrom;
use crate::model::{
    Acceptance, AnswerApproval, BundleContent, BundleRef, CallContext, CapabilityRequest, ConfigBundle, CreateWorker,
    Declaration, DeclarationKind, DeleteWorker, InputDelivery, InputKind, ProfileDescriptor, ProfileSelector,
    Provenance, RequestId, SendInput, StopMode, StopWorker, WorkerFilter, WorkerId, WorkerInput, WorkerIntent,
};
use crate::proto::page_token::Query;
use crate::proto::{convert, runtime_v1 as host, v1};

/// Who asks for a change.
fn context(ctx: &CallContext) -> host::RequestContext {
    // Every mutating call has an id; one without would be a new request each time it is sent.
    let request_id = ctx.request_id.clone().unwrap_or_else(RequestId::generate);
    host::RequestContext {
        request_id: request_id.to_string(),
        workspace_id: ctx.workspace.to_string(),
        caller: ctx.caller.to_string(),
        // Fences come with several control planes.
        fence: 0,
    }
}

/// A new worker.
#[must_use]
pub fn create(ctx: &CallContext, from: CreateWorker) -> host::CreateWorkerRequest {
    host::CreateWorkerRequest {
        context: Some(context(ctx)),
        intent: Some(intent(from.intent)),
        profile: Some(profile(from.profile)),
        config_bundle: from.config_bundle.map(convert::bundle_ref),
        requested_capabilities: from.requested_capabilities.into_iter().map(capability).collect(),
        workspace_refs: from.workspace_refs,
        mount_refs: from.mount_refs,
        requested_worker_name: from.requested_worker_name,
        initial_input: from.initial_input.map(input),
        acceptance: Some(acceptance(from.acceptance)),
        labels: from.labels.into_inner(),
    }
}

/// One worker.
#[must_use]
pub fn get(worker_id: &WorkerId) -> host::GetWorkerRequest {
    host::GetWorkerRequest { worker_id: worker_id.to_string() }
}

/// A page of workers. The filter's host is this one, so that it is not sent.
#[must_use]
pub fn list(filter: &WorkerFilter, after: Option<&WorkerId>, limit: usize) -> host::ListWorkersRequest {
    let mut request = host::ListWorkersRequest {
        workspace_id: filter.workspace_id.as_ref().map(ToString::to_string),
        labels: filter.labels.clone(),
        states: filter.states.iter().map(|state| convert::worker_state(*state).into()).collect(),
        page_size: 0,
        page_token: String::new(),
    };
    // A host's token is made of its query and the last id, so that any replica can go on where another one left off.
    let query = Query::new("host.ListWorkers", &request);
    request.page_token = after.map(|worker_id| query.token(worker_id)).unwrap_or_default();
    request.page_size = count(limit);
    request
}

/// An input.
#[must_use]
pub fn send(ctx: &CallContext, from: SendInput) -> host::SendInputRequest {
    let v1::WorkerInput { kind, content } = input(from.input);
    let delivery = match from.delivery {
        InputDelivery::Queue => v1::InputDelivery::Queue,
        InputDelivery::Interrupt => v1::InputDelivery::Interrupt,
        InputDelivery::Reject => v1::InputDelivery::Reject,
    };
    host::SendInputRequest {
        context: Some(context(ctx)),
        worker_id: from.worker_id.to_string(),
        kind,
        content,
        delivery: delivery.into(),
    }
}

/// An end as `STOPPED`.
#[must_use]
pub fn stop(ctx: &CallContext, from: StopWorker) -> host::StopWorkerRequest {
    let mode = match from.mode {
        StopMode::Graceful => v1::StopMode::Graceful,
        StopMode::Force => v1::StopMode::Force,
    };
    host::StopWorkerRequest {
        context: Some(context(ctx)),
        worker_id: from.worker_id.to_string(),
        reason: from.reason,
        mode: mode.into(),
    }
}

/// An end as `CANCELLED`.
#[must_use]
pub fn cancel(ctx: &CallContext, from: StopWorker) -> host::CancelWorkerRequest {
    host::CancelWorkerRequest {
        context: Some(context(ctx)),
        worker_id: from.worker_id.to_string(),
        reason: from.reason,
    }
}

/// What a worker asks.
#[must_use]
pub fn approvals(worker_id: &WorkerId) -> host::ListApprovalsRequest {
    host::ListApprovalsRequest { worker_id: worker_id.to_string() }
}

/// An answer to what a worker asks.
#[must_use]
pub fn answer(ctx: &CallContext, from: AnswerApproval) -> host::AnswerApprovalRequest {
    let AnswerApproval { worker_id, approval_id, decision } = from;
    let (worker_id, approval_id) = (worker_id.to_string(), approval_id.to_string());
    host::AnswerApprovalRequest { context: Some(context(ctx)), worker_id, approval_id, decision }
}

/// The end of a worker's turn.
#[must_use]
pub fn interrupt(ctx: &CallContext, worker_id: &WorkerId) -> host::InterruptWorkerRequest {
    host::InterruptWorkerRequest { context: Some(context(ctx)), worker_id: worker_id.to_string() }
}

/// The end of a worker's record.
#[must_use]
pub fn delete(ctx: &CallContext, from: &DeleteWorker) -> host::DeleteWorkerRequest {
    let DeleteWorker { worker_id, force } = from;
    host::DeleteWorkerRequest { context: Some(context(ctx)), worker_id: worker_id.to_string(), force: *force }
}

/// A page of a transcript.
#[must_use]
pub fn transcript(worker_id: &WorkerId, start: u64, limit: usize) -> host::GetTranscriptRequest {
    host::GetTranscriptRequest { worker_id: worker_id.to_string(), start, limit: count(limit) }
}

/// A worker's stream, or a replay of a part of it.
#[must_use]
pub fn observe(
    worker_id: &WorkerId,
    from: ObserveFrom,
    stop_after: Option<u64>,
    heartbeat: Duration,
) -> host::ObserveWorkerRequest {
    let (cursor, start) = match from {
        ObserveFrom::Now => (None, v1::ObserveStart::Now),
        ObserveFrom::Beginning => (None, v1::ObserveStart::Beginning),
        ObserveFrom::After(cursor) => (Some(cursor.encode()), v1::ObserveStart::Unspecified),
    };
    host::ObserveWorkerRequest {
        worker_id: worker_id.to_string(),
        cursor,
        start: start.into(),
        heartbeat_interval: Some(convert::duration(heartbeat)),
        stop_after,
    }
}

/// A bundle that the host is to keep. It goes with its digest, so that the host sees whether it read what was meant.
#[must_use]
pub fn sync(ctx: &CallContext, from: &ConfigBundle) -> host::SyncConfigBundleRequest {
    host::SyncConfigBundleRequest { context: Some(context(ctx)), bundle: Some(bundle(from)) }
}

/// A bundle by its id and digest.
#[must_use]
pub fn check(reference: &BundleRef) -> host::CheckConfigBundleRequest {
    host::CheckConfigBundleRequest { reference: Some(convert::bundle_ref(reference.clone())) }
}

/// A bundle that is to go.
#[must_use]
pub fn remove(ctx: &CallContext, reference: &BundleRef) -> host::RemoveConfigBundleRequest {
    let reference = Some(convert::bundle_ref(reference.clone()));
    host::RemoveConfigBundleRequest { context: Some(context(ctx)), reference }
}

/// A page of bundles.
#[must_use]
pub fn bundles(after: Option<&BundleRef>, limit: usize) -> host::ListConfigBundlesRequest {
    let query = Query::new("host.ListConfigBundles", &());
    let page_token = after.map(|reference| query.token(reference)).unwrap_or_default();
    host::ListConfigBundlesRequest { page_size: count(limit), page_token }
}

/// A bundle, whole.
#[must_use]
pub fn bundle(from: &ConfigBundle) -> v1::ConfigBundle {
    let digest = from.digest().to_string();
    let BundleContent { id, revision, workspace_id, created_at, provenance, profiles, declarations } =
        from.content().clone();
    let Provenance { source, detail } = provenance;
    let profiles = profiles.into_iter().map(|ProfileDescriptor { selector, label }| v1::ProfileDescriptor {
        selector: Some(profile(selector)),
        label,
    });
    v1::ConfigBundle {
        metadata: Some(v1::ConfigBundleMetadata {
            id: id.to_string(),
            digest,
            revision,
            workspace_id,
            created_at,
            provenance: Some(v1::Provenance { source, detail }),
        }),
        profiles: profiles.collect(),
        declarations: declarations.into_iter().map(declaration).collect(),
    }
}

fn declaration(from: Declaration) -> v1::Declaration {
    let Declaration { kind, name, reference } = from;
    let kind = match kind {
        DeclarationKind::SecretRef => v1::DeclarationKind::SecretRef,
        DeclarationKind::MountGrant => v1::DeclarationKind::MountGrant,
        DeclarationKind::NetworkPolicy => v1::DeclarationKind::NetworkPolicy,
        DeclarationKind::ShellPolicy => v1::DeclarationKind::ShellPolicy,
        DeclarationKind::GitPolicy => v1::DeclarationKind::GitPolicy,
        DeclarationKind::CapabilityGrant => v1::DeclarationKind::CapabilityGrant,
        DeclarationKind::Unsupported => v1::DeclarationKind::Unsupported,
    };
    v1::Declaration { kind: kind.into(), name, reference }
}

fn count(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

fn intent(from: WorkerIntent) -> host::WorkerIntent {
    use host::worker_intent::Kind;
    let kind = match from {
        WorkerIntent::Assistant { purpose } => Kind::Assistant(host::AssistantIntent { purpose }),
        WorkerIntent::Task { objective } => Kind::Task(host::TaskIntent { objective }),
        WorkerIntent::Role { role, purpose } => Kind::Role(host::RoleIntent { role, purpose }),
    };
    host::WorkerIntent { kind: Some(kind) }
}

/// Which profile.
pub(in crate::proto) fn profile(from: ProfileSelector) -> v1::ProfileSelector {
    use v1::profile_selector::Kind;
    let kind = match from {
        ProfileSelector::RuntimeDefault => Kind::RuntimeDefault(v1::RuntimeDefault {}),
        ProfileSelector::Builtin(name) => Kind::Builtin(name),
        ProfileSelector::Named(name) => Kind::Named(name),
    };
    v1::ProfileSelector { kind: Some(kind) }
}

fn capability(from: CapabilityRequest) -> v1::CapabilityRequest {
    v1::CapabilityRequest { name: from.name, reason: from.reason }
}

fn input(from: WorkerInput) -> v1::WorkerInput {
    let kind = match from.kind() {
        InputKind::User => v1::WorkerInputKind::User,
        InputKind::System => v1::WorkerInputKind::System,
    };
    v1::WorkerInput { kind: kind.into(), content: from.into_content() }
}

fn acceptance(from: Acceptance) -> v1::AcceptanceRequirement {
    use v1::acceptance_requirement::Kind;
    let kind = match from {
        Acceptance::SocketReady => Kind::SocketReady(v1::SocketReady {}),
        Acceptance::RunAccepted { expected_segments } => Kind::RunAccepted(v1::RunAccepted { expected_segments }),
    };
    v1::AcceptanceRequirement { kind: Some(kind) }
}
