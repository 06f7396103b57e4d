//! The same stories on the store on disk, which is opened anew from its files whenever an engine starts from it.
#![allow(clippy::duplicate_mod, reason = "the stories are told again, on another store")]

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::engine::store::disk::RealDisk;
use crate::engine::store::{
    Batch, Commit, Doubt, EachEnded, FsStore, Read, Restored, Select, StoredWorker, TableRecords,
};

#[path = "../agents.rs"]
mod agents;
#[path = "../approvals.rs"]
mod approvals;
#[path = "../bundles.rs"]
mod bundles;
#[path = "../contract.rs"]
mod contract;
#[path = "../delete.rs"]
mod delete;
#[path = "../life.rs"]
mod life;
#[path = "../retention.rs"]
mod retention;
#[path = "../seed.rs"]
mod seed;
#[path = "../stream.rs"]
mod stream;

mod start;

type Stage = Bed<OnDisk>;

/// A store on the disk of this machine.
struct OnDisk;

impl Backend for OnDisk {
    const NAME: &str = "fs_store";

    fn store() -> Arc<dyn Store> {
        let dir = tempfile::tempdir().unwrap();
        let records = Arc::default();
        let now = Mutex::new(open(&dir, &records));
        Arc::new(Reopened { dir, records, now })
    }
}

fn store() -> Arc<dyn Store> {
    OnDisk::store()
}

fn open(dir: &TempDir, records: &Arc<TableRecords>) -> FsStore {
    FsStore::open(Arc::new(RealDisk), &dir.path().join("log"), Arc::clone(records) as _, Handle::current()).unwrap()
}

/// A store on disk that is closed and opened again each time that a runtime starts from it.
#[derive(Debug)]
struct Reopened {
    dir: TempDir,
    records: Arc<TableRecords>,
    now: Mutex<FsStore>,
}

impl Reopened {
    fn now(&self) -> FsStore {
        self.now.lock().clone()
    }
}

impl Store for Reopened {
    fn commit(&self, batch: Batch) -> Commit {
        self.now().commit(batch)
    }

    fn read<'a>(
        &'a self,
        worker_id: &'a WorkerId,
        select: Select,
        max_count: usize,
        max_bytes: usize,
    ) -> Read<'a, Vec<Frame>> {
        let now = self.now();
        Box::pin(async move { now.read(worker_id, select, max_count, max_bytes).await })
    }

    fn worker<'a>(&'a self, worker_id: &'a WorkerId) -> Read<'a, Option<StoredWorker>> {
        let now = self.now();
        Box::pin(async move { now.worker(worker_id).await })
    }

    fn receipt<'a>(&'a self, key: &'a ReceiptKey, worker_id: &'a WorkerId) -> Read<'a, Option<Receipt>> {
        Box::pin(async move { self.now().receipt(key, worker_id).await })
    }

    fn revision(&self, worker_id: &WorkerId) -> Option<u64> {
        self.now().revision(worker_id)
    }

    fn restore(&self, ended: EachEnded) -> Read<'_, Restored> {
        let now = {
            let mut now = self.now.lock();
            now.close();
            *now = open(&self.dir, &self.records);
            now.clone()
        };
        Box::pin(async move { now.restore(ended).await })
    }

    fn worker_bytes(&self, worker_id: &WorkerId) -> u64 {
        self.now().worker_bytes(worker_id)
    }

    fn damage(&self, worker_id: &WorkerId) -> Option<String> {
        self.now().damage(worker_id)
    }

    fn is_void(&self, doubt: Doubt) -> bool {
        self.now().is_void(doubt)
    }

    fn backend(&self) -> &'static str {
        self.now().backend()
    }
}
