//! What is durable, behind one trait: per worker an append-only log of events, and small records that change in the
//! same commit as the events.
//!
//! The rule that all of the engine rests on: a [`Batch`] lands whole or not at all, in the order in which batches of one
//! worker were submitted, and a batch that was staged on another one never lands without it.

mod data_dir;
pub mod disk;
mod fs;
pub mod log;
mod memory;
mod records;
#[cfg(test)]
mod test_records;
mod unsteady;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

pub use data_dir::{DataDir, DataDirError, DirRole};
pub use fs::{CareError, ControlCheck, Finding, FsStore, Salvaged, Verified, salvage, verify};
pub use memory::MemoryStore;
pub use records::{Kept, RecordCodec, RecordFault};
#[cfg(test)]
pub(in crate::engine) use test_records::{TableRecords, restore_all};
pub use unsteady::{Unsteadiness, UnsteadyStore};

use super::frame::Frame;
use super::receipts::{Receipt, ReceiptKey, ShortKey};
use super::row::WorkerRow;
use crate::model::{BundleRef, ConfigBundle, EventKind, WorkerId};

/// Why the store did not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// There is no room.
    #[error("the store is full")]
    Full,
    /// Reading or writing failed; nothing was done.
    #[error("the store failed")]
    Failed,
    /// Writing failed, and a restart may find what was written, until it is void. In this process it has not landed,
    /// and never will.
    #[error("the store failed; whether it kept the batch is not known")]
    Unknown(Doubt),
    /// The batch was staged on one that did not land.
    #[error("a batch before this one did not land")]
    OutOfOrder,
    /// Too many batches wait: this one was not taken.
    #[error("too many batches wait for the store")]
    Overloaded,
    /// What is stored there was damaged: where and how is in the log.
    #[error("what is stored was damaged")]
    Damaged,
}

/// What a restart may find although it failed: all of it, or nothing. [`Store::is_void`] says when that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt(u64);

impl Doubt {
    /// One that only a restart ends.
    pub const LASTING: Self = Self(u64::MAX);
}

/// An event on its way into the store; its sequence follows from its place.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its place among the worker's events.
    pub sequence: u64,
    /// What it is; durable.
    pub kind: EventKind,
    /// When it happened, by the host's clock.
    pub observed_at: std::time::SystemTime,
    /// Its payload.
    pub body: bytes::Bytes,
}

/// What lands together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// What changes of a worker.
    pub worker: Option<WorkerChange>,
    /// Bundles that are new.
    pub bundles: Vec<Arc<ConfigBundle>>,
    /// Bundles that go.
    pub removed_bundles: Vec<BundleRef>,
    /// What repeated requests are answered with.
    pub receipts: Vec<Receipt>,
    /// Receipts that need not be kept any more.
    pub forgotten: Vec<Forgotten>,
    /// A worker whose record and events are removed, if it has this revision. Its receipts stay.
    pub deleted: Option<Deletion>,
    /// It ends something or makes room: it may use the room that is kept back when the store is full.
    pub vital: bool,
}

/// A receipt that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Which.
    pub key: ShortKey,
    /// The worker it is about, if it is about one.
    pub worker_id: Option<WorkerId>,
}

/// A worker that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Which.
    pub worker_id: WorkerId,
    /// How many batches of this worker have landed before: with another count it is [`StoreFault::OutOfOrder`].
    /// `None` deletes a worker that is quarantined, whose revision is not known.
    pub revision: Option<u64>,
}

/// What changes of one worker.
#[derive(Debug, Clone)]
pub struct WorkerChange {
    /// Whose it is.
    pub worker_id: WorkerId,
    /// How many batches of this worker have landed before: with another count it is [`StoreFault::OutOfOrder`].
    pub revision: u64,
    /// Events, in order, their sequences following the worker's last.
    pub events: Vec<NewEvent>,
    /// The worker's row as it is after this batch. Where its `first_sequence` rose, the events before that are removed.
    pub row: Box<WorkerRow>,
}

/// A worker as the store has it.
#[derive(Debug, Clone)]
pub struct StoredWorker {
    /// How many of its batches have landed.
    pub revision: u64,
    /// Its row.
    pub row: Box<WorkerRow>,
}

/// Takes a worker that has ended.
pub type EachEnded = Box<dyn FnMut(StoredWorker) + Send>;

