//! The conversation of `workplane demo`: a worker is spawned over gRPC, what is typed goes to it as inputs, and what the
//! observed stream says is printed as it comes.
//!
//! It is a client like any other; the control plane that it speaks to is started by `app`.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use super::client::Client;
use super::failure::Failure;
use super::frame::termination;
use super::output::{line, plain};
use super::spawn::{refuse_unless_accepted, selector};
use super::typed::typed_lines;
use crate::proto::raw::ObserveWorkerResponse;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{
    InputDelivery, ObservationFrame, ObserveStart, ObserveWorkerRequest, SendInputRequest, SpawnIntent,
    SpawnWorkerRequest, StopMode, StopWorkerRequest, TranscriptItem, TranscriptRole, Worker, WorkerInputKind,
    WorkspaceCompanion, spawn_intent,
};

/// The profile that the conversation's worker runs.
pub const PROFILE: &str = "builtin:coder";
const CALL: Duration = Duration::from_secs(30);

/// Spawns a worker in `runtime_id` of the control plane at `address`, and speaks to it until standard input or the
/// worker ends. Cancelling `interrupt` ends the worker at once.
///
/// # Errors
/// When the control plane refuses or fails.
pub async fn converse(address: SocketAddr, runtime_id: &str, interrupt: CancellationToken) -> Result<(), Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(io::Error::other)?;
    let client = Client::open(endpoint.connect().await.map_err(io::Error::other)?, CALL);
    let worker = spawn(&client, runtime_id).await?;
    introduce(address, &worker)?;
    let frames = observe(&client, &worker).await?;
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let typed = typed_lines();
    Conversation { client, worker, terminal, given: 0, handed_over: 0 }.hold(frames, typed, interrupt).await
}

async fn spawn(client: &Client, runtime_id: &str) -> Result<Worker, Failure> {
    let kind = Some(spawn_intent::Kind::WorkspaceCompanion(WorkspaceCompanion {}));
    let request = SpawnWorkerRequest {
        runtime_id: runtime_id.to_owned(),
        intent: Some(SpawnIntent { kind }),
        profile: Some(selector(PROFILE.to_owned())),
        ..SpawnWorkerRequest::default()
    };
    let response = client.workers().spawn_worker(client.call(request)).await?.into_inner();
    refuse_unless_accepted("the worker was not spawned", response.state(), response.diagnostics)?;
    response.worker.ok_or_else(|| Failure::Other("the control plane accepted, and told of no worker".to_owned()))
}

async fn observe(client: &Client, worker: &Worker) -> Result<Streaming<ObserveWorkerResponse>, Failure> {
    let request = ObserveWorkerRequest {
        runtime_id: worker.runtime_id.clone(),
        worker_id: worker.worker_id.clone(),
        cursor: None,
        start: ObserveStart::Beginning.into(),
        heartbeat_interval: None,
    };
    Ok(client.observations().observe_worker(Request::new(request)).await?.into_inner())
}

fn introduce(address: SocketAddr, worker: &Worker) -> io::Result<()> {
    let (runtime, id) = (plain(&worker.runtime_id), plain(&worker.worker_id));
    // As this program was called, so that the line can be copied.
    let program = std::env::args().next().map_or_else(|| "workplane".to_owned(), |name| plain(&name).into_owned());
    line(&format!(
        "A gRPC control plane is up at {address}. It was asked for a worker with the profile {PROFILE}, which runs `sh` on \
         this machine, and spawned\n  {id}\n\n\
         See it from another terminal:\n  \
         {program} observe {id} --beginning --endpoint http://{address}\n  \
         grpcurl -plaintext -d '{{\"runtime_id\": \"{runtime}\", \"worker_id\": \"{id}\", \"start\": \
         \"OBSERVE_START_BEGINNING\"}}' {address} workplane.v1.ObservationService/ObserveWorker\n\n\
         Type commands for the shell, one a line; the end of the input (Ctrl-D) ends it.\n"
    ))
}

struct Conversation {
    client: Client,
    worker: Worker,
    /// Someone sits in front of it: there is a prompt, and what they type is not printed again.
    terminal: bool,
    /// Inputs that were accepted.
    given: u64,
    /// Inputs whose turn has ended: the program has them.
    handed_over: u64,
}

