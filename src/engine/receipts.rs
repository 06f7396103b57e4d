//! What makes a repeated request safe: who is doing it now, and what it was answered with.
//!
//! A key is held from the moment a request is taken up until its effect has landed (then it is answered for good) or
//! was refused (then it is forgotten, and a repeat is judged anew). Whoever comes meanwhile waits for the same answer.
//! So a request is claimed before anything else is looked at: what was answered once is answered so again, whatever has
//! become of the runtime, the worker or the bundle since.
//!
//! A hold that is dropped unsettled was given up. As long as nothing of it was submitted, that is as if it had never
//! been taken up. Later its effect may have landed, or be found by a restart: then it is in doubt, and all who ask are told
//! that nobody knows. A doubt ends with a restart, which reads from the store what became of it, or once the store says
//! that it is void: then nothing was done, and a repeat is judged anew.

mod aging;
mod entries;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use self::aging::Aging;
use self::entries::Entries;
use super::row::WorkerRow;
use super::store::{Doubt, Store};
use crate::model::{BundleRef, CallContext, Error, ErrorClass, Fingerprint, Reason, Result, WorkerId};

/// The scope of a request id: workspace, caller, method and the id itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReceiptKey([u8; 32]);

impl ReceiptKey {
    /// The key of a call of `method`; `None` where it bears no request id.
    #[must_use]
    pub fn of(ctx: &CallContext, method: &str) -> Option<Self> {
        let request_id = ctx.request_id.as_ref()?;
        let mut hash = Sha256::new();
        for part in [ctx.workspace.as_str(), ctx.caller.as_str(), method, request_id.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Some(Self(hash.finalize().into()))
    }

    /// The key as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key that was stored as `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// What a request did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It made the worker.
    Created(WorkerId),
    /// Its input was taken.
    Input {
        /// By this worker.
        worker_id: WorkerId,
        /// The item's place in the transcript.
        transcript_sequence: u64,
        /// The sequence of the `input_accepted` event.
        event_id: u64,
    },
    /// It asked the worker to end.
    Stopping(WorkerId),
    /// It stored the bundle.
    Bundle(BundleRef),
    /// It removed the bundle.
    BundleRemoved(BundleRef),
    /// It deleted the worker.
    Deleted {
        /// Which.
        worker_id: WorkerId,
        /// Its row as it was last, for repeats of what was asked of it before; absent where that could not be read.
        last: Option<Box<WorkerRow>>,
    },
}

impl Outcome {
    /// The worker it was about, if it was about one.
    #[must_use]
    pub fn worker_id(&self) -> Option<&WorkerId> {
        match self {
            Self::Created(worker_id)
            | Self::Input { worker_id, .. }
            | Self::Stopping(worker_id)
            | Self::Deleted { worker_id, .. } => Some(worker_id),
            Self::Bundle(_) | Self::BundleRemoved(_) => None,
        }
    }
}

/// A request's answer, kept with its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Under what it is found.
    pub key: ReceiptKey,
    /// What the request was.
    pub fingerprint: Fingerprint,
    /// What it did.
    pub outcome: Outcome,
    /// When, by the host's clock.
    pub at: SystemTime,
}

/// What became of a held request.
type Settled = Option<Result<Outcome>>;

#[derive(Debug)]
enum Entry {
    /// Being done.
    Held(Fingerprint, watch::Receiver<Settled>),
    /// Given up, when its effect may be found by a restart.
    InDoubt(Fingerprint, Doubt),
    Answered(Receipt),
}

/// The receipts of one runtime.
#[derive(Debug, Clone)]
pub(super) struct Receipts {
    book: Arc<Mutex<Book>>,
    /// Knows which doubts are void.
    store: Arc<dyn Store>,
}

#[derive(Debug, Default)]
struct Book {
    entries: Entries<Entry>,
    /// Where the row of a worker that was deleted is found.
    deleted: HashMap<WorkerId, ReceiptKey>,
    /// When what was answered may be forgotten.
    aging: Aging,
    /// Those that are, or were, in doubt.
    doubted: Vec<ReceiptKey>,
}

