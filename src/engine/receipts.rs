//! What makes a repeated request safe: who is doing it now, and what it was answered with.
//!
//! A key is held from the moment a request is taken up until its effect has landed (then it is answered for good) or
//! was refused (then it is forgotten, and a repeat is judged anew). Whoever comes meanwhile waits for the same answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

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
}

impl Outcome {
    /// The worker it was about, if it was about one.
    #[must_use]
    pub fn worker_id(&self) -> Option<&WorkerId> {
        match self {
            Self::Created(worker_id) | Self::Input { worker_id, .. } | Self::Stopping(worker_id) => Some(worker_id),
            Self::Bundle(_) => None,
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
    Held(Fingerprint, watch::Receiver<Settled>),
    Answered(Receipt),
}

/// The receipts of one runtime.
#[derive(Debug, Default, Clone)]
pub(super) struct Receipts(Arc<Mutex<HashMap<ReceiptKey, Entry>>>);

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
        let mut waiting = {
            let mut entries = self.0.lock();
            match entries.get(&key) {
                Some(Entry::Held(fingerprint, _)) if *fingerprint != ctx.fingerprint => return Err(reused(ctx)),
                Some(Entry::Held(_, settled)) => settled.clone(),
                Some(Entry::Answered(receipt)) if receipt.fingerprint != ctx.fingerprint => return Err(reused(ctx)),
                Some(Entry::Answered(receipt)) => {
                    return Ok(Claim::Repeat(receipt.outcome.clone()));
                }
                None => {
                    let (settle, settled) = watch::channel(None);
                    entries.insert(key, Entry::Held(ctx.fingerprint, settled));
                    let fingerprint = ctx.fingerprint;
                    return Ok(Claim::New(Hold { receipts: self.clone(), key, fingerprint, settle, done: false }));
                }
            }
        };
        let settled = match tokio::time::timeout_at(ctx.deadline, waiting.wait_for(Option::is_some)).await {
            Ok(settled) => settled.ok().and_then(|settled| settled.clone()),
            Err(_) => return Err(Error::new(Reason::DeadlineExceeded, "the first request is still being done")),
        };
        match settled {
            Some(Ok(outcome)) => Ok(Claim::Repeat(outcome)),
            Some(Err(error)) => Err(error),
            None => Err(Error::new(Reason::StoreError, "the first request was given up")),
        }
    }

    /// Takes in what was answered before a restart.
    pub(super) fn restore(&self, receipts: impl IntoIterator<Item = Receipt>) {
        self.0.lock().extend(receipts.into_iter().map(|receipt| (receipt.key, Entry::Answered(receipt))));
    }

    /// The answers that are older than a day and whose worker is gone.
    pub(crate) fn outdated(&self, now: SystemTime, is_gone: impl Fn(&WorkerId) -> bool) -> Vec<ReceiptKey> {
        let outdated = |receipt: &Receipt| {
            // A clock that stepped back makes nothing older.
            now.duration_since(receipt.at).is_ok_and(|age| age >= KEPT_FOR)
                && receipt.outcome.worker_id().is_none_or(&is_gone)
        };
        let entries = self.0.lock();
        let answered = entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Answered(receipt) if outdated(receipt) => Some(*key),
            Entry::Answered(_) | Entry::Held(..) => None,
        });
        answered.collect()
    }

    /// Forgets answers.
    pub(crate) fn forget(&self, keys: &[ReceiptKey]) {
        let mut entries = self.0.lock();
        for key in keys {
            entries.remove(key);
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

/// A request that is being done. Dropped unsettled, the request counts as not done.
#[derive(Debug)]
pub(super) struct Hold {
    receipts: Receipts,
    key: ReceiptKey,
    fingerprint: Fingerprint,
    settle: watch::Sender<Settled>,
    done: bool,
}

impl Hold {
    /// The receipt to be committed with the effect.
    #[must_use]
    pub(super) fn receipt(&self, outcome: Outcome, at: SystemTime) -> Receipt {
        Receipt { key: self.key, fingerprint: self.fingerprint, outcome, at }
    }

    /// The effect has landed with its receipt.
    pub(super) fn answered(mut self, receipt: Receipt) {
        self.done = true;
        let answer = receipt.outcome.clone();
        self.receipts.0.lock().insert(self.key, Entry::Answered(receipt));
        self.settle.send_replace(Some(Ok(answer)));
    }

    /// Nothing was done.
    pub(super) fn refused(mut self, error: Error) {
        self.done = true;
        self.receipts.0.lock().remove(&self.key);
        self.settle.send_replace(Some(Err(error)));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.done {
            self.receipts.0.lock().remove(&self.key);
        }
    }
}