impl Conversation {
    async fn hold(
        mut self,
        mut frames: Streaming<ObserveWorkerResponse>,
        mut typed: mpsc::Receiver<String>,
        interrupt: CancellationToken,
    ) -> Result<(), Failure> {
        let (mut typing, mut stopping, mut interrupted) = (true, false, false);
        self.prompt(typing)?;
        loop {
            tokio::select! {
                text = typed.recv(), if typing => match text {
                    Some(text) => self.send(text).await?,
                    None => typing = false,
                },
                frame = frames.message() => match frame? {
                    Some(frame) => self.tell(&frame, typing)?,
                    None => break,
                },
                () = interrupt.cancelled(), if !interrupted => {
                    (typing, interrupted) = (false, true);
                    self.stop(StopMode::Force);
                }
            }
            // Only once the program has all that was typed: what it says to that still comes, for the end of its input
            // ends a shell when it has done what it was told.
            if !typing && !interrupted && !stopping && self.handed_over >= self.given {
                stopping = true;
                self.stop(StopMode::Graceful);
            }
        }
        Ok(())
    }

    async fn send(&mut self, content: String) -> Result<(), Failure> {
        if content.trim().is_empty() {
            return Ok(self.prompt(true)?);
        }
        let request = SendInputRequest {
            runtime_id: self.worker.runtime_id.clone(),
            worker_id: self.worker.worker_id.clone(),
            kind: WorkerInputKind::User.into(),
            content,
            delivery: InputDelivery::Queue.into(),
            request_id: String::new(),
        };
        // One line that is refused ends nothing: it may be too long, or the worker may just have ended.
        let refused = match self.client.workers().send_input(self.client.call(request)).await {
            Ok(response) => {
                let response = response.into_inner();
                refuse_unless_accepted("the input was not taken", response.state(), response.diagnostics).err()
            }
            Err(status) => Some(Failure::from(status)),
        };
        match refused {
            None => self.given += 1,
            Some(refused) => writeln!(io::stderr(), "{refused}")?,
        }
        Ok(())
    }

    /// Asks for the worker's end. The stream tells when it has come, so that nobody waits for the answer.
    fn stop(&self, mode: StopMode) {
        let request = StopWorkerRequest {
            runtime_id: self.worker.runtime_id.clone(),
            worker_id: self.worker.worker_id.clone(),
            reason: "the demo is over".to_owned(),
            mode: mode.into(),
            request_id: String::new(),
        };
        let (mut workers, request) = (self.client.workers(), self.client.call(request));
        tokio::spawn(async move {
            if let Err(status) = workers.stop_worker(request).await {
                let _ = writeln!(io::stderr(), "{}", Failure::from(status));
            }
        });
    }

    fn tell(&mut self, message: &ObserveWorkerResponse, typing: bool) -> Result<(), Failure> {
        let frame = ObservationFrame::decode(message.frame.clone().unwrap_or_default()).map_err(io::Error::other)?;
        match frame.payload {
            Some(Payload::ItemAppended(appended)) => self.say(&appended.item.unwrap_or_default(), typing)?,
            Some(Payload::TurnEnded(_)) => self.handed_over += 1,
            Some(Payload::End(end)) => {
                let how = end.termination.as_ref().map(termination).unwrap_or_default();
                self.print(&format!("\nThe worker has ended: {how}"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn say(&self, item: &TranscriptItem, typing: bool) -> io::Result<()> {
        let content = plain(&item.content);
        match item.role() {
            TranscriptRole::User if self.terminal => {}
            TranscriptRole::User => self.print(&format!("> {content}"))?,
            _ => self.print(&content)?,
        }
        self.prompt(typing)
    }

    /// Prints a line in place of the prompt.
    fn print(&self, text: &str) -> io::Result<()> {
        if self.terminal { line(&format!("\r\x1b[K{text}")) } else { line(text) }
    }

    fn prompt(&self, typing: bool) -> io::Result<()> {
        if !self.terminal || !typing {
            return Ok(());
        }
        let mut output = io::stdout().lock();
        output.write_all(b"\r\x1b[K> ")?;
        output.flush()
    }
}