impl Entry {
    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Held(fingerprint, _) | Self::InDoubt(fingerprint, _) => *fingerprint,
            Self::Answered(receipt) => receipt.fingerprint,
        }
    }
}

impl Book {
    fn answer(&mut self, receipt: Receipt) {
        self.aging.add(receipt.key, receipt.at);
        if let Outcome::Deleted { worker_id, last: Some(_) } = &receipt.outcome {
            self.deleted.insert(worker_id.clone(), receipt.key);
        }
        self.entries.insert(receipt.key, Entry::Answered(receipt));
    }

    fn forget(&mut self, key: &ReceiptKey) {
        if let Some(Entry::Answered(Receipt { outcome: Outcome::Deleted { worker_id, .. }, .. })) =
            self.entries.remove(key)
        {
            self.deleted.remove(&worker_id);
        }
    }
}

/// What a request is, by its key.
#[derive(Debug)]
pub(super) enum Claim {
    /// A new one: do it, and settle the hold.
    New(Hold),
    /// It was done before.
    Repeat(Outcome),
    /// It bears no id: do it.
    Anonymous,
}

impl Receipts {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { book: Arc::default(), store }
    }

    /// Claims a request. A repeat of one that is being done waits for its answer.
    ///
    /// # Errors
    /// [`Reason::RequestIdReused`] where the id was used for another request, or what the first one failed with.
    pub(super) async fn claim(&self, ctx: &CallContext, method: &str) -> Result<Claim> {
        let Some(key) = ReceiptKey::of(ctx, method) else { return Ok(Claim::Anonymous) };
        loop {
            let mut waiting = match self.look(ctx, key)? {
                Looked::Claimed(claim) => return Ok(claim),
                Looked::Held(waiting) => waiting,
            };
            let settled = tokio::time::timeout_at(ctx.deadline, waiting.wait_for(Option::is_some)).await;
            let settled =
                settled.map_err(|_| Error::new(Reason::DeadlineExceeded, "the first request is still being done"))?;
            // Given up: whether anything of it may have landed is seen at the next look.
            let Ok(settled) = settled else { continue };
            if let Some(answer) = settled.clone() {
                return answer.map(Claim::Repeat);
            }
        }
    }

    fn look(&self, ctx: &CallContext, key: ReceiptKey) -> Result<Looked> {
        let mut book = self.book.lock();
        Ok(match book.entries.get(&key).filter(|entry| !self.is_void(entry)) {
            Some(entry) if entry.fingerprint() != ctx.fingerprint => return Err(reused(ctx)),
            Some(Entry::InDoubt(..)) => return Err(in_doubt()),
            Some(Entry::Held(_, settled)) => Looked::Held(settled.clone()),
            Some(Entry::Answered(receipt)) => Looked::Claimed(Claim::Repeat(receipt.outcome.clone())),
            None => {
                let (settle, settled) = watch::channel(None);
                let fingerprint = ctx.fingerprint;
                book.entries.insert(key, Entry::Held(fingerprint, settled));
                let (receipts, stage) = (self.clone(), Mutex::new(Stage::Begun));
                Looked::Claimed(Claim::New(Hold { receipts, key, fingerprint, settle, stage }))
            }
        })
    }

    /// Whether nothing was done of this, and nothing will be found.
    fn is_void(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::InDoubt(_, doubt) if self.store.is_void(*doubt))
    }

    /// Forgets doubts that are void: not everybody asks again.
    pub(crate) fn forget_void(&self) {
        let mut book = self.book.lock();
        let Book { entries, doubted, .. } = &mut *book;
        doubted.retain(|key| {
            let doubt = entries.get(key).filter(|entry| matches!(entry, Entry::InDoubt(..)));
            let is_void = doubt.is_some_and(|entry| self.is_void(entry));
            let lasts = doubt.is_some() && !is_void;
            if is_void {
                entries.remove(key);
            }
            lasts
        });
    }

    /// Takes in what was answered before a restart.
    pub(super) fn restore(&self, receipts: impl IntoIterator<Item = Receipt>) {
        let mut book = self.book.lock();
        for receipt in receipts {
            book.answer(receipt);
        }
    }

    /// How many requests are known: answered, being done or in doubt.
    pub(super) fn count(&self) -> u64 {
        self.book.lock().entries.len() as u64
    }

    /// The row of a worker that was deleted, as it was last, for as long as the deletion is remembered.
    pub(super) fn deleted(&self, worker_id: &WorkerId) -> Option<WorkerRow> {
        let book = self.book.lock();
        match book.entries.get(book.deleted.get(worker_id)?) {
            Some(Entry::Answered(Receipt { outcome: Outcome::Deleted { last: Some(last), .. }, .. })) => {
                Some((**last).clone())
            }
            _ => None,
        }
    }
}

