//! A program that has failed is started anew, where its profile says so.

use super::*;
use crate::model::{Reason, TerminationReason, WorkerState};

const SOON: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_hours(1);

fn restarting(script: &str) -> Profile {
    Profile { restart: Restart::OnFailure, ..sh(script) }
}

fn parts_of(store: Arc<dyn Store>, script: &str, first_pause: Duration, budget: usize) -> EngineParts {
    let mut parts = parts(store, [("it", restarting(script))]);
    let longest_pause = first_pause;
    parts.limits.restarts = Restarts { first_pause, longest_pause, budget, ..Restarts::default() };
    parts
}

async fn stage(script: &str, first_pause: Duration, budget: usize) -> Stage {
    Stage::open(parts_of(MemoryStore::new(), script, first_pause, budget)).await
}

/// Waits for a worker to be in this state in this run.
async fn state_is(stage: &Stage, worker: &Worker, wanted: WorkerState, run_generation: u64) -> Arc<Worker> {
    let mut stream = stage.observe(worker, ObserveFrom::Now);
    loop {
        let now = stage.engine.get_worker(&worker.worker_id).unwrap();
        if (now.state, now.run_generation) == (wanted, run_generation) {
            return now;
        }
        assert!(within(next_frame(&mut stream)).await.is_some(), "it has ended: {now:?}");
    }
}

/// What its programs said, in all runs.
async fn said(stage: &Stage, worker: &Worker) -> Vec<String> {
    let items = stage.transcript(worker).await.into_iter();
    items.filter_map(|item| Some(item.strip_prefix("Assistant:")?.split_once(':')?.1.to_owned())).collect()
}

#[tokio::test]
async fn a_program_that_fails_again_and_again_is_started_anew_until_its_budget_is_spent() {
    let stage = stage("echo $WORKPLANE_WORKER; echo why >&2; exit 3", SOON, 2).await;
    let worker = stage.spawn().await;
    let frames = within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let states: Vec<_> = frames.iter().filter_map(|(_, payload)| payload.strip_prefix("StateChanged(")).collect();
    let run = ["Starting)", "Running)"];
    assert_eq!(states, [run[0], run[1], run[0], run[1], run[0], run[1], "Failed)"]);
    let marker = |run| format!("{}/{}/{run}", stage.parts.incarnation, worker.worker_id);
    assert_eq!(said(&stage, &worker).await, [1, 2, 3].map(marker));
    let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
    let termination = ended.termination.clone().unwrap();
    assert_eq!((termination.reason, termination.exit_code), (TerminationReason::Exited, Some(3)));
    assert_eq!((termination.run_generation, termination.last_sequence), (3, ended.last_event_id));
    assert_eq!(termination.message, "why; it was started anew 2 times within 10m, and is not again");
    let failed = ended.diagnostics.iter().filter(|diagnostic| diagnostic.code == "worker_run_failed");
    let failed: Vec<_> = failed.map(|diagnostic| diagnostic.message.as_ref()).collect();
    assert_eq!(failed, ["run 2 failed: its program exited with code 3; another one followed"]);
}

#[tokio::test]
async fn a_clean_exit_and_an_end_that_was_asked_for_are_no_failures() {
    let stage = stage("read line; exit 0", SOON, 5).await;
    let (clean, stopped) = (stage.spawn().await, stage.spawn().await);
    stage.send(&clean, "go").await.unwrap();
    within(to_the_end(stage.observe(&clean, ObserveFrom::Beginning), 0)).await;
    within(stage.stop(&stopped, TerminalIntent::Cancel, StopMode::Force)).await;
    for (worker, state) in [(clean, WorkerState::Failed), (stopped, WorkerState::Cancelled)] {
        let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
        assert_eq!((ended.state, ended.run_generation), (state, 1));
    }
}

