//! A store for tests: it lands batches late and refuses some, by seed, as a slow and failing disk would.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, oneshot};

use super::{Batch, Commit, Doubt, EachEnded, MemoryStore, Read, Restored, Select, Store, StoreFault, StoredWorker};
use crate::engine::frame::Frame;
use crate::engine::receipts::{Receipt, ReceiptKey};
use crate::model::WorkerId;

/// How a store misbehaves.
#[derive(Debug, Clone, Copy)]
pub struct Unsteadiness {
    /// The seed of all that follows.
    pub seed: u64,
    /// A group of waiting batches lands after at most this long.
    pub delay: Duration,
    /// How likely a batch is to fail, from 0 to 1.
    pub failure: f64,
}

type Waiting = (Batch, oneshot::Sender<Result<u64, StoreFault>>);

/// How many batches may wait; more are not taken, as with a disk that does not keep up.
const QUEUE: usize = 4_096;

/// After this long without work it makes void what is in doubt.
const PROBE_AFTER: Duration = Duration::from_millis(10);

/// A store in memory that lands batches late and fails by seed.
#[derive(Debug)]
pub struct UnsteadyStore {
    inner: Arc<MemoryStore>,
    submit: mpsc::Sender<Waiting>,
    faults: Arc<Mutex<Faults>>,
}

/// What fails now, and what has.
#[derive(Debug, Default)]
struct Faults {
    failure: f64,
    ordinary: bool,
    /// What fails may be found by a restart.
    doubtful: bool,
    /// What is in doubt: batches of one group.
    doubted: Vec<Batch>,
    /// The group that they are of.
    doubted_in: u64,
    /// How often what was in doubt has been made void.
    voided: u64,
    /// How many groups were written.
    groups: u64,
    /// How many batches did not land.
    refused: u64,
}

impl UnsteadyStore {
    /// A store over an empty memory; its writer runs on `handle` until the store is dropped.
    #[must_use]
    pub fn new(how: Unsteadiness, handle: &tokio::runtime::Handle) -> Arc<Self> {
        let inner = MemoryStore::new();
        let (submit, waiting) = mpsc::channel(QUEUE);
        let faults = Arc::new(Mutex::new(Faults { failure: how.failure, ..Faults::default() }));
        handle.spawn(write(inner.clone(), waiting, how, Arc::clone(&faults)));
        Arc::new(Self { inner, submit, faults })
    }

    /// The memory that it writes to: room and damage are set there.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryStore> {
        &self.inner
    }

    /// From now on this share of the batches fails, from 0 to 1.
    pub fn fail(&self, failure: f64) {
        self.faults.lock().failure = failure;
    }

    /// Whether what fails from now on may be found by a restart, until something lands.
    pub fn leave_in_doubt(&self, doubtful: bool) {
        self.faults.lock().doubtful = doubtful;
    }

    /// Finds what is in doubt, as a restart may: it has landed.
    pub fn find_doubted(&self) {
        for batch in std::mem::take(&mut self.faults.lock().doubted) {
            // Each stands on the one before it.
            let _ = self.inner.apply(batch);
        }
    }

    /// Whether all batches fail from now on that are not vital.
    pub fn fail_ordinary(&self, ordinary: bool) {
        self.faults.lock().ordinary = ordinary;
    }

    /// How many batches did not land.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.faults.lock().refused
    }

    /// How many groups of batches were written: what a disk would have synced.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.faults.lock().groups
    }
}

impl Faults {
    /// A batch fails. Only the first group that does may be found: nothing is written before that is void.
    fn fault(&mut self, batch: Batch) -> StoreFault {
        if !self.doubtful || !(self.doubted.is_empty() || self.doubted_in == self.groups) {
            return StoreFault::Failed;
        }
        self.doubted.push(batch);
        self.doubted_in = self.groups;
        StoreFault::Unknown(Doubt(self.voided))
    }

    fn void(&mut self) {
        self.voided += u64::from(!self.doubted.is_empty());
        self.doubted.clear();
    }

    /// Nothing came for a while.
    fn probe(&mut self) {
        if self.failure < 1.0 {
            self.void();
        }
    }
}

async fn write(
    inner: Arc<MemoryStore>,
    mut waiting: mpsc::Receiver<Waiting>,
    how: Unsteadiness,
    faults: Arc<Mutex<Faults>>,
) {
    let mut chance = StdRng::seed_from_u64(how.seed);
    let mut group = Vec::new();
    loop {
        let patience = if faults.lock().doubted.is_empty() { Duration::MAX } else { PROBE_AFTER };
        match tokio::time::timeout(patience, waiting.recv_many(&mut group, 256)).await {
            Err(_) => faults.lock().probe(),
            Ok(0) => return,
            Ok(_) => {
                let delay = how.delay.mul_f64(chance.random());
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                faults.lock().groups += 1;
                for (batch, settle) in group.drain(..) {
                    // Whoever gave up waiting finds the outcome by its request id.
                    let _ = settle.send(land(&inner, batch, &mut chance, &mut faults.lock()));
                }
            }
        }
    }
}

fn land(inner: &MemoryStore, batch: Batch, chance: &mut StdRng, faults: &mut Faults) -> Result<u64, StoreFault> {
    let fails = chance.random_bool(faults.failure) || (faults.ordinary && !batch.vital);
    let outcome = if fails { Err(faults.fault(batch)) } else { inner.apply(batch) };
    match outcome {
        Ok(_) => faults.void(),
        Err(_) => faults.refused += 1,
    }
    outcome
}

impl Store for UnsteadyStore {
    fn commit(&self, batch: Batch) -> Commit {
        let (settle, commit) = Commit::pending();
        if let Err(refused) = self.submit.try_send((batch, settle)) {
            let (_, settle) = refused.into_inner();
            // As above.
            let _ = settle.send(Err(StoreFault::Overloaded));
        }
        commit
    }

    fn read<'a>(
        &'a self,
        worker_id: &'a WorkerId,
        select: Select,
        max_count: usize,
        max_bytes: usize,
    ) -> Read<'a, Vec<Frame>> {
        self.inner.read(worker_id, select, max_count, max_bytes)
    }

    fn worker<'a>(&'a self, worker_id: &'a WorkerId) -> Read<'a, Option<StoredWorker>> {
        self.inner.worker(worker_id)
    }

    fn receipt<'a>(&'a self, key: &'a ReceiptKey, worker_id: &'a WorkerId) -> Read<'a, Option<Receipt>> {
        self.inner.receipt(key, worker_id)
    }

    fn revision(&self, worker_id: &WorkerId) -> Option<u64> {
        self.inner.revision(worker_id)
    }

    fn restore(&self, ended: EachEnded) -> Read<'_, Restored> {
        self.inner.restore(ended)
    }

    fn worker_bytes(&self, worker_id: &WorkerId) -> u64 {
        self.inner.worker_bytes(worker_id)
    }

    fn damage(&self, worker_id: &WorkerId) -> Option<String> {
        self.inner.damage(worker_id)
    }

    fn is_void(&self, Doubt(doubt): Doubt) -> bool {
        self.faults.lock().voided > doubt
    }

    fn backend(&self) -> &'static str {
        "memory"
    }

    fn fault(&self) -> Option<StoreFault> {
        (self.faults.lock().failure >= 1.0).then_some(StoreFault::Failed)
    }
}
