//! The store that keeps all in memory: the same trait, the same rules, gone with the process. It can be made to have no
//! room, or to have damaged a worker, as a disk would.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    Batch, Commit, Deletion, Doubt, EachEnded, Forgotten, NewEvent, Quarantined, Read, Restored, Select, Store,
    StoreFault, StoredWorker, WorkerChange, event_bytes,
};
use crate::engine::frame::Frame;
use crate::engine::receipts::{Receipt, ReceiptKey, ShortKey};
use crate::model::{ConfigBundle, EventKind, WorkerId};

/// What a row, a bundle or a receipt counts for.
const RECORD: u64 = 256;
/// The room that is kept back for what ends something or makes room.
const RESERVE: u64 = 1024 * 1024;

/// A store in memory. A commit lands at once, in the call that submits it.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    position: u64,
    workers: BTreeMap<WorkerId, Log>,
    bundles: Vec<Arc<ConfigBundle>>,
    receipts: HashMap<ShortKey, Receipt>,
    /// What all events take.
    event_bytes: u64,
    /// How much all may take; nothing but memory itself bounds it where unset.
    limit: Option<u64>,
    /// Workers whose events cannot be read, and where the fault lies.
    damaged: BTreeMap<WorkerId, String>,
}

#[derive(Debug)]
struct Log {
    stored: StoredWorker,
    frames: VecDeque<Frame>,
    /// The sequences of the events that append the transcript items that are kept.
    items: VecDeque<u64>,
    bytes: u64,
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

    /// From now on there is room for this many bytes more, or for all where unset.
    pub fn leave_room(&self, bytes: Option<u64>) {
        let mut state = self.0.lock();
        state.limit = bytes.map(|bytes| state.bytes() + bytes);
    }

    /// From now on what is stored of a worker is damaged, at this place.
    pub fn spoil(&self, worker_id: &WorkerId, place: &str) {
        self.0.lock().damaged.insert(worker_id.clone(), place.to_owned());
    }

    pub(super) fn apply(&self, batch: Batch) -> Result<u64, StoreFault> {
        self.0.lock().apply(batch)
    }
}

impl State {
    fn bytes(&self) -> u64 {
        let records = self.workers.len() + self.bundles.len() + self.receipts.len();
        self.event_bytes + records as u64 * RECORD
    }

    /// What a batch takes at most, against what there is.
    fn check_room(&self, batch: &Batch) -> Result<(), StoreFault> {
        let Some(limit) = self.limit else { return Ok(()) };
        let events = batch.worker.iter().flat_map(|change| &change.events).map(cost).sum::<u64>();
        let records = batch.worker.iter().filter(|change| change.revision == 0).count()
            + batch.bundles.len()
            + batch.receipts.len();
        let room = if batch.vital { limit.saturating_add(RESERVE) } else { limit };
        let fits = self.bytes() + events + records as u64 * RECORD <= room;
        if fits { Ok(()) } else { Err(StoreFault::Full) }
    }

    fn apply(&mut self, batch: Batch) -> Result<u64, StoreFault> {
        self.check_room(&batch)?;
        let Batch { worker, bundles, removed_bundles, receipts, forgotten, deleted, vital: _ } = batch;
        let position = self.position + 1;
        if let Some(deletion) = deleted {
            self.delete(&deletion)?;
        }
        if let Some(change) = worker {
            self.change(change, position)?;
        }
        self.position = position;
        self.bundles.retain(|bundle| !removed_bundles.contains(&bundle.reference()));
        self.bundles.extend(bundles);
        self.receipts.extend(receipts.into_iter().map(|receipt| (receipt.key.short(), receipt)));
        for Forgotten { key, worker_id } in forgotten {
            // Since then another worker may have been given a request of the same id.
            if self.receipts.get(&key).is_some_and(|it| it.outcome.worker_id() == worker_id.as_ref()) {
                self.receipts.remove(&key);
            }
        }
        Ok(position)
    }

    fn delete(&mut self, deletion: &Deletion) -> Result<(), StoreFault> {
        let Deletion { worker_id, revision } = deletion;
        let landed = self.workers.get(worker_id).map(|log| log.stored.revision);
        if landed.is_none() || revision.is_some_and(|revision| landed != Some(revision)) {
            return Err(StoreFault::OutOfOrder);
        }
        self.event_bytes -= self.workers.remove(worker_id).map_or(0, |log| log.bytes);
        self.damaged.remove(worker_id);
        Ok(())
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
        let log = self.workers.entry(worker_id).or_insert_with(|| Log::new(stored.clone()));
        let before = log.bytes;
        log.append(events, position);
        log.trim(stored.row.first_sequence);
        log.stored = stored;
        self.event_bytes = self.event_bytes + log.bytes - before;
        Ok(())
    }

