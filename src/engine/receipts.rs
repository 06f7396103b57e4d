//! What makes a repeated request safe: who is doing it now, and what it was answered with.
//!
//! A key is held from the moment a request is taken up until its effect has landed (then it is answered for good) or
//! was refused (then it is forgotten, and a repeat is judged anew). Whoever comes meanwhile waits for the same answer.
//! So a request is claimed before anything else is looked at: what was answered once is answered so again, whatever has
//! become of the runtime, the worker or the bundle since.
//!
//! A hold that is dropped unsettled was given up. As long as nothing of it was submitted, that is as if it had never
//! been taken up. Later its effect may have landed: then nobody here knows, and all who ask are told that, until a
//! restart reads from the store what became of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::row::WorkerRow;
use super::store::Forgotten;
use crate::model::{BundleRef, CallContext, Error, Fingerprint, Reason, Result, WorkerId};

/// How long an answer is kept at least; it is kept for its worker's life in any case.
const KEPT_FOR: Duration = Duration::from_hours(24);

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
    /// Being done; or, once nobody is left to settle it, given up with its effect submitted.
    Held(Fingerprint, watch::Receiver<Settled>),
    Answered(Receipt),
}

/// The receipts of one runtime.
#[derive(Debug, Default, Clone)]
pub(super) struct Receipts(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<ReceiptKey, Entry>,
    /// Where the row of a worker that was deleted is found.
    deleted: HashMap<WorkerId, ReceiptKey>,
}

impl Book {
    fn answer(&mut self, receipt: Receipt) {
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
        let mut book = self.0.lock();
        Ok(match book.entries.get(&key) {
            Some(Entry::Held(fingerprint, _)) if *fingerprint != ctx.fingerprint => return Err(reused(ctx)),
            Some(Entry::Answered(receipt)) if receipt.fingerprint != ctx.fingerprint => return Err(reused(ctx)),
            // Who settles a hold takes it out or answers it first, so that this one was left behind.
            Some(Entry::Held(_, settled)) if settled.has_changed().is_err() => return Err(given_up()),
            Some(Entry::Held(_, settled)) => Looked::Held(settled.clone()),
            Some(Entry::Answered(receipt)) => Looked::Claimed(Claim::Repeat(receipt.outcome.clone())),
            None => {
                let (settle, settled) = watch::channel(None);
                let fingerprint = ctx.fingerprint;
                book.entries.insert(key, Entry::Held(fingerprint, settled));
                let (receipts, submitted) = (self.clone(), AtomicBool::new(false));
                Looked::Claimed(Claim::New(Hold { receipts, key, fingerprint, settle, submitted, done: false }))
            }
        })
    }

    /// Takes in what was answered before a restart.
    pub(super) fn restore(&self, receipts: impl IntoIterator<Item = Receipt>) {
        let mut book = self.0.lock();
        for receipt in receipts {
            book.answer(receipt);
        }
    }

    /// The row of a worker that was deleted, as it was last, for as long as the deletion is remembered.
    pub(super) fn deleted(&self, worker_id: &WorkerId) -> Option<WorkerRow> {
        let book = self.0.lock();
        match book.entries.get(book.deleted.get(worker_id)?) {
            Some(Entry::Answered(Receipt { outcome: Outcome::Deleted { last: Some(last), .. }, .. })) => {
                Some((**last).clone())
            }
            _ => None,
        }
    }

