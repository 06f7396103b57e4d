//! Agents of the Agent Client Protocol: what they tell is told, one prompt after the other, and those that misbehave end
//! with the cause in their record while the others go on.

use prost::Message as _;
use workplane::proto::v1::observation_frame::Payload;
use workplane::proto::v1::{
    InputDelivery, OperationState, OutputChannel, StopMode, TerminationReason, TranscriptItem, TranscriptRole,
    WorkerActivity, WorkerState,
};

use crate::support::{
    EMBEDDED, Frame, Host, Memory, Plane, Profile, Worker, agent, both, codes, program_is_here, until,
};

/// A profile of the agent of these tests; none where this machine has no python3.
pub(crate) fn profile(arguments: &[&str]) -> Option<Profile> {
    let program = agent("acp.py");
    let command = [&["python3", &program], arguments].concat();
    program_is_here("python3").then(|| Profile::acp(command))
}

/// The end of a turn that a frame tells.
pub(crate) fn turn_end(frame: &Frame) -> Option<&str> {
    match frame.payload() {
        Payload::TurnEnded(ended) => Some(&ended.reason),
        _ => None,
    }
}

/// All that is told from one prompt to the end of its turn.
pub(crate) async fn ask(worker: &Worker, prompt: &str) -> Vec<Frame> {
    let mut stream = worker.observe_now().await;
    worker.send(prompt).await;
    stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await
}

/// What the agent said in items.
pub(crate) fn answers(frames: &[Frame]) -> Vec<&str> {
    let items = frames.iter().filter_map(Frame::item);
    items.filter(|item| item.role() == TranscriptRole::Assistant).map(|item| item.content.as_str()).collect()
}

