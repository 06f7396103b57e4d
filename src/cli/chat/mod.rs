//! `workplane chat`: a conversation with a worker from a terminal, or through a pipe.
//!
//! It is a client like any other. The terminal alone edits what is typed; through a pipe a line is taken once the turn
//! before it is over, so that a script's lines answer what is asked after them. Leaving it ends nothing: the worker lives on.

mod errands;
mod follow;
mod screen;
mod story;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use self::errands::{Errand, Errands, Run};
use self::follow::{Following, Heard};
use self::screen::Screen;
use self::story::Story;
use super::client::{Client, ClientFlags, WorkerName};
use super::failure::Failure;
use super::output::{plain, print_diagnostics};
use super::spawn::{bundle_ref, refuse_unless_accepted, remarks, selector};
use super::typed::typed_lines;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{
    ConfigBundleRef, GetTranscriptRequest, GetWorkerRequest, ListApprovalsRequest, ObservationFrame, ObserveStart,
    Snapshot, SpawnIntent, SpawnWorkerRequest, Termination, TerminationReason, TranscriptItem, Worker, WorkerActivity,
    WorkspaceCompanion, spawn_intent,
};

/// How many items who joins is told of what was said before.
const BEFORE: u64 = 10;
/// How long who leaves is kept by what is still on its way.
const PARTING: Duration = Duration::from_secs(2);

/// `workplane chat`.
#[derive(Debug, clap::Args)]
pub struct Chat {
    /// What the new worker runs: `builtin:NAME`, `runtime_default`, or a name that a bundle declares
    #[arg(value_name = "PROFILE", required_unless_present = "worker")]
    profile: Option<String>,
    /// Joins this worker, its id or `RUNTIME/ID`, rather than spawn one
    #[arg(long, value_name = "WORKER", conflicts_with_all = ["profile", "bundle"])]
    worker: Option<String>,
    /// The runtime it is in, or is to run on; without it the only one, or the embedded one
    #[arg(long, value_name = "ID", env = "WORKPLANE_RUNTIME")]
    runtime: Option<String>,
    /// The configuration bundle it is made with, which must declare its profile
    #[arg(long, value_name = "ID@DIGEST", value_parser = bundle_ref)]
    bundle: Option<ConfigBundleRef>,
    /// Shows what it thinks, too
    #[arg(long)]
    thoughts: bool,
    #[command(flatten)]
    client: ClientFlags,
}

impl Chat {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.client.json() {
            return Err(Failure::Usage("--output: a conversation is for people; `observe` has it as JSON".to_owned()));
        }
        let client = Arc::new(self.client.connect().await?);
        let joins = self.worker.is_some();
        let (runtime_id, worker_id) = self.worker(&client).await?;
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let start = if joins { ObserveStart::Now } else { ObserveStart::Beginning };
        let (listen, heard) = mpsc::channel(64);
        tokio::spawn(Following::of(&runtime_id, &worker_id, start).run(Arc::clone(&client), listen));
        let (errands, runs) = Errands::to(&client, &runtime_id, &worker_id);
        let name = format!("{}/{}", plain(&runtime_id), plain(&worker_id));
        let back = (format!("chat --worker {name}"), format!("stop {name}"));
        let story = Story::new(Screen::new(std::io::stdout(), terminal), self.thoughts);
        let mut chat = Conversation::new(client, errands, story, joins);
        chat.story.screen.note(&format!("{name}: Ctrl-C interrupts a turn, Ctrl-D leaves"))?;
        let outcome = chat.hold(typed_lines(), heard, runs).await;
        let is_gone = matches!(&outcome, Err(Failure::Status(status)) if status.code() == Code::NotFound);
        if is_gone || chat.story.ended.is_some() {
            chat.story.screen.finish()?;
        } else {
            chat.leave(&self.client.as_typed(), &back)?;
        }
        outcome
    }

    /// The worker that is joined, or a new one.
    async fn worker(&self, client: &Client) -> Result<(String, String), Failure> {
        if let Some(worker) = &self.worker {
            return WorkerName::new(worker, self.runtime.as_deref()).resolve(client).await;
        }
        let kind = Some(spawn_intent::Kind::WorkspaceCompanion(WorkspaceCompanion {}));
        let request = SpawnWorkerRequest {
            runtime_id: client.runtime(self.runtime.clone()).await?,
            intent: Some(SpawnIntent { kind }),
            profile: self.profile.clone().map(selector),
            config_bundle: self.bundle.clone(),
            ..SpawnWorkerRequest::default()
        };
        let response = client.workers().spawn_worker(client.call(request)).await?.into_inner();
        print_diagnostics(&remarks(&response))?;
        refuse_unless_accepted("the worker was not spawned", response.state(), response.diagnostics)?;
        let none = || Failure::Other("the control plane accepted, and told of no worker".to_owned());
        response.worker.map(|worker| (worker.runtime_id, worker.worker_id)).ok_or_else(none)
    }
}

