//! `workplane send`, `interrupt`, `stop` and `cancel`.

use std::io::Read;

use super::client::{ClientFlags, WorkerName};
use super::failure::Failure;
use super::output::{Table, json, print_diagnostics, print_json};
use super::spawn::refuse_unless_accepted;
use crate::model::MAX_INPUT_BYTES;
use crate::proto::v1::{
    CancelWorkerRequest, InputDelivery, InterruptWorkerRequest, OperationState, SendInputRequest, StopMode,
    StopWorkerRequest, WorkerInputKind,
};

/// `workplane send`.
#[derive(Debug, clap::Args)]
pub struct Send {
    #[command(flatten)]
    worker: WorkerName,
    /// What to say; `-`, or nothing, reads it from standard input, without its last newline
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Who speaks
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Kind::User)]
    kind: Kind,
    /// What becomes of it while the worker is busy
    #[arg(long, value_enum, value_name = "DELIVERY", default_value_t = Delivery::Queue)]
    delivery: Delivery,
    /// Makes a repeat of this command the same request
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    User,
    System,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Delivery {
    Queue,
    Interrupt,
    Reject,
}

/// `workplane stop`.
#[derive(Debug, clap::Args)]
pub struct Stop {
    #[command(flatten)]
    worker: WorkerName,
    /// Kills it at once, rather than letting it end
    #[arg(long)]
    force: bool,
    /// Why, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Makes a repeat of this command the same request
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
    #[command(flatten)]
    client: ClientFlags,
}

/// `workplane cancel`.
#[derive(Debug, clap::Args)]
pub struct Cancel {
    #[command(flatten)]
    worker: WorkerName,
    /// Why, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Makes a repeat of this command the same request
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
    #[command(flatten)]
    client: ClientFlags,
}

/// `workplane interrupt`.
#[derive(Debug, clap::Args)]
pub struct Interrupt {
    #[command(flatten)]
    worker: WorkerName,
    /// Makes a repeat of this command the same request
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
    #[command(flatten)]
    client: ClientFlags,
}

impl Send {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let kind = match self.kind {
            Kind::User => WorkerInputKind::User,
            Kind::System => WorkerInputKind::System,
        };
        let delivery = match self.delivery {
            Delivery::Queue => InputDelivery::Queue,
            Delivery::Interrupt => InputDelivery::Interrupt,
            Delivery::Reject => InputDelivery::Reject,
        };
        let request = SendInputRequest {
            runtime_id,
            worker_id,
            kind: kind.into(),
            content: input_text(self.text)?,
            delivery: delivery.into(),
            request_id: self.request_id,
        };
        let response = client.workers().send_input(client.call(request)).await?.into_inner();
        if self.client.json() {
            print_json(&json("SendInputResponse", &response)?)?;
        } else if response.state() == OperationState::Accepted {
            let mut table = Table::new(&["RUNTIME", "WORKER", "ITEM", "EVENT"]);
            let numbers = [response.transcript_sequence().to_string(), response.event_id().to_string()];
            table.row([response.runtime_id.as_str(), &response.worker_id, &numbers[0], &numbers[1]]);
            table.print()?;
            print_diagnostics(&response.diagnostics)?;
        }
        refuse_unless_accepted("the input was not taken", response.state(), response.diagnostics)
    }
}

impl Stop {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let mode = if self.force { StopMode::Force } else { StopMode::Graceful };
        let Self { reason, request_id, .. } = self;
        let request = StopWorkerRequest { runtime_id, worker_id, reason, mode: mode.into(), request_id };
        let response = client.workers().stop_worker(client.call(request)).await?.into_inner();
        if self.client.json() {
            print_json(&json("StopWorkerResponse", &response)?)?;
        } else if response.state() == OperationState::Accepted {
            print_end(&response.runtime_id, &response.worker_id, response.event_id)?;
            print_diagnostics(&response.diagnostics)?;
        }
        refuse_unless_accepted("the worker was not stopped", response.state(), response.diagnostics)
    }
}

impl Cancel {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let Self { reason, request_id, .. } = self;
        let request = CancelWorkerRequest { runtime_id, worker_id, reason, request_id };
        let response = client.workers().cancel_worker(client.call(request)).await?.into_inner();
        if self.client.json() {
            print_json(&json("CancelWorkerResponse", &response)?)?;
        } else if response.state() == OperationState::Accepted {
            print_end(&response.runtime_id, &response.worker_id, response.event_id)?;
            print_diagnostics(&response.diagnostics)?;
        }
        refuse_unless_accepted("the worker was not cancelled", response.state(), response.diagnostics)
    }
}

impl Interrupt {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let request = InterruptWorkerRequest { runtime_id, worker_id, request_id: self.request_id };
        let response = client.workers().interrupt_worker(client.call(request)).await?.into_inner();
        if self.client.json() {
            print_json(&json("InterruptWorkerResponse", &response)?)?;
        } else if response.state() == OperationState::Accepted {
            print_end(&response.runtime_id, &response.worker_id, response.event_id)?;
            print_diagnostics(&response.diagnostics)?;
        }
        refuse_unless_accepted("the worker was not interrupted", response.state(), response.diagnostics)
    }
}

fn print_end(runtime_id: &str, worker_id: &str, event_id: Option<u64>) -> Result<(), Failure> {
    let mut table = Table::new(&["RUNTIME", "WORKER", "EVENT"]);
    let event = event_id.map(|event| event.to_string()).unwrap_or_default();
    table.row([runtime_id, worker_id, &event]);
    Ok(table.print()?)
}

/// A text of the command line, or standard input where that is `-` or nothing.
pub(super) fn input_text(text: Option<String>) -> Result<String, Failure> {
    match text {
        Some(text) if text != "-" => Ok(text),
        _ => {
            let mut text = String::new();
            // One byte more than the server would take, so that it can say so.
            std::io::stdin().lock().take(MAX_INPUT_BYTES as u64 + 2).read_to_string(&mut text)?;
            text.truncate(text.strip_suffix('\n').map_or(text.len(), str::len));
            Ok(text)
        }
    }
}
