//! What is removed from the front, and how it is told.

use super::store::{Batch, Commit, Doubt, EachEnded, Read, Restored, Select, StoreFault, StoredWorker};
use super::*;
use crate::model::{Cursor, Reason};

const DAY: Duration = Duration::from_hours(24);

/// An engine with rules, and its clock.
async fn ruled(profile: Profile, retention: Retention) -> (Stage, Arc<HandClock>) {
    let (parts, clock) = ruled_parts(profile, retention);
    (Stage::open(parts).await, clock)
}

fn ruled_parts(profile: Profile, retention: Retention) -> (EngineParts, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let mut parts = parts(store(), [("it", profile)]);
    parts.clock = clock.clone();
    parts.limits.retention = retention;
    (parts, clock)
}

impl Stage {
    async fn say(&self, worker: &Worker, contents: impl IntoIterator<Item = usize>) {
        for n in contents {
            self.send(worker, &format!("{n}")).await.unwrap();
        }
    }

    fn now(&self, worker: &Worker) -> Arc<Worker> {
        self.engine.get_worker(&worker.worker_id).unwrap()
    }

    fn cursor(&self, worker: &Worker, sequence: u64) -> ObserveFrom {
        ObserveFrom::After(Cursor::new(self.parts.incarnation, &worker.worker_id, sequence))
    }
}

/// The frames of a stream to its end: the first missing and the last missing, and what comes behind.
async fn with_a_gap(mut stream: Observation, after: u64) -> (u64, Vec<(u64, String)>) {
    let gap = within(next_frame(&mut stream)).await.unwrap();
    assert_eq!(gap.kind, EventKind::Gap);
    let told = text(&gap.wire);
    assert!(told.contains(&format!("from: {},", after + 1)) && told.contains("Retention"), "{told}");
    (gap.sequence, within(to_the_end(stream, gap.sequence)).await)
}

#[tokio::test]
async fn what_is_too_old_is_removed_and_every_reader_is_told() {
    let rules = Retention { max_age: Some(30 * DAY), ..Retention::default() };
    let (stage, clock) = ruled(Profile::catalog(), rules).await;
    let worker = stage.spawn().await;
    stage.say(&worker, 0..10).await;
    // The first two events are its birth, and each input has three; the first reader has read nothing yet.
    let (slow, old) = (stage.observe(&worker, ObserveFrom::Beginning), stage.cursor(&worker, 5));
    clock.pass(20 * DAY);
    stage.say(&worker, 10..20).await;
    stage.engine.retain().await;
    assert_eq!(stage.now(&worker).first_sequence, 1, "nothing is old enough");
    clock.pass(11 * DAY);
    let all = stage.transcript(&worker).await;
    stage.engine.retain().await;
    let now = stage.now(&worker);
    assert_eq!((now.first_sequence, now.first_item_sequence, now.transcript_length), (33, 21, 40));

    // A new reader with an old cursor is refused, and told from where it can go on.
    let refused = stage.engine.observe_worker(&worker.worker_id, old, None).err().unwrap();
    assert_eq!(refused.reason(), Reason::CursorExpired);
    let oldest = &refused.metadata().iter().find(|(key, _)| *key == "oldest_cursor").unwrap().1;
    let oldest = ObserveFrom::After(Cursor::decode(oldest, &worker.worker_id).unwrap());
    let refused = stage.engine.read_transcript(&worker.worker_id, 19, 9).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::CursorExpired);
    assert!(refused.metadata().contains(&("oldest_start", "20".to_owned())), "{refused:?}");
    let page = stage.engine.read_transcript(&worker.worker_id, 20, 256).await.unwrap();
    assert_eq!(page.frames.iter().map(|frame| text(&frame.body)).collect::<Vec<_>>(), all[20..]);

    stage.say(&worker, 20..21).await;
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let expected = to_the_end(stage.observe(&worker, oldest), 32).await;
    assert_eq!(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 32).await, expected);
    assert_eq!(with_a_gap(slow, 0).await, (32, expected));

    // All that is left in the end is the end; also after a restart.
    clock.pass(31 * DAY);
    stage.engine.retain().await;
    let stage = Stage::open(stage.parts.clone()).await;
    let ended = stage.now(&worker);
    assert_eq!((ended.first_sequence, ended.first_item_sequence), (ended.last_event_id, 43));
    let left = to_the_end(stage.observe(&worker, ObserveFrom::Beginning), ended.last_event_id - 1).await;
    assert!(left.len() == 1 && left[0].1.starts_with("End("), "{left:?}");
    assert_eq!(stage.engine.read_transcript(&worker.worker_id, 42, 9).await.unwrap().frames.len(), 0);
}

