//! The engine itself: which workers there are, and the way to each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::bundles::Bundles;
use super::clock::Clock;
use super::frame::{Envelope, FrameCodec, Published};
use super::profile::{Profiles, Protocol};
use super::receipts::{Claim, Outcome, Receipts, given_up, refused};
use super::row::WorkerRow;
use super::store::{Batch, Store};
use super::tail::Tail;
use super::worker::{
    Command, Ending, InputCommand, Stage, StageContext, StopCommand, StopWish, not_running, store_error,
};
use crate::model::{
    CallContext, Cursor, Error, EventKind, HostId, Incarnation, InputAck, Reason, Result, RuntimeId, SendInput,
    StopAck, StopMode, StopWorker, TerminalIntent, Worker, WorkerCounts, WorkerId, WorkerState,
};

/// How many commands may wait for one worker's task.
const INBOX: usize = 1_024;
/// How many programs may be on their way to being executed at once.
const BIRTHS: u32 = 64;
/// How often old receipts are forgotten.
const PRUNE_EVERY: Duration = Duration::from_mins(10);

/// What an engine is made of: everything it touches is handed in.
#[derive(Clone)]
pub struct EngineParts {
    /// Its runtime's id.
    pub runtime_id: RuntimeId,
    /// The id of its host.
    pub host_id: HostId,
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// Of that store.
    pub incarnation: Incarnation,
    /// Turns events into bytes.
    pub codec: Arc<dyn FrameCodec>,
    /// Stamps.
    pub clock: Arc<dyn Clock>,
    /// What this host runs.
    pub profiles: Profiles,
    /// How much of everything.
    pub limits: EngineLimits,
    /// Where its tasks run.
    pub handle: tokio::runtime::Handle,
}

impl EngineParts {
    /// A frame ready for the wire.
    pub(super) fn published(
        &self,
        worker_id: &WorkerId,
        sequence: u64,
        kind: EventKind,
        observed_at: SystemTime,
        body: &[u8],
    ) -> Published {
        let cursor = Cursor::new(self.incarnation, worker_id, sequence);
        let envelope = Envelope { runtime_id: &self.runtime_id, worker_id, cursor, observed_at, kind };
        Published { sequence, kind, wire: self.codec.frame(&envelope, body) }
    }

    pub(super) fn stage_context(&self, protocol: Protocol) -> StageContext {
        StageContext { codec: Arc::clone(&self.codec), protocol, input_queue: self.limits.input_queue }
    }
}

/// How much of everything an engine allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Live workers.
    pub max_workers: u32,
    /// Inputs that one worker has accepted and not picked up.
    pub input_queue: usize,
    /// How long a program that was asked to end may take before it is killed.
    pub stop_grace: Duration,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self { max_workers: 1_000, input_queue: 1_024, stop_grace: Duration::from_secs(10) }
    }
}

/// The worker runtime of one host. Cheap to clone.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub parts: Arc<EngineParts>,
    pub workers: RwLock<BTreeMap<WorkerId, Slot>>,
    pub receipts: Receipts,
    pub bundles: Bundles,
    /// Places for live workers.
    pub live: Arc<Semaphore>,
    /// Places for births under way: a shutdown takes them all, and so waits for those.
    pub births: Arc<Semaphore>,
    phase: AtomicU8,
}

/// A worker: its stream's end, and the way to its task while it is live.
#[derive(Clone)]
pub(super) struct Slot {
    pub tail: Arc<Tail>,
    pub inbox: Option<mpsc::Sender<Command>>,
}

const RUNNING: u8 = 0;
/// It makes no new workers, and goes on with those it has.
const CLOSED: u8 = 1;
const DRAINING: u8 = 2;
const STOPPED: u8 = 3;

