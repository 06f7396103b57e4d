//! Damaged records: who is hit, what is said, and what goes on.

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::store::{Batch, Commit, Doubt, EachEnded, Quarantined, Read, Restored, Select, StoreFault, StoredWorker};
use super::*;
use crate::model::{DeleteWorker, Reason, Severity, WorkerFilter, WorkerState};

const PLACE: &str = "log/00000000000000000001.seg: offset 4096: a record's checksum does not match";

/// A store over a memory that is restored when it is let, with damage.
#[derive(Debug)]
struct Restoring {
    inner: Arc<MemoryStore>,
    gate: Semaphore,
    /// What is found at the start.
    found: Mutex<Restored>,
    /// A worker whose events turn out to be damaged when they are read.
    unreadable: Option<WorkerId>,
}

impl Restoring {
    fn over(inner: Arc<MemoryStore>, found: Restored) -> Arc<Self> {
        Arc::new(Self { inner, gate: Semaphore::new(0), found: Mutex::new(found), unreadable: None })
    }
}

impl Store for Restoring {
    fn commit(&self, batch: Batch) -> Commit {
        self.inner.commit(batch)
    }

    fn read<'a>(&'a self, worker_id: &'a WorkerId, select: Select, count: usize, bytes: usize) -> Read<'a, Vec<Frame>> {
        if self.unreadable.as_ref() == Some(worker_id) {
            return Box::pin(async { Err(StoreFault::Damaged) });
        }
        self.inner.read(worker_id, select, count, bytes)
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
            let _open = self.gate.acquire().await.map_err(|_| StoreFault::Failed)?;
            let found = self.found.lock().clone();
            let hit: Vec<_> = found.quarantined.iter().map(|it| it.worker_id.clone()).collect();
            let sound = move |it: &StoredWorker| !hit.contains(it.row.worker_id());
            let is_sound = sound.clone();
            let ended = Box::new(move |it| {
                if is_sound(&it) {
                    ended(it);
                }
            });
            let mut restored = self.inner.restore(ended).await?;
            restored.workers.retain(sound);
            restored.quarantined.extend(found.quarantined);
            restored.warnings.extend(found.warnings);
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

/// An engine that is gone, with three workers that it left.
async fn left() -> (Stage, Arc<MemoryStore>, [Worker; 3]) {
    let store = MemoryStore::new();
    let stage = Stage::open(parts(store.clone(), [("it", Profile::catalog())])).await;
    let workers = [stage.spawn().await, stage.spawn().await, stage.spawn().await];
    for worker in &workers {
        stage.send(worker, "kept").await.unwrap();
    }
    (stage, store, workers)
}

#[tokio::test]
async fn torn_line_names_its_place() {
    // acceptance 132
    let (stage, store, [hit, live, nameless]) = left().await;
    stage.stop(&hit, TerminalIntent::Stop, StopMode::Graceful).await;
    store.spoil(&hit.worker_id, PLACE);
    let row = None;
    let place = PLACE.replace("4096", "8192");
    let found = Restored {
        quarantined: vec![Quarantined { worker_id: nameless.worker_id.clone(), row, place: place.clone() }],
        ..Restored::default()
    };
    let restoring = Restoring::over(store.clone(), found);
    restoring.gate.add_permits(1);
    let stage = Stage::open(EngineParts { store: restoring, ..stage.parts.clone() }).await;

    // Listed, failed, and it is said where; the others serve.
    for (worker, place) in [(&hit, PLACE), (&nameless, place.as_str())] {
        let now = stage.engine.get_worker(&worker.worker_id).unwrap();
        let said = &now.diagnostics[0];
        assert_eq!(
            (now.state, said.code.as_ref(), said.severity),
            (WorkerState::Failed, "worker_quarantined", Severity::Error)
        );
        assert!(said.message.ends_with(place), "{said:?}");
        assert!(!now.can_accept_input && !now.can_stop);
        assert_eq!(now.termination, None, "what it ended with is not known for sure");
        assert!(now.created_at > worker.created_at - Duration::from_mins(1), "its id says when it was made");
    }
    assert_eq!(stage.engine.list_workers(&WorkerFilter::default(), None, 9).workers.len(), 3);
    assert_eq!((stage.engine.counts().total, stage.engine.counts().failed), (3, 3));
    assert_eq!(stage.transcript(&live).await[0], "User:1:kept");
    let made = stage.spawn().await;
    stage.send(&made, "x").await.unwrap();

    for worker in [&hit, &nameless] {
        let observed = stage.engine.observe_worker(&worker.worker_id, ObserveFrom::Beginning, None);
        let stop = StopWorker {
            worker_id: worker.worker_id.clone(),
            intent: TerminalIntent::Stop,
            reason: String::new(),
            mode: StopMode::Force,
        };
        let refused = [
            stage.send(worker, "x").await.err(),
            stage.engine.stop_worker(&context(None, 0), stop).await.err(),
            stage.engine.read_transcript(&worker.worker_id, 0, 9).await.err(),
            observed.err(),
        ];
        for error in refused.map(Option::unwrap) {
            assert_eq!(error.reason(), Reason::StoreError);
            assert!(error.message().contains("workers delete") && error.message().contains("salvage"), "{error}");
        }
        let delete = DeleteWorker { worker_id: worker.worker_id.clone(), force: false };
        stage.engine.delete_worker(&context(Some(worker.worker_id.as_str()), 1), delete).await.unwrap();
        assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap_err().reason(), Reason::UnknownWorker);
    }
    let again = Stage::open(EngineParts { store, ..stage.parts.clone() }).await;
    assert_eq!(again.engine.counts().total, 2);
}

#[tokio::test]
async fn events_that_cannot_be_read_at_the_start_cost_their_worker_and_no_other() {
    let restarting = || Profile { restart: Restart::OnFailure, ..sh("sleep 1000") };
    let store = MemoryStore::new();
    let parts = parts(store.clone(), [("it", restarting())]);
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let (hit, sound) = (first.spawn().await, first.spawn().await);
    // More than a pipe holds: its turn does not end.
    first.send(&hit, &"x".repeat(100_000)).await.unwrap();
    gone(apart).await;
    let unreadable = Some(hit.worker_id.clone());
    let (gate, found) = (Semaphore::new(1), Mutex::default());
    let damaged = Arc::new(Restoring { inner: store.clone(), gate, found, unreadable });
    let stage = within(Stage::open(EngineParts { store: damaged, ..parts.clone() })).await;
    let now = stage.engine.get_worker(&hit.worker_id).unwrap();
    assert_eq!((now.state, now.diagnostics[0].code.as_ref()), (WorkerState::Failed, "worker_quarantined"));
    assert!(now.diagnostics[0].message.ends_with("what is stored was damaged"), "{:?}", now.diagnostics);
    assert_eq!(stage.send(&hit, "x").await.unwrap_err().reason(), Reason::StoreError);
    assert_eq!(stage.engine.get_worker(&sound.worker_id).unwrap().run_generation, 2);
    stage.send(&sound, "x").await.unwrap();
    stage.delete(&hit, false, Some("d")).await.unwrap();
    assert!(store.worker(&hit.worker_id).await.unwrap().is_none());
}

#[tokio::test]
async fn what_belongs_to_nobody_is_told_of_the_runtime() {
    let (stage, store, _) = left().await;
    assert!(stage.engine.diagnostics().is_empty());
    let found =
        Restored { warnings: (0..20).map(|n| format!("{n}.seg: offset 0: x")).collect(), ..Restored::default() };
    let restoring = Restoring::over(store, found);
    restoring.gate.add_permits(1);
    let stage = Stage::open(EngineParts { store: restoring, ..stage.parts.clone() }).await;
    let said = stage.engine.diagnostics();
    assert!(said.iter().all(|it| it.code == "store_damaged" && it.severity == Severity::Warning));
    assert!(said.len() == 16 && said[0].message.ends_with("0.seg: offset 0: x") && said[15].message.contains("5 more"));
}

#[tokio::test]
async fn ids_rise_above_all_that_are_stored_whatever_the_clock_says() {
    // acceptance 36
    let (stage, store, _) = left().await;
    let stored = WorkerId::new("worker-fffffff0-0000-7cc3-98c4-dc0c0c07398f").unwrap();
    let quarantined = Quarantined { worker_id: stored.clone(), row: None, place: PLACE.to_owned() };
    let restoring = Restoring::over(store, Restored { quarantined: vec![quarantined], ..Restored::default() });
    restoring.gate.add_permits(1);
    let stage = Stage::open(EngineParts { store: restoring, ..stage.parts.clone() }).await;
    let first = stage.spawn().await.worker_id;
    assert!(stored < first, "{first}");
    assert!(first < stage.spawn().await.worker_id);
}

#[tokio::test]
async fn serving_only_when_restored() {
    let (stage, store, [hit, lost, ended]) = left().await;
    stage.stop(&ended, TerminalIntent::Stop, StopMode::Graceful).await;
    store.spoil(&hit.worker_id, PLACE);
    let restoring = Restoring::over(store, Restored::default());
    let opening = Engine::open(EngineParts { store: restoring.clone(), ..stage.parts.clone() });
    let mut opening = std::pin::pin!(opening);
    // Whoever serves this engine has none to serve until then.
    for _ in 0..100 {
        assert!(futures_util::FutureExt::now_or_never(opening.as_mut()).is_none());
        tokio::task::yield_now().await;
    }
    restoring.gate.add_permits(1);
    let engine = within(opening).await.unwrap();
    for worker in [&hit, &lost, &ended] {
        assert!(engine.get_worker(&worker.worker_id).unwrap().state.is_final(), "each is told as it is");
    }
}

#[tokio::test]
async fn damage_that_is_found_while_reading_is_told_beside_its_worker() {
    let (stage, store, [hit, sound, _]) = left().await;
    store.spoil(&hit.worker_id, PLACE);
    let mut stream = stage.observe(&hit, ObserveFrom::Beginning);
    assert!(matches!(stream.next().await, Ok(Some(Observed::Snapshot(_)))));
    assert_eq!(stream.next().await.unwrap_err().reason(), Reason::StoreError);
    let refused = stage.engine.read_transcript(&hit.worker_id, 0, 9).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::StoreError);
    let said = stage.engine.get_worker(&hit.worker_id).unwrap().diagnostics.clone();
    let said: Vec<_> = said.iter().filter(|it| it.code == "worker_damaged").collect();
    assert!(said.len() == 1 && said[0].message.ends_with(PLACE), "{said:?}");
    assert_eq!(stage.transcript(&sound).await[0], "User:1:kept");
    let told = stage.engine.get_worker(&sound.worker_id).unwrap();
    assert!(told.diagnostics.iter().all(|it| it.code != "worker_damaged"));
}

#[tokio::test]
async fn one_input_one_item() {
    // What was told to a worker once is one item, in its transcript and in its stream, live and read back.
    for profile in [Profile::catalog(), sh("exec cat")] {
        let stage = Stage::with(profile).await;
        let worker = stage.spawn().await;
        let live = tokio::spawn(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0));
        for _ in 0..3 {
            let (ctx, input) = (context(Some("once"), 1), input_for(&worker.worker_id, "once"));
            assert_eq!(stage.engine.send_input(&ctx, input).await.unwrap().transcript_sequence, 1);
        }
        stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
        let again = Stage::open(stage.parts.clone()).await;
        let replayed = to_the_end(again.observe(&worker, ObserveFrom::Beginning), 0).await;
        let items = again.transcript(&worker).await;
        for told in [within(live).await.unwrap(), replayed] {
            let told = told.into_iter().map(|(_, payload)| payload);
            assert_eq!(told.filter(|payload| payload.starts_with("User:")).collect::<Vec<_>>(), ["User:1:once"]);
        }
        assert_eq!(items.iter().filter(|item| item.ends_with(":once") && item.starts_with("User")).count(), 1);
    }
}