#[tokio::test]
async fn a_live_reader_that_falls_behind_what_is_kept_is_told_of_the_gap() {
    let rules = Retention { max_worker_bytes: Some(64 << 10), ..Retention::default() };
    let (stage, _) = ruled(Profile::catalog(), rules).await;
    let worker = stage.spawn().await;
    let mut slow = stage.observe(&worker, ObserveFrom::Now);
    stage.say(&worker, 0..1).await;
    let seen = within(next_frame(&mut slow)).await.unwrap().sequence;
    stage.say(&worker, 0..1_000).await;
    stage.engine.retain().await;
    let kept = stage.now(&worker).first_sequence;
    assert!(stage.parts.store.worker_bytes(&worker.worker_id) <= 64 << 10 && kept > 1_000, "{kept}");
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    // What the ring gave it before is its own.
    let mut last = seen;
    let gap = loop {
        let frame = within(next_frame(&mut slow)).await.unwrap();
        if frame.kind == EventKind::Gap {
            break frame.sequence;
        }
        assert_eq!(frame.sequence, last + 1);
        last = frame.sequence;
    };
    let frames = within(to_the_end(slow, gap)).await;
    assert!(frames.last().unwrap().1.starts_with("End(") && gap >= kept - 1, "{gap} {kept}");
}

#[tokio::test]
async fn noisy_neighbour_keeps_cursors_when_all_of_it_must_shrink() {
    // acceptance 115
    let mut rules = Retention { max_bytes: Some(1 << 20), ..Retention::default() };
    let (stage, _) = ruled(Profile::catalog(), rules).await;
    let (quiet, noisy, loud) = (stage.spawn().await, stage.spawn().await, stage.spawn().await);
    stage.say(&quiet, 0..50).await;
    stage.say(&noisy, 0..4_000).await;
    stage.say(&loud, 0..3_000).await;
    let all = |stage: &Stage| {
        [&quiet, &noisy, &loud].map(|worker| stage.parts.store.worker_bytes(&worker.worker_id)).iter().sum::<u64>()
    };
    assert!(all(&stage) > 1 << 20);
    // Its own pass may come at the same time: the second finds nothing to do.
    tokio::join!(stage.engine.retain(), stage.engine.retain());
    assert!(all(&stage) <= 1 << 20);
    assert_eq!(stage.now(&quiet).first_sequence, 1, "who says little keeps it");
    let [one, other] = [&noisy, &loud].map(|worker| stage.parts.store.worker_bytes(&worker.worker_id));
    assert!(one.abs_diff(other) < 4_096 && one > 100_000, "{one} {other}");

    // What is needed more than the limit allows stays, and nobody else pays for it.
    rules.max_bytes = Some(1);
    stage.stop(&quiet, TerminalIntent::Stop, StopMode::Graceful).await;
    let mut parts = stage.parts.clone();
    parts.limits.retention = rules;
    let stage = Stage::open(parts).await;
    stage.engine.retain().await;
    for worker in [&quiet, &noisy, &loud] {
        let now = stage.now(worker);
        assert_eq!(now.first_sequence, now.last_event_id);
    }
}

