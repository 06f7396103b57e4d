//! From birth to end.

use super::*;
use crate::model::{Reason, Severity, TerminationReason, WorkerState};

#[tokio::test]
async fn a_catalog_worker_records_and_says_that_nothing_runs() {
    // acceptance 87, 92
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    assert_eq!((worker.state, worker.last_event_id), (WorkerState::Running, 2));
    let ack = stage.send(&worker, "hello").await.unwrap();
    assert_eq!((ack.transcript_sequence, ack.event_id), (1, 3));
    let items = stage.transcript(&worker).await;
    assert_eq!(items[0], "User:1:hello");
    assert!(items[1].starts_with("Assistant:2:") && items[1].contains("execution is not connected"));
    assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap().transcript_length, 2);
}

#[tokio::test]
async fn a_lines_worker_answers_with_what_its_program_printed() {
    // acceptance 92
    let stage = Stage::with(sh("exec cat")).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    stage.send(&worker, "one").await.unwrap();
    stage.send(&worker, "two").await.unwrap();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let frame = within(next_frame(&mut stream)).await.unwrap();
        let payload = text(&frame.wire);
        if let Some(said) = payload.strip_prefix("Assistant:") {
            answers.push(said.split_once(':').unwrap().1.to_owned());
        }
    }
    assert_eq!(answers, ["one", "two"]);
    let ack = stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
    let termination = ended.termination.clone().unwrap();
    assert_eq!((ended.state, termination.reason), (WorkerState::Stopped, TerminationReason::Stopped));
    assert_eq!((termination.exit_code, termination.message.as_str()), (Some(0), "worker stopped"));
    assert_eq!(ack.event_id, Some(ended.last_event_id));
}

#[tokio::test]
async fn a_stop_gives_what_was_accepted_before_it() {
    let stage = Stage::with(sh("exec cat")).await;
    let worker = stage.spawn().await;
    for n in 0..20 {
        stage.send(&worker, &format!("{n}")).await.unwrap();
    }
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let said = stage.transcript(&worker).await.into_iter().filter(|item| item.starts_with("Assistant")).count();
    assert_eq!(said, 20);
}

#[tokio::test]
async fn stop_is_idempotent_and_keeps_the_first_reason() {
    // acceptance 58, 94
    for profile in [Profile::catalog(), sh("exec cat")] {
        let stage = Stage::with(profile).await;
        let worker = stage.spawn().await;
        let first = stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
        let second = stage.stop(&worker, TerminalIntent::Cancel, StopMode::Force).await;
        assert_eq!((first.state, first.event_id), (WorkerState::Stopped, second.event_id));
        assert_eq!(second.state, WorkerState::Stopped);
        let refused = stage.send(&worker, "late").await.unwrap_err();
        assert_eq!(refused.reason(), Reason::WorkerNotRunning);
    }
}

#[tokio::test]
async fn cancel_ends_as_cancelled() {
    let stage = Stage::with(sh("exec cat")).await;
    let worker = stage.spawn().await;
    let ack = stage.stop(&worker, TerminalIntent::Cancel, StopMode::Graceful).await;
    assert_eq!(ack.state, WorkerState::Cancelled);
    let termination = stage.engine.get_worker(&worker.worker_id).unwrap().termination.clone().unwrap();
    assert_eq!(termination.message, "worker cancelled");
}

#[tokio::test]
async fn a_graceful_stop_lets_the_program_end_and_a_forced_one_kills_it() {
    // acceptance 10
    let (graceful, force) = (StopMode::Graceful, StopMode::Force);
    for (script, mode, code, signal) in
        [("trap '' TERM; cat; exit 7", graceful, Some(7), None), ("cat; sleep 1000", force, None, Some(9))]
    {
        let mut parts = parts(store(), [("it", sh(script))]);
        parts.limits.stop_grace = Duration::from_secs(1_000);
        let stage = Stage::open(parts).await;
        let worker = stage.spawn().await;
        within(stage.stop(&worker, TerminalIntent::Stop, mode)).await;
        let termination = stage.engine.get_worker(&worker.worker_id).unwrap().termination.clone().unwrap();
        assert_eq!((termination.exit_code, termination.signal), (code, signal), "{mode:?}");
    }
}

