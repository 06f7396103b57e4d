//! A store that takes nothing, or that cannot be read back: workers can be ended and deleted all the same, and a runtime
//! comes up.

use parking_lot::Mutex;

use super::store::{Batch, Commit, Doubt, EachEnded, Read, Restored, Select, StoreFault, StoredWorker};
use super::*;
use crate::engine::process::start_time;
use crate::model::{Reason, TerminationReason, WorkerState};

/// A store over a memory, with what is wrong with it now.
#[derive(Debug, Default)]
struct Troubled {
    inner: Arc<MemoryStore>,
    /// Every commit fails with this.
    refusal: Mutex<Option<StoreFault>>,
    /// Whose commits are not settled.
    stalled: Mutex<Option<WorkerId>>,
    unsettled: Mutex<Vec<tokio::sync::oneshot::Sender<std::result::Result<u64, StoreFault>>>>,
    /// Every read fails with this.
    unreadable: Mutex<Option<StoreFault>>,
}

impl Troubled {
    fn refuse(&self, fault: Option<StoreFault>) {
        *self.refusal.lock() = fault;
    }

    fn fail_reads(&self, fault: Option<StoreFault>) {
        *self.unreadable.lock() = fault;
    }

    fn check_reads(&self) -> std::result::Result<(), StoreFault> {
        self.unreadable.lock().map_or(Ok(()), Err)
    }
}

impl Store for Troubled {
    fn commit(&self, batch: Batch) -> Commit {
        let (settle, commit) = Commit::pending();
        if batch.worker.as_ref().is_some_and(|change| Some(&change.worker_id) == self.stalled.lock().as_ref()) {
            self.unsettled.lock().push(settle);
            return commit;
        }
        let Some(fault) = *self.refusal.lock() else { return self.inner.commit(batch) };
        // The other end is in the very commit.
        let _ = settle.send(Err(fault));
        commit
    }

    fn read<'a>(&'a self, worker_id: &'a WorkerId, select: Select, count: usize, bytes: usize) -> Read<'a, Vec<Frame>> {
        match self.check_reads() {
            Ok(()) => self.inner.read(worker_id, select, count, bytes),
            Err(fault) => Box::pin(async move { Err(fault) }),
        }
    }

    fn worker<'a>(&'a self, worker_id: &'a WorkerId) -> Read<'a, Option<StoredWorker>> {
        match self.check_reads() {
            Ok(()) => self.inner.worker(worker_id),
            Err(fault) => Box::pin(async move { Err(fault) }),
        }
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

    fn is_void(&self, doubt: Doubt) -> bool {
        self.inner.is_void(doubt)
    }

    fn backend(&self) -> &'static str {
        "memory"
    }
}

#[tokio::test]
async fn a_worker_that_cannot_be_read_back_can_be_stopped_and_deleted() {
    let store = Arc::new(Troubled::default());
    let stage = Stage::open(parts(store.clone(), [("it", sh("exec cat"))])).await;
    let (stopped, deleted) = (stage.spawn().await, stage.spawn().await);
    store.fail_reads(Some(StoreFault::Failed));
    store.refuse(Some(StoreFault::Failed));
    for worker in [&stopped, &deleted] {
        assert!(stage.send(worker, "lost").await.is_err());
    }
    store.refuse(None);
    let ack = within(stage.stop(&stopped, TerminalIntent::Stop, StopMode::Force)).await;
    assert_eq!(ack.state, WorkerState::Stopped);
    within(stage.delete(&deleted, true, Some("d"))).await.unwrap();
    // One that has ended is deleted as well, and neither is there after a restart.
    within(stage.delete(&stopped, false, Some("e"))).await.unwrap();
    assert_eq!(Stage::open(stage.parts.clone()).await.engine.counts().total, 0);
}

