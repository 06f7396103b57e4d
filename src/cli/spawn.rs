//! `workplane spawn`.

use std::collections::BTreeMap;

use super::client::ClientFlags;
use super::failure::Failure;
use super::input::input_text;
use super::output::{json, print_diagnostics, print_json};
use super::workers::{key_and_value, worker_table};
use crate::proto::v1::{
    ConfigBundleRef, Diagnostic, DiagnosticSeverity, OperationState, ProfileSelector, RuntimeDefault, SpawnIntent,
    SpawnWorkerRequest, SpawnWorkerResponse, TicketRole, TicketWorkerRole, WorkerInput, WorkerInputKind,
    WorkspaceCompanion, WorkspaceOrchestrator, profile_selector, spawn_intent,
};

/// `workplane spawn`.
#[derive(Debug, clap::Args)]
pub struct Spawn {
    /// The runtime it is to run on; without it the only one, or the embedded one
    #[arg(long, value_name = "ID", env = "WORKPLANE_RUNTIME")]
    runtime: Option<String>,
    /// What it runs, as the runtime's host knows it: `builtin:NAME`, `runtime_default`, or a name that a bundle declares;
    /// without it the builtin one of the role, else the runtime's default
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// The configuration bundle it is made with, which must declare its profile
    #[arg(long, value_name = "ID@DIGEST", value_parser = bundle_ref)]
    bundle: Option<ConfigBundleRef>,
    /// Works on a ticket in this role
    #[arg(long, value_enum, value_name = "ROLE", requires = "ticket")]
    role: Option<Role>,
    /// The ticket it works on, as coder unless --role says otherwise
    #[arg(long, value_name = "ID")]
    ticket: Option<String>,
    /// Is the workspace's companion; so is one without any of --ticket, --companion and --orchestrator
    #[arg(long, conflicts_with_all = ["ticket", "orchestrator"])]
    companion: bool,
    /// Is the workspace's orchestrator
    #[arg(long, conflicts_with = "ticket")]
    orchestrator: bool,
    /// Its first input; `-` reads it from standard input
    #[arg(long, value_name = "TEXT")]
    input: Option<String>,
    /// A name for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its workspace; without it the server's own
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// A mark of yours; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_and_value)]
    labels: Vec<(String, String)>,
    /// Makes a repeat of this command the same request
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Role {
    Intake,
    Orchestrator,
    Coder,
    Reviewer,
}

impl From<Role> for TicketWorkerRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Intake => Self::Intake,
            Role::Orchestrator => Self::Orchestrator,
            Role::Coder => Self::Coder,
            Role::Reviewer => Self::Reviewer,
        }
    }
}

impl Spawn {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let flags = self.client.clone();
        let client = flags.connect().await?;
        let runtime_id = client.runtime(self.runtime.clone()).await?;
        let request = client.call(self.request(runtime_id)?);
        let response = client.workers().spawn_worker(request).await?.into_inner();
        if flags.json() {
            print_json(&json("SpawnWorkerResponse", &response)?)?;
        } else if response.state() == OperationState::Accepted {
            worker_table(response.worker.as_slice()).print()?;
            print_diagnostics(&remarks(&response))?;
        }
        refuse_unless_accepted("the worker was not spawned", response.state(), response.diagnostics)
    }

    fn request(self, runtime_id: String) -> Result<SpawnWorkerRequest, Failure> {
        let intent = SpawnIntent { kind: Some(self.intent()) };
        let content = self.input.map(|text| input_text(Some(text))).transpose()?;
        Ok(SpawnWorkerRequest {
            runtime_id,
            workspace_id: self.workspace,
            intent: Some(intent),
            requested_worker_name: self.name,
            acceptance: None,
            profile: self.profile.map(selector),
            config_bundle: self.bundle,
            requested_capabilities: Vec::new(),
            initial_input: content.map(|content| WorkerInput { kind: WorkerInputKind::User.into(), content }),
            labels: BTreeMap::from_iter(self.labels),
            request_id: self.request_id,
        })
    }

    fn intent(&self) -> spawn_intent::Kind {
        if let Some(ticket_id) = self.ticket.clone() {
            let role = TicketWorkerRole::from(self.role.unwrap_or(Role::Coder)).into();
            spawn_intent::Kind::TicketRole(TicketRole { ticket_id, role })
        } else if self.orchestrator {
            spawn_intent::Kind::WorkspaceOrchestrator(WorkspaceOrchestrator {})
        } else {
            spawn_intent::Kind::WorkspaceCompanion(WorkspaceCompanion {})
        }
    }
}

/// What an accepted spawn says; what is noteworthy of the worker itself is said once, here.
pub(super) fn remarks(response: &SpawnWorkerResponse) -> Vec<Diagnostic> {
    if response.state() != OperationState::Accepted {
        return Vec::new();
    }
    let own = response.worker.iter().flat_map(|worker| &worker.diagnostics);
    let own = own.filter(|it| it.severity() != DiagnosticSeverity::Info && !response.diagnostics.contains(it));
    response.diagnostics.iter().chain(own).cloned().collect()
}

pub(super) fn bundle_ref(text: &str) -> Result<ConfigBundleRef, String> {
    let (id, digest) = text.split_once('@').ok_or("must be the bundle's id, an @, and its digest")?;
    Ok(ConfigBundleRef { id: id.to_owned(), digest: digest.to_owned() })
}

/// A profile as a command line names it; a `builtin:` name is the whole of it.
pub(super) fn selector(profile: String) -> ProfileSelector {
    let kind = if profile == "runtime_default" {
        profile_selector::Kind::RuntimeDefault(RuntimeDefault {})
    } else if profile.starts_with("builtin:") {
        profile_selector::Kind::Builtin(profile)
    } else {
        profile_selector::Kind::Named(profile)
    };
    ProfileSelector { kind: Some(kind) }
}

/// An answer that is not `ACCEPTED` is a failure, with its diagnostics.
pub(super) fn refuse_unless_accepted(
    what: &str,
    state: OperationState,
    diagnostics: Vec<Diagnostic>,
) -> Result<(), Failure> {
    let how = match state {
        OperationState::Accepted => return Ok(()),
        OperationState::Unsupported => "UNSUPPORTED",
        OperationState::Rejected | OperationState::Unspecified => "REJECTED",
    };
    Err(Failure::Refused { what: format!("{how}: {what}"), diagnostics })
}