#[tokio::test]
async fn a_program_that_will_not_end_is_killed_with_its_group() {
    let deaf = "trap '' TERM; sleep 1000 & echo up $!; while :; do sleep 1000; done";
    for mode in [StopMode::Graceful, StopMode::Force] {
        let stage = Stage::with(sh(deaf)).await;
        let worker = stage.spawn().await;
        let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
        let child = loop {
            let frame = text(&within(next_frame(&mut stream)).await.unwrap().wire);
            if let Some((_, pid)) = frame.split_once(":up ") {
                break pid.to_owned();
            }
        };
        assert!(is_alive(&child));
        let ack = within(stage.stop(&worker, TerminalIntent::Stop, mode)).await;
        assert_eq!(ack.state, WorkerState::Stopped);
        let termination = stage.engine.get_worker(&worker.worker_id).unwrap().termination.clone().unwrap();
        assert_eq!(termination.signal, Some(9));
        // The signal was sent to the whole group; the kernel takes its time with the rest of it.
        while is_alive(&child) {
            tokio::task::yield_now().await;
        }
    }
}

/// Whether a process is there and not a zombie.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn force_after_graceful_kills_at_once() {
    // acceptance 10
    let mut parts = parts(store(), [("it", sh("trap '' TERM; while :; do sleep 1000; done"))]);
    parts.limits.stop_grace = Duration::from_secs(1_000);
    let stage = Stage::open(parts).await;
    let worker = stage.spawn().await;
    let mut short = context(None, 0);
    short.deadline = tokio::time::Instant::now() + Duration::from_millis(200);
    let stop = |mode| StopWorker {
        worker_id: worker.worker_id.clone(),
        intent: TerminalIntent::Stop,
        reason: "enough".to_owned(),
        mode,
    };
    let ack = stage.engine.stop_worker(&short, stop(StopMode::Graceful)).await.unwrap();
    assert_eq!((ack.event_id, ack.state), (None, WorkerState::Stopping));
    assert_eq!(
        (ack.diagnostics[0].code.as_ref(), ack.diagnostics[0].severity),
        ("worker_still_stopping", Severity::Info)
    );
    let ack = within(stage.engine.stop_worker(&context(None, 0), stop(StopMode::Force))).await.unwrap();
    assert_eq!(ack.state, WorkerState::Stopped);
}

