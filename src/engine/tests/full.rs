//! A store without room, and one whose commits fail: what goes on, what waits, and what is said.

use super::store::{Batch, Commit, Doubt, EachEnded, Read, Restored, Select, StoreFault, StoredWorker};
use super::*;
use crate::model::{Reason, TerminationReason, WorkerState};

fn steady() -> Unsteadiness {
    Unsteadiness { seed: 3, delay: Duration::from_millis(1), failure: 0.0 }
}

impl Stage {
    async fn refusal(&self, worker: &Worker) -> Option<Reason> {
        self.send(worker, "x").await.err().map(|error| error.reason())
    }

    /// Waits until the store takes inputs again, without asking for anything else.
    async fn takes(&self, worker: &Worker) {
        while self.send(worker, "x").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_what_is_new_and_goes_on_by_itself_when_there_is_room() {
    for profile in [Profile::catalog(), sh("exec cat")] {
        let (stage, store) = Stage::unsteady(profile, steady()).await;
        let (worker, other) = (stage.spawn().await, stage.spawn().await);
        let watching = tokio::spawn(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0));
        let mut taken = Vec::new();
        for n in 0..1_000 {
            taken.push(stage.send(&worker, &format!("{n}")).await.unwrap().event_id);
        }
        store.memory().leave_room(Some(0));
        for _ in 0..20 {
            assert_eq!(stage.refusal(&worker).await, Some(Reason::StoreFull));
        }
        let spawned = stage.engine.create_worker(&context(None, 0), request(builtin("it"))).await.unwrap_err();
        let bundle = super::bundles::bundle("1", &[]);
        let synced = stage.engine.sync_bundle(&context(None, 0), bundle).await.unwrap_err();
        assert_eq!([spawned.reason(), synced.reason()], [Reason::StoreFull; 2]);
        // Reads, observation and the end of a worker go on.
        assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap().state, WorkerState::Running);
        assert!(stage.engine.read_transcript(&worker.worker_id, 0, 9).await.is_ok());
        let ended = within(stage.engine.stop_worker(
            &context(Some("e"), 1),
            StopWorker {
                worker_id: other.worker_id.clone(),
                intent: TerminalIntent::Cancel,
                reason: String::new(),
                mode: StopMode::Graceful,
            },
        ))
        .await
        .unwrap();
        assert_eq!(ended.state, WorkerState::Cancelled);
        stage.delete(&other, false, Some("d")).await.unwrap();
        assert_eq!(stage.refusal(&worker).await, Some(Reason::StoreFull), "what a deletion frees is not much");

        store.memory().leave_room(None);
        tokio::time::timeout(Duration::from_secs(5), stage.takes(&worker)).await.expect("it takes too long");
        within(stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful)).await;
        let frames = within(watching).await.unwrap();
        let items = stage.transcript(&worker).await;
        let told = items.iter().filter(|item| item.starts_with("User:")).count();
        assert_eq!(told, 1_001, "each that was taken, and none that was refused");
        assert_eq!(frames.iter().filter(|(_, payload)| payload.starts_with("InputAccepted")).count(), told);
        assert!(taken.iter().all(|event_id| frames[usize::try_from(event_id - 1).unwrap()].1.starts_with("InputAcc")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_says_while_the_store_is_full_waits_and_is_all_there_afterwards() {
    // It goes on when it is told to, and says more than any pipe and queue between here and there hold.
    let (stage, store) = Stage::unsteady(sh("read go; seq 1 100000; read end"), steady()).await;
    let worker = stage.spawn().await;
    let watching = tokio::spawn(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0));
    stage.send(&worker, "go").await.unwrap();
    within(wait_for(&stage, &worker, |worker| worker.said_items > 1_000)).await;
    store.memory().leave_room(Some(0));
    // It has come to a stand: full is what every input is told, and nothing more lands.
    while stage.refusal(&worker).await != Some(Reason::StoreFull) {}
    let stood = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert!(stood.said_items < 100_000 && stood.state == WorkerState::Running);
    store.memory().leave_room(None);
    within(wait_for(&stage, &worker, |worker| worker.said_items == 100_000)).await;
    within(stage.stop(&worker, TerminalIntent::Stop, StopMode::Force)).await;
    let said: Vec<_> = within(watching)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|(_, payload)| payload.strip_prefix("Assistant:")?.split_once(':').map(|(_, n)| n.to_owned()))
        .collect();
    assert!(said == (1..=100_000).map(|n| n.to_string()).collect::<Vec<_>>(), "{} items", said.len());
}

async fn wait_for(stage: &Stage, worker: &Worker, done: impl FnMut(&Worker) -> bool) {
    let mut stream = stage.observe(worker, ObserveFrom::Now);
    let mut done = done;
    while !done(&stage.engine.get_worker(&worker.worker_id).unwrap()) {
        next_frame(&mut stream).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_stopped_in_a_full_store_ends_and_says_how_much_was_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    for (n, (says, mode, bytes)) in [
        ("seq 1 50000; sleep 1000", StopMode::Force, None),
        ("seq 1 50000; sleep 1000", StopMode::Graceful, None),
        // It ends by itself, and its end waits for its last words, until somebody asks for it.
        ("seq 1 5000", StopMode::Graceful, Some(18_893)),
        ("echo 1234", StopMode::Graceful, Some(4)),
    ]
    .into_iter()
    .enumerate()
    {
        let go = directory.path().join(n.to_string());
        let script = format!("echo ready; until [ -e {} ]; do sleep 0.01; done; {says}", go.display());
        let (stage, store) = Stage::unsteady(sh(&script), steady()).await;
        let worker = stage.spawn().await;
        let watching = tokio::spawn(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0));
        within(wait_for(&stage, &worker, |worker| worker.said_items > 0)).await;
        store.memory().leave_room(Some(0));
        std::fs::write(go, "").unwrap();
        let no_room = async {
            while store.refused() == 0 {
                tokio::task::yield_now().await;
            }
        };
        within(no_room).await;
        let ack = within(stage.stop(&worker, TerminalIntent::Stop, mode)).await;
        let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
        assert_eq!(ack.event_id, Some(ended.last_event_id));
        let frames = within(watching).await.unwrap();
        let items: Vec<_> =
            frames.iter().filter(|(_, it)| it.starts_with("System:") || it.starts_with("Ass")).collect();
        let lost: Vec<_> = items.iter().filter_map(|(_, it)| it.split_once("the store was full.~")).collect();
        match bytes {
            // It may have been ended before it said all, and all of it is told.
            None => assert!(items.len() == 2 && lost.len() == 1, "{says}: {items:?}"),
            Some(bytes) => assert_eq!(lost[0].1, bytes.to_string(), "{says}: {items:?}"),
        }
        let again = Stage::open(stage.parts.clone()).await;
        assert_eq!(*again.engine.get_worker(&worker.worker_id).unwrap(), *ended, "it is durable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_shuts_down_in_order_in_a_full_store() {
    let (stage, store) = Stage::unsteady(sh("seq 1 200000; sleep 1000"), steady()).await;
    let workers = [stage.spawn().await, stage.spawn().await];
    store.memory().leave_room(Some(0));
    within(stage.engine.shutdown()).await;
    for worker in &workers {
        let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
        assert_eq!(ended.termination.clone().unwrap().reason, TerminationReason::Drained);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_to_end_does_not_fail_with_what_is_submitted_before_it() {
    let how = Unsteadiness { seed: 9, delay: Duration::from_millis(20), failure: 0.0 };
    let (stage, store) = Stage::unsteady(sh("seq 1 1000000"), how).await;
    let worker = stage.spawn().await;
    within(wait_for(&stage, &worker, |worker| worker.said_items > 0)).await;
    // Every batch of output fails from now on; what ends something is small and alone.
    store.fail_ordinary(true);
    let watching = tokio::spawn(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0));
    let stops =
        futures_util::future::join_all((0..10).map(|_| stage.stop(&worker, TerminalIntent::Stop, StopMode::Force)));
    let healed = async {
        wait_for(&stage, &worker, |worker| worker.state == WorkerState::Stopping).await;
        store.fail_ordinary(false);
    };
    let (acks, ()) = within(async { tokio::join!(stops, healed) }).await;
    assert!(acks.iter().all(|ack| ack.state == WorkerState::Stopped && ack.event_id == acks[0].event_id));
    // Its last words are facts: all that was heard of them is there, in order.
    let said = within(watching).await.unwrap().into_iter().filter_map(|(_, payload)| {
        payload.strip_prefix("Assistant:").and_then(|said| said.split_once(':')).map(|(_, n)| n.to_owned())
    });
    assert!(said.enumerate().all(|(n, said)| said == (n + 1).to_string() || said.len() < 7));
}

#[tokio::test]
async fn enospc_partial_record() {
    // What does not fit lands neither whole nor in part, memory is not ahead of the store, and a restart finds it so.
    let store = MemoryStore::new();
    let stage = Stage::open(parts(store.clone(), [("it", Profile::catalog())])).await;
    let worker = stage.spawn().await;
    stage.send(&worker, "whole").await.unwrap();
    let before = stage.engine.get_worker(&worker.worker_id).unwrap();
    // Room for the acceptance, and not for the item behind it.
    store.leave_room(Some(300));
    let large = input_for(&worker.worker_id, &"x".repeat(1_000));
    let refused = stage.engine.send_input(&context(Some("i"), 1), large.clone()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::StoreFull);
    assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap(), before);
    store.leave_room(None);
    let taken = loop {
        match stage.engine.send_input(&context(Some("i"), 1), large.clone()).await {
            Ok(ack) => break ack,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(taken.event_id, before.last_event_id + 1);
    let again = Stage::open(stage.parts.clone()).await;
    let users = again.transcript(&worker).await.into_iter().filter(|item| item.starts_with("User:")).count();
    assert_eq!(users, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_keep_up_sheds_what_it_cannot_take() {
    let how = Unsteadiness { seed: 1, delay: Duration::from_secs(1), failure: 0.0 };
    let (stage, _store) = Stage::unsteady(Profile::catalog(), how).await;
    // Its writer is asleep until all of these are submitted.
    let bundles: Vec<_> = (0..5_000).map(|n| super::bundles::bundle(&format!("{n}"), &[])).collect();
    let sync =
        async |bundle: &crate::model::ConfigBundle| stage.engine.sync_bundle(&context(None, 0), bundle.clone()).await;
    let synced = futures_util::future::join_all(bundles.iter().map(sync)).await;
    let refused = synced.iter().filter(|it| it.as_ref().is_err_and(|error| error.reason() == Reason::Overloaded));
    let taken = synced.iter().filter(|it| it.is_ok()).count();
    assert!(taken >= 4_096 && taken + refused.count() == 5_000, "{taken}");
    for (bundle, synced) in bundles.iter().zip(&synced) {
        assert_eq!(stage.engine.check_bundle(&bundle.reference()).is_ok(), synced.is_ok());
    }
    assert!(sync(&bundles[4_999]).await.is_ok());
}

/// A store that is full from some moment on, takes a while to say so, and notes what it refused.
#[derive(Debug)]
struct Refusing {
    inner: Arc<MemoryStore>,
    handle: tokio::runtime::Handle,
    /// How long it takes to say so.
    takes: Duration,
    /// Once it is full: the sequences of the last event of each attempt to land what comes next.
    attempts: parking_lot::Mutex<Option<Vec<u64>>>,
}

impl Refusing {
    fn new(takes: Duration) -> Self {
        let (handle, attempts) = (tokio::runtime::Handle::current(), parking_lot::Mutex::default());
        Self { inner: MemoryStore::new(), handle, takes, attempts }
    }
}

impl Store for Refusing {
    fn commit(&self, batch: Batch) -> Commit {
        let mut attempts = self.attempts.lock();
        let (Some(attempts), Some(change)) = (attempts.as_mut(), &batch.worker) else {
            return self.inner.commit(batch);
        };
        match attempts.last_mut() {
            Some(last) if *last < change.row.last_sequence => *last = change.row.last_sequence,
            // It begins anew.
            _ => attempts.push(change.row.last_sequence),
        }
        let (settle, commit) = Commit::pending();
        let takes = self.takes;
        self.handle.spawn(async move {
            tokio::time::sleep(takes).await;
            settle.send(Err(StoreFault::Full))
        });
        commit
    }

    fn read<'a>(&'a self, worker_id: &'a WorkerId, select: Select, count: usize, bytes: usize) -> Read<'a, Vec<Frame>> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_does_not_grow_with_each_attempt_while_the_store_stays_full() {
    let store = Arc::new(Refusing::new(Duration::from_millis(5)));
    let stage = Stage::open(parts(store.clone(), [("it", sh("while :; do echo x; done"))])).await;
    let worker = stage.spawn().await;
    within(wait_for(&stage, &worker, |worker| worker.said_items > 0)).await;
    *store.attempts.lock() = Some(Vec::new());
    let tried = async {
        while store.attempts.lock().as_ref().is_none_or(|attempts| attempts.len() < 6) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(tried).await;
    let attempts = store.attempts.lock().take().unwrap();
    assert!(attempts[..5].iter().all(|last| *last == attempts[0]), "{attempts:?}");
    within(stage.stop(&worker, TerminalIntent::Stop, StopMode::Force)).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_of_a_program_is_heard_than_can_be_held_when_it_does_not_land() {
    const SAID: usize = 64 << 10;
    let store = Arc::new(Refusing::new(Duration::from_hours(1)));
    let stage = Stage::open(parts(store.clone(), [("it", Profile::catalog())])).await;
    let worker_id = stage.spawn().await.worker_id;
    let mut landed = store.worker(&worker_id).await.unwrap().unwrap();
    let mut origin = (*landed.row.origin).clone();
    origin.display_hint = Protocol::Lines.as_str();
    landed.row.origin = origin.into();
    *store.attempts.lock() = Some(Vec::new());
    let profile = Arc::new(sh("nothing of this is executed"));
    let (report, reports) = tokio::sync::mpsc::channel(1);
    let (end, _orders) = tokio::sync::mpsc::channel(4);
    let (_sender, inbox) = Engine::inbox();
    let task = worker::Task::new(worker::TaskParts {
        engine: Arc::new(stage.parts.clone()),
        tail: Arc::new(tail::Tail::new(stage.engine.view(&landed.row))),
        inbox,
        link: Some(driver::Link {
            interrupt: None,
            deliveries: None,
            answers: None,
            end,
            reports,
            process: ProcessRecord { pid: 0, start_time: 0, boot: 0 },
        }),
        stage: stage.engine.stage(&landed.row, &profile, landed.revision),
        profile,
        landed,
    });
    tokio::spawn(task.run());
    let said = || driver::Utterance {
        role: crate::model::Role::Assistant,
        content: "x".repeat(SAID),
        turn_id: crate::model::TurnId::from(""),
        continues: false,
        truncated_bytes: 0,
    };
    let mut heard = 0;
    // Time passes where there is nothing else to be done: where nobody hears any more.
    let listens = async |report: &tokio::sync::mpsc::Sender<_>| {
        let said = report.send(driver::Report::Told(driver::Fact::Said(said())));
        tokio::time::timeout(Duration::from_secs(1), said).await.is_ok()
    };
    while heard < 1_000 && listens(&report).await {
        heard += 1;
    }
    assert_eq!(heard, (4 << 20) / SAID + 1, "and one that waits to be heard");
}
