//! The same stories while commits land late and fail: nothing acknowledged is lost, nothing is done twice.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::model::{AnswerApproval, ApprovalId, Cursor, Reason};

const SEEDS: u64 = 6;

fn unsteady(seed: u64) -> Unsteadiness {
    Unsteadiness { seed, delay: Duration::from_millis(3), failure: 0.08 }
}

/// Sends until it is taken, with one id, as a caller is told to.
async fn send_surely(stage: &Stage, worker: &Worker, n: usize) -> u64 {
    let ctx = context(Some(&format!("input-{n}")), 1);
    loop {
        match stage.engine.send_input(&ctx, input_for(&worker.worker_id, &format!("{n}"))).await {
            Ok(ack) => return ack.event_id,
            // Whoever does not know asks again a little later; here, at once.
            Err(error) if error.reason() == Reason::RemoteRuntimeNetworkError => tokio::task::yield_now().await,
            Err(error) => assert_eq!(error.reason(), Reason::StoreError, "{error}"),
        }
    }
}

async fn spawn_surely(stage: &Stage) -> Worker {
    loop {
        if let Ok(created) = stage.engine.create_worker(&context(Some("it"), 1), request(builtin("it"))).await {
            return created.worker;
        }
    }
}

async fn stop_surely(stage: &Stage, worker: &Worker) {
    let request = || StopWorker {
        worker_id: worker.worker_id.clone(),
        intent: TerminalIntent::Stop,
        reason: String::new(),
        mode: StopMode::Graceful,
    };
    while stage.engine.stop_worker(&context(Some("end"), 1), request()).await.is_err() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_input_is_taken_once_and_answered_once() {
    for seed in 0..SEEDS {
        let (stage, store) = Stage::unsteady(sh("exec cat"), unsteady(seed)).await;
        store.leave_in_doubt(seed % 2 == 0);
        let worker = spawn_surely(&stage).await;
        let watcher = stage.observe(&worker, ObserveFrom::Beginning);
        let watching = tokio::spawn(to_the_end(watcher, 0));
        let sends = (0..100).map(|n| send_surely(&stage, &worker, n));
        let mut acks = within(futures_util::future::join_all(sends)).await;
        stop_surely(&stage, &worker).await;
        let frames = within(watching).await.unwrap();

        acks.sort_unstable();
        acks.dedup();
        assert_eq!(acks.len(), 100, "seed {seed}: two inputs share an event");
        let items = stage.transcript(&worker).await;
        let of = |role: &str| -> Vec<String> {
            (items.iter().filter(|item| item.starts_with(role)))
                .map(|item| item.splitn(3, ':').nth(2).unwrap().to_owned())
                .collect()
        };
        let (told, said) = (of("User:"), of("Assistant:"));
        assert_eq!(told, said, "seed {seed}: the program did not get each input once, in order");
        let mut unique = told.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!((told.len(), unique.len()), (100, 100), "seed {seed}");
        let streamed: Vec<_> = frames.iter().map(|(_, payload)| payload).filter(|p| items.contains(p)).collect();
        assert_eq!(streamed, items.iter().collect::<Vec<_>>(), "seed {seed}: stream and transcript differ");
        assert!(store.groups() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observers_cut_at_random_see_every_event_once() {
    let mut all_cuts = 0;
    for seed in 0..SEEDS {
        let (stage, store) = Stage::unsteady(Profile::catalog(), unsteady(100 + seed)).await;
        store.leave_in_doubt(seed % 2 == 0);
        let worker = spawn_surely(&stage).await;
        let (engine, incarnation) = (stage.engine.clone(), stage.parts.incarnation);
        let worker_id = worker.worker_id.clone();
        let watching = tokio::spawn(async move {
            let mut chance = StdRng::seed_from_u64(seed);
            let (mut seen, mut cuts) = (Vec::new(), 0);
            loop {
                let cursor = Cursor::new(incarnation, &worker_id, seen.len() as u64);
                let mut stream = engine.observe_worker(&worker_id, ObserveFrom::After(cursor), None).unwrap();
                for _ in 0..chance.random_range(1..16) {
                    let Some(frame) = next_frame(&mut stream).await else { return (seen, cuts) };
                    assert_eq!(frame.sequence, seen.len() as u64 + 1, "a gap or a repeat");
                    seen.push(text(&frame.wire));
                }
                cuts += 1;
            }
        });
        let sends = (0..300).map(|n| send_surely(&stage, &worker, n));
        within(futures_util::future::join_all(sends)).await;
        stop_surely(&stage, &worker).await;
        let (seen, cuts) = within(watching).await.unwrap();
        all_cuts += cuts;
        let whole = to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0).await;
        assert_eq!(seen, whole.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>(), "seed {seed}");
    }
    assert!(all_cuts >= 100, "only {all_cuts} cuts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_program_said_before_it_ended_is_kept_however_slow_the_store() {
    for (delay, failure) in [(3, 0.3), (60, 0.0)] {
        let how = Unsteadiness { seed: 7, delay: Duration::from_millis(delay), failure };
        let (stage, _store) = Stage::unsteady(sh("seq 1 20000"), how).await;
        let worker = spawn_surely(&stage).await;
        let frames =
            tokio::time::timeout(Duration::from_mins(2), to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0));
        let said = frames.await.expect("it takes too long").into_iter();
        let said: Vec<_> =
            said.filter_map(|(_, payload)| payload.strip_prefix("Assistant:").map(str::to_owned)).collect();
        let expected: Vec<_> = (1..=20_000).map(|n| format!("{n}:{n}")).collect();
        assert!(said == expected, "{} items of 20000", said.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_resumed_at_any_cursor_goes_on_with_the_same_bytes() {
    let (stage, _store) = Stage::unsteady(sh("exec cat"), unsteady(42)).await;
    let worker = spawn_surely(&stage).await;
    let sends = (0..100).map(|n| send_surely(&stage, &worker, n));
    within(futures_util::future::join_all(sends)).await;
    stop_surely(&stage, &worker).await;
    let whole = to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0).await;
    let mut chance = StdRng::seed_from_u64(42);
    for _ in 0..100 {
        let at = chance.random_range(0..=whole.len());
        let cursor = Cursor::new(stage.parts.incarnation, &worker.worker_id, at as u64);
        let rest = to_the_end(stage.observe(&worker, ObserveFrom::After(cursor)), at as u64).await;
        assert_eq!(rest, whole[at..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_starts_on_a_failing_store_comes_up() {
    for profile in [Profile::catalog(), sh("exec cat")] {
        let (stage, _store) = Stage::unsteady(profile, unsteady(11)).await;
        for n in 0..20 {
            let ctx = context(Some(&format!("worker-{n}")), 1);
            while stage.engine.create_worker(&ctx, request(builtin("it"))).await.is_err() {}
        }
        let again = within(Stage::open(stage.parts.clone())).await;
        assert_eq!(again.engine.counts().failed, 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_inputs_share_a_group_of_commits() {
    let how = Unsteadiness { seed: 1, delay: Duration::from_millis(5), failure: 0.0 };
    let (stage, store) = Stage::unsteady(Profile::catalog(), how).await;
    let worker = spawn_surely(&stage).await;
    let before = store.groups();
    let sends = (0..64).map(|n| send_surely(&stage, &worker, n));
    within(futures_util::future::join_all(sends)).await;
    let groups = store.groups() - before;
    assert!(groups < 64, "{groups} groups for 64 inputs");
}

/// Answers until it is taken, with one id, or somebody else's was.
async fn answer_surely(stage: &Stage, worker: &Worker, number: u64, decision: &str) -> bool {
    let ctx = context(Some(&format!("answer-{number}-{decision}")), 1);
    loop {
        let (worker_id, approval_id) = (worker.worker_id.clone(), ApprovalId::numbered(number));
        let answer = AnswerApproval { worker_id, approval_id, decision: decision.to_owned() };
        match stage.engine.answer_approval(&ctx, answer).await {
            Ok(_) => return true,
            Err(error) if error.reason() == Reason::ApprovalSettled => return false,
            // It is not asked yet, or that has not landed.
            Err(error) if error.reason() == Reason::UnknownApproval => tokio::task::yield_now().await,
            Err(error) if error.reason() == Reason::RemoteRuntimeNetworkError => tokio::task::yield_now().await,
            Err(error) => assert_eq!(error.reason(), Reason::StoreError, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_hears_the_one_answer_that_is_stored_whatever_fails() {
    const TURNS: u64 = 12;
    for seed in 0..SEEDS {
        let Some(profile) = agent(&[]) else { return };
        let profile = Profile { permissions: Permissions::Ask, ..profile };
        let (stage, store) = Stage::unsteady(profile, unsteady(300 + seed)).await;
        store.leave_in_doubt(seed % 2 == 0);
        let worker = spawn_surely(&stage).await;
        let watching = tokio::spawn(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0));
        for n in 0..TURNS {
            let ctx = context(Some(&format!("ask-{n}")), 1);
            let ask = || input_for(&worker.worker_id, "ask");
            while stage.engine.send_input(&ctx, ask()).await.is_err() {}
        }
        for number in 1..=TURNS {
            let both = ["allow_once", "reject_once"].map(|decision| answer_surely(&stage, &worker, number, decision));
            let won = within(futures_util::future::join_all(both)).await;
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "seed {seed}: {number}: {won:?}");
        }
        within(async {
            while stage.transcript(&worker).await.iter().filter(|it| it.starts_with("Assistant")).count() < 12 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        stop_surely(&stage, &worker).await;
        let frames = within(watching).await.unwrap();
        let of = |what: &str| -> Vec<_> { frames.iter().map(|(_, it)| it).filter(|it| it.starts_with(what)).collect() };
        let (asked, settled, said) = (of("ApprovalRequested"), of("ApprovalSettled"), of("Assistant:"));
        assert_eq!([asked.len(), settled.len(), said.len()], [12; 3], "seed {seed}");
        for (settled, said) in settled.iter().zip(said) {
            let heard = said.rsplit(':').next().unwrap();
            assert!(settled.contains(&format!("option_id: Some(\"{heard}\")")), "seed {seed}: {settled}, and {said}");
        }
    }
}
