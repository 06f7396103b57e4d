//! What is asked of a worker while its stream is told: inputs, answers, interruptions. Each is its own request with an id of
//! its own, so that it is done once however often it is sent.

use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::{Response, Status};

use super::follow::{Patience, passes};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::spawn::refuse_unless_accepted;
use crate::proto::v1::{
    AnswerApprovalRequest, InputDelivery, InterruptWorkerRequest, SendInputRequest, WorkerInputKind,
};

/// Inputs that wait to be sent.
const WAITING: usize = 16;

/// An errand that came to nothing.
#[derive(Debug)]
pub(super) struct Undone {
    pub(super) errand: Errand,
    pub(super) failure: Failure,
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
    undone: mpsc::Sender<Undone>,
}

impl Errands {
    pub(super) fn to(client: &Arc<Client>, runtime_id: &str, worker_id: &str) -> (Self, mpsc::Receiver<Undone>) {
        let (inputs, waiting) = mpsc::channel(WAITING);
        let (undone, failed) = mpsc::channel(WAITING);
        let (client, runtime_id, worker_id) = (Arc::clone(client), runtime_id.to_owned(), worker_id.to_owned());
        let errands = Self { client, runtime_id, worker_id, inputs, undone };
        tokio::spawn(carry(Arc::clone(&errands.client), errands.ids(), waiting, errands.undone.clone()));
        (errands, failed)
    }

    fn ids(&self) -> (String, String) {
        (self.runtime_id.clone(), self.worker_id.clone())
    }

    /// Whether another input can wait to be sent.
    pub(super) fn has_room(&self) -> bool {
        self.inputs.capacity() > 0
    }

    /// Gives the worker an input, behind those before it; its request's id.
    pub(super) async fn input(&self, content: String) -> String {
        let request_id = request_id();
        // The other end lives as long as this.
        let _ = self.inputs.send((request_id.clone(), content)).await;
        request_id
    }

    pub(super) fn answer(&self, approval_id: String, decision: String) {
        let errand = Errand::Answer(approval_id.clone());
        let (runtime_id, worker_id) = self.ids();
        let request = AnswerApprovalRequest { runtime_id, worker_id, approval_id, decision, request_id: request_id() };
        let (client, undone) = (Arc::clone(&self.client), self.undone.clone());
        tokio::spawn(async move {
            let answered =
                again(|| async { client.workers().answer_approval(client.call(request.clone())).await }).await;
            let answered =
                answered.and_then(|it| refuse_unless_accepted("the answer was not taken", it.state(), it.diagnostics));
            report(&undone, errand, answered).await;
        });
    }

    pub(super) fn interrupt(&self) {
        let (runtime_id, worker_id) = self.ids();
        let request = InterruptWorkerRequest { runtime_id, worker_id, request_id: request_id() };
        let (client, undone) = (Arc::clone(&self.client), self.undone.clone());
        tokio::spawn(async move {
            let call = || async { client.workers().interrupt_worker(client.call(request.clone())).await };
            let done = again(call)
                .await
                .and_then(|it| refuse_unless_accepted("the turn was not interrupted", it.state(), it.diagnostics));
            report(&undone, Errand::Interruption, done).await;
        });
    }
}

/// Sends inputs one after the other, so that they keep their order.
async fn carry(
    client: Arc<Client>,
    (runtime_id, worker_id): (String, String),
    mut waiting: mpsc::Receiver<(String, String)>,
    undone: mpsc::Sender<Undone>,
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
        report(&undone, Errand::Input(request_id), taken).await;
    }
}

/// Calls until there is an answer.
async fn again<T, F: Future<Output = Result<Response<T>, Status>>>(mut call: impl FnMut() -> F) -> Result<T, Failure> {
    let mut patience = Patience::new();
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if passes(&status) && patience.wait().await => {}
            Err(status) => return Err(status.into()),
        }
    }
}

async fn report(undone: &mpsc::Sender<Undone>, errand: Errand, outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        // With nobody there to be told, the conversation is over.
        let _ = undone.send(Undone { errand, failure }).await;
    }
}

fn request_id() -> String {
    format!("chat-{}", uuid::Uuid::new_v4())
}
