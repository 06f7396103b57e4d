//! `workplane workers`.

use std::collections::BTreeMap;

use serde_json::json;

use super::client::{Client, ClientFlags, WorkerName};
use super::failure::Failure;
use super::output::{
    Table, get_is_meant, json as message_json, own_label, print_diagnostics, print_fields, print_json, word,
};
use super::spawn::refuse_unless_accepted;
use crate::proto::v1::{
    DeleteWorkerRequest, GetWorkerRequest, ListWorkersRequest, OperationState, Worker, WorkerState,
};

/// `workplane workers`.
#[derive(Debug, clap::Args)]
pub struct Workers {
    #[command(flatten)]
    client: ClientFlags,
    #[command(flatten)]
    filter: Filter,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists those for which everything that is given holds; the same as no word at all
    List(Filter),
    /// Shows one
    Get(WorkerName),
    /// Deletes the record of one that has ended, with its transcript and events
    Delete(Delete),
    #[command(external_subcommand)]
    Other(Vec<String>),
}

#[derive(Debug, clap::Args)]
struct Delete {
    #[command(flatten)]
    worker: WorkerName,
    /// Ends it first if it is live, at once
    #[arg(long)]
    force: bool,
    /// Makes a repeat of this command the same request
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
}

#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
struct Filter {
    /// Only those of this runtime
    #[arg(long = "runtime", value_name = "ID")]
    runtime_id: Option<String>,
    /// Only those on this host
    #[arg(long = "host", value_name = "ID")]
    host_id: Option<String>,
    /// Only those of this workspace
    #[arg(long = "workspace", value_name = "ID")]
    workspace_id: Option<String>,
    /// Only those that have this label with this value; may be given several times, and all must hold
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_and_value)]
    labels: Vec<(String, String)>,
    /// Only those in this state: starting, running, stopping, stopped, cancelled, failed; may be given several times
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    states: Vec<WorkerState>,
    /// Asks the hosts now, rather than the control plane what it knows
    #[arg(long)]
    fresh: bool,
}

impl Filter {
    /// What stands before the word `list` and what stands after it.
    fn and(self, mut more: Self) -> Self {
        more.labels.extend(self.labels);
        more.states.extend(self.states);
        Self {
            runtime_id: more.runtime_id.or(self.runtime_id),
            host_id: more.host_id.or(self.host_id),
            workspace_id: more.workspace_id.or(self.workspace_id),
            labels: more.labels,
            states: more.states,
            fresh: more.fresh || self.fresh,
        }
    }
}

/// `KEY=VALUE`, as on a command line.
pub(super) fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn state(text: &str) -> Result<WorkerState, &'static str> {
    let name = format!("WORKER_STATE_{}", text.to_ascii_uppercase());
    WorkerState::from_str_name(&name).ok_or("must be starting, running, stopping, stopped, cancelled or failed")
}

impl Workers {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(Action::Other(words)) = &self.action {
            return Err(get_is_meant("workers", words));
        }
        if matches!(self.action, Some(Action::Get(_) | Action::Delete(_))) && self.filter != Filter::default() {
            return Err(Failure::Usage("a worker is named by its id: leave the filters out".to_owned()));
        }
        let client = self.client.connect().await?;
        match self.action {
            Some(Action::Get(name)) => {
                let (runtime_id, worker_id) = name.resolve(&client).await?;
                let request = client.call(GetWorkerRequest { runtime_id, worker_id });
                let response = client.workers().get_worker(request).await?.into_inner();
                let worker = message_json("Worker", &response.worker.unwrap_or_default())?;
                let print = if self.client.json() { print_json } else { print_fields };
                Ok(print(&worker)?)
            }
            Some(Action::Delete(delete)) => delete.run(&client, self.client.json()).await,
            Some(Action::List(more)) => list(&client, self.filter.and(more), self.client.json()).await,
            Some(Action::Other(_)) | None => list(&client, self.filter, self.client.json()).await,
        }
    }
}

impl Delete {
    async fn run(self, client: &Client, as_json: bool) -> Result<(), Failure> {
        let (runtime_id, worker_id) = self.worker.resolve(client).await?;
        let request = DeleteWorkerRequest { runtime_id, worker_id, force: self.force, request_id: self.request_id };
        let response = client.workers().delete_worker(client.call(request)).await?.into_inner();
        if as_json {
            print_json(&message_json("DeleteWorkerResponse", &response)?)?;
        } else if response.state() == OperationState::Accepted {
            let mut table = Table::new(&["RUNTIME", "WORKER"]);
            table.row([response.runtime_id.as_str(), &response.worker_id]);
            table.print()?;
            print_diagnostics(&response.diagnostics)?;
        }
        refuse_unless_accepted("the worker was not deleted", response.state(), response.diagnostics)
    }
}

async fn list(client: &Client, filter: Filter, as_json: bool) -> Result<(), Failure> {
    let Filter { runtime_id, host_id, workspace_id, labels, states, fresh } = filter;
    let mut request = ListWorkersRequest {
        runtime_id,
        host_id,
        workspace_id,
        labels: BTreeMap::from_iter(labels),
        states: states.into_iter().map(i32::from).collect(),
        page_size: 1_000,
        page_token: String::new(),
        fresh,
    };
    let mut workers = Vec::new();
    loop {
        let page = client.workers().list_workers(client.call(request.clone())).await?.into_inner();
        client.remark(page.diagnostics);
        workers.extend(page.workers);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if as_json {
        let workers: Result<Vec<_>, _> = workers.iter().map(|worker| message_json("Worker", worker)).collect();
        return Ok(print_json(&json!({ "workers": workers? }))?);
    }
    Ok(worker_table(&workers).print()?)
}

/// A row for each worker.
pub(super) fn worker_table(workers: &[Worker]) -> Table {
    let mut table = Table::new(&["RUNTIME", "WORKER", "STATE", "ACTIVITY", "PROFILE", "ITEMS", "LABEL"]);
    for worker in workers {
        let mut state = word(worker.state().as_str_name(), "WORKER_STATE");
        if worker.stale {
            state.push_str(" (stale)");
        }
        if worker.diagnostics.iter().any(|diagnostic| diagnostic.code == "worker_quarantined") {
            state.push_str(" (quarantined)");
        }
        let activity = word(worker.activity().as_str_name(), "WORKER_ACTIVITY");
        let items = worker.transcript_length.to_string();
        let Worker { runtime_id, worker_id, label, .. } = worker;
        let label = own_label(label, worker_id);
        table.row([runtime_id.as_str(), worker_id, &state, &activity, worker.profile(), &items, label]);
    }
    table
}
