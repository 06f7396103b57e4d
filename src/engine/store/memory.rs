//! The store that keeps all in memory: the same trait, the same rules, gone with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Batch, Commit, Deletion, Read, Restored, Select, Store, StoreFault, StoredWorker, WorkerChange};
use crate::engine::frame::Frame;
use crate::engine::receipts::{Receipt, ReceiptKey};
use crate::model::{ConfigBundle, EventKind, WorkerId};

/// A store in memory. A commit lands at once, in the call that submits it.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    position: u64,
    workers: BTreeMap<WorkerId, Log>,
    bundles: Vec<Arc<ConfigBundle>>,
    receipts: HashMap<ReceiptKey, Receipt>,
}

#[derive(Debug)]
struct Log {
    stored: StoredWorker,
    frames: Vec<Frame>,
    /// Where in `frames` each transcript item lies.
    items: Vec<usize>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many batches have landed.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.lock().position
    }

    pub(super) fn apply(&self, batch: Batch) -> Result<u64, StoreFault> {
        self.0.lock().apply(batch)
    }
}

impl State {
    fn apply(&mut self, batch: Batch) -> Result<u64, StoreFault> {
        let Batch { worker, bundles, receipts, forgotten, deleted, vital: _ } = batch;
        let position = self.position + 1;
        if let Some(Deletion { worker_id, revision }) = deleted {
            let landed = self.workers.get(&worker_id).map(|log| log.stored.revision);
            if landed.is_none() || revision.is_some_and(|revision| landed != Some(revision)) {
                return Err(StoreFault::OutOfOrder);
            }
            self.workers.remove(&worker_id);
        }
        if let Some(change) = worker {
            self.change(change, position)?;
        }
        self.position = position;
        self.bundles.extend(bundles);
        self.receipts.extend(receipts.into_iter().map(|receipt| (receipt.key, receipt)));
        for key in forgotten {
            self.receipts.remove(&key);
        }
        Ok(position)
    }

    fn change(&mut self, change: WorkerChange, position: u64) -> Result<(), StoreFault> {
        let WorkerChange { worker_id, revision, events, row } = change;
        let log = self.workers.get(&worker_id);
        let (landed, last) = log.map_or((0, 0), |log| (log.stored.revision, log.stored.row.last_sequence));
        let follows = events.iter().zip(last + 1..).all(|(event, sequence)| event.sequence == sequence);
        if landed != revision || !follows || row.last_sequence != last + events.len() as u64 {
            return Err(StoreFault::OutOfOrder);
        }
        let stored = StoredWorker { revision: revision + 1, row };
        let log = self.workers.entry(worker_id).or_insert_with(|| Log {
            stored: stored.clone(),
            frames: Vec::new(),
            items: Vec::new(),
        });
        log.stored = stored;
        for event in events {
            if event.kind == EventKind::ItemAppended {
                log.items.push(log.frames.len());
            }
            log.frames.push(Frame {
                sequence: event.sequence,
                position,
                observed_at: event.observed_at,
                kind: event.kind,
                body: event.body,
            });
        }
        Ok(())
    }

    fn read(&self, worker_id: &WorkerId, select: Select, max_count: usize, max_bytes: usize) -> Vec<Frame> {
        let Some(log) = self.workers.get(worker_id) else { return Vec::new() };
        let from = |after: u64| usize::try_from(after).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut fits = |frame: &&Frame| {
            let first = bytes == 0;
            bytes += frame.body.len();
            first || bytes <= max_bytes
        };
        match select {
            // Nothing is ever removed from this store, so that an event's index follows from its sequence.
            Select::EventsAfter(after) => {
                log.frames.iter().skip(from(after)).take(max_count).take_while(&mut fits).cloned().collect()
            }
            Select::ItemsAfter(after) => (log.items.iter().skip(from(after)).take(max_count))
                .map(|&at| &log.frames[at])
                .take_while(&mut fits)
                .cloned()
                .collect(),
        }
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Commit {
        let (settle, commit) = Commit::pending();
        // A commit that nobody waits for has landed all the same.
        let _ = settle.send(self.apply(batch));
        commit
    }

    fn read<'a>(
        &'a self,
        worker_id: &'a WorkerId,
        select: Select,
        max_count: usize,
        max_bytes: usize,
    ) -> Read<'a, Vec<Frame>> {
        Box::pin(async move { Ok(self.0.lock().read(worker_id, select, max_count, max_bytes)) })
    }

    fn worker<'a>(&'a self, worker_id: &'a WorkerId) -> Read<'a, Option<StoredWorker>> {
        Box::pin(async move { Ok(self.0.lock().workers.get(worker_id).map(|log| log.stored.clone())) })
    }

    fn restore(&self) -> Read<'_, Restored> {
        Box::pin(async move {
            let state = self.0.lock();
            Ok(Restored {
                workers: state.workers.values().map(|log| log.stored.clone()).collect(),
                bundles: state.bundles.clone(),
                receipts: state.receipts.values().cloned().collect(),
                ..Restored::default()
            })
        })
    }

    fn backend(&self) -> &'static str {
        "memory"
    }
}
