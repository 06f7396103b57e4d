//! Agents of the Agent Client Protocol: what their workers tell of themselves.

use super::*;
use crate::model::{Activity, InterruptAck, Reason, TerminationReason, WorkerState};

/// The next frame whose payload begins like this.
async fn first(stream: &mut Observation, beginning: &str) -> Published {
    loop {
        let frame = within(next_frame(stream)).await.expect("the stream goes on");
        if text(&frame.wire).starts_with(beginning) {
            return frame;
        }
    }
}

#[tokio::test]
async fn an_agent_is_busy_while_a_turn_runs_and_idle_before_and_after() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    assert_eq!((worker.activity, &*worker.activity_detail), (Activity::Idle, ""));
    let mut stream = stage.observe(&worker, ObserveFrom::Now);
    stage.send(&worker, "on").await.unwrap();
    let started = first(&mut stream, "TurnStarted").await;
    let busy = first(&mut stream, "ActivityChanged").await;
    assert!(text(&busy.wire).contains("activity: Busy, detail: \"working\""), "{}", text(&busy.wire));
    assert_eq!(busy.sequence, started.sequence);
    let ended = first(&mut stream, "TurnEnded").await;
    let idle = loop {
        let change = first(&mut stream, "ActivityChanged").await;
        if text(&change.wire).contains("activity: Idle, detail: \"\"") {
            break change;
        }
    };
    assert_eq!(idle.sequence, ended.sequence);
    let now = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((now.activity, &*now.activity_detail), (Activity::Idle, ""));
    assert!(now.activity_since >= now.last_progress_at, "{now:?}");
}

#[tokio::test]
async fn what_it_is_at_is_told_and_in_the_snapshot_and_pieces_are_progress() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Now);
    stage.send(&worker, "wait").await.unwrap();
    let took = stage.engine.get_worker(&worker.worker_id).unwrap().last_progress_at;
    first(&mut stream, "0:waiting").await;
    let mut late = stage.observe(&worker, ObserveFrom::Now);
    let Some(Observed::Snapshot(snapshot)) = late.next().await.unwrap() else { panic!("a snapshot is first") };
    assert_eq!((snapshot.worker.activity, &*snapshot.worker.activity_detail), (Activity::Busy, "answering"));
    assert!(snapshot.worker.last_progress_at > took, "{snapshot:?}");
    let change = first(&mut stream, "ActivityChanged").await;
    assert!(text(&change.wire).contains("detail: \"answering\""), "{}", text(&change.wire));
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((ended.activity, &*ended.activity_detail, ended.activity_since), (Activity::Idle, "", None));
}

#[tokio::test]
async fn a_program_of_lines_tells_of_no_activity() {
    let stage = Stage::with(sh("read line; printf 'thinking...'; read line; echo done")).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    for input in ["a", "b"] {
        stage.send(&worker, input).await.unwrap();
    }
    while let Some(frame) = within(next_frame(&mut stream)).await {
        assert_ne!(frame.kind, EventKind::ActivityChanged);
    }
}

/// Gives it this and waits until it has said a first word of its answer.
async fn at_work(stage: &Stage, worker: &Worker, prompt: &str) -> Observation {
    let mut stream = stage.observe(worker, ObserveFrom::Now);
    stage.send(worker, prompt).await.unwrap();
    first(&mut stream, "0:waiting").await;
    stream
}

async fn interrupt(stage: &Stage, worker: &Worker, request_id: Option<&str>) -> InterruptAck {
    within(stage.engine.interrupt_worker(&context(request_id, 1), &worker.worker_id)).await.unwrap()
}

/// How a turn ended that this frame is the end of.
fn reason(frame: &Published) -> String {
    let text = text(&frame.wire);
    text.rsplit_once("reason: ").unwrap().1.trim_end_matches(" }").to_owned()
}