#[tokio::test]
async fn an_input_that_comes_between_two_runs_goes_to_the_next() {
    let store = MemoryStore::new();
    let parts = parts_of(store, "read line; [ $line = live ] || exit 1; echo $line; exec cat", NEVER, 5);
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let worker = first.spawn().await;
    first.send(&worker, "die").await.unwrap();
    let waiting = state_is(&first, &worker, WorkerState::Starting, 2).await;
    assert!(waiting.can_accept_input);
    first.send(&worker, "live").await.unwrap();
    first.send(&worker, "on").await.unwrap();
    assert_eq!(said(&first, &worker).await, [""; 0]);
    // Those two are not lost with the runtime, either.
    gone(apart).await;
    let mut parts = parts;
    parts.limits.restarts.first_pause = SOON;
    parts.limits.restarts.longest_pause = SOON;
    let again = within(Stage::open(parts)).await;
    let now = state_is(&again, &worker, WorkerState::Running, 3).await;
    within(again.stop(&worker, TerminalIntent::Stop, StopMode::Graceful)).await;
    assert_eq!(said(&again, &worker).await, ["live", "on"]);
    assert!(now.last_event_id > waiting.last_event_id, "its events start over");
    let frames = within(to_the_end(again.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let written = frames.iter().filter(|(_, payload)| payload.starts_with("TurnEnded") && payload.contains("Written"));
    assert_eq!(written.count(), 3);
}

#[tokio::test]
async fn what_was_picked_up_before_the_runtime_went_away_is_never_given_again() {
    let parts = parts_of(MemoryStore::new(), "sleep 1000", SOON, 5);
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let worker = first.spawn().await;
    let mut stream = first.observe(&worker, ObserveFrom::Beginning);
    // More than a pipe holds, and more than are picked up at once.
    for n in 0..70 {
        first.send(&worker, &format!("{n}{}", "x".repeat(100_000))).await.unwrap();
    }
    let mut started = 0;
    while started < 64 {
        started += usize::from(text(&within(next_frame(&mut stream)).await.unwrap().wire).starts_with("TurnStarted"));
    }
    gone(apart).await;

    let profiles = Profiles::from_iter([(builtin("it"), restarting("exec cut -c 1-2"))]);
    let again = within(Stage::open(EngineParts { profiles, ..parts })).await;
    state_is(&again, &worker, WorkerState::Running, 2).await;
    within(again.stop(&worker, TerminalIntent::Stop, StopMode::Graceful)).await;
    assert_eq!(said(&again, &worker).await, ["64", "65", "66", "67", "68", "69"]);
    let frames = within(to_the_end(again.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let lost = frames.iter().filter(|(_, payload)| payload.starts_with("TurnEnded") && payload.contains("RuntimeLost"));
    assert_eq!(lost.count(), 64);
}

#[tokio::test]
async fn a_stop_between_two_runs_ends_at_once() {
    for shut_down in [false, true] {
        let stage = stage("exit 1", NEVER, 5).await;
        let worker = stage.spawn().await;
        state_is(&stage, &worker, WorkerState::Starting, 2).await;
        stage.send(&worker, "nobody hears").await.unwrap();
        if shut_down {
            within(stage.engine.shutdown()).await;
        } else {
            within(stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful)).await;
        }
        let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
        let reason = if shut_down { TerminationReason::Drained } else { TerminationReason::Stopped };
        assert_eq!((ended.state, ended.termination.as_ref().unwrap().reason), (WorkerState::Stopped, reason));
        let frames = within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
        assert!(frames.iter().any(|(_, payload)| payload.contains("NotDelivered")), "{frames:?}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_anew_has_failed_to_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("once");
    std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
    let mut parts = parts_of(MemoryStore::new(), "", SOON, 2);
    let command = [path.to_str().unwrap(), "-c", "rm $0; exit 1", path.to_str().unwrap()].map(str::to_owned).to_vec();
    parts.profiles = Profiles::from_iter([(builtin("it"), Profile { command, ..restarting("") })]);
    let stage = Stage::open(parts).await;
    let worker = stage.spawn().await;
    within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let termination = stage.engine.get_worker(&worker.worker_id).unwrap().termination.clone().unwrap();
    assert_eq!((termination.reason, termination.run_generation), (TerminationReason::StartFailed, 3));
    assert!(termination.message.contains("2 times"), "{}", termination.message);
}

#[tokio::test]
async fn a_budget_is_not_given_anew_by_a_restart_of_the_runtime() {
    let parts = parts_of(MemoryStore::new(), "sleep 1000", SOON, 2);
    let mut worker = None;
    for generation in 1..=3 {
        let (apart, one) = engine_apart(&parts);
        let one = within(Stage::open(one)).await;
        let worker = match &worker {
            None => worker.insert(one.spawn().await),
            Some(worker) => worker,
        };
        state_is(&one, worker, WorkerState::Running, generation).await;
        gone(apart).await;
    }
    let last = within(Stage::open(parts)).await;
    let ended = last.engine.get_worker(&worker.unwrap().worker_id).unwrap();
    let termination = ended.termination.clone().unwrap();
    assert_eq!((termination.reason, termination.run_generation), (TerminationReason::RuntimeLost, 3));
}

#[tokio::test]
async fn a_runtime_opens_on_a_full_store_where_a_lost_worker_has_another_run() {
    let store = MemoryStore::new();
    let parts = parts_of(store.clone(), "sleep 1000", SOON, 5);
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let worker = first.spawn().await;
    let mut stream = first.observe(&worker, ObserveFrom::Beginning);
    // More than a pipe holds: its turn is under way when the runtime goes.
    first.send(&worker, &"x".repeat(100_000)).await.unwrap();
    while !text(&within(next_frame(&mut stream)).await.unwrap().wire).starts_with("TurnStarted") {}
    gone(apart).await;

    store.leave_room(Some(0));
    let again = within(Stage::open(parts)).await;
    state_is(&again, &worker, WorkerState::Starting, 2).await;
    assert_eq!(again.send(&worker, "x").await.unwrap_err().reason(), Reason::StoreFull);
    store.leave_room(None);
    state_is(&again, &worker, WorkerState::Running, 2).await;
    within(again.stop(&worker, TerminalIntent::Stop, StopMode::Force)).await;
    let frames = within(to_the_end(again.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let lost = frames.iter().filter(|(_, payload)| payload.starts_with("TurnEnded") && payload.contains("RuntimeLost"));
    assert_eq!(lost.count(), 1);
}

#[tokio::test]
async fn a_worker_that_was_asked_to_end_has_no_other_run() {
    let mut parts = parts_of(MemoryStore::new(), "trap : TERM; while :; do sleep 1000; done", SOON, 5);
    parts.limits.stop_grace = NEVER;
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let worker = first.spawn().await;
    let mut short = context(None, 0);
    short.deadline = tokio::time::Instant::now() + Duration::from_millis(200);
    let (intent, mode) = (TerminalIntent::Stop, StopMode::Graceful);
    let request = StopWorker { worker_id: worker.worker_id.clone(), intent, reason: String::new(), mode };
    assert_eq!(first.engine.stop_worker(&short, request).await.unwrap().state, WorkerState::Stopping);
    gone(apart).await;
    let again = within(Stage::open(parts)).await;
    let ended = again.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!(ended.termination.as_ref().unwrap().reason, TerminationReason::RuntimeLost);
    assert_eq!(again.send(&worker, "late").await.unwrap_err().reason(), Reason::WorkerNotRunning);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_runs_bear_the_same_generation_however_commits_fail() {
    for seed in 0..6 {
        let how = Unsteadiness { seed, delay: Duration::from_millis(3), failure: 0.2 };
        let store = UnsteadyStore::new(how, &tokio::runtime::Handle::current());
        let stage = Stage::open(parts_of(store, "echo ${WORKPLANE_WORKER##*/}; exit 1", SOON, 4)).await;
        let worker = loop {
            if let Ok(created) = stage.engine.create_worker(&context(Some("it"), 1), request(builtin("it"))).await {
                break created.worker;
            }
        };
        within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
        assert_eq!(said(&stage, &worker).await, ["1", "2", "3", "4", "5"], "seed {seed}");
    }
}
