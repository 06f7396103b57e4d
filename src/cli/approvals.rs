//! `workplane approvals` and `answer`.

use serde_json::json;

use super::client::{ClientFlags, WorkerName};
use super::failure::Failure;
use super::output::{Table, json as message_json, print_diagnostics, print_json};
use super::spawn::refuse_unless_accepted;
use crate::proto::v1::{AnswerApprovalRequest, Approval, ListApprovalsRequest, OperationState};

/// `workplane approvals`.
#[derive(Debug, clap::Args)]
pub struct Approvals {
    #[command(flatten)]
    worker: WorkerName,
    #[command(flatten)]
    client: ClientFlags,
}

/// `workplane answer`.
#[derive(Debug, clap::Args)]
pub struct Answer {
    #[command(flatten)]
    worker: WorkerName,
    /// The question, as `workplane approvals` shows it
    #[arg(value_name = "APPROVAL")]
    approval_id: String,
    /// One of its options
    #[arg(value_name = "OPTION")]
    decision: String,
    /// Makes a repeat of this command the same request
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
    #[command(flatten)]
    client: ClientFlags,
}

impl Approvals {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let request = client.call(ListApprovalsRequest { runtime_id, worker_id });
        let response = client.workers().list_approvals(request).await?.into_inner();
        client.remark(response.diagnostics);
        if self.client.json() {
            let approvals: Result<Vec<_>, _> =
                response.approvals.iter().map(|approval| message_json("Approval", approval)).collect();
            return Ok(print_json(&json!({ "approvals": approvals? }))?);
        }
        Ok(approval_table(&response.approvals).print()?)
    }
}

/// A row for each question.
fn approval_table(approvals: &[Approval]) -> Table {
    let mut table = Table::new(&["APPROVAL", "TURN", "OPTIONS", "TITLE"]);
    for Approval { approval_id, turn_id, title, options, requested_at: _ } in approvals {
        let options: Vec<_> = options.iter().map(|option| option.option_id.as_str()).collect();
        table.row([approval_id.as_str(), turn_id, &options.join(" "), title]);
    }
    table
}

impl Answer {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let Self { approval_id, decision, request_id, .. } = self;
        let request = AnswerApprovalRequest { runtime_id, worker_id, approval_id, decision, request_id };
        let response = client.workers().answer_approval(client.call(request)).await?.into_inner();
        if self.client.json() {
            print_json(&message_json("AnswerApprovalResponse", &response)?)?;
        } else if response.state() == OperationState::Accepted {
            let mut table = Table::new(&["RUNTIME", "WORKER", "APPROVAL", "EVENT"]);
            let event = response.event_id().to_string();
            table.row([response.runtime_id.as_str(), &response.worker_id, &response.approval_id, &event]);
            table.print()?;
            print_diagnostics(&response.diagnostics)?;
        }
        refuse_unless_accepted("the answer was not taken", response.state(), response.diagnostics)
    }
}