fn reused(ctx: &CallContext) -> Error {
    let error = Error::new(Reason::RequestIdReused, "request_id was used for another request");
    match &ctx.request_id {
        Some(id) => error.with("request_id", id),
        None => error,
    }
}

/// What a look at a key shows.
enum Looked {
    Claimed(Claim),
    Held(watch::Receiver<Settled>),
}

/// Nobody is left who could say what became of a request: it is to be sent again, and says so until that is known.
pub(super) fn given_up() -> Error {
    Error::new(Reason::RemoteRuntimeNetworkError, "the runtime went away before it was known to be done")
        .retry_after(Duration::from_secs(1))
}

fn in_doubt() -> Error {
    Error::new(Reason::RemoteRuntimeNetworkError, "it is not known yet whether it was done")
        .retry_after(Duration::from_secs(1))
}

/// Lets go of a request of which nothing was done, and gives the reason back. One of which that is not known is given up.
pub(super) fn refused(hold: Option<Hold>, error: Error) -> Error {
    if let Some(hold) = hold.filter(|_| error.reason().class() != ErrorClass::Unknown) {
        hold.refused(error.clone());
    }
    error
}

/// A request that is being done. Dropped unsettled it is given up.
#[derive(Debug)]
pub(super) struct Hold {
    receipts: Receipts,
    key: ReceiptKey,
    fingerprint: Fingerprint,
    settle: watch::Sender<Settled>,
    stage: Mutex<Stage>,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Begun,
    /// Its receipt was asked for, so that from then on its effect may land.
    Submitted,
    /// Its commit failed in this doubt.
    InDoubt(Doubt),
    Settled,
}

impl Hold {
    /// The receipt to be committed with the effect.
    #[must_use]
    pub(super) fn receipt(&self, outcome: Outcome, at: SystemTime) -> Receipt {
        *self.stage.lock() = Stage::Submitted;
        Receipt { key: self.key, fingerprint: self.fingerprint, outcome, at }
    }

    /// The commit of its effect has failed, and a restart may find it.
    pub(super) fn doubted(&self, doubt: Doubt) {
        *self.stage.lock() = Stage::InDoubt(doubt);
    }

    /// The effect has landed with its receipt.
    pub(super) fn answered(mut self, receipt: Receipt) {
        *self.stage.get_mut() = Stage::Settled;
        let answer = receipt.outcome.clone();
        self.receipts.book.lock().answer(receipt);
        self.settle.send_replace(Some(Ok(answer)));
    }

    /// Nothing was done.
    pub(super) fn refused(mut self, error: Error) {
        *self.stage.get_mut() = Stage::Settled;
        self.receipts.book.lock().entries.remove(&self.key);
        self.settle.send_replace(Some(Err(error)));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Before the channel closes: who waits looks again then.
        let doubt = match *self.stage.get_mut() {
            Stage::Settled => return,
            Stage::Begun => None,
            Stage::Submitted => Some(Doubt::LASTING),
            Stage::InDoubt(doubt) => Some(doubt),
        };
        let mut book = self.receipts.book.lock();
        match doubt {
            None => book.entries.remove(&self.key),
            Some(doubt) => {
                book.doubted.push(self.key);
                book.entries.insert(self.key, Entry::InDoubt(self.fingerprint, doubt))
            }
        };
    }
}

#[cfg(test)]
mod tests;
