//! An engine with what it needs, and a disk that counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use workplane::engine::store::disk::{Disk, DiskFile, DiskLock, FileIdentity, RealDisk};
use workplane::engine::store::{FsStore, MemoryStore, Store};
use workplane::engine::{Engine, EngineLimits, EngineParts};
use workplane::model::{
    Acceptance, CallContext, CreateWorker, InputDelivery, InputKind, Labels, ProfileSelector, RequestId, RuntimeId,
    SendInput, StopMode, StopWorker, TerminalIntent, WorkerId, WorkerInput, WorkerIntent, WorkspaceId,
};
use workplane::proto::ProtoRecords;
use workplane::runtime::LocalRuntime;

use crate::plane::PAYLOAD;

/// An engine, and what it did to its disk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bed {
    pub(crate) engine: Engine,
    pub(crate) disk: Arc<Counted>,
    workspace: WorkspaceId,
    content: Arc<str>,
}

impl Bed {
    pub(crate) async fn in_memory() -> Self {
        Self::on(MemoryStore::new(), Arc::default()).await
    }

    /// Opens the store in a directory, or makes it.
    pub(crate) async fn on_disk(dir: &Path) -> Self {
        let disk = Arc::new(Counted::default());
        let store = open_store(Arc::clone(&disk), dir);
        Self::on(Arc::new(store), disk).await
    }

    pub(crate) async fn on(store: Arc<dyn Store>, disk: Arc<Counted>) -> Self {
        let parts = LocalRuntime::parts(RuntimeId::new("bench").unwrap(), store);
        let limits = EngineLimits { max_workers: 20_000, ..EngineLimits::default() };
        let engine = Engine::open(EngineParts { limits, ..parts }).await.unwrap();
        let workspace = WorkspaceId::new("local:bench").unwrap();
        Self { engine, disk, workspace, content: "x".repeat(PAYLOAD).into() }
    }

    fn context(&self) -> CallContext {
        CallContext::internal(self.workspace.clone(), Duration::from_mins(1))
    }

    /// Makes a worker for which nothing runs.
    pub(crate) async fn spawn(&self) -> WorkerId {
        let request = CreateWorker {
            intent: WorkerIntent::Assistant { purpose: None },
            profile: ProfileSelector::RuntimeDefault,
            config_bundle: None,
            requested_capabilities: Vec::new(),
            workspace_refs: Vec::new(),
            mount_refs: Vec::new(),
            requested_worker_name: None,
            initial_input: None,
            acceptance: Acceptance::RunAccepted { expected_segments: 0 },
            labels: Labels::default(),
        };
        self.engine.create_worker(&self.context(), request).await.unwrap().worker.worker_id
    }

    pub(crate) async fn spawn_many(&self, count: usize) -> Vec<WorkerId> {
        let mut workers = Vec::with_capacity(count);
        while workers.len() < count {
            let some = (workers.len()..count).take(256);
            workers.extend(futures_util::future::join_all(some.map(|_| self.spawn())).await);
        }
        workers
    }

    /// Gives a worker an input, which becomes one item: it is durable when this returns.
    pub(crate) async fn send(&self, worker_id: &WorkerId) {
        self.send_as(worker_id, InputKind::System, None).await;
    }

    pub(crate) async fn send_as(&self, worker_id: &WorkerId, kind: InputKind, request_id: Option<RequestId>) {
        let input = WorkerInput::new(kind, self.content.to_string()).unwrap();
        let request = SendInput { worker_id: worker_id.clone(), input, delivery: InputDelivery::Queue };
        let context = CallContext { request_id, ..self.context() };
        self.engine.send_input(&context, request).await.unwrap();
    }

    pub(crate) async fn stop(&self, worker_id: &WorkerId) {
        let (intent, mode) = (TerminalIntent::Stop, StopMode::Graceful);
        let request = StopWorker { worker_id: worker_id.clone(), intent, reason: String::new(), mode };
        self.engine.stop_worker(&self.context(), request).await.unwrap();
    }
}

/// The store as a server opens it. Blocks.
pub(crate) fn open_store(disk: Arc<Counted>, dir: &Path) -> FsStore {
    FsStore::open(disk, dir, Arc::new(ProtoRecords), Handle::current()).unwrap()
}

/// The real disk, and how often it was written to and synced.
#[derive(Debug, Default)]
pub(crate) struct Counted(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    writes: AtomicU64,
    syncs: AtomicU64,
}

impl Counted {
    /// Writes and syncs of files.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        (self.0.writes.load(Ordering::Relaxed), self.0.syncs.load(Ordering::Relaxed))
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountedFile { file, counts: Arc::clone(&self.0) })
    }
}

impl Disk for Counted {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path, write).map(|file| self.file(file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }
}

#[derive(Debug)]
struct CountedFile {
    file: Arc<dyn DiskFile>,
    counts: Arc<Counts>,
}

impl DiskFile for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_all()
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.file.identity()
    }
}
