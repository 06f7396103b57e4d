//! `SpawnWorker`: what a caller asks, checked.

use super::fields::{
    Scope as _, acceptance, capability_requests, config_bundle, enum_value, initial_input, labels, profile, required,
};
use crate::model::{Error, HostId, Reason, Result, RuntimeId, SpawnIntent, SpawnWorker, TicketWorkerRole, WorkspaceId};
use crate::proto::v1;

/// A spawn, and where it belongs.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// What is asked.
    pub request: SpawnWorker,
    /// The workspace it is to belong to; the server's own where unset.
    pub workspace: Option<WorkspaceId>,
}

/// Checks a request to spawn a worker: its runtime first, then the rest in the order of the message.
///
/// # Errors
/// Names the bad field by its path.
pub fn spawn(from: v1::SpawnWorkerRequest) -> Result<Spawn> {
    let v1::SpawnWorkerRequest {
        runtime_id,
        workspace_id,
        intent: purpose,
        requested_worker_name,
        acceptance: condition,
        profile: selector,
        config_bundle: bundle,
        requested_capabilities,
        initial_input: input,
        labels: marks,
        // Taken out before, for the fingerprint.
        request_id: _,
    } = from;
    let runtime_id = RuntimeId::new(&runtime_id)?;
    let workspace = workspace_id.map(|id| WorkspaceId::new(&id)).transpose()?;
    let request = SpawnWorker {
        runtime_id,
        intent: required(purpose, "intent").and_then(intent)?,
        requested_worker_name,
        acceptance: acceptance(condition),
        profile: selector.map(profile).transpose()?,
        config_bundle: config_bundle(bundle)?,
        requested_capabilities: capability_requests(requested_capabilities)?,
        initial_input: initial_input(input)?,
        labels: labels(marks)?,
    };
    Ok(Spawn { request, workspace })
}

fn intent(from: v1::SpawnIntent) -> Result<SpawnIntent> {
    use v1::spawn_intent::Kind;
    let v1::SpawnIntent { kind } = from;
    match required(kind, "kind").scope("intent")? {
        Kind::WorkspaceCompanion(v1::WorkspaceCompanion {}) => Ok(SpawnIntent::WorkspaceCompanion),
        Kind::WorkspaceOrchestrator(v1::WorkspaceOrchestrator {}) => Ok(SpawnIntent::WorkspaceOrchestrator),
        Kind::TicketRole(role) => ticket_role(role).scope("ticket_role").scope("intent"),
    }
}