#[tokio::test]
async fn an_interruption_ends_the_turn_and_the_worker_goes_on() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    let mut stream = at_work(&stage, &worker, "wait").await;
    stage.send(&worker, "on").await.unwrap();
    let ack = interrupt(&stage, &worker, None).await;
    let ended = first(&mut stream, "TurnEnded").await;
    assert_eq!(
        (reason(&ended), ack),
        ("Cancelled".to_owned(), InterruptAck { event_id: Some(ended.sequence), ..InterruptAck::default() })
    );
    assert_eq!(reason(&first(&mut stream, "TurnEnded").await), "EndTurn");
    let none = interrupt(&stage, &worker, None).await;
    assert_eq!((none.event_id, none.diagnostics[0].code.as_ref()), (None, "worker_not_in_turn"));
    assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap().state, WorkerState::Running);
}

#[tokio::test]
async fn a_repeated_interruption_has_the_first_answer_and_touches_no_later_turn() {
    let Some(profile) = agent(&[]) else { return };
    let parts = parts(store(), [("it", profile)]);
    let (apart, first_life) = engine_apart(&parts);
    let stage = Stage::open(first_life).await;
    let worker = stage.spawn().await;
    let none = interrupt(&stage, &worker, Some("idle")).await;
    at_work(&stage, &worker, "wait").await;
    let ack = interrupt(&stage, &worker, Some("once")).await;
    assert!(ack.event_id.is_some());
    at_work(&stage, &worker, "wait").await;
    for _ in 0..2 {
        assert_eq!(interrupt(&stage, &worker, Some("once")).await, ack);
        assert_eq!(interrupt(&stage, &worker, Some("idle")).await, none);
    }
    assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap().activity, Activity::Busy);
    let other = stage.engine.interrupt_worker(&context(Some("once"), 2), &worker.worker_id).await.unwrap_err();
    assert_eq!(other.reason(), Reason::RequestIdReused);
    gone(apart).await;
    let again = Stage::open(parts).await;
    assert_eq!(interrupt(&again, &worker, Some("once")).await, ack);
    let over = again.engine.interrupt_worker(&context(Some("more"), 1), &worker.worker_id).await.unwrap_err();
    assert_eq!(over.reason(), Reason::WorkerNotRunning);
}

#[tokio::test]
async fn an_agent_that_does_not_heed_it_is_not_killed_and_its_caller_is_told() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    at_work(&stage, &worker, "ignore").await;
    let soon = tokio::time::Instant::now() + Duration::from_millis(200);
    let ctx = CallContext { deadline: soon, ..context(Some("once"), 1) };
    let ack = stage.engine.interrupt_worker(&ctx, &worker.worker_id).await.unwrap();
    assert_eq!((ack.event_id, ack.diagnostics[0].code.as_ref()), (None, "turn_still_ending"));
    let now = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((now.state, now.activity), (WorkerState::Running, Activity::Busy));
    // Whoever asks again waits for the same end.
    let end = async { stage.stop(&worker, TerminalIntent::Stop, StopMode::Force).await };
    let (again, _) = tokio::join!(interrupt(&stage, &worker, Some("once")), end);
    let frames = to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0).await;
    let ended = frames.iter().find(|(_, payload)| payload.starts_with("TurnEnded")).unwrap();
    assert_eq!(again.event_id, Some(ended.0));
}

#[tokio::test]
async fn an_input_that_interrupts_ends_the_turn_and_comes_behind_those_that_wait() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    let mut stream = at_work(&stage, &worker, "wait").await;
    stage.send(&worker, "before").await.unwrap();
    let input = SendInput { delivery: InputDelivery::Interrupt, ..input_for(&worker.worker_id, "now") };
    stage.engine.send_input(&context(None, 0), input).await.unwrap();
    let mut reasons = Vec::new();
    for _ in 0..3 {
        reasons.push(reason(&first(&mut stream, "TurnEnded").await));
    }
    assert_eq!(reasons, ["Cancelled", "EndTurn", "EndTurn"]);
    let said = stage.transcript(&worker).await;
    let answers: Vec<_> = said.iter().filter_map(|item| item.strip_prefix("Assistant:")?.split_once(':')).collect();
    assert_eq!(answers.iter().map(|(_, said)| *said).collect::<Vec<_>>(), ["waiting", "heard: before", "heard: now"]);
}