/// A conversation that is held.
struct Conversation<W> {
    client: Arc<Client>,
    errands: Errands,
    story: Story<W>,
    /// What the next snapshot is for.
    awaits: Option<Awaited>,
    /// Standard input has not ended.
    typing: bool,
    /// The turn was asked to end.
    interrupting: bool,
    /// The first errand that came to nothing.
    undone: Option<Failure>,
}

/// What a snapshot that is still to come has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// It is the first, of a worker that has lived before: what was said, and how it stands.
    Beginning,
    /// Something of the stream is lost: how it stands.
    Standing,
}

impl<W: Write> Conversation<W> {
    fn new(client: Arc<Client>, errands: Errands, story: Story<W>, joins: bool) -> Self {
        let awaits = joins.then_some(Awaited::Beginning);
        Self { client, errands, story, awaits, typing: true, interrupting: false, undone: None }
    }

    async fn hold(
        &mut self,
        mut typed: mpsc::Receiver<String>,
        mut heard: mpsc::Receiver<Heard>,
        mut runs: mpsc::Receiver<Run>,
    ) -> Result<(), Failure> {
        let mut breaks: Signal = signal(SignalKind::interrupt())?;
        self.story.prompt()?;
        while self.story.ended.is_none() {
            tokio::select! {
                line = typed.recv(), if self.listens() => match line {
                    Some(line) => self.typed(line).await?,
                    None => self.typing = false,
                },
                what = heard.recv() => match what {
                    Some(what) => self.heard(what).await?,
                    None => break,
                },
                Some(run) = runs.recv() => self.over(run)?,
                _ = breaks.recv() => if self.is_left()? { return self.part(&mut runs).await },
                () = tokio::time::sleep(self.silence()), if self.is_answered() => {
                    self.part(&mut runs).await?;
                    return self.unanswered();
                }
            }
            self.story.prompt()?;
        }
        self.verdict()
    }

    /// What the worker's end says.
    fn verdict(&mut self) -> Result<(), Failure> {
        let reason = self.story.ended.as_ref().map(Termination::reason);
        match reason {
            None | Some(TerminationReason::Stopped | TerminationReason::Cancelled | TerminationReason::Drained) => {
                self.all_done()
            }
            Some(_) => Err(Failure::Verdict { code: 4, words: "the worker has failed".to_owned() }),
        }
    }

    /// Whether a line is taken now. Who joins hears from the snapshot on: what was given before it would not be told of.
    fn listens(&self) -> bool {
        self.typing && self.awaits.is_none() && self.is_ready() && self.errands.has_room()
    }

    /// Whether it is known what a line would be for, which a pipe must wait for: a person sees it.
    fn is_ready(&self) -> bool {
        let is_known = || self.story.is_done() || self.story.question().is_some();
        self.story.screen.terminal || (self.awaits.is_none() && self.errands.pending() == 0 && is_known())
    }

    /// All that was typed has come to its end, or nobody is there to answer.
    fn is_answered(&self) -> bool {
        !self.typing && self.is_ready()
    }

    /// For how long nothing must come before it is left: a person is not kept.
    fn silence(&self) -> Duration {
        if self.story.screen.terminal { Duration::ZERO } else { self.story.silence }
    }

    /// Waits a little for what is on its way.
    async fn part(&mut self, runs: &mut mpsc::Receiver<Run>) -> Result<(), Failure> {
        let until = Instant::now() + PARTING;
        while self.errands.pending() > 0 {
            let Ok(Some(run)) = timeout_at(until, runs.recv()).await else {
                let pending = self.errands.pending();
                let words = format!("{pending} of the inputs, answers and interruptions may not have been sent");
                return Err(Failure::Other(words));
            };
            self.over(run)?;
        }
        Ok(())
    }

    /// How it ends where nobody types any more.
    fn unanswered(&mut self) -> Result<(), Failure> {
        self.all_done()?;
        if self.story.question().is_none() || self.story.screen.terminal {
            return Ok(());
        }
        Err(Failure::Verdict { code: 3, words: "the worker waits for an answer".to_owned() })
    }

    /// Whether all that a pipe gave was done: a person has seen what was not.
    fn all_done(&mut self) -> Result<(), Failure> {
        self.undone.take().filter(|_| !self.story.screen.terminal).map_or(Ok(()), Err)
    }

    async fn typed(&mut self, line: String) -> Result<(), Failure> {
        self.story.screen.typed()?;
        if let Some((approval_id, option_id)) = self.story.choice(&line) {
            self.story.answers(&approval_id, true);
            self.errands.answer(approval_id, option_id);
        } else if self.story.question().is_some() {
            self.story.screen.note("it waits for one of the answers: type its number")?;
        } else if !line.trim().is_empty() {
            self.story.gives(self.errands.input(line).await);
        }
        Ok(())
    }