#[tokio::test]
async fn a_runtime_opens_where_the_end_of_a_lost_worker_cannot_be_stored() {
    for (restart, fault, refusal) in [
        (Restart::Never, StoreFault::Full, Reason::StoreFull),
        (Restart::OnFailure, StoreFault::Failed, Reason::StoreError),
    ] {
        let store = Arc::new(Troubled::default());
        let mut parts = parts(store.clone(), [("it", Profile { restart, ..sh("exec cat") })]);
        parts.limits.restarts.first_pause = Duration::from_millis(10);
        let (apart, first) = engine_apart(&parts);
        let first = Stage::open(first).await;
        let worker = first.spawn().await;
        let before = first.engine.get_worker(&worker.worker_id).unwrap();
        gone(apart).await;

        store.refuse(Some(fault));
        let stage = within(Stage::open(parts)).await;
        let listed = stage.engine.get_worker(&worker.worker_id).unwrap();
        assert_eq!((listed.state, listed.last_event_id), (WorkerState::Running, before.last_event_id));
        assert!(!listed.can_accept_input, "nobody would hear it");
        let told: Vec<_> = listed.diagnostics.iter().filter(|it| it.code == "worker_end_not_stored").collect();
        assert!(told.len() == 1 && told[0].message.contains(&fault.to_string()), "{told:?}");
        let (intent, mode) = (TerminalIntent::Stop, StopMode::Force);
        let stop = StopWorker { worker_id: worker.worker_id.clone(), intent, reason: String::new(), mode };
        let refused = within(stage.engine.stop_worker(&context(None, 0), stop)).await.unwrap_err();
        assert_eq!(refused.reason(), refusal);

        store.refuse(None);
        let tail = stage.engine.slot(&worker.worker_id).unwrap().tail;
        let recorded = |worker: &Worker| worker.state.is_final() || worker.run_generation > 1;
        let now = within(tail.wait_for(recorded)).await;
        assert!(now.diagnostics.iter().all(|it| it.code != "worker_end_not_stored"), "{:?}", now.diagnostics);
        match restart {
            Restart::Never => assert_eq!(now.termination.clone().unwrap().reason, TerminationReason::RuntimeLost),
            Restart::OnFailure => {
                within(tail.wait_for(|worker| worker.state == WorkerState::Running)).await;
                stage.send(&worker, "heard").await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_program_behind() {
    let (directory, store) = (tempfile::tempdir().unwrap(), Arc::new(Troubled::default()));
    let run = directory.path().join("2");
    let script = format!("echo $$ > {}/${{WORKPLANE_WORKER##*/}}; exec sleep 1000", directory.path().display());
    let mut parts = parts(store.clone(), [("it", Profile { restart: Restart::OnFailure, ..sh(&script) })]);
    parts.limits.restarts.first_pause = Duration::from_millis(10);
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let (_, stalled) = (first.spawn().await, first.spawn().await);
    gone(apart).await;

    *store.stalled.lock() = Some(stalled.worker_id);
    let (apart, again) = engine_apart(&parts);
    let opening = tokio::spawn(Engine::open(again));
    let pid: i32 = within(async {
        loop {
            match std::fs::read_to_string(&run).map(|pid| pid.trim().parse()) {
                Ok(Ok(pid)) => break pid,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    assert!(start_time(pid).is_some() && !opening.is_finished());
    opening.abort();
    let killed = async {
        while start_time(pid).is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(killed).await;
    gone(apart).await;
}

#[tokio::test]
async fn a_worker_that_the_disk_did_not_read_at_the_start_is_there_after_the_next() {
    let store = Arc::new(Troubled::default());
    let parts = parts(store.clone(), [("it", Profile { restart: Restart::OnFailure, ..sh("sleep 1000") })]);
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let (worker, idle) = (first.spawn().await, first.spawn().await);
    // More than a pipe holds: its turn does not end.
    first.send(&worker, &"x".repeat(100_000)).await.unwrap();
    gone(apart).await;
    store.fail_reads(Some(StoreFault::Failed));
    let stage = within(Stage::open(parts.clone())).await;
    let now = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((now.state, now.diagnostics[0].code.as_ref()), (WorkerState::Failed, "worker_quarantined"));
    let said = &now.diagnostics[0].message;
    assert!(said.ends_with(": the disk does not read them, and a restart tries again"), "{said}");
    // Of one that has no such input nothing is read, however much it said.
    let now = stage.engine.get_worker(&idle.worker_id).unwrap();
    assert_eq!((now.state, now.run_generation), (WorkerState::Starting, 2));
    store.fail_reads(None);
    let again = within(Stage::open(parts)).await;
    let now = again.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((now.state, now.run_generation), (WorkerState::Starting, 2));
    assert!(now.diagnostics.iter().all(|it| it.code != "worker_quarantined"), "{:?}", now.diagnostics);
}