#[tokio::test]
async fn what_comes_late_from_a_turn_that_was_broken_off_belongs_to_it_until_it_has_ended() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    let mut stream = at_work(&stage, &worker, "late").await;
    interrupt(&stage, &worker, None).await;
    let ended = first(&mut stream, "TurnEnded").await;
    assert_eq!(reason(&ended), "Cancelled");
    let said = stage.transcript(&worker).await;
    assert!(said.last().unwrap().ends_with(":waiting, and late"), "{said:?}");
    stage.send(&worker, "on").await.unwrap();
    assert_eq!(reason(&first(&mut stream, "TurnEnded").await), "EndTurn");
}

#[tokio::test]
async fn who_has_no_turns_cannot_be_interrupted() {
    for profile in [Profile::catalog(), sh("exec cat")] {
        let stage = Stage::with(profile).await;
        let worker = stage.spawn().await;
        let interrupted = async || stage.engine.interrupt_worker(&context(None, 0), &worker.worker_id).await;
        assert_eq!(interrupted().await.unwrap_err().reason(), Reason::RemoteRuntimeUnsupported);
        stage.stop(&worker, TerminalIntent::Stop, StopMode::Force).await;
        assert_eq!(interrupted().await.unwrap_err().reason(), Reason::WorkerNotRunning);
    }
}

/// An agent that is started anew when it fails.
fn restarting(store: Arc<dyn Store>, arguments: &[&str]) -> Option<EngineParts> {
    let profile = Profile { restart: Restart::OnFailure, ..agent(arguments)? };
    let mut parts = parts(store, [("it", profile)]);
    let soon = Duration::from_millis(10);
    parts.limits.restarts = Restarts { first_pause: soon, longest_pause: soon, ..Restarts::default() };
    Some(parts)
}

/// What it says to this.
async fn answer(stage: &Stage, worker: &Worker, prompt: &str) -> String {
    let mut stream = stage.observe(worker, ObserveFrom::Now);
    stage.send(worker, prompt).await.unwrap();
    let item = text(&first(&mut stream, "Assistant:").await.wire);
    first(&mut stream, "TurnEnded").await;
    item.splitn(3, ':').nth(2).unwrap().to_owned()
}

/// It exits in its turn.
async fn fails(stage: &Stage, worker: &Worker) {
    let mut stream = stage.observe(worker, ObserveFrom::Now);
    stage.send(worker, "exit").await.unwrap();
    first(&mut stream, "TurnEnded").await;
}

/// What the transcript says that neither asked nor answered.
async fn remarks(stage: &Stage, worker: &Worker) -> Vec<String> {
    let items = stage.transcript(worker).await.into_iter();
    items.filter_map(|item| Some(item.strip_prefix("System:")?.split_once(':')?.1.to_owned())).collect()
}

#[tokio::test]
async fn another_run_takes_up_the_session_again_and_what_was_told_before_is_not_told_again() {
    let Some(parts) = restarting(store(), &["load"]) else { return };
    let (apart, first_life) = engine_apart(&parts);
    let stage = Stage::open(first_life).await;
    let worker = stage.spawn().await;
    let session = answer(&stage, &worker, "recall").await;
    assert!(session.starts_with("s-"), "{session}");
    fails(&stage, &worker).await;
    assert_eq!(answer(&stage, &worker, "recall").await, session);
    assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap().run_generation, 2);
    // Nor does it go with the runtime.
    gone(apart).await;
    let again = Stage::open(parts).await;
    assert_eq!(answer(&again, &worker, "recall").await, session);
    assert_eq!(again.engine.get_worker(&worker.worker_id).unwrap().run_generation, 3);
    let told = again.transcript(&worker).await;
    assert!(!told.iter().any(|item| item.contains("before")), "{told:?}");
    let frames = again.observe(&worker, ObserveFrom::Beginning);
    again.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let frames = to_the_end(frames, 0).await;
    assert!(!frames.iter().any(|(_, payload)| payload.starts_with("ToolCall")), "{frames:?}");
}