/// All that a runtime starts from, but the workers that have ended.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Every worker that is live.
    pub workers: Vec<StoredWorker>,
    /// Every bundle, every digest of it.
    pub bundles: Vec<Arc<ConfigBundle>>,
    /// Every receipt that is kept.
    pub receipts: Vec<Receipt>,
    /// Workers whose records are damaged, or are not read by the disk.
    pub quarantined: Vec<Quarantined>,
    /// Damage that could not be laid to a worker, as `FILE: offset N: what`.
    pub warnings: Vec<String>,
}

/// A worker whose records are damaged, or are not read by the disk: it is listed, and can only be deleted.
#[derive(Debug, Clone)]
pub struct Quarantined {
    /// Which.
    pub worker_id: WorkerId,
    /// Its row, where that can be read: it may be older than what was acknowledged.
    pub row: Option<Box<WorkerRow>>,
    /// Where the fault lies and what it is, as `FILE: offset N: what`.
    pub place: String,
}

/// How many bytes an event takes in a store on disk: its head, and its body in steps of eight.
#[must_use]
pub const fn event_bytes(body: usize) -> u64 {
    (body as u64 + 100).next_multiple_of(8)
}

/// What to read of a worker's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// Events after this sequence, from the first that is kept.
    EventsAfter(u64),
    /// Events that append a transcript item, from the item after this many; none where that item was removed.
    ItemsAfter(u64),
}

/// The outcome of a commit, to be awaited: the runtime-wide position of the batch, once it is durable. Submitting has
/// taken place when it exists; dropping it takes nothing back.
#[derive(Debug)]
pub struct Commit(oneshot::Receiver<Result<u64, StoreFault>>);

impl Commit {
    /// A commit, and the end by which the store settles it.
    #[must_use]
    pub fn pending() -> (oneshot::Sender<Result<u64, StoreFault>>, Self) {
        let (settle, outcome) = oneshot::channel();
        (settle, Self(outcome))
    }

    /// The outcome, if it is known by now.
    #[cfg(test)]
    fn now(&mut self) -> Option<Result<u64, StoreFault>> {
        self.0.try_recv().ok()
    }
}

impl Future for Commit {
    type Output = Result<u64, StoreFault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A store that went away without settling did not acknowledge, and may have written it.
        let unsettled = Err(StoreFault::Unknown(Doubt::LASTING));
        Pin::new(&mut self.0).poll(cx).map(|outcome| outcome.unwrap_or(unsettled))
    }
}

/// A read in progress.
pub type Read<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>;

/// What is durable of one runtime.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Submits a batch. Batches of one worker land in the order of their submission.
    fn commit(&self, batch: Batch) -> Commit;

    /// Reads events in order: at most `max_count`, and at most `max_bytes` of payload but at least one.
    fn read<'a>(
        &'a self,
        worker_id: &'a WorkerId,
        select: Select,
        max_count: usize,
        max_bytes: usize,
    ) -> Read<'a, Vec<Frame>>;

    /// A worker as it landed last.
    fn worker<'a>(&'a self, worker_id: &'a WorkerId) -> Read<'a, Option<StoredWorker>>;

    /// What a request was answered with that was about this worker, if that is kept.
    fn receipt<'a>(&'a self, key: &'a ReceiptKey, worker_id: &'a WorkerId) -> Read<'a, Option<Receipt>>;

    /// How many batches of a worker have landed; `None` where there is no such worker. Nothing is read for it, so that it
    /// is known also where its row cannot be.
    fn revision(&self, worker_id: &WorkerId) -> Option<u64>;

    /// All that has landed but events: what a runtime starts from. The workers that have ended, of which there may be
    /// very many, are handed over one by one, and not collected.
    fn restore(&self, ended: EachEnded) -> Read<'_, Restored>;

    /// How many bytes the events of a worker take that are kept: what removing them wins.
    fn worker_bytes(&self, worker_id: &WorkerId) -> u64;

    /// Where what is stored of a worker could not be read last, as `FILE: offset N: what`.
    fn damage(&self, worker_id: &WorkerId) -> Option<String>;

    /// Whether a batch that failed in this doubt will never be found any more: nothing of it was done. Whatever lands
    /// after a doubt has made it void before.
    fn is_void(&self, doubt: Doubt) -> bool;

    /// The name by which it is known: `memory`, `fs_store`.
    fn backend(&self) -> &'static str;

    /// Whether the last commit that was not vital found no room.
    fn is_full(&self) -> bool {
        false
    }

    /// Why it takes nothing any more, where that is so.
    fn fault(&self) -> Option<StoreFault> {
        None
    }
}