fn ticket_role(from: v1::TicketRole) -> Result<SpawnIntent> {
    let v1::TicketRole { ticket_id, role } = from;
    // A ticket's id follows the rule of all identifiers.
    HostId::new(&ticket_id)
        .map_err(|invalid| Error::field_as(Reason::InvalidIdentifier, "ticket_id", invalid.rule()))?;
    let role = match enum_value(role, "role")? {
        v1::TicketWorkerRole::Unspecified => return Err(Error::field("role", "is required")),
        v1::TicketWorkerRole::Intake => TicketWorkerRole::Intake,
        v1::TicketWorkerRole::Orchestrator => TicketWorkerRole::Orchestrator,
        v1::TicketWorkerRole::Coder => TicketWorkerRole::Coder,
        v1::TicketWorkerRole::Reviewer => TicketWorkerRole::Reviewer,
    };
    Ok(SpawnIntent::TicketRole { ticket_id, role })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Acceptance, InputKind};

    fn request() -> v1::SpawnWorkerRequest {
        v1::SpawnWorkerRequest {
            runtime_id: "embedded-worker-runtime".to_owned(),
            intent: Some(v1::SpawnIntent {
                kind: Some(v1::spawn_intent::Kind::TicketRole(v1::TicketRole {
                    ticket_id: "T-1".to_owned(),
                    role: v1::TicketWorkerRole::Coder.into(),
                })),
            }),
            ..Default::default()
        }
    }

    fn bad(change: impl FnOnce(&mut v1::SpawnWorkerRequest)) -> (Reason, String) {
        let mut request = request();
        change(&mut request);
        let error = spawn(request).unwrap_err();
        (error.reason(), error.fields()[0].field.clone())
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        // acceptance 9
        let Spawn { request, workspace } = spawn(v1::SpawnWorkerRequest {
            initial_input: Some(v1::WorkerInput { kind: 0, content: "hi".to_owned() }),
            ..request()
        })
        .unwrap();
        assert_eq!(workspace, None);
        assert_eq!(request.acceptance, Acceptance::RunAccepted { expected_segments: 0 });
        assert_eq!(request.profile, None);
        assert_eq!(request.initial_input.unwrap().kind(), InputKind::User);
    }

    #[test]
    fn the_runtime_is_checked_before_all_else() {
        // acceptance 21
        let (reason, field) = bad(|request| {
            request.runtime_id = "a.b".to_owned();
            request.intent = None;
        });
        assert_eq!((reason, field.as_str()), (Reason::InvalidIdentifier, "runtime_id"));
    }

    type Change = Box<dyn FnOnce(&mut v1::SpawnWorkerRequest)>;

    #[test]
    fn each_bad_field_is_named_by_its_path() {
        // acceptance 89
        let ticket = |ticket_id: &str, role| {
            let ticket_id = ticket_id.to_owned();
            Some(v1::SpawnIntent { kind: Some(v1::spawn_intent::Kind::TicketRole(v1::TicketRole { ticket_id, role })) })
        };
        let cases: Vec<(&str, Change)> = vec![
            ("intent", Box::new(|r| r.intent = None)),
            ("intent.kind", Box::new(|r| r.intent = Some(v1::SpawnIntent { kind: None }))),
            ("intent.ticket_role.role", Box::new(move |r| r.intent = ticket("T-1", 0))),
            ("intent.ticket_role.role", Box::new(move |r| r.intent = ticket("T-1", 99))),
            ("profile.kind", Box::new(|r| r.profile = Some(v1::ProfileSelector { kind: None }))),
            (
                "profile.named",
                Box::new(|r| {
                    r.profile =
                        Some(v1::ProfileSelector { kind: Some(v1::profile_selector::Kind::Named(String::new())) });
                }),
            ),
            (
                "config_bundle.digest",
                Box::new(|r| {
                    r.config_bundle = Some(v1::ConfigBundleRef { id: "b".to_owned(), digest: "A".repeat(64) });
                }),
            ),
            (
                "requested_capabilities[1].name",
                Box::new(|r| {
                    let one = |name: &str| v1::CapabilityRequest { name: name.to_owned(), reason: None };
                    r.requested_capabilities = vec![one("read"), one(" ")];
                }),
            ),
            (
                "initial_input.content",
                Box::new(|r| r.initial_input = Some(v1::WorkerInput { kind: 1, content: " ".to_owned() })),
            ),
            (
                "initial_input.kind",
                Box::new(|r| r.initial_input = Some(v1::WorkerInput { kind: 7, content: "hi".to_owned() })),
            ),
            ("labels[k]", Box::new(|r| _ = r.labels.insert("k".to_owned(), "b c".to_owned()))),
        ];
        for (path, change) in cases {
            assert_eq!(bad(change), (Reason::InvalidRequest, path.to_owned()));
        }
        let identifiers: [(&str, Change); 2] = [
            ("config_bundle.id", Box::new(|r| r.config_bundle = Some(v1::ConfigBundleRef::default()))),
            ("intent.ticket_role.ticket_id", Box::new(move |r| r.intent = ticket("a/b", 1))),
        ];
        for (path, change) in identifiers {
            assert_eq!(bad(change), (Reason::InvalidIdentifier, path.to_owned()));
        }
    }
}