#[tokio::test]
async fn an_agent_that_does_not_take_up_its_session_says_that_it_remembers_nothing() {
    for (mode, why) in [(&[][..], "it cannot take up a session again"), (&["load-fails"][..], "no such session")] {
        let Some(parts) = restarting(store(), mode) else { return };
        let stage = Stage::open(parts).await;
        let worker = stage.spawn().await;
        let session = answer(&stage, &worker, "recall").await;
        assert_eq!(remarks(&stage, &worker).await, [""; 0]);
        fails(&stage, &worker).await;
        let other = answer(&stage, &worker, "recall").await;
        assert!(mode.is_empty() || session != other, "{session}");
        let words = "This is a new run of the agent, and it remembers nothing of what was said before";
        assert_eq!(remarks(&stage, &worker).await, [format!("{words}: {why}.")]);
    }
}

#[tokio::test]
async fn an_agent_starts_until_it_has_a_session_and_its_inputs_wait() {
    let Some(profile) = agent(&["mute"]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    assert_eq!((worker.state, worker.can_accept_input), (WorkerState::Starting, true));
    stage.send(&worker, "anybody there?").await.unwrap();
    let none = interrupt(&stage, &worker, None).await;
    assert_eq!((none.event_id, none.diagnostics[0].code.as_ref()), (None, "worker_not_in_turn"));
    let now = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((now.state, now.activity), (WorkerState::Starting, Activity::Idle));
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let frames = to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0).await;
    assert!(!frames.iter().any(|(_, payload)| payload.starts_with("TurnStarted")), "{frames:?}");
    let ended = frames.iter().find(|(_, payload)| payload.starts_with("TurnEnded")).unwrap();
    assert!(ended.1.contains("NotDelivered"), "{ended:?}");
}

#[tokio::test]
async fn it_runs_once_it_has_a_session_and_only_then_a_turn_begins() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let mut create = request(builtin("it"));
    create.initial_input = Some(user("on"));
    let worker = stage.engine.create_worker(&context(None, 0), create).await.unwrap().worker;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    let mut order = Vec::new();
    loop {
        let frame = within(next_frame(&mut stream)).await.unwrap();
        if frame.kind.is_durable() {
            order.push(frame.kind);
        }
        if frame.kind == EventKind::TurnStarted {
            break;
        }
    }
    let first = [EventKind::StateChanged, EventKind::InputAccepted, EventKind::ItemAppended];
    assert_eq!(order, [&first[..], &[EventKind::StateChanged, EventKind::TurnStarted]].concat());
}

#[tokio::test]
async fn an_agent_that_takes_too_long_to_begin_has_failed() {
    let Some(profile) = agent(&["mute"]) else { return };
    let stage = Stage::with(Profile { handshake_timeout: Duration::from_millis(50), ..profile }).await;
    let worker = stage.spawn().await;
    within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    let end = stage.engine.get_worker(&worker.worker_id).unwrap().termination.clone().unwrap();
    assert_eq!(end.reason, TerminationReason::ProtocolError);
    assert!(end.message.starts_with("the agent did not answer initialize in time"), "{}", end.message);
}

#[tokio::test]
async fn what_an_agent_was_not_given_before_it_died_is_given_to_its_next_run() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(Profile { restart: Restart::OnFailure, ..profile }).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Now);
    for input in ["exit", "first", "second"] {
        stage.send(&worker, input).await.unwrap();
    }
    let mut ends = Vec::new();
    while ends.len() < 3 {
        ends.push(text(&first(&mut stream, "TurnEnded").await.wire));
    }
    assert!(ends[0].contains("Failed") && ends[1..].iter().all(|end| end.contains("EndTurn")), "{ends:?}");
    let told = stage.transcript(&worker).await;
    assert!(
        ["heard: first", "heard: second"].iter().all(|words| told.iter().any(|item| item.contains(words))),
        "{told:?}"
    );
}