/// What was told of one voice in pieces.
pub(crate) fn pieces(frames: &[Frame], voice: OutputChannel) -> String {
    let mut told = String::new();
    for frame in frames {
        if let Payload::OutputDelta(delta) = frame.payload()
            && delta.channel() == voice
        {
            assert_eq!(delta.offset, told.len() as u64, "{delta:?}");
            told.push_str(&delta.text);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_a_turn_whose_answer_comes_in_pieces_and_then_as_an_item() {
    let Some(agent) = profile(&[]) else { return };
    let host = Host::named("one").profile("builtin:coder", agent.clone()).start().await;
    let plane = Plane::new().profile("builtin:coder", agent).host(&host).start().await;
    for runtime_id in [EMBEDDED, "one"] {
        let worker = plane.spawn(runtime_id, "builtin:coder").await;
        let frames = ask(&worker, "think").await;
        assert_eq!(answers(&frames), ["one two three"]);
        assert_eq!(pieces(&frames, OutputChannel::Output), "one two three");
        assert_eq!(pieces(&frames, OutputChannel::Thought), "hm");
        assert_eq!(frames.last().and_then(turn_end), Some("end_turn"));
        let item = frames.iter().filter_map(Frame::item).next_back().unwrap();
        let Payload::TurnEnded(ended) = frames.last().unwrap().payload() else { panic!("the end of a turn") };
        assert!(!item.turn_id.is_empty() && item.turn_id == ended.turn_id, "{item:?}");
        assert_eq!(ask(&worker, "refuse").await.last().and_then(turn_end), Some("refusal"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_busy_with_its_turn_and_tells_with_what() {
    let Some(agent) = profile(&[]) else { return };
    let (_plane, _host, workers) = both(agent).await;
    for worker in workers {
        assert_eq!(worker.get().await.activity(), WorkerActivity::Idle);
        let mut stream = worker.observe_now().await;
        worker.send("on").await;
        let words = |frame: &Frame| match frame.payload() {
            Payload::ActivityChanged(change) => format!("{:?} {}", change.activity(), change.detail),
            _ => String::new(),
        };
        stream.first("it to be busy", |frame| words(frame) == "Busy working").await;
        stream.first("it to be idle", |frame| words(frame) == "Idle ").await;
        worker.send("wait").await;
        let busy = stream.first("it to be busy again", |frame| words(frame) == "Busy working").await;
        let answering = stream.first("its answer", |frame| words(frame) == "Busy answering").await;
        assert!(busy.sequence <= answering.sequence && !answering.cursor.is_empty(), "{answering:?}");
        let now = worker.get().await;
        assert_eq!((now.activity(), now.activity_detail.as_str()), (WorkerActivity::Busy, "answering"));
        let Payload::ActivityChanged(change) = answering.payload() else { unreachable!() };
        assert_eq!(now.activity_since, change.since);
        worker.stop(StopMode::Graceful).await;
        let ended = worker.get().await;
        assert_eq!((ended.activity(), ended.activity_detail.as_str()), (WorkerActivity::Unspecified, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_given_one_after_the_other_in_order() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    for prompt in ["a", "b", "c"] {
        worker.send(prompt).await;
    }
    let mut ended = 0;
    let mut stream = worker.observe().await;
    let mut told = Vec::new();
    while ended < 3 {
        let frame = stream.frame().await;
        ended += usize::from(turn_end(&frame).is_some());
        told.push(frame);
    }
    assert_eq!(answers(&told), ["heard: a", "heard: b", "heard: c"]);
    let turns: Vec<_> = told
        .iter()
        .filter_map(|frame| match frame.payload() {
            Payload::TurnStarted(_) => Some("start"),
            Payload::TurnEnded(_) => Some("end"),
            _ => None,
        })
        .collect();
    assert_eq!(turns, ["start", "end"].repeat(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_a_tool_stands_between_what_was_said_before_and_after_it() {
    let Some(agent) = profile(&[]) else { return };
    let host = Host::named("one").profile("builtin:coder", agent).start().await;
    let plane = Plane::new().host(&host).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    let frames = ask(&worker, "tool").await;
    let told: Vec<_> = frames
        .iter()
        .filter_map(|frame| match frame.payload() {
            Payload::ToolCall(call) => Some(format!("{}: {}, {}", call.call_id, call.title, call.status)),
            _ => frame.item().filter(|item| item.role() == TranscriptRole::Assistant).map(|item| item.content.clone()),
        })
        .collect();
    let call = |status| format!("call-1: Read [2J it, {status}");
    assert_eq!(told, ["before", &call("pending"), &call("in_progress"), &call("completed"), "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_leave_is_answered_by_the_profile() {
    for (permissions, answer) in [(None, "reject_once"), (Some("deny"), "reject_once"), (Some("allow"), "allow_once")] {
        let Some(agent) = profile(&[]) else { return };
        let agent = permissions.into_iter().fold(agent, Profile::permissions);
        let plane = Plane::new().profile("builtin:coder", agent).start().await;
        let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
        assert_eq!(answers(&ask(&worker, "ask").await), [answer]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_becomes_several_items() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let frames = ask(&worker, "large").await;
    assert_eq!(frames.last().and_then(turn_end), Some("max_tokens"));
    let items: Vec<_> = frames.iter().filter_map(Frame::item).skip(1).collect();
    assert_eq!(items.iter().map(|item| item.continues).collect::<Vec<_>>(), [true, true, false]);
    assert!(items.iter().map(|item| item.content.as_str()).collect::<String>() == "é".repeat(5 * 32 * 1024));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_the_turn_and_not_the_worker() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let frames = ask(&worker, "fail").await;
    assert_eq!(frames.last().and_then(turn_end), Some("failed"));
    let said = frames.iter().filter_map(Frame::item).next_back().unwrap();
    assert_eq!(
        (said.role(), said.content.as_str()),
        (TranscriptRole::System, "The agent answered with an error: out of luck")
    );
    assert_eq!(answers(&ask(&worker, "on").await), ["heard: on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_breaks_the_turn_off_and_the_agent_ends_by_itself() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let mut stream = worker.observe().await;
    worker.send("wait").await;
    let waiting = |frame: &Frame| matches!(frame.payload(), Payload::OutputDelta(delta) if delta.text == "waiting");
    stream.first("the agent to wait", waiting).await;
    worker.send("never").await;
    // It is at work: who will not wait is told so.
    let mut request = worker.input("now or never");
    request.set_delivery(InputDelivery::Reject);
    assert_eq!(worker.try_send(request).await.unwrap().state(), OperationState::Rejected);
    worker.stop(StopMode::Graceful).await;
    let frames = stream.rest().await;
    assert_eq!(frames.iter().filter_map(turn_end).collect::<Vec<_>>(), ["cancelled", "NOT_DELIVERED"]);
    let end = frames.last().and_then(|frame| frame.termination()).unwrap();
    assert_eq!((end.reason(), end.exit_code), (TerminationReason::Stopped, Some(0)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_ends_the_turn_and_keeps_the_worker() {
    let Some(agent) = profile(&[]) else { return };
    let (_plane, _host, workers) = both(agent).await;
    for worker in workers {
        let none = worker.try_interrupt("none").await.unwrap();
        assert_eq!(
            (none.state(), none.event_id, codes(&none.diagnostics)),
            (OperationState::Accepted, None, vec!["worker_not_in_turn"])
        );
        let waiting = |frame: &Frame| matches!(frame.payload(), Payload::OutputDelta(delta) if delta.text == "waiting");
        let mut stream = worker.observe_now().await;
        worker.send("wait").await;
        stream.first("the agent to wait", waiting).await;
        let done = worker.try_interrupt("once").await.unwrap();
        let ended = stream.first("the end of the turn", |frame| turn_end(frame).is_some()).await;
        assert_eq!(turn_end(&ended), Some("cancelled"));
        assert_eq!(
            (done.state(), done.event_id, codes(&done.diagnostics)),
            (OperationState::Accepted, Some(ended.sequence), vec![])
        );
        assert_eq!(worker.try_interrupt("once").await.unwrap(), done, "it is the first answer");
        // An input may say so by itself.
        worker.send("wait").await;
        stream.first("the agent to wait again", waiting).await;
        let mut request = worker.input("now");
        request.set_delivery(InputDelivery::Interrupt);
        assert_eq!(worker.try_send(request).await.unwrap().state(), OperationState::Accepted);
        let mut told = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        told.extend(stream.up_to("the end of the next", |frame| turn_end(frame).is_some()).await);
        assert_eq!(told.iter().filter_map(turn_end).collect::<Vec<_>>(), ["cancelled", "end_turn"]);
        assert_eq!(answers(&told), ["waiting", "heard: now"]);
        worker.stop(StopMode::Graceful).await;
        let late = worker.try_interrupt("late").await.unwrap();
        assert_eq!(late.state(), OperationState::Rejected);
        assert!(codes(&late.diagnostics).contains(&"worker_not_running"), "{late:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_turns_cannot_be_interrupted_wherever_it_runs() {
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        let refused = worker.try_interrupt("").await.unwrap();
        assert_eq!(refused.state(), OperationState::Unsupported);
        assert_eq!(codes(&refused.diagnostics), ["worker_interrupt_pending", "runtime_capability_unsupported"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_the_protocol_has_failed_and_its_record_says_how() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let other = plane.spawn(EMBEDDED, "builtin:coder").await;
    for (prompt, how) in [
        ("garbage", "the agent wrote a line that is no message of JSON-RPC"),
        ("long", "the agent wrote a line of more than 8 MiB"),
        ("unknown", "the agent answered what it was not asked, or answered twice"),
        ("twice", "the agent answered what it was not asked, or answered twice"),
        ("close", "the agent closed its output and went on"),
    ] {
        let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
        worker.send("a").await;
        worker.send(prompt).await;
        let frames = worker.observe().await.rest().await;
        let end = frames.last().and_then(|frame| frame.termination()).unwrap();
        assert_eq!(end.reason(), TerminationReason::ProtocolError, "{prompt}: {end:?}");
        assert!(end.message.starts_with(how), "{prompt}: {}", end.message);
        assert_eq!(worker.get().await.state(), WorkerState::Failed);
        let turns: Vec<_> = frames.iter().filter_map(turn_end).collect();
        let last = if prompt == "twice" { "end_turn" } else { "failed" };
        assert_eq!(turns, ["end_turn", last], "{prompt}");
        // Nobody else notices.
        assert_eq!(answers(&ask(&other, prompt.to_uppercase().as_str()).await).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_in_mid_turn_has_told_what_it_said_and_its_record_says_what_it_was_at() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    worker.send("exit").await;
    worker.send("never").await;
    let frames = worker.observe().await.rest().await;
    assert_eq!(answers(&frames), ["the beginning of an answer"]);
    assert_eq!(frames.iter().filter_map(turn_end).collect::<Vec<_>>(), ["failed", "NOT_DELIVERED"]);
    let end = frames.last().and_then(|frame| frame.termination()).unwrap();
    assert_eq!((end.reason(), end.exit_code), (TerminationReason::Exited, Some(3)));
    let turn = frames.iter().find_map(Frame::item).unwrap().turn_id.clone();
    let was = format!("it was in {turn}, and of 1 updates the last was a piece of its answer");
    assert_eq!(end.message, format!("it went wrong [31m; {was}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_answers_nothing_can_be_stopped() {
    let Some(agent) = profile(&["mute"]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    worker.send("anybody there?").await;
    // It has not said that it takes any.
    assert_eq!(worker.get().await.state(), WorkerState::Starting);
    let stream = worker.observe().await;
    worker.stop(StopMode::Graceful).await;
    let frames = stream.rest().await;
    assert!(!frames.iter().any(|frame| matches!(frame.payload(), Payload::TurnStarted(_))));
    assert_eq!(frames.iter().filter_map(turn_end).collect::<Vec<_>>(), ["NOT_DELIVERED"]);
    let end = frames.last().and_then(|frame| frame.termination()).unwrap();
    assert_eq!(end.reason(), TerminationReason::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_cut_and_counted_and_its_runtime_takes_little_more_room() {
    let Some(agent) = profile(&[]) else { return };
    let mut plane = Plane::new().profile("builtin:coder", agent).durable().start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    assert_eq!(answers(&ask(&worker, "on").await), ["heard: on"]);
    let before = plane.process().memory();
    // Nobody listens meanwhile: what a reader of so much takes is another matter.
    worker.send("flood").await;
    worker.send("on").await;
    let items = until("the turn after the flood", || async {
        // As much as is kept of it are more than 200 items; then there is one more input and its answer.
        let length = worker.get().await.transcript_length;
        let last = worker.page(length.saturating_sub(1), 1).await.unwrap().items;
        let last = last.first().map(|item| TranscriptItem::decode(item.clone()).unwrap())?;
        (length > 200 && last.content == "heard: on").then_some(length)
    })
    .await;
    // It was 128 MiB, of which more than 32 are stored. A busy machine holds more of it on its way: the bound of 32 is
    // benches/turn.rs's.
    little_more_than(before, &mut plane, 48);
    let items = worker.transcript(256).await.into_iter().take(usize::try_from(items).unwrap());
    let of_it = items.filter(|item| item.content.starts_with('x') || item.truncated_bytes > 0);
    let told: u64 = of_it.map(|item| item.content.len() as u64 + item.truncated_bytes).sum();
    // What is dropped counts a byte for the end of each line, as everywhere.
    assert!((8192 * 16 * 1024..=8192 * (16 * 1024 + 1)).contains(&told), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_without_end_is_not_kept_until_it_ends() {
    let Some(agent) = profile(&[]) else { return };
    let mut plane = Plane::new().profile("builtin:coder", agent).durable().start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    assert_eq!(answers(&ask(&worker, "on").await), ["heard: on"]);
    let before = plane.process().memory();
    worker.send("long").await;
    worker.state_is(WorkerState::Failed).await;
    little_more_than(before, &mut plane, 32);
}

fn little_more_than(before: Memory, plane: &mut Plane, most: u64) {
    let more = plane.process().memory().most.saturating_sub(before.now) >> 20;
    println!("{more} MiB more than before");
    assert!(more <= most, "{more} MiB more than before");
}