    /// The answers that are older than a day and whose worker is gone.
    pub(crate) fn outdated(&self, now: SystemTime, is_gone: impl Fn(&WorkerId) -> bool) -> Vec<Forgotten> {
        let outdated = |receipt: &Receipt| {
            // A clock that stepped back makes nothing older.
            now.duration_since(receipt.at).is_ok_and(|age| age >= KEPT_FOR)
                && receipt.outcome.worker_id().is_none_or(&is_gone)
        };
        let book = self.0.lock();
        let answered = book.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Answered(receipt) if outdated(receipt) => {
                Some(Forgotten { key: *key, worker_id: receipt.outcome.worker_id().cloned() })
            }
            Entry::Answered(_) | Entry::Held(..) => None,
        });
        answered.collect()
    }

    /// Forgets answers.
    pub(crate) fn forget(&self, forgotten: &[Forgotten]) {
        let mut book = self.0.lock();
        for Forgotten { key, .. } in forgotten {
            book.forget(key);
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

/// Lets go of a request of which nothing was done, and gives the reason back.
pub(super) fn refused(hold: Option<Hold>, error: Error) -> Error {
    if let Some(hold) = hold {
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
    /// Its receipt was asked for, so that from then on its effect may land.
    submitted: AtomicBool,
    done: bool,
}

impl Hold {
    /// The receipt to be committed with the effect.
    #[must_use]
    pub(super) fn receipt(&self, outcome: Outcome, at: SystemTime) -> Receipt {
        self.submitted.store(true, Ordering::Relaxed);
        Receipt { key: self.key, fingerprint: self.fingerprint, outcome, at }
    }

    /// The effect has landed with its receipt.
    pub(super) fn answered(mut self, receipt: Receipt) {
        self.done = true;
        let answer = receipt.outcome.clone();
        self.receipts.0.lock().answer(receipt);
        self.settle.send_replace(Some(Ok(answer)));
    }

    /// Nothing was done.
    pub(super) fn refused(mut self, error: Error) {
        self.done = true;
        self.receipts.0.lock().entries.remove(&self.key);
        self.settle.send_replace(Some(Err(error)));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.done && !*self.submitted.get_mut() {
            self.receipts.0.lock().entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ErrorClass, RequestId, WorkspaceId};

    fn ctx() -> CallContext {
        let internal = CallContext::internal(WorkspaceId::new("local:test").unwrap(), Duration::from_secs(30));
        CallContext { request_id: Some(RequestId::new("r").unwrap()), ..internal }
    }

    async fn held(receipts: &Receipts) -> Hold {
        match receipts.claim(&ctx(), "SendInput").await.unwrap() {
            Claim::New(hold) => hold,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_request_that_was_given_up_before_anything_was_submitted_does_it() {
        let receipts = Receipts::default();
        let first = held(&receipts).await;
        let (again, ()) = tokio::join!(held(&receipts), async { drop(first) });
        again.refused(Error::new(Reason::Overloaded, "no"));
    }

    #[test]
    fn what_a_worker_was_asked_is_answered_for_a_day_after_it_is_gone_also_after_a_restart() {
        let (worker_id, asked) = (WorkerId::generate(), SystemTime::UNIX_EPOCH);
        let key = ReceiptKey::of(&ctx(), "StopWorker").unwrap();
        let fingerprint = ctx().fingerprint;
        let receipts = Receipts::default();
        receipts.restore([Receipt { key, fingerprint, outcome: Outcome::Stopping(worker_id.clone()), at: asked }]);
        let outdated = |age, is_gone| receipts.outdated(asked + age, |_| is_gone);
        let forgotten = [Forgotten { key, worker_id: Some(worker_id) }];
        assert_eq!(outdated(Duration::from_hours(24) - Duration::from_millis(1), true), []);
        assert_eq!(outdated(Duration::from_hours(24), true), forgotten);
        assert_eq!(outdated(Duration::from_hours(24 * 365), false), [], "as long as it is there");
        receipts.forget(&forgotten);
        assert_eq!(outdated(Duration::from_hours(24), true), []);
    }

    #[tokio::test]
    async fn a_request_that_was_given_up_when_its_effect_may_have_landed_is_unknown_to_all() {
        let receipts = Receipts::default();
        let first = held(&receipts).await;
        let worker_id = WorkerId::generate();
        let receipt = first.receipt(Outcome::Stopping(worker_id), SystemTime::UNIX_EPOCH);
        let ctx = ctx();
        let (waiting, ()) = tokio::join!(receipts.claim(&ctx, "SendInput"), async { drop(first) });
        for unknown in [waiting, receipts.claim(&ctx, "SendInput").await] {
            assert_eq!(unknown.unwrap_err().reason().class(), ErrorClass::Unknown);
        }
        receipts.restore([receipt]);
        assert!(matches!(receipts.claim(&ctx, "SendInput").await, Ok(Claim::Repeat(_))));
    }
}
