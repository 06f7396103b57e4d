//! A request that was answered is answered so again, whatever has become of the runtime, the worker or the bundle since.

use super::bundles::bundle;
use super::store::{Batch, Commit, Doubt, EachEnded, Read, Restored, Select, StoredWorker};
use super::*;
use crate::model::{Created, Reason, WorkerState};

/// A store whose past is not all there any more.
#[derive(Debug)]
struct Forgetful {
    inner: Arc<MemoryStore>,
    /// Forgets workers at a restart.
    no_workers: bool,
    /// Forgets bundles at a restart.
    no_bundles: bool,
}

impl Forgetful {
    fn over(inner: Arc<MemoryStore>) -> Self {
        Self { inner, no_workers: false, no_bundles: false }
    }
}

impl Store for Forgetful {
    fn commit(&self, batch: Batch) -> Commit {
        self.inner.commit(batch)
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

    fn restore(&self, mut ended: EachEnded) -> Read<'_, Restored> {
        Box::pin(async move {
            let keeps = !self.no_workers;
            let ended = Box::new(move |worker| {
                if keeps {
                    ended(worker);
                }
            });
            let mut restored = self.inner.restore(ended).await?;
            if self.no_workers {
                restored.workers.clear();
            }
            if self.no_bundles {
                restored.bundles.clear();
            }
            Ok(restored)
        })
    }

    fn worker_bytes(&self, worker_id: &WorkerId) -> u64 {
        self.inner.worker_bytes(worker_id)
    }

    fn damage(&self, worker_id: &WorkerId) -> Option<String> {
        self.inner.damage(worker_id)
    }

    fn is_void(&self, doubt: Doubt) -> bool {
        self.inner.is_void(doubt)
    }

    fn backend(&self) -> &'static str {
        "memory"
    }
}

/// The calls of one caller, each with an id of its own.
struct Caller<'a>(&'a Engine);

impl Caller<'_> {
    async fn sync(&self) -> Result<crate::model::BundleSummary> {
        self.0.sync_bundle(&context(Some("sync"), 1), bundle("1", &[builtin("it")])).await
    }

    async fn spawn(&self) -> Result<Created> {
        let mut create = request(builtin("it"));
        create.config_bundle = Some(bundle("1", &[builtin("it")]).reference());
        self.0.create_worker(&context(Some("spawn"), 1), create).await
    }

    async fn send(&self, worker_id: &WorkerId) -> Result<crate::model::InputAck> {
        self.0.send_input(&context(Some("send"), 1), input_for(worker_id, "hello")).await
    }

    async fn end(&self, worker_id: &WorkerId) -> Result<StopAck> {
        let (intent, reason, mode) = (TerminalIntent::Stop, String::new(), StopMode::Graceful);
        let stop = StopWorker { worker_id: worker_id.clone(), intent, reason, mode };
        self.0.stop_worker(&context(Some("stop"), 1), stop).await
    }
}

#[tokio::test]
async fn a_repeat_is_answered_as_at_first_after_the_worker_and_the_runtime_have_ended() {
    let stage = Stage::with(Profile::catalog()).await;
    let caller = Caller(&stage.engine);
    let synced = caller.sync().await.unwrap();
    let spawned = caller.spawn().await.unwrap().worker.worker_id;
    let sent = caller.send(&spawned).await.unwrap();
    let stopped = caller.end(&spawned).await.unwrap();
    let again = async || {
        assert_eq!(caller.sync().await.unwrap(), synced);
        let created = caller.spawn().await.unwrap();
        assert_eq!((created.worker.worker_id, created.worker.state), (spawned.clone(), WorkerState::Stopped));
        assert_eq!(caller.send(&spawned).await.unwrap(), sent);
        assert_eq!(caller.end(&spawned).await.unwrap(), stopped);
    };
    again().await;
    stage.engine.shutdown().await;
    again().await;
    let new = stage.engine.create_worker(&context(Some("new"), 1), request(builtin("it"))).await.unwrap_err();
    assert_eq!(new.reason(), Reason::RuntimeStopped);
    let other = stage.engine.send_input(&context(Some("send"), 2), input_for(&spawned, "other")).await.unwrap_err();
    assert_eq!(other.reason(), Reason::RequestIdReused);
}