#[tokio::test]
async fn what_cannot_be_cut_costs_nobody_what_can() {
    const MOST: u64 = 1 << 20;
    let memory = MemoryStore::new();
    let mut parts = parts(memory.clone(), [("it", Profile::catalog())]);
    parts.limits.retention = Retention { max_bytes: Some(MOST), ..Retention::default() };
    let stage = Stage::open(parts).await;
    let (hurt, sound) = (stage.spawn().await, stage.spawn().await);
    stage.say(&hurt, 0..3_000).await;
    for n in 0..1_800 {
        let ctx = context(Some(&format!("{n}")), 1);
        stage.engine.send_input(&ctx, input_for(&sound.worker_id, "with a receipt")).await.unwrap();
    }
    memory.spoil(&hurt.worker_id, "log/1.seg: offset 1: a test");
    let stage = Stage::open(stage.parts.clone()).await;
    let bytes = || stage.parts.store.worker_bytes(&sound.worker_id);
    let before = bytes();
    assert!((MOST / 2..MOST).contains(&before), "{before}");
    stage.engine.retain().await;
    assert_eq!(bytes(), before, "what the other one takes does not count, nor what its receipts do");
    let other = stage.spawn().await;
    stage.say(&other, 0..3_000).await;
    stage.engine.retain().await;
    let all = bytes() + stage.parts.store.worker_bytes(&other.worker_id);
    assert!((MOST - 4_096..=MOST).contains(&all), "{all}");
}

/// A store that counts what is read of it, and reads nothing more of one worker once that is spoilt.
#[derive(Debug, Default)]
struct Counting {
    inner: Arc<MemoryStore>,
    reads: std::sync::atomic::AtomicUsize,
    /// The events of this one cannot be read from a sequence on.
    spoilt: parking_lot::Mutex<Option<(WorkerId, u64)>>,
}

impl Counting {
    fn reads(&self) -> usize {
        self.reads.swap(0, std::sync::atomic::Ordering::Relaxed)
    }

