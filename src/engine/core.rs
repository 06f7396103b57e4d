//! The engine itself: which workers there are, and the way to each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::bundles::Bundles;
use super::parts::EngineParts;
use super::profile::Profile;
use super::receipts::{Claim, Outcome, Receipts, given_up, refused};
use super::retention::{self, KnownLogs, Retention};
use super::row::WorkerRow;
use super::store::Batch;
use super::tail::Tail;
use super::worker::{Command, Ending, InputCommand, Stage, StopCommand, StopWish, not_running, store_error};
use crate::model::{CallContext, Diagnostic, Error, InputAck, Reason, Result, SendInput, StopMode, Worker, WorkerId};

/// How many commands may wait for one worker's task.
const INBOX: usize = 1_024;
/// How many programs may be on their way to being executed at once.
const BIRTHS: u32 = 64;
/// After how long a worker is asked to end once more, where that could not be stored.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How often old receipts are forgotten.
const PRUNE_EVERY: Duration = Duration::from_mins(10);
/// How many of them in one batch.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// The worker runtime of one host. Cheap to clone.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub parts: Arc<EngineParts>,
    pub workers: RwLock<BTreeMap<WorkerId, Slot>>,
    pub receipts: Receipts,
    pub known_logs: KnownLogs,
    /// One looks for what may go at a time: two would cut the same log for the same bytes.
    pub retaining: tokio::sync::Mutex<()>,
    pub bundles: Bundles,
    /// What was found damaged at the start and belongs to no worker.
    pub warnings: RwLock<Vec<Diagnostic>>,
    /// Places for live workers.
    pub live: Arc<Semaphore>,
    /// Places for births under way: a shutdown takes them all, and so waits for those.
    pub births: Arc<Semaphore>,
    phase: AtomicU8,
    /// The newest id that was given to a worker.
    newest: Mutex<Option<WorkerId>>,
}

/// A worker: its stream's end, and the way to its task while it is live.
#[derive(Clone)]
pub(super) struct Slot {
    pub tail: Arc<Tail>,
    pub inbox: Option<mpsc::Sender<Command>>,
    /// Its records cannot be read: it can only be deleted.
    pub quarantined: bool,
}

const RUNNING: u8 = 0;
/// It makes no new workers, and goes on with those it has.
const CLOSED: u8 = 1;
const DRAINING: u8 = 2;
const STOPPED: u8 = 3;

impl Engine {
    /// Starts from what the store has. What a runtime before this one left running is ended before anything else. A
    /// worker that was live when it went away has lost its program: its end, or its next run where its profile says so,
    /// is recorded before this returns, or the worker says that the store does not take it yet.
    ///
    /// Dropped before, it kills what was started anew meanwhile; what is recorded stays so, and the next start goes on there.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(parts: EngineParts) -> Result<Self> {
        let live = Arc::new(Semaphore::new(parts.limits.max_workers as usize));
        let receipts = Receipts::new(Arc::clone(&parts.store));
        let engine = Self(Arc::new(Inner {
            parts: Arc::new(parts),
            workers: RwLock::default(),
            receipts,
            known_logs: KnownLogs::default(),
            retaining: tokio::sync::Mutex::default(),
            bundles: Bundles::default(),
            warnings: RwLock::default(),
            live,
            births: Arc::new(Semaphore::new(BIRTHS as usize)),
            phase: AtomicU8::new(RUNNING),
            newest: Mutex::default(),
        }));
        let opening = Opening(Some(engine.clone()));
        engine.restore().await?;
        opening.finish();
        engine.0.parts.handle.spawn(forget_old_receipts(Arc::downgrade(&engine.0)));
        if engine.0.parts.limits.retention != Retention::default() {
            engine.0.parts.handle.spawn(retention::run(Arc::downgrade(&engine.0)));
        }
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
        let slot = match self.check_running().and_then(|()| self.sound(&request.worker_id)) {
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
        answered(ctx, answer).await?
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
                } else {
                    // A store that takes nothing now may do so in a moment.
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        });
        futures_util::future::join_all(ends).await;
        self.0.phase.store(STOPPED, Ordering::Release);
    }

    /// Kills the programs of all workers, without a word to anyone and without waiting for it: for a process that ends at
    /// once. What of theirs is left is found at the next start. Blocks for some milliseconds.
    pub fn abandon(&self) {
        self.0.parts.machine.abandon(self.0.parts.incarnation);
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

    /// An id for a new worker, above all that are or were here.
    pub(super) fn new_id(&self) -> WorkerId {
        let mut newest = self.0.newest.lock();
        let last = self.0.workers.read().last_key_value().map(|(id, _)| id.clone()).max(newest.take());
        let id = WorkerId::generate_above(last.as_ref());
        *newest = Some(id.clone());
        id
    }

    pub(super) fn slot(&self, worker_id: &WorkerId) -> Result<Slot> {
        let slot = self.0.workers.read().get(worker_id).cloned();
        slot.ok_or_else(|| Error::unknown_worker(&self.0.parts.runtime_id, worker_id))
    }

    pub(super) fn view(&self, row: &WorkerRow) -> Arc<Worker> {
        Arc::new(row.view(&self.0.parts.runtime_id, &self.0.parts.host_id))
    }

    pub(super) fn stage(&self, row: &WorkerRow, profile: &Profile, revision: u64) -> Stage {
        let mut stage = Stage::new(self.0.parts.stage_context(profile), row.clone(), revision);
        stage.at(self.0.parts.clock.now());
        stage
    }

    pub(super) fn inbox() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
        mpsc::channel(INBOX)
    }
}

/// A start under way: one that is given up leaves no program behind.
struct Opening(Option<Engine>);

impl Opening {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(engine) = &self.0 {
            engine.abandon();
        }
    }
}

/// Forgets old receipts now and then, for as long as the engine is there.
async fn forget_old_receipts(engine: Weak<Inner>) {
    loop {
        tokio::time::sleep(PRUNE_EVERY).await;
        let Some(engine) = engine.upgrade() else { return };
        engine.receipts.forget_void();
        let is_gone = |id: &WorkerId| {
            let workers = engine.workers.read();
            workers.get(id).is_none_or(|slot| slot.tail.view().state.is_final())
        };
        engine.receipts.ripen(engine.parts.clock.now(), is_gone);
        while let Some(outdated) = engine.receipts.outdated(FORGOTTEN_AT_ONCE, is_gone) {
            if outdated.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            let batch = Batch { forgotten: outdated.clone(), vital: true, ..Batch::default() };
            match engine.parts.store.commit(batch).await {
                Ok(_) => engine.receipts.forget(&outdated),
                Err(fault) => {
                    tracing::warn!(%fault, "old receipts could not be forgotten yet");
                    engine.receipts.remember(outdated);
                    break;
                }
            }
        }
    }
}

/// The answer of a task, or that it cannot be known: the deadline came first, or the task is gone.
pub(super) async fn answered<T>(ctx: &CallContext, answer: oneshot::Receiver<T>) -> Result<T> {
    match tokio::time::timeout_at(ctx.deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(given_up()),
        Err(_) => Err(Error::new(Reason::DeadlineExceeded, "the deadline passed before it was known to be done")),
    }
}

fn draining() -> Error {
    Error::new(Reason::Draining, "the runtime is shutting down").retry_after(Duration::from_secs(1))
}

pub(super) fn overloaded() -> Error {
    Error::new(Reason::Overloaded, "too many requests wait for this worker").retry_after(Duration::from_millis(100))
}
