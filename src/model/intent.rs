//! What callers ask workers for, and what that means to a host (acceptance 38, 52 to 54).

use super::id::RuntimeId;
use super::spawn::{
    Acceptance, BundleRef, CapabilityRequest, CreateWorker, Labels, ProfileSelector, WorkerInput, WorkerIntent,
};

/// A worker's part in the work on a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TicketWorkerRole {
    /// Takes it in.
    Intake,
    /// Leads the work.
    Orchestrator,
    /// Writes the code.
    Coder,
    /// Reads the code.
    Reviewer,
}

impl TicketWorkerRole {
    /// Its name, as in `builtin:coder`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Orchestrator => "orchestrator",
            Self::Coder => "coder",
            Self::Reviewer => "reviewer",
        }
    }
}

/// What a caller wants a worker for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpawnIntent {
    /// A companion of the workspace.
    WorkspaceCompanion,
    /// The orchestrator of the workspace.
    WorkspaceOrchestrator,
    /// A part in the work on a ticket.
    TicketRole {
        /// The ticket; an identifier.
        ticket_id: String,
        /// The part.
        role: TicketWorkerRole,
    },
}

impl SpawnIntent {
    /// The intent as a host is told.
    #[must_use]
    pub fn worker_intent(&self) -> WorkerIntent {
        let (role, purpose) = match self {
            Self::WorkspaceCompanion => ("workspace_companion", "workspace backend internal companion".to_owned()),
            Self::WorkspaceOrchestrator => {
                ("workspace_orchestrator", "workspace backend internal orchestration".to_owned())
            }
            Self::TicketRole { ticket_id, role } => (role.as_str(), format!("ticket {ticket_id}")),
        };
        WorkerIntent::Role { role: role.to_owned(), purpose: Some(purpose) }
    }

    /// The profile where none is asked for.
    #[must_use]
    pub fn default_profile(&self) -> ProfileSelector {
        match self {
            Self::WorkspaceCompanion | Self::WorkspaceOrchestrator => ProfileSelector::RuntimeDefault,
            Self::TicketRole { role, .. } => ProfileSelector::Builtin(format!("builtin:{}", role.as_str())),
        }
    }
}

/// A worker as a caller asks for it. Its workspace is the call's.
#[derive(Debug, Clone)]
pub struct SpawnWorker {
    /// Where.
    pub runtime_id: RuntimeId,
    /// What for.
    pub intent: SpawnIntent,
    /// A wish for its label.
    pub requested_worker_name: Option<String>,
    /// When it counts as done.
    pub acceptance: Acceptance,
    /// What it runs; the intent's own where unset.
    pub profile: Option<ProfileSelector>,
    /// The bundle it is made with.
    pub config_bundle: Option<BundleRef>,
    /// What it may do; `read` where empty.
    pub requested_capabilities: Vec<CapabilityRequest>,
    /// Its first input.
    pub initial_input: Option<WorkerInput>,
    /// The caller's own marks.
    pub labels: Labels,
}

impl SpawnWorker {
    /// The same, as a host is told.
    #[must_use]
    pub fn into_create(self) -> CreateWorker {
        let default_capability = || vec![CapabilityRequest { name: "read".to_owned(), reason: None }];
        CreateWorker {
            profile: self.profile.unwrap_or_else(|| self.intent.default_profile()),
            intent: self.intent.worker_intent(),
            config_bundle: self.config_bundle,
            requested_capabilities: match self.requested_capabilities {
                none if none.is_empty() => default_capability(),
                asked => asked,
            },
            workspace_refs: Vec::new(),
            mount_refs: Vec::new(),
            requested_worker_name: self.requested_worker_name,
            initial_input: self.initial_input,
            acceptance: self.acceptance,
            labels: self.labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intents_map_to_roles_purposes_and_profiles() {
        // acceptance 53, 54
        let coder = SpawnIntent::TicketRole { ticket_id: "T-1".to_owned(), role: TicketWorkerRole::Coder };
        let WorkerIntent::Role { role, purpose } = coder.worker_intent() else { panic!("a role") };
        assert_eq!((role.as_str(), purpose.as_deref()), ("coder", Some("ticket T-1")));
        assert_eq!(coder.default_profile(), ProfileSelector::Builtin("builtin:coder".to_owned()));
        let companion = SpawnIntent::WorkspaceCompanion;
        assert_eq!(companion.worker_intent().role_label(), "workspace_companion");
        assert_eq!(companion.default_profile(), ProfileSelector::RuntimeDefault);
    }

    #[test]
    fn no_capabilities_means_read() {
        // acceptance 52
        let spawn = |requested_capabilities| SpawnWorker {
            runtime_id: RuntimeId::new("r").unwrap(),
            intent: SpawnIntent::WorkspaceCompanion,
            requested_worker_name: None,
            acceptance: Acceptance::RunAccepted { expected_segments: 0 },
            profile: None,
            config_bundle: None,
            requested_capabilities,
            initial_input: None,
            labels: Labels::default(),
        };
        let names = |create: CreateWorker| -> Vec<String> {
            create.requested_capabilities.into_iter().map(|capability| capability.name).collect()
        };
        assert_eq!(names(spawn(Vec::new()).into_create()), ["read"]);
        let asked = vec![CapabilityRequest { name: "write".to_owned(), reason: None }];
        assert_eq!(names(spawn(asked).into_create()), ["write"]);
    }
}
