//! Requests of `workplane.runtime.v1`, checked. They name no runtime: the host is it.

use super::fields::{
    Scope as _, acceptance, capability_requests, config_bundle, delivery, initial_input, input_kind, labels, objective,
    profile, references, required, text, words,
};
use super::request::{Observe, StreamTranscript, Transcript, answer, heartbeat, observe_from, stop_mode};
use crate::model::{
    Acceptance, AnswerApproval, Caller, CreateWorker, DeleteWorker, Error, RequestId, Result, SendInput, StopMode,
    StopWorker, TerminalIntent, WorkerId, WorkerInput, WorkerIntent, WorkspaceId, transcript_limit,
};
use crate::proto::runtime_v1 as host;

/// On whose behalf a control plane asks for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostContext {
    /// Makes a repeat the same request.
    pub request_id: RequestId,
    /// The workspace that is acted in.
    pub workspace: WorkspaceId,
    /// Who called the control plane.
    pub caller: Caller,
}

/// Checks who asks.
///
/// # Errors
/// Names the bad field.
pub fn host_context(from: Option<host::RequestContext>) -> Result<HostContext> {
    let check = |context| {
        let host::RequestContext {
            request_id,
            workspace_id,
            caller,
            // Fences come with several control planes; nothing is stored that one could be lower than.
            fence: _,
        } = context;
        Ok(HostContext {
            request_id: RequestId::new(&request_id)?,
            workspace: WorkspaceId::new(&workspace_id)?,
            caller: if caller.is_empty() { Caller::anonymous() } else { Caller::new(&name(caller)?) },
        })
    };
    check(required(from, "context")?).scope("context")
}

/// A caller's name: not cut, since two that differ behind the cut would be one.
fn name(caller: String) -> Result<String> {
    const MAX_CALLER: usize = 120;
    if caller.len() > MAX_CALLER {
        return Err(Error::field("caller", format!("must be at most {MAX_CALLER} bytes")));
    }
    Ok(caller)
}

/// The worker that is named.
///
/// # Errors
/// It breaks the rule of identifiers.
pub fn host_worker_id(worker_id: &str) -> Result<WorkerId> {
    Ok(WorkerId::new(worker_id)?)
}

/// Checks a request for a new worker.
///
/// # Errors
/// Names the bad field by its path.
pub fn host_create(from: host::CreateWorkerRequest) -> Result<CreateWorker> {
    let host::CreateWorkerRequest {
        // Taken out before, for the fingerprint.
        context: _,
        intent: purpose,
        profile: selector,
        config_bundle: bundle,
        requested_capabilities,
        workspace_refs,
        mount_refs,
        requested_worker_name,
        initial_input: input,
        acceptance: condition,
        labels: marks,
    } = from;
    let acceptance = match acceptance(condition) {
        Acceptance::SocketReady => return Err(Error::field("acceptance.socket_ready", "is not offered here")),
        run @ Acceptance::RunAccepted { .. } => run,
    };
    Ok(CreateWorker {
        intent: required(purpose, "intent").and_then(|purpose| intent(purpose).scope("intent"))?,
        profile: required(selector, "profile").and_then(profile)?,
        config_bundle: config_bundle(bundle)?,
        requested_capabilities: capability_requests(requested_capabilities)?,
        workspace_refs: references(workspace_refs, "workspace_refs")?,
        mount_refs: references(mount_refs, "mount_refs")?,
        requested_worker_name,
        initial_input: initial_input(input)?,
        acceptance,
        labels: labels(marks)?,
    })
}

fn intent(from: host::WorkerIntent) -> Result<WorkerIntent> {
    use host::worker_intent::Kind;
    const MAX_ROLE: usize = 120;
    let purpose = |purpose: Option<String>| purpose.map(|purpose| text(purpose, "purpose")).transpose();
    let host::WorkerIntent { kind } = from;
    match required(kind, "kind")? {
        Kind::Assistant(host::AssistantIntent { purpose: why }) => {
            Ok(WorkerIntent::Assistant { purpose: purpose(why).scope("assistant")? })
        }
        Kind::Task(host::TaskIntent { objective: what }) => {
            Ok(WorkerIntent::Task { objective: objective(what, "objective").scope("task")? })
        }
        Kind::Role(host::RoleIntent { role, purpose: why }) => Ok(WorkerIntent::Role {
            role: words(role, "role", MAX_ROLE).scope("role")?,
            purpose: purpose(why).scope("role")?,
        }),
    }
}

/// Checks an input.
///
/// # Errors
/// Names the bad field.
pub fn host_send(from: host::SendInputRequest) -> Result<SendInput> {
    let host::SendInputRequest { context: _, worker_id, kind, content, delivery: how } = from;
    let worker_id = host_worker_id(&worker_id)?;
    let input = WorkerInput::new(input_kind(kind)?, content)?;
    Ok(SendInput { worker_id, input, delivery: delivery(how)? })
}

/// Checks a stop.
///
/// # Errors
/// Names the bad field.
pub fn host_stop(from: host::StopWorkerRequest) -> Result<StopWorker> {
    let host::StopWorkerRequest { context: _, worker_id, reason, mode } = from;
    let worker_id = host_worker_id(&worker_id)?;
    let mode = stop_mode(mode)?;
    Ok(StopWorker { worker_id, intent: TerminalIntent::Stop, reason: text(reason, "reason")?, mode })
}

