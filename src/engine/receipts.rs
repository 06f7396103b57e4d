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
mod inputs;
mod receipt;

pub use receipt::{Outcome, Receipt, ReceiptKey, ShortKey};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;

use self::aging::Aging;
use self::entries::Entries;
use self::inputs::Inputs;
use super::row::WorkerRow;
use super::store::{Doubt, Forgotten, Store, StoreFault};
use crate::model::{CallContext, Error, ErrorClass, Fingerprint, Reason, Result, WorkerId};

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
    /// What workers were told, of which there is one for each input.
    inputs: Inputs,
    /// Where the row of a worker that was deleted is found.
    deleted: HashMap<WorkerId, ShortKey>,
    /// When what was answered may be forgotten.
    aging: Aging,
    /// Those that are, or were, in doubt.
    doubted: Vec<ShortKey>,
}

impl Entry {
    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Held(fingerprint, _) | Self::InDoubt(fingerprint, _) => *fingerprint,
            Self::Answered(receipt) => receipt.fingerprint,
        }
    }

    /// Whether it is the answer that goes.
    fn is_of(&self, forgotten: &Forgotten) -> bool {
        matches!(self, Self::Answered(receipt) if receipt.outcome.worker_id() == forgotten.worker_id.as_ref())
    }
}

impl Book {
    fn answer(&mut self, receipt: Receipt) {
        let key = receipt.key.short();
        if self.inputs.add(&receipt) {
            self.entries.remove(&key);
            return;
        }
        self.aging.add(key, receipt.at);
        if let Outcome::Deleted { worker_id, last: Some(_) } = &receipt.outcome {
            self.deleted.insert(worker_id.clone(), key);
        }
        self.entries.insert(key, Entry::Answered(receipt));
    }

    /// Forgets an answer, and none that was given under the same id since.
    fn forget(&mut self, forgotten: &Forgotten) {
        let Forgotten { key, worker_id } = forgotten;
        if worker_id.as_ref().is_some_and(|worker_id| self.inputs.remove(key, worker_id))
            || !self.entries.get(key).is_some_and(|entry| entry.is_of(forgotten))
        {
            return;
        }
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
            let mut waiting = match self.look(ctx, &key)? {
                Looked::Claimed(claim) => return Ok(claim),
                Looked::Held(waiting) => waiting,
                Looked::Stored(worker_id) => match self.stored(ctx, &key, &worker_id).await? {
                    Some(outcome) => return Ok(Claim::Repeat(outcome)),
                    None => continue,
                },
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

    /// What is stored of an input; `None` where it was forgotten meanwhile.
    async fn stored(&self, ctx: &CallContext, key: &ReceiptKey, worker_id: &WorkerId) -> Result<Option<Outcome>> {
        let read = tokio::time::timeout_at(ctx.deadline, self.store.receipt(key, worker_id)).await;
        let read = read.map_err(|_| Error::new(Reason::DeadlineExceeded, "the first answer is still being read"))?;
        match read.map_err(unread)? {
            Some(receipt) if receipt.fingerprint == ctx.fingerprint => Ok(Some(receipt.outcome)),
            Some(_) => Err(reused(ctx)),
            None => {
                self.book.lock().inputs.remove(&key.short(), worker_id);
                Ok(None)
            }
        }
    }

    fn look(&self, ctx: &CallContext, key: &ReceiptKey) -> Result<Looked> {
        let mut book = self.book.lock();
        Ok(match book.entries.get(&key.short()).filter(|entry| !self.is_void(entry)) {
            Some(entry) if entry.fingerprint() != ctx.fingerprint => return Err(reused(ctx)),
            Some(Entry::InDoubt(..)) => return Err(in_doubt()),
            Some(Entry::Held(_, settled)) => Looked::Held(settled.clone()),
            Some(Entry::Answered(receipt)) => Looked::Claimed(Claim::Repeat(receipt.outcome.clone())),
            None => {
                if let Some(worker_id) = book.inputs.get(&key.short()) {
                    return Ok(Looked::Stored(worker_id));
                }
                let (settle, settled) = watch::channel(None);
                let (key, fingerprint) = (*key, ctx.fingerprint);
                book.entries.insert(key.short(), Entry::Held(fingerprint, settled));
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
        let book = self.book.lock();
        (book.entries.len() + book.inputs.len()) as u64
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
    /// An input that this worker took: what it was answered is in the store.
    Stored(WorkerId),
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

/// It was done, and what it was answered cannot be read: not now, or never.
fn unread(fault: StoreFault) -> Error {
    const WHAT: &str = "it was done, and what it was answered cannot be read";
    match fault {
        StoreFault::Damaged => Error::new(Reason::StoreError, WHAT),
        _ => Error::new(Reason::RemoteRuntimeNetworkError, WHAT).retry_after(Duration::from_secs(1)),
    }
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
        self.receipts.book.lock().entries.remove(&self.key.short());
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
            None => book.entries.remove(&self.key.short()),
            Some(doubt) => {
                book.doubted.push(self.key.short());
                book.entries.insert(self.key.short(), Entry::InDoubt(self.fingerprint, doubt))
            }
        };
    }
}

#[cfg(test)]
mod tests;