impl Engine {
    /// Starts from what the store has. A worker that was live when the runtime went away has lost its program: its end
    /// is recorded before this returns.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(parts: EngineParts) -> Result<Self> {
        let live = Arc::new(Semaphore::new(parts.limits.max_workers as usize));
        let engine = Self(Arc::new(Inner {
            parts: Arc::new(parts),
            workers: RwLock::default(),
            receipts: Receipts::default(),
            bundles: Bundles::default(),
            live,
            births: Arc::new(Semaphore::new(BIRTHS as usize)),
            phase: AtomicU8::new(RUNNING),
        }));
        engine.restore().await?;
        engine.0.parts.handle.spawn(forget_old_receipts(Arc::downgrade(&engine.0)));
        Ok(engine)
    }

    /// What it was made of.
    #[must_use]
    pub fn parts(&self) -> &EngineParts {
        &self.0.parts
    }

    /// Whether it takes calls: it was not shut down.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.0.phase.load(Ordering::Acquire) <= CLOSED
    }

    /// Why it can do nothing but read, where that is so: its store takes nothing any more.
    #[must_use]
    pub fn fault(&self) -> Option<Error> {
        self.0.parts.store.fault().map(store_error)
    }

    /// How many workers it holds.
    #[must_use]
    pub fn counts(&self) -> WorkerCounts {
        let mut counts = WorkerCounts::default();
        for slot in self.0.workers.read().values() {
            counts.total += 1;
            match slot.tail.view().state {
                WorkerState::Starting | WorkerState::Running | WorkerState::Stopping => counts.active += 1,
                WorkerState::Stopped => counts.stopped += 1,
                WorkerState::Cancelled => counts.cancelled += 1,
                WorkerState::Failed => counts.failed += 1,
            }
        }
        counts
    }

    /// Gives a worker an input. It is durable when this returns.
    ///
    /// # Errors
    /// Unknown or ended workers, full queues, a failed store; [`Reason::DeadlineExceeded`] leaves the outcome open.
    pub async fn send_input(&self, ctx: &CallContext, request: SendInput) -> Result<InputAck> {
        let hold = match self.0.receipts.claim(ctx, "SendInput").await? {
            Claim::Repeat(Outcome::Input { transcript_sequence, event_id, .. }) => {
                return Ok(InputAck { transcript_sequence, event_id, diagnostics: Vec::new() });
            }
            Claim::Repeat(_) => return Err(Error::new(Reason::RequestIdReused, "request_id was used before")),
            Claim::New(hold) => Some(hold),
            Claim::Anonymous => None,
        };
        let slot = match self.check_running().and_then(|()| self.slot(&request.worker_id)) {
            Ok(slot) => slot,
            Err(error) => return Err(refused(hold, error)),
        };
        let permit = match slot.inbox.as_ref().map(mpsc::Sender::try_reserve) {
            Some(Ok(permit)) => permit,
            Some(Err(mpsc::error::TrySendError::Full(()))) => return Err(refused(hold, overloaded())),
            Some(Err(mpsc::error::TrySendError::Closed(()))) | None => return Err(refused(hold, not_running())),
        };
        let (reply, answer) = oneshot::channel();
        let SendInput { worker_id: _, input, delivery } = request;
        permit.send(Command::Input(InputCommand { input, delivery, request_id: ctx.request_id.clone(), hold, reply }));
        answered(ctx, answer).await
    }

    /// Ends a worker. Answers when its end is durable, or, a little before the deadline, that it is still stopping.
    ///
    /// # Errors
    /// Unknown workers, a failed store.
    pub async fn stop_worker(&self, ctx: &CallContext, request: StopWorker) -> Result<StopAck> {
        let (method, ending, default) = match request.intent {
            TerminalIntent::Stop => ("StopWorker", Ending::Stopped, "worker stopped"),
            TerminalIntent::Cancel => ("CancelWorker", Ending::Cancelled, "worker cancelled"),
        };
        let hold = match self.0.receipts.claim(ctx, method).await? {
            Claim::Repeat(_) => return Ok(ended(ctx, &self.slot(&request.worker_id)?.tail).await),
            Claim::New(hold) => Some(hold),
            Claim::Anonymous => None,
        };
        let slot = match self.slot(&request.worker_id) {
            Ok(slot) => slot,
            Err(error) => return Err(refused(hold, error)),
        };
        let message = if request.reason.trim().is_empty() { default.to_owned() } else { request.reason };
        // Without a task it has ended: there is nothing to do, and its end is the answer.
        if let Some(permit) = place(ctx, slot.inbox.as_ref()).await? {
            let (reply, answer) = oneshot::channel();
            let wish = StopWish { ending, message, mode: request.mode };
            permit.send(Command::Stop(StopCommand { wish, hold, reply }));
            answered(ctx, answer).await?;
        }
        Ok(ended(ctx, &slot.tail).await)
    }

    /// Makes no new workers from now on: a request for one is refused as `DRAINING`, unless it was answered before. All
    /// else goes on. Idempotent.
    pub fn close(&self) {
        self.0.phase.fetch_max(CLOSED, Ordering::AcqRel);
    }

    /// Ends all workers in order, as `DRAINED`, and takes no more calls. Idempotent.
    pub async fn shutdown(&self) {
        self.0.phase.fetch_max(DRAINING, Ordering::AcqRel);
        // The semaphore is never closed, so that this only waits for the births under way; later ones are refused.
        let _births = self.0.births.acquire_many(BIRTHS).await;
        let slots: Vec<_> = self.0.workers.read().values().cloned().collect();
        let ends = slots.into_iter().map(|slot| async move {
            while !slot.tail.view().state.is_final() {
                let (reply, answer) = oneshot::channel();
                let wish = StopWish {
                    ending: Ending::Drained,
                    message: "the runtime shut down".to_owned(),
                    mode: StopMode::Graceful,
                };
                let command = Command::Stop(StopCommand { wish, hold: None, reply });
                let Some(inbox) = &slot.inbox else { return };
                if inbox.send(command).await.is_err() {
                    return;
                }
                if matches!(answer.await, Ok(Ok(()))) {
                    slot.tail.wait_for(|worker| worker.state.is_final()).await;
                }
            }
        });
        futures_util::future::join_all(ends).await;
        self.0.phase.store(STOPPED, Ordering::Release);
    }

    /// # Errors
    /// As [`Engine::check_running`], and once it is closed.
    pub(super) fn check_open(&self) -> Result<()> {
        match self.0.phase.load(Ordering::Acquire) {
            CLOSED => Err(draining()),
            _ => self.check_running(),
        }
    }

    pub(super) fn check_running(&self) -> Result<()> {
        match self.0.phase.load(Ordering::Acquire) {
            RUNNING | CLOSED => Ok(()),
            DRAINING => Err(draining()),
            _ => Err(Error::new(Reason::RuntimeStopped, "the runtime was stopped")),
        }
    }

    pub(super) fn slot(&self, worker_id: &WorkerId) -> Result<Slot> {
        let slot = self.0.workers.read().get(worker_id).cloned();
        slot.ok_or_else(|| Error::unknown_worker(&self.0.parts.runtime_id, worker_id))
    }

    pub(super) fn view(&self, row: &WorkerRow) -> Arc<Worker> {
        Arc::new(row.view(&self.0.parts.runtime_id, &self.0.parts.host_id))
    }

    pub(super) fn stage(&self, row: &WorkerRow, protocol: Protocol, revision: u64) -> Stage {
        let mut stage = Stage::new(self.0.parts.stage_context(protocol), row.clone(), revision);
        stage.at(self.0.parts.clock.now());
        stage
    }

    pub(super) fn inbox() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
        mpsc::channel(INBOX)
    }
}

