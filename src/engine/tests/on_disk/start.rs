//! How long a start takes with workers that were live and had said much.

use tokio::time::Instant;

use super::*;
use crate::engine::store::{NewEvent, WorkerChange};

const WORKERS: usize = 200;
const ITEMS: u64 = 5_000;
/// In one commit.
const AT_ONCE: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes a minute, and shows figures: cargo test --lib how_long_a_start_takes -- --ignored --nocapture"]
async fn how_long_a_start_takes_with_live_workers_that_said_much() {
    for is_noted in [false, true] {
        let (log, rest) = start(is_noted).await;
        let how = if is_noted { "noted" } else { "looked for" };
        println!(
            "{WORKERS} live workers of {ITEMS} items, the last input {how}: {log:.2?} for the log, then {rest:.2?}"
        );
    }
}

/// How long the log and then the engine takes to open, where the rows say which input is the last, or do not.
async fn start(is_noted: bool) -> (Duration, Duration) {
    let (dir, records) = (tempfile::tempdir().unwrap(), Arc::default());
    let store = Arc::new(Reopened { now: Mutex::new(open(&dir, &records)), dir, records });
    let parts = parts(store.clone(), [("it", sh("exec cat"))]);
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let mut workers = Vec::new();
    while workers.len() < WORKERS {
        let worker = first.spawn().await;
        first.send(&worker, "x").await.unwrap();
        workers.push(worker.worker_id);
    }
    gone(apart).await;
    for worker_id in &workers {
        fill(&store, worker_id, is_noted).await;
    }
    let begun = Instant::now();
    store.restore(Box::new(drop)).await.unwrap();
    let log = begun.elapsed();
    let parts = EngineParts { store: Arc::new(store.now()), ..parts };
    let begun = Instant::now();
    let again = Stage::open(parts).await;
    let rest = begun.elapsed();
    assert_eq!(usize::try_from(again.engine.counts().failed), Ok(WORKERS));
    (log, rest)
}

async fn fill(store: &Reopened, worker_id: &WorkerId, is_noted: bool) {
    let StoredWorker { mut revision, mut row } = store.worker(worker_id).await.unwrap().unwrap();
    row.last_accepted = row.last_accepted.filter(|_| is_noted);
    for _ in 0..ITEMS / AT_ONCE {
        let events = (1..=AT_ONCE).map(|n| NewEvent {
            sequence: row.last_sequence + n,
            kind: EventKind::ItemAppended,
            observed_at: SystemTime::now(),
            body: vec![b'x'; 200].into(),
        });
        let events = events.collect();
        row.last_sequence += AT_ONCE;
        row.transcript_length += AT_ONCE;
        let change = WorkerChange { worker_id: worker_id.clone(), revision, events, row: row.clone() };
        store.commit(Batch { worker: Some(change), ..Batch::default() }).await.unwrap();
        revision += 1;
    }
}