#[tokio::test]
async fn a_closed_runtime_makes_no_worker_and_knows_those_it_made() {
    let stage = Stage::with(Profile::catalog()).await;
    let caller = Caller(&stage.engine);
    caller.sync().await.unwrap();
    let worker_id = caller.spawn().await.unwrap().worker.worker_id;
    stage.engine.close();
    let new = stage.engine.create_worker(&context(Some("new"), 1), request(builtin("it"))).await.unwrap_err();
    assert_eq!(new.reason(), Reason::Draining);
    assert_eq!(caller.spawn().await.unwrap().worker.worker_id, worker_id);
    // All else goes on.
    assert!(stage.engine.is_running() && caller.send(&worker_id).await.is_ok());
    assert_eq!(caller.end(&worker_id).await.unwrap().state, WorkerState::Stopped);
}

#[tokio::test]
async fn a_repeat_while_the_runtime_drains_is_answered_as_at_first() {
    let mut parts = parts(MemoryStore::new(), [("it", sh("trap '' TERM; echo up; while :; do sleep 1000; done"))]);
    parts.limits.stop_grace = Duration::from_secs(1_000);
    let stage = Stage::open(parts).await;
    let caller = Caller(&stage.engine);
    let synced = caller.sync().await.unwrap();
    let worker = caller.spawn().await.unwrap().worker;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    let sent = caller.send(&worker.worker_id).await.unwrap();
    let draining = tokio::spawn({
        let engine = stage.engine.clone();
        async move { engine.shutdown().await }
    });
    while !text(&within(next_frame(&mut stream)).await.unwrap().wire).contains("Stopping") {}
    assert_eq!(caller.sync().await.unwrap(), synced);
    assert_eq!(caller.spawn().await.unwrap().worker.worker_id, worker.worker_id);
    assert_eq!(caller.send(&worker.worker_id).await.unwrap(), sent);
    let new = stage.engine.create_worker(&context(Some("new"), 1), request(builtin("it"))).await.unwrap_err();
    assert_eq!(new.reason(), Reason::Draining);
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Force).await;
    within(draining).await.unwrap();
}

#[tokio::test]
async fn a_repeat_is_answered_as_at_first_when_the_bundle_or_the_worker_is_gone() {
    let store = MemoryStore::new();
    let stage = Stage::open(parts(store.clone(), [("it", Profile::catalog())])).await;
    let caller = Caller(&stage.engine);
    let synced = caller.sync().await.unwrap();
    let worker_id = caller.spawn().await.unwrap().worker.worker_id;
    let sent = caller.send(&worker_id).await.unwrap();

    let no_bundles = Arc::new(Forgetful { no_bundles: true, ..Forgetful::over(store.clone()) });
    let stage = Stage::open(EngineParts { store: no_bundles, ..stage.parts }).await;
    let caller = Caller(&stage.engine);
    assert!(stage.engine.check_bundle(&synced.reference()).is_err());
    assert_eq!(caller.sync().await.unwrap(), synced);
    assert_eq!(caller.spawn().await.unwrap().worker.worker_id, worker_id);

    let no_workers = Arc::new(Forgetful { no_workers: true, ..Forgetful::over(store) });
    let stage = Stage::open(EngineParts { store: no_workers, ..stage.parts }).await;
    assert!(stage.engine.get_worker(&worker_id).is_err());
    assert_eq!(Caller(&stage.engine).send(&worker_id).await.unwrap(), sent);
}

#[tokio::test]
async fn a_request_that_was_refused_is_judged_anew() {
    let stage = Stage::with(Profile::catalog()).await;
    let caller = Caller(&stage.engine);
    assert_eq!(caller.spawn().await.unwrap_err().reason(), Reason::ConfigBundleMissing);
    caller.sync().await.unwrap();
    let nobody = WorkerId::new("worker-of-nobody").unwrap();
    for refused in [caller.send(&nobody).await.err(), caller.end(&nobody).await.err()] {
        assert_eq!(refused.unwrap().reason(), Reason::UnknownWorker);
    }
    let worker_id = caller.spawn().await.unwrap().worker.worker_id;
    caller.send(&worker_id).await.unwrap();
    caller.end(&worker_id).await.unwrap();
}
