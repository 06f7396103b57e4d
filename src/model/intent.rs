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
    /// The word for it.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::WorkspaceCompanion => "workspace_companion",
            Self::WorkspaceOrchestrator => "workspace_orchestrator",
            Self::TicketRole { role: TicketWorkerRole::Intake, .. } => "ticket_intake",
            Self::TicketRole { role: TicketWorkerRole::Orchestrator, .. } => "ticket_orchestrator",
            Self::TicketRole { role: TicketWorkerRole::Coder, .. } => "ticket_coder",
            Self::TicketRole { role: TicketWorkerRole::Reviewer, .. } => "ticket_reviewer",
        }
    }

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
        // acceptance 38, 53, 54
        let ticket = |role| SpawnIntent::TicketRole { ticket_id: "T-1".to_owned(), role };
        let (companion, orchestrator) = (SpawnIntent::WorkspaceCompanion, SpawnIntent::WorkspaceOrchestrator);
        for (intent, label, role, purpose, profile) in [
            (companion, "workspace_companion", "workspace_companion", "workspace backend internal companion", None),
            (
                orchestrator,
                "workspace_orchestrator",
                "workspace_orchestrator",
                "workspace backend internal orchestration",
                None,
            ),
            (ticket(TicketWorkerRole::Intake), "ticket_intake", "intake", "ticket T-1", Some("builtin:intake")),
            (
                ticket(TicketWorkerRole::Orchestrator),
                "ticket_orchestrator",
                "orchestrator",
                "ticket T-1",
                Some("builtin:orchestrator"),
            ),
            (ticket(TicketWorkerRole::Coder), "ticket_coder", "coder", "ticket T-1", Some("builtin:coder")),
            (ticket(TicketWorkerRole::Reviewer), "ticket_reviewer", "reviewer", "ticket T-1", Some("builtin:reviewer")),
        ] {
            assert_eq!(intent.label(), label);
            let told = WorkerIntent::Role { role: role.to_owned(), purpose: Some(purpose.to_owned()) };
            assert_eq!(intent.worker_intent(), told);
            let default =
                profile.map_or(ProfileSelector::RuntimeDefault, |name| ProfileSelector::Builtin(name.to_owned()));
            assert_eq!(intent.default_profile(), default);
        }
    }

    #[test]
    fn a_profile_that_is_asked_for_wins() {
        // acceptance 54
        let mut asked = spawn(Vec::new());
        asked.profile = Some(ProfileSelector::Named("mine".to_owned()));
        assert_eq!(asked.into_create().profile, ProfileSelector::Named("mine".to_owned()));
    }

    fn spawn(requested_capabilities: Vec<CapabilityRequest>) -> SpawnWorker {
        SpawnWorker {
            runtime_id: RuntimeId::new("r").unwrap(),
            intent: SpawnIntent::WorkspaceCompanion,
            requested_worker_name: None,
            acceptance: Acceptance::RunAccepted { expected_segments: 0 },
            profile: None,
            config_bundle: None,
            requested_capabilities,
            initial_input: None,
            labels: Labels::default(),
        }
    }

    #[test]
    fn no_capabilities_means_read() {
        // acceptance 52
        let names = |create: CreateWorker| -> Vec<String> {
            create.requested_capabilities.into_iter().map(|capability| capability.name).collect()
        };
        assert_eq!(names(spawn(Vec::new()).into_create()), ["read"]);
        let asked = vec![CapabilityRequest { name: "write".to_owned(), reason: None }];
        assert_eq!(names(spawn(asked).into_create()), ["write"]);
    }
}