#[tokio::test]
async fn a_program_that_ends_by_itself_leaves_its_cause_of_death() {
    for (script, reason, code, signal, message) in [
        ("echo said; echo why >&2; exit 3", TerminationReason::Exited, Some(3), None, "why"),
        ("exit 0", TerminationReason::Exited, Some(0), None, "the program exited with code 0"),
        ("kill -9 $$", TerminationReason::Killed, None, Some(9), "the program was killed by signal 9"),
    ] {
        let stage = Stage::with(sh(script)).await;
        let worker = stage.spawn().await;
        within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
        let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
        let termination = ended.termination.clone().unwrap();
        assert_eq!((ended.state, termination.reason), (WorkerState::Failed, reason), "{script}");
        assert_eq!((termination.exit_code, termination.signal), (code, signal), "{script}");
        assert_eq!(termination.message, message);
        assert_eq!(termination.last_sequence, ended.last_event_id);
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_leaves_no_worker() {
    let mut nothing = sh("");
    nothing.command = vec!["/no/such/program".to_owned()];
    let stage = Stage::with(nothing).await;
    let refused = stage.engine.create_worker(&context(None, 0), request(builtin("it"))).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::WorkerStartFailed);
    assert!(!refused.to_string().contains("no/such"), "a path leaks");
    assert_eq!(stage.engine.counts().total, 0);
}

#[tokio::test]
async fn a_child_sees_nothing_of_the_runtimes_environment() {
    let mut profile = sh("env");
    profile.env.insert("MINE".to_owned(), "yes".to_owned());
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let allowed = ["PATH", "HOME", "LANG", "TMPDIR", "MINE", "WORKPLANE_WORKER", "PWD", "OLDPWD", "SHLVL", "_"];
    for item in stage.transcript(&worker).await {
        let name = item.splitn(3, ':').nth(2).unwrap().split('=').next().unwrap().to_owned();
        assert!(allowed.contains(&name.as_str()), "{name} leaks into the child");
    }
}

#[tokio::test]
async fn reader_that_only_sends() {
    // The runtime writes to it first, and waits there for ever: all that it says is heard all the same.
    let stage = Stage::with(sh("read first; seq 1 3000; sleep 1000")).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    for content in ["first", &"x".repeat(100_000), &"y".repeat(100_000)] {
        stage.send(&worker, content).await.unwrap();
    }
    let mut said = Vec::new();
    while said.len() < 3_000 {
        let frame = within(next_frame(&mut stream)).await.unwrap();
        if let Some((_, line)) = text(&frame.wire).strip_prefix("Assistant:").and_then(|it| it.split_once(':')) {
            said.push(line.to_owned());
        }
    }
    assert_eq!(said, (1..=3_000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn inputs_that_were_not_delivered_are_told_before_the_end() {
    let stage = Stage::with(sh("exec 0<&-; echo deaf; sleep 1000")).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    while !text(&within(next_frame(&mut stream)).await.unwrap().wire).contains("deaf") {}
    // More than a pipe holds: a child of another test that has not come to its own program yet has a copy of its end.
    stage.send(&worker, &"nobody hears ".repeat(10_000)).await.unwrap();
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Force).await;
    let frames = within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let told = frames.iter().any(|(_, payload)| payload.contains("TurnEnded") && payload.contains("NotDelivered"));
    assert!(told, "{frames:?}");
    assert!(frames.last().unwrap().1.starts_with("End("));
}

#[tokio::test]
async fn the_same_request_is_done_once() {
    let stage = Stage::with(sh("exec cat")).await;
    let spawn = |id: &'static str, mark| {
        let engine = stage.engine.clone();
        async move { engine.create_worker(&context(Some(id), mark), request(builtin("it"))).await }
    };
    let (one, two) = tokio::join!(spawn("a", 1), spawn("a", 1));
    let worker = one.unwrap().worker;
    assert_eq!(worker.worker_id, two.unwrap().worker.worker_id);
    assert_eq!(spawn("a", 1).await.unwrap().worker.worker_id, worker.worker_id);
    assert_eq!(spawn("a", 2).await.unwrap_err().reason(), Reason::RequestIdReused);
    assert_eq!(stage.engine.counts().total, 1);

    let send = |id: &'static str, mark| {
        let (engine, input) = (stage.engine.clone(), input_for(&worker.worker_id, "x"));
        async move { engine.send_input(&context(Some(id), mark), input).await }
    };
    let (one, two) = tokio::join!(send("a", 1), send("a", 1));
    assert_eq!(one.as_ref().unwrap(), two.as_ref().unwrap());
    assert_eq!(send("a", 9).await.unwrap_err().reason(), Reason::RequestIdReused);
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    assert_eq!(send("a", 1).await.unwrap(), one.unwrap(), "the first answer, also after the end");
}

#[tokio::test]
async fn a_birth_whose_caller_went_away_is_found_by_its_id() {
    let stage = Stage::with(sh("exec cat")).await;
    let ctx = context(Some("lost"), 1);
    let create = stage.engine.create_worker(&ctx, request(builtin("it")));
    // Polled once, and dropped at its first await.
    assert!(futures_util::FutureExt::now_or_never(create).is_none());
    let again = within(stage.engine.create_worker(&ctx, request(builtin("it")))).await.unwrap();
    assert_eq!(stage.engine.counts().total, 1);
    assert_eq!(stage.engine.get_worker(&again.worker.worker_id).unwrap().state, WorkerState::Running);
}

#[tokio::test]
async fn what_was_live_when_the_runtime_went_away_is_lost() {
    // acceptance 129
    let store = store();
    let first = Stage::open(parts(store.clone(), [("it", Profile::catalog())])).await;
    let (gone, ended) = (first.spawn().await, first.spawn().await);
    first.send(&gone, "kept").await.unwrap();
    first.stop(&ended, TerminalIntent::Stop, StopMode::Graceful).await;
    let again = Stage::open(first.parts.clone()).await;
    let lost = again.engine.get_worker(&gone.worker_id).unwrap();
    let termination = lost.termination.clone().unwrap();
    assert_eq!((lost.state, termination.reason), (WorkerState::Failed, TerminationReason::RuntimeLost));
    assert_eq!(again.engine.get_worker(&ended.worker_id).unwrap().state, WorkerState::Stopped);
    assert_eq!(again.transcript(&gone).await[0], "User:1:kept");
    let frames = within(to_the_end(again.observe(&gone, ObserveFrom::Beginning), 0)).await;
    assert_eq!(frames.len() as u64, lost.last_event_id);
}

#[tokio::test]
async fn inputs_of_a_run_that_was_lost_are_told_of_and_not_given_again() {
    let parts = parts(store(), [("it", sh("sleep 1000"))]);
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let worker = first.spawn().await;
    let mut stream = first.observe(&worker, ObserveFrom::Beginning);
    // More than a pipe holds: the first is being written, and the others wait behind it.
    for _ in 0..3 {
        first.send(&worker, &"x".repeat(100_000)).await.unwrap();
    }
    let mut started = 0;
    while started < 3 {
        started += usize::from(text(&within(next_frame(&mut stream)).await.unwrap().wire).starts_with("TurnStarted"));
    }
    gone(apart).await;
    let again = Stage::open(parts).await;
    let frames = within(to_the_end(again.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let lost = frames.iter().filter(|(_, payload)| payload.starts_with("TurnEnded") && payload.contains("RuntimeLost"));
    assert_eq!(lost.count(), 3, "{frames:?}");
}

#[tokio::test]
async fn an_interruption_of_what_cannot_be_interrupted_is_refused() {
    for profile in [Profile::catalog(), sh("exec cat")] {
        let stage = Stage::with(profile).await;
        let worker = stage.spawn().await;
        let mut input = input_for(&worker.worker_id, "now");
        input.delivery = InputDelivery::Interrupt;
        let refused = stage.engine.send_input(&context(None, 0), input).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::RemoteRuntimeUnsupported);
        assert!(stage.transcript(&worker).await.is_empty());
    }
}

#[tokio::test]
async fn output_over_the_rate_is_dropped_and_counted_and_the_worker_goes_on() {
    // 60 MB at once, in lines that end in the middle of what is read.
    let flood = "head -c 60000000 /dev/zero | tr '\\0' x | fold -w 20000; echo; echo after";
    let stage = Stage::with(sh(flood)).await;
    let worker = stage.spawn().await;
    within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!(ended.termination.clone().unwrap().exit_code, Some(0));
    assert!(ended.transcript_length < 3_000, "nothing was dropped");
}

#[tokio::test]
async fn a_runtime_takes_only_so_many_live_workers() {
    let mut parts = parts(store(), [("it", Profile::catalog())]);
    parts.limits.max_workers = 1;
    let stage = Stage::open(parts).await;
    let worker = stage.spawn().await;
    let refused = stage.engine.create_worker(&context(None, 0), request(builtin("it"))).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::QuotaExceeded);
    let mut stream = stage.observe(&worker, ObserveFrom::Now);
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    while within(next_frame(&mut stream)).await.is_some() {}
    while stage.engine.create_worker(&context(None, 0), request(builtin("it"))).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_initial_input_lands_with_the_worker() {
    let stage = Stage::with(sh("exec cat")).await;
    let mut create = request(builtin("it"));
    create.initial_input = Some(user("first"));
    create.acceptance = Acceptance::RunAccepted { expected_segments: 1 };
    let created = within(stage.engine.create_worker(&context(None, 0), create)).await.unwrap();
    assert_eq!(created.segments, 1);
    assert_eq!(stage.transcript(&created.worker).await, ["User:1:first", "Assistant:2:first"]);
}
