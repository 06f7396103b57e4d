//! What is asked of a worker while its stream is told: inputs, answers, interruptions. Each is its own request with an id of
//! its own, so that it is done once however often it is sent.

use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::follow::{Patience, passes};
use crate::cli::client::Client;
use crate::cli::failure::{Failure, REQUEST_ID};
use crate::cli::spawn::refuse_unless_accepted;
use crate::proto::v1::{
    AnswerApprovalRequest, InputDelivery, InterruptWorkerRequest, SendInputRequest, WorkerInputKind,
};

/// Inputs that wait to be sent.
const WAITING: usize = 16;

/// An errand that is over.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) errand: Errand,
    pub(super) outcome: Result<(), Failure>,
}

#[derive(Debug)]
pub(super) enum Errand {
    /// An input, by its request.
    Input(String),
    /// The answer to an approval.
    Answer(String),
    Interruption,
}

/// Runs errands to one worker.
pub(super) struct Errands {
    client: Arc<Client>,
    runtime_id: String,
    worker_id: String,
    inputs: mpsc::Sender<(String, String)>,
    runs: mpsc::Sender<Run>,
    /// How many are on their way: nobody has taken note of their end.
    pending: usize,
}

impl Errands {
    pub(super) fn to(client: &Arc<Client>, runtime_id: &str, worker_id: &str) -> (Self, mpsc::Receiver<Run>) {
        let (inputs, waiting) = mpsc::channel(WAITING);
        let (runs, over) = mpsc::channel(WAITING);
        let (client, runtime_id, worker_id) = (Arc::clone(client), runtime_id.to_owned(), worker_id.to_owned());
        let errands = Self { client, runtime_id, worker_id, inputs, runs, pending: 0 };
        tokio::spawn(carry(Arc::clone(&errands.client), errands.ids(), waiting, errands.runs.clone()));
        (errands, over)
    }

    fn ids(&self) -> (String, String) {
        (self.runtime_id.clone(), self.worker_id.clone())
    }

    /// Whether another input can wait to be sent.
    pub(super) fn has_room(&self) -> bool {
        self.inputs.capacity() > 0
    }

    /// How many are on their way.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// The end of one was taken note of.
    pub(super) fn noted(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// Gives the worker an input, behind those before it; its request's id.
    pub(super) async fn input(&mut self, content: String) -> String {
        self.pending += 1;
        let request_id = request_id();
        // The other end lives as long as this.
        let _ = self.inputs.send((request_id.clone(), content)).await;
        request_id
    }

    pub(super) fn answer(&mut self, approval_id: String, decision: String) {
        self.pending += 1;
        let errand = Errand::Answer(approval_id.clone());
        let (runtime_id, worker_id) = self.ids();
        let request = AnswerApprovalRequest { runtime_id, worker_id, approval_id, decision, request_id: request_id() };
        let (client, runs) = (Arc::clone(&self.client), self.runs.clone());
        tokio::spawn(async move {
            let answered =
                again(|| async { client.workers().answer_approval(client.call(request.clone())).await }).await;
            let answered =
                answered.and_then(|it| refuse_unless_accepted("the answer was not taken", it.state(), it.diagnostics));
            report(&runs, errand, answered).await;
        });
    }

    pub(super) fn interrupt(&mut self) {
        self.pending += 1;
        let (runtime_id, worker_id) = self.ids();
        let request = InterruptWorkerRequest { runtime_id, worker_id, request_id: request_id() };
        let (client, runs) = (Arc::clone(&self.client), self.runs.clone());
        tokio::spawn(async move {
            let call = || async { client.workers().interrupt_worker(client.call(request.clone())).await };
            let done = again(call)
                .await
                .and_then(|it| refuse_unless_accepted("the turn was not interrupted", it.state(), it.diagnostics));
            report(&runs, Errand::Interruption, done).await;
        });
    }
}

/// Sends inputs one after the other, so that they keep their order.
async fn carry(
    client: Arc<Client>,
    (runtime_id, worker_id): (String, String),
    mut waiting: mpsc::Receiver<(String, String)>,
    runs: mpsc::Sender<Run>,
) {
    while let Some((request_id, content)) = waiting.recv().await {
        let request = SendInputRequest {
            runtime_id: runtime_id.clone(),
            worker_id: worker_id.clone(),
            kind: WorkerInputKind::User.into(),
            content,
            delivery: InputDelivery::Queue.into(),
            request_id: request_id.clone(),
        };
        let taken = again(|| async { client.workers().send_input(client.call(request.clone())).await }).await;
        let taken = taken.and_then(|it| refuse_unless_accepted("the input was not taken", it.state(), it.diagnostics));
        report(&runs, Errand::Input(request_id), taken).await;
    }
}

/// Calls until there is an answer.
async fn again<T, F: Future<Output = Result<Response<T>, Status>>>(mut call: impl FnMut() -> F) -> Result<T, Failure> {
    let mut patience = Patience::new();
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if is_worth_again(&status) && patience.wait().await => {}
            Err(status) => return Err(given_up(status)),
        }
    }
}

/// Whether the same request may still be done: it has an id, and is safe to repeat.
fn is_worth_again(status: &Status) -> bool {
    match status.code() {
        Code::DeadlineExceeded => true,
        Code::ResourceExhausted => status.get_details_retry_info().is_some(),
        _ => passes(status),
    }
}

/// Why it is not tried any more. Whoever chats cannot repeat it by its id, as they could another command.
fn given_up(mut status: Status) -> Failure {
    let is_unknown = status.metadata_mut().remove(REQUEST_ID).is_some() || is_worth_again(&status);
    let failure = Failure::from(status);
    if is_unknown { Failure::Other(format!("{failure}\n  whether it was done is not known")) } else { failure }
}

async fn report(runs: &mpsc::Sender<Run>, errand: Errand, outcome: Result<(), Failure>) {
    // With nobody there to be told, the conversation is over.
    let _ = runs.send(Run { errand, outcome }).await;
}

fn request_id() -> String {
    format!("chat-{}", uuid::Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn what_may_still_be_done_is_tried_again() {
        let full = |details| Status::with_error_details(Code::ResourceExhausted, "full", details);
        let mut later = ErrorDetails::with_error_info("OVERLOADED", "workplane", []);
        later.set_retry_info(Some(std::time::Duration::from_secs(1)));
        assert!(is_worth_again(&full(later)) && is_worth_again(&Status::deadline_exceeded("late")));
        let never = ErrorDetails::with_error_info("INPUT_QUEUE_FULL", "workplane", []);
        assert!(!is_worth_again(&full(never)) && !is_worth_again(&Status::not_found("gone")));
    }

    #[test]
    fn what_is_not_known_is_not_called_refused_and_advises_no_flag_that_chat_lacks() {
        let mut status = Status::deadline_exceeded("late");
        status.metadata_mut().insert(REQUEST_ID, "chat-7".parse().unwrap());
        let told = given_up(status).to_string();
        assert!(told.ends_with("whether it was done is not known") && !told.contains("--request-id"), "{told}");
        assert!(!given_up(Status::not_found("gone")).to_string().contains("not known"));
    }
}