    async fn heard(&mut self, what: Heard) -> Result<(), Failure> {
        let frame = match what {
            Heard::Frame(frame) => frame,
            Heard::Remark(words) => return Ok(self.story.screen.note(&words)?),
            Heard::Behind => {
                self.awaits.get_or_insert(Awaited::Standing);
                return Ok(self.story.falls_behind()?);
            }
            Heard::Failed(failure) => return Err(failure),
        };
        if let Some(Payload::Snapshot(Snapshot { worker: Some(worker), .. })) = &frame.payload {
            let awaited = self.awaits.take();
            if awaited == Some(Awaited::Beginning) {
                let items = self.items_before(worker).await?;
                self.story.before(&items)?;
            }
            if awaited.is_some() {
                self.join(worker).await?;
            }
        }
        self.story.tell(&frame)?;
        if matches!(frame.payload, Some(Payload::Gap(_))) {
            self.join_again(&frame).await?;
        }
        self.interrupting &= self.story.in_turn();
        Ok(())
    }

    /// Behind a gap the worker itself says how it is; of one that is gone the stream tells.
    async fn join_again(&mut self, frame: &ObservationFrame) -> Result<(), Failure> {
        let (runtime_id, worker_id) = (frame.runtime_id.clone(), frame.worker_id.clone());
        let request = self.client.call(GetWorkerRequest { runtime_id, worker_id });
        match self.client.workers().get_worker(request).await {
            Ok(answer) => self.join(&answer.into_inner().worker.unwrap_or_default()).await,
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err(status.into()),
        }
    }

    /// Takes note of a turn that is under way, and tells what is asked already.
    async fn join(&mut self, worker: &Worker) -> Result<(), Failure> {
        let in_turn = matches!(worker.activity(), WorkerActivity::Busy | WorkerActivity::Waiting);
        self.story.joins(in_turn);
        if worker.activity() == WorkerActivity::Waiting {
            let (runtime_id, worker_id) = (worker.runtime_id.clone(), worker.worker_id.clone());
            let request = self.client.call(ListApprovalsRequest { runtime_id, worker_id });
            let open = self.client.workers().list_approvals(request).await?.into_inner().approvals;
            open.into_iter().try_for_each(|approval| self.story.asks(approval))?;
        }
        Ok(())
    }

    /// The last items that there were at a snapshot.
    async fn items_before(&self, worker: &Worker) -> Result<Vec<TranscriptItem>, Failure> {
        let first = worker.first_item_sequence.saturating_sub(1);
        let start = worker.transcript_length.saturating_sub(BEFORE).max(first);
        let limit = i32::try_from(worker.transcript_length.saturating_sub(start)).unwrap_or_default();
        // None, asked for as none, would be as many as fit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (runtime_id, worker_id) = (worker.runtime_id.clone(), worker.worker_id.clone());
        let request = self.client.call(GetTranscriptRequest { runtime_id, worker_id, start, limit });
        let page = self.client.transcripts().get_transcript(request).await?.into_inner();
        let items: Result<Vec<_>, _> = page.items.into_iter().map(TranscriptItem::decode).collect();
        Ok(items.map_err(std::io::Error::other)?)
    }

    /// An errand is over; one that came to nothing is told of.
    fn over(&mut self, Run { errand, outcome }: Run) -> Result<(), Failure> {
        self.errands.noted();
        let Err(failure) = outcome else { return Ok(()) };
        match errand {
            Errand::Input(request_id) => self.story.refused(&request_id),
            Errand::Answer(approval_id) => self.story.answers(&approval_id, false),
            Errand::Interruption => {}
        }
        self.story.screen.notes(&failure.to_string())?;
        self.undone.get_or_insert(failure);
        Ok(())
    }

    /// Whether Ctrl-C leaves: in a turn the first one interrupts that.
    fn is_left(&mut self) -> Result<bool, Failure> {
        if self.interrupting || !self.story.in_turn() {
            return Ok(true);
        }
        self.interrupting = true;
        self.errands.interrupt();
        self.story.screen.note("the turn is interrupted; Ctrl-C again leaves")?;
        Ok(false)
    }

    /// Says how to come back.
    fn leave(&mut self, flags: &str, (back, stop): &(String, String)) -> Result<(), Failure> {
        let program = std::env::args().next().unwrap_or_else(|| "workplane".to_owned());
        self.story.screen.note("the worker lives on")?;
        self.story.screen.note(&format!("to come back: {program} {back}{flags}"))?;
        Ok(self.story.screen.note(&format!("to stop it:   {program} {stop}{flags}"))?)
    }
}