/// Checks a cancellation.
///
/// # Errors
/// Names the bad field.
pub fn host_cancel(from: host::CancelWorkerRequest) -> Result<StopWorker> {
    let host::CancelWorkerRequest { context: _, worker_id, reason } = from;
    let worker_id = host_worker_id(&worker_id)?;
    let reason = text(reason, "reason")?;
    Ok(StopWorker { worker_id, intent: TerminalIntent::Cancel, reason, mode: StopMode::Graceful })
}

/// Checks an interruption.
///
/// # Errors
/// Names the bad field.
pub fn host_interrupt(from: &host::InterruptWorkerRequest) -> Result<WorkerId> {
    let host::InterruptWorkerRequest { context: _, worker_id } = from;
    host_worker_id(worker_id)
}

/// Checks a deletion.
///
/// # Errors
/// Names the bad field.
pub fn host_delete(from: host::DeleteWorkerRequest) -> Result<DeleteWorker> {
    let host::DeleteWorkerRequest { context: _, worker_id, force } = from;
    Ok(DeleteWorker { worker_id: host_worker_id(&worker_id)?, force })
}

/// Checks an answer to what a worker asks.
///
/// # Errors
/// Names the bad field.
pub fn host_answer(from: host::AnswerApprovalRequest) -> Result<AnswerApproval> {
    let host::AnswerApprovalRequest { context: _, worker_id, approval_id, decision } = from;
    answer(host_worker_id(&worker_id)?, &approval_id, decision)
}

/// Checks a request for a page of a transcript.
///
/// # Errors
/// Names the bad field, or the limit is too large.
pub fn host_transcript(from: host::GetTranscriptRequest) -> Result<Transcript> {
    let host::GetTranscriptRequest { worker_id, start, limit } = from;
    let worker_id = host_worker_id(&worker_id)?;
    Ok(Transcript { worker_id, start, limit: transcript_limit(limit)? })
}

/// Checks a request for a transcript in batches.
///
/// # Errors
/// Names the bad field.
pub fn host_stream_transcript(from: host::StreamTranscriptRequest) -> Result<StreamTranscript> {
    let host::StreamTranscriptRequest { worker_id, start, follow } = from;
    Ok(StreamTranscript { worker_id: host_worker_id(&worker_id)?, start, follow })
}

/// Checks a request to observe a worker.
///
/// # Errors
/// Names the bad field, or the cursor is malformed.
pub fn host_observe(from: host::ObserveWorkerRequest) -> Result<Observe> {
    let host::ObserveWorkerRequest { worker_id, cursor, start, heartbeat_interval, stop_after } = from;
    let worker_id = host_worker_id(&worker_id)?;
    let from = observe_from(cursor.as_deref(), start, &worker_id)?;
    Ok(Observe { worker_id, from, heartbeat: heartbeat(heartbeat_interval)?, stop_after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    fn create() -> host::CreateWorkerRequest {
        host::CreateWorkerRequest {
            intent: Some(host::WorkerIntent {
                kind: Some(host::worker_intent::Kind::Task(host::TaskIntent { objective: "add".to_owned() })),
            }),
            profile: Some(v1::ProfileSelector {
                kind: Some(v1::profile_selector::Kind::Builtin("builtin:coder".to_owned())),
            }),
            ..Default::default()
        }
    }

    fn bad(change: impl FnOnce(&mut host::CreateWorkerRequest)) -> String {
        let mut request = create();
        change(&mut request);
        host_create(request).unwrap_err().fields()[0].field.clone()
    }

    #[test]
    fn blank_objectives_and_roles_are_refused() {
        // acceptance 89
        assert!(host_create(create()).is_ok());
        let task = host::worker_intent::Kind::Task(host::TaskIntent { objective: " \n".to_owned() });
        assert_eq!(bad(|r| r.intent = Some(host::WorkerIntent { kind: Some(task) })), "intent.task.objective");
        let role = host::worker_intent::Kind::Role(host::RoleIntent { role: String::new(), purpose: None });
        assert_eq!(bad(|r| r.intent = Some(host::WorkerIntent { kind: Some(role) })), "intent.role.role");
        assert_eq!(bad(|r| r.intent = None), "intent");
        assert_eq!(bad(|r| r.profile = None), "profile");
    }

    #[test]
    fn references_are_never_paths_and_no_socket_is_offered() {
        assert_eq!(bad(|r| r.workspace_refs = vec!["a".to_owned(), "/etc".to_owned()]), "workspace_refs[1]");
        assert_eq!(bad(|r| r.mount_refs = vec!["~/x".to_owned()]), "mount_refs[0]");
        let socket = v1::acceptance_requirement::Kind::SocketReady(v1::SocketReady {});
        assert_eq!(
            bad(|r| r.acceptance = Some(v1::AcceptanceRequirement { kind: Some(socket) })),
            "acceptance.socket_ready"
        );
    }

    #[test]
    fn a_change_needs_its_context() {
        let refused = |context| host_context(context).unwrap_err().fields()[0].field.clone();
        assert_eq!(refused(None), "context");
        assert_eq!(refused(Some(host::RequestContext::default())), "context.request_id");
        let context = host::RequestContext { request_id: "a".to_owned(), ..Default::default() };
        assert_eq!(refused(Some(context.clone())), "context.workspace_id");
        let context = host::RequestContext { workspace_id: "local:default".to_owned(), ..context };
        assert_eq!(host_context(Some(context)).unwrap().caller, Caller::anonymous());
    }
}