    fn count(&self) {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Store for Counting {
    fn commit(&self, batch: Batch) -> Commit {
        self.inner.commit(batch)
    }

    fn read<'a>(&'a self, worker_id: &'a WorkerId, select: Select, count: usize, bytes: usize) -> Read<'a, Vec<Frame>> {
        self.count();
        Box::pin(async move {
            let mut frames = self.inner.read(worker_id, select, count, bytes).await?;
            if let Some((_, bad)) = self.spoilt.lock().as_ref().filter(|(spoilt, _)| spoilt == worker_id) {
                let before = frames.len();
                frames.retain(|frame| frame.sequence < *bad);
                if frames.is_empty() && before > 0 {
                    return Err(StoreFault::Damaged);
                }
            }
            Ok(frames)
        })
    }

    fn worker<'a>(&'a self, worker_id: &'a WorkerId) -> Read<'a, Option<StoredWorker>> {
        self.count();
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

#[tokio::test]
async fn nothing_is_read_of_logs_of_which_it_is_known_that_nothing_may_go() {
    let store = Arc::new(Counting::default());
    let (clock, mut parts) = (Arc::new(HandClock::default()), parts(store.clone(), [("it", Profile::catalog())]));
    parts.clock = clock.clone();
    parts.limits.retention =
        Retention { max_age: Some(30 * DAY), max_worker_bytes: Some(1 << 16), ..Retention::default() };
    let stage = Stage::open(parts).await;
    let (busy, idle) = (stage.spawn().await, stage.spawn().await);
    stage.say(&idle, 0..1).await;
    for _ in 0..31 {
        clock.pass(DAY);
        stage.say(&busy, 0..4).await;
    }
    clock.pass(DAY / 2);
    stage.engine.retain().await;
    // The idle one keeps its last event; the busy one what is young enough, until that has aged a day more.
    assert_eq!(stage.now(&idle).first_sequence, stage.now(&idle).last_event_id);
    let kept = stage.now(&busy).first_sequence;
    assert!(kept > 1 && store.reads() > 0);
    clock.pass(DAY / 4);
    stage.say(&busy, 0..4).await;
    stage.engine.retain().await;
    assert_eq!((store.reads(), stage.now(&busy).first_sequence), (0, kept));
    clock.pass(DAY / 2);
    stage.engine.retain().await;
    assert!(store.reads() > 0 && stage.now(&busy).first_sequence > kept);

    // What can be read before the damage goes; then the worker is left alone, and its diagnostic says why.
    let bad = stage.now(&busy).first_sequence + 10;
    *store.spoilt.lock() = Some((busy.worker_id.clone(), bad));
    clock.pass(40 * DAY);
    stage.engine.retain().await;
    let now = stage.now(&busy);
    assert_eq!(now.first_sequence, bad);
    assert!(now.diagnostics.iter().any(|said| said.code == "worker_damaged"), "{now:?}");
    store.reads();
    stage.engine.retain().await;
    assert_eq!(store.reads(), 0);
}

#[tokio::test]
async fn what_a_live_worker_still_needs_is_never_removed() {
    let rules = Retention { max_age: Some(DAY), max_worker_bytes: Some(1), ..Retention::default() };
    // It reads nothing, so that more than its pipe holds waits.
    let (parts, clock) = ruled_parts(sh("sleep 1000"), rules);
    let (apart, first) = engine_apart(&parts);
    let stage = Stage::open(first).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    let mut accepted = Vec::new();
    for _ in 0..3 {
        accepted.push(stage.send(&worker, &"x".repeat(60_000)).await.unwrap().event_id);
    }
    // The first fits its pipe and is written, the second does not.
    while !text(&within(next_frame(&mut stream)).await.unwrap().wire).starts_with("TurnEnded") {}
    clock.pass(2 * DAY);
    stage.engine.retain().await;
    assert_eq!(stage.now(&worker).first_sequence, accepted[1]);
    gone(apart).await;
    let again = Stage::open(parts).await;
    let frames = within(to_the_end(again.observe(&worker, ObserveFrom::Beginning), accepted[1] - 1)).await;
    let lost = frames.iter().filter(|(_, payload)| payload.starts_with("TurnEnded") && payload.contains("RuntimeLost"));
    assert_eq!(lost.count(), 2, "{frames:?}");
}

#[tokio::test]
async fn workers_that_ended_long_ago_are_deleted_where_that_is_wanted() {
    for (wanted, left) in [(Some(7 * DAY), 2), (None, 3)] {
        let rules = Retention { ended_workers_max_age: wanted, max_age: Some(1_000 * DAY), ..Retention::default() };
        let (stage, clock) = ruled(Profile::catalog(), rules).await;
        let (old, live, young) = (stage.spawn().await, stage.spawn().await, stage.spawn().await);
        stage.stop(&old, TerminalIntent::Stop, StopMode::Graceful).await;
        clock.pass(7 * DAY);
        stage.stop(&young, TerminalIntent::Stop, StopMode::Graceful).await;
        clock.pass(DAY);
        stage.engine.retain().await;
        assert_eq!(stage.engine.counts().total, left);
        for worker in [&live, &young] {
            assert!(stage.engine.get_worker(&worker.worker_id).is_ok());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_while_commits_fail_is_removed_once() {
    for seed in 0..3 {
        let how = Unsteadiness { seed, delay: Duration::from_millis(1), failure: 0.1 };
        let store = UnsteadyStore::new(how, &tokio::runtime::Handle::current());
        let mut parts = parts(store.clone(), [("it", sh("exec cat"))]);
        parts.limits.retention = Retention { max_worker_bytes: Some(1_000), ..Retention::default() };
        let stage = Stage::open(parts).await;
        let worker = loop {
            if let Ok(made) = stage.engine.create_worker(&context(Some("s"), 1), request(builtin("it"))).await {
                break made.worker;
            }
        };
        let mut taken = 0;
        while taken < 40 {
            taken += usize::from(stage.send(&worker, "0123456789").await.is_ok());
            stage.engine.retain().await;
        }
        store.fail(0.0);
        stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
        // While its task goes, an ended worker's log is left for the next time.
        let cut = async {
            while store.worker_bytes(&worker.worker_id) > 1_000 {
                stage.engine.retain().await;
                tokio::task::yield_now().await;
            }
        };
        within(cut).await;
        let now = stage.now(&worker);
        assert!(now.first_sequence > 100, "seed {seed}");
        let start = now.first_item_sequence - 1;
        let page = stage.engine.read_transcript(&worker.worker_id, start, 256).await.unwrap();
        assert!(text(&page.frames[0].body).contains(&format!(":{}:", start + 1)), "items keep their numbers");
    }
}