/// Forgets old receipts now and then, for as long as the engine is there.
async fn forget_old_receipts(engine: Weak<Inner>) {
    loop {
        tokio::time::sleep(PRUNE_EVERY).await;
        let Some(engine) = engine.upgrade() else { return };
        let outdated = {
            let workers = engine.workers.read();
            let is_gone = |id: &WorkerId| workers.get(id).is_none_or(|slot| slot.tail.view().state.is_final());
            engine.receipts.outdated(engine.parts.clock.now(), is_gone)
        };
        if outdated.is_empty() {
            continue;
        }
        let batch = Batch { forgotten: outdated.clone(), ..Batch::default() };
        match engine.parts.store.commit(batch).await {
            Ok(_) => engine.receipts.forget(&outdated),
            Err(fault) => tracing::warn!(%fault, "old receipts could not be forgotten yet"),
        }
    }
}

/// The answer of a task, or that it cannot be known: the deadline came first, or the task is gone.
pub(super) async fn answered<T>(ctx: &CallContext, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
    match tokio::time::timeout_at(ctx.deadline, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(given_up()),
        Err(_) => Err(Error::new(Reason::DeadlineExceeded, "the deadline passed before it was known to be done")),
    }
}

/// The end of a worker that was asked to end, or what it is shortly before the deadline.
async fn ended(ctx: &CallContext, tail: &Tail) -> StopAck {
    let margin = Duration::from_millis(50).max(ctx.remaining() / 20);
    let deadline = ctx.deadline.checked_sub(margin).unwrap_or(ctx.deadline);
    let end = tokio::time::timeout_at(deadline, tail.wait_for(|worker| worker.state.is_final())).await;
    match end {
        Ok(worker) => {
            let event_id = worker.termination.as_ref().map(|termination| termination.last_sequence);
            StopAck { event_id, state: worker.state, diagnostics: Vec::new() }
        }
        Err(_) => StopAck {
            event_id: None,
            state: tail.view().state,
            diagnostics: vec![crate::model::Diagnostic::info(
                "worker_still_stopping",
                "the worker was told to end and has not ended yet",
            )],
        },
    }
}

/// A place in the inbox of a worker's task, waited for: nobody who wants a worker to end is turned away. `None` where it
/// has ended.
async fn place<'a>(
    ctx: &CallContext,
    inbox: Option<&'a mpsc::Sender<Command>>,
) -> Result<Option<mpsc::Permit<'a, Command>>> {
    let Some(inbox) = inbox else { return Ok(None) };
    match tokio::time::timeout_at(ctx.deadline, inbox.reserve()).await {
        Ok(permit) => Ok(permit.ok()),
        Err(_) => Err(Error::new(Reason::DeadlineExceeded, "the deadline passed before the worker could be told")),
    }
}

fn draining() -> Error {
    Error::new(Reason::Draining, "the runtime is shutting down").retry_after(Duration::from_secs(1))
}

fn overloaded() -> Error {
    Error::new(Reason::Overloaded, "too many requests wait for this worker").retry_after(Duration::from_millis(100))
}