    fn log(&self, worker_id: &WorkerId) -> Result<Option<&Log>, StoreFault> {
        if self.damaged.contains_key(worker_id) { Err(StoreFault::Damaged) } else { Ok(self.workers.get(worker_id)) }
    }

    fn restore(&self, ended: EachEnded) -> Restored {
        let (damaged, sound): (Vec<_>, Vec<_>) =
            self.workers.iter().partition(|(worker_id, _)| self.damaged.contains_key(worker_id));
        let quarantined = damaged.into_iter().map(|(worker_id, log)| Quarantined {
            worker_id: worker_id.clone(),
            row: Some(log.stored.row.clone()),
            place: self.damaged.get(worker_id).cloned().unwrap_or_default(),
        });
        let (over, live): (Vec<_>, Vec<_>) =
            sound.into_iter().map(|(_, log)| log.stored.clone()).partition(|worker| worker.row.state.is_final());
        over.into_iter().for_each(ended);
        Restored {
            workers: live,
            bundles: self.bundles.clone(),
            receipts: self.receipts.values().cloned().collect(),
            quarantined: quarantined.collect(),
            ..Restored::default()
        }
    }
}

impl Log {
    fn new(stored: StoredWorker) -> Self {
        Self { stored, frames: VecDeque::new(), items: VecDeque::new(), bytes: 0 }
    }

    fn append(&mut self, events: Vec<NewEvent>, position: u64) {
        for event in events {
            self.bytes += cost(&event);
            let NewEvent { sequence, kind, observed_at, body } = event;
            if kind == EventKind::ItemAppended {
                self.items.push_back(sequence);
            }
            self.frames.push_back(Frame { sequence, position, observed_at, kind, body });
        }
    }

    /// Removes the events before `first`.
    fn trim(&mut self, first: u64) {
        while let Some(frame) = self.frames.pop_front_if(|frame| frame.sequence < first) {
            self.bytes -= event_bytes(frame.body.len());
        }
        while self.items.pop_front_if(|sequence| *sequence < first).is_some() {}
    }

    fn read(&self, select: Select, max_count: usize, max_bytes: usize) -> Vec<Frame> {
        let first = self.stored.row.first_sequence;
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut fits = |frame: &&Frame| {
            let first = bytes == 0;
            bytes += frame.body.len();
            first || bytes <= max_bytes
        };
        match select {
            Select::EventsAfter(after) => {
                let skip = index(after.saturating_add(1).saturating_sub(first));
                self.frames.iter().skip(skip).take(max_count).take_while(&mut fits).cloned().collect()
            }
            Select::ItemsAfter(after) => {
                let Some(skip) = after.checked_sub(self.stored.row.removed_items) else { return Vec::new() };
                let frames = self.items.iter().skip(index(skip)).map(|at| &self.frames[index(at - first)]);
                frames.take(max_count).take_while(&mut fits).cloned().collect()
            }
        }
    }
}

fn cost(event: &NewEvent) -> u64 {
    event_bytes(event.body.len())
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
        Box::pin(async move {
            let state = self.0.lock();
            Ok(state.log(worker_id)?.map(|log| log.read(select, max_count, max_bytes)).unwrap_or_default())
        })
    }

    fn worker<'a>(&'a self, worker_id: &'a WorkerId) -> Read<'a, Option<StoredWorker>> {
        Box::pin(async move { Ok(self.0.lock().log(worker_id)?.map(|log| log.stored.clone())) })
    }

    fn receipt<'a>(&'a self, key: &'a ReceiptKey, worker_id: &'a WorkerId) -> Read<'a, Option<Receipt>> {
        Box::pin(async move {
            let state = self.0.lock();
            state.log(worker_id)?;
            Ok(state.receipts.get(&key.short()).filter(|receipt| receipt.key == *key).cloned())
        })
    }

    fn revision(&self, worker_id: &WorkerId) -> Option<u64> {
        self.0.lock().workers.get(worker_id).map(|log| log.stored.revision)
    }

    fn restore(&self, ended: EachEnded) -> Read<'_, Restored> {
        Box::pin(async move { Ok(self.0.lock().restore(ended)) })
    }

    fn worker_bytes(&self, worker_id: &WorkerId) -> u64 {
        self.0.lock().workers.get(worker_id).map_or(0, |log| log.bytes)
    }

    fn damage(&self, worker_id: &WorkerId) -> Option<String> {
        self.0.lock().damaged.get(worker_id).cloned()
    }

    /// It fails before it does anything.
    fn is_void(&self, _: Doubt) -> bool {
        false
    }

    fn backend(&self) -> &'static str {
        "memory"
    }
}
