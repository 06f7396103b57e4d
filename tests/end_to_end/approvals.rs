//! Agents that ask for leave, and who answers them: once, durably, and in either place alike.

use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;
use workplane::proto::runtime_v1::{AnswerApprovalResponse, GetRuntimeResponse, ListApprovalsResponse};
use workplane::proto::v1;
use workplane::proto::v1::observation_frame::Payload;
use workplane::proto::v1::{
    Approval, OperationState, RuntimeStatus, StopMode, TerminationReason, WorkerActivity, WorkerState,
};

use crate::acp::{answers, profile, turn_end};
use crate::after_a_kill::Place;
use crate::support::{
    Answer, Frame, Hostile, Plane, Profile, Stream, Worker, both, codes, hello, refusal, until, worker as hosts_worker,
};

/// A profile whose agent's questions somebody answers.
fn asking() -> Option<Profile> {
    profile(&[]).map(|agent| agent.permissions("ask"))
}

/// Gives it a prompt, and waits for the question.
async fn question(worker: &Worker, stream: &mut Stream, prompt: &str) -> Approval {
    worker.send(prompt).await;
    stream.first("a question", |frame| frame.approval().is_some()).await.approval().unwrap().clone()
}

/// What becomes of questions and turns, in order.
fn story(frames: &[Frame]) -> Vec<String> {
    let told = frames.iter().filter_map(|frame| match frame.payload() {
        Payload::ApprovalRequested(asked) => Some(format!("asked {}", asked.approval.as_ref()?.approval_id)),
        Payload::ApprovalSettled(settled) => Some(
            format!("settled {} {} {}", settled.approval_id, settled.option_id, settled.caller).trim_end().to_owned(),
        ),
        Payload::TurnEnded(ended) => Some(format!("turn {}", ended.reason)),
        Payload::End(_) => Some("end".to_owned()),
        _ => None,
    });
    told.collect()
}

/// An answer that comes too late is refused in-band.
async fn is_settled(worker: &Worker, approval_id: &str) {
    let late = worker.try_answer(worker.answer(approval_id, "allow_once")).await.unwrap();
    assert_eq!((late.state(), late.event_id), (OperationState::Rejected, None), "{late:?}");
    assert_eq!(late.diagnostics[1].code, "approval_settled");
    assert_eq!(worker.approvals().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_for_its_answer_which_counts_once() {
    let Some(agent) = asking() else { return };
    let (_plane, _host, workers) = both(agent).await;
    for worker in workers {
        let mut stream = worker.observe().await;
        let asked = question(&worker, &mut stream, "ask").await;
        assert_eq!((asked.approval_id.as_str(), asked.title.as_str()), ("approval-1", "Write file 1"));
        let options: Vec<_> = asked.options.iter().map(|it| [&*it.option_id, &*it.label, &*it.kind]).collect();
        assert_eq!(options, [["allow_once"; 3], ["reject_once"; 3]]);
        assert_eq!(worker.approvals().await, std::slice::from_ref(&asked));
        assert_eq!(worker.get().await.activity(), WorkerActivity::Waiting);
        let waits = |frame: &Frame| matches!(frame.payload(), Payload::ActivityChanged(now) if now.activity() == WorkerActivity::Waiting);
        stream.first("the worker to wait", waits).await;

        let refused = async |approval_id: &str, decision: &str| {
            let refused = worker.try_answer(worker.answer(approval_id, decision)).await.unwrap_err();
            let refused = refusal(&refused);
            (refused.code, refused.reason, refused.fields)
        };
        let (bad, missing) = (Code::InvalidArgument, Code::NotFound);
        let no_option = (bad, "INVALID_REQUEST".to_owned(), vec!["decision".to_owned()]);
        assert_eq!(refused("approval-1", "allow").await, no_option);
        assert_eq!(refused("approval-1", "").await, no_option);
        for unknown in ["approval-2", "approval-0", "approval-01", "approval-x", "another"] {
            assert_eq!(
                refused(unknown, "allow_once").await,
                (missing, "UNKNOWN_APPROVAL".to_owned(), vec![]),
                "{unknown}"
            );
        }
        assert_eq!(refused("a b", "x").await, (bad, "INVALID_IDENTIFIER".to_owned(), vec!["approval_id".to_owned()]));

        let mut answer = worker.answer("approval-1", "allow_once");
        answer.request_id = "answer-1".to_owned();
        let given = worker.try_answer(answer.clone()).await.unwrap();
        assert_eq!((given.state(), given.approval_id.as_str()), (OperationState::Accepted, "approval-1"), "{given:?}");
        let rest = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        let settled = rest.iter().find(|frame| frame.settled().is_some()).unwrap();
        assert_eq!(Some(settled.sequence), given.event_id);
        assert_eq!(story(&rest), ["settled approval-1 allow_once tests", "turn end_turn"]);
        assert_eq!(answers(&rest), ["allow_once"]);
        // The first answer again; and any other comes too late.
        assert_eq!(worker.try_answer(answer.clone()).await.unwrap(), given);
        answer.decision = "reject_once".to_owned();
        let another = worker.try_answer(answer).await.unwrap_err();
        assert_eq!(refusal(&another).is(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
        is_settled(&worker, "approval-1").await;
        assert_eq!(worker.get().await.activity(), WorkerActivity::Idle);

        // Whoever takes the stream up at the answer gets the same bytes.
        let mut again = worker.try_resume(&settled.cursor).await.unwrap();
        let again = again.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        let durable = |frames: &[Frame]| -> Vec<_> {
            frames
                .iter()
                .filter(|it| it.is_durable() && it.sequence > settled.sequence)
                .map(|it| it.bytes.clone())
                .collect()
        };
        assert_eq!(durable(&again), durable(&rest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_answers_at_once_exactly_one_wins() {
    let Some(agent) = asking() else { return };
    let (_plane, _host, workers) = both(agent).await;
    for worker in workers {
        let mut stream = worker.observe().await;
        question(&worker, &mut stream, "ask").await;
        let decisions = ["allow_once", "reject_once"].repeat(4);
        let given = futures_util::future::join_all(decisions.iter().map(|decision| {
            let answer = worker.answer("approval-1", decision);
            worker.try_answer(answer)
        }));
        let given: Vec<_> = given.await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> =
            given.iter().zip(decisions).filter(|(given, _)| given.state() == OperationState::Accepted).collect();
        assert_eq!(won.len(), 1, "{given:?}");
        assert!(given.iter().filter(|it| it.state() == OperationState::Rejected).count() == 7);
        let rest = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        assert_eq!(answers(&rest), [won[0].1]);
        assert_eq!(story(&rest).len(), 2, "{rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_questions_the_worker_waits_until_the_last_has_its_answer() {
    let Some(agent) = asking() else { return };
    let (_plane, _host, workers) = both(agent).await;
    for worker in workers {
        let mut stream = worker.observe().await;
        question(&worker, &mut stream, "ask twice").await;
        stream.first("the second", |frame| frame.approval().is_some()).await;
        let titles: Vec<_> = worker.approvals().await.into_iter().map(|it| it.title).collect();
        assert_eq!(titles, ["Write file 1", "Write file 2"]);
        worker.try_answer(worker.answer("approval-2", "reject_once")).await.unwrap();
        assert_eq!(worker.get().await.activity(), WorkerActivity::Waiting);
        assert_eq!(worker.approvals().await.len(), 1);
        worker.try_answer(worker.answer("approval-1", "allow_once")).await.unwrap();
        let rest = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        assert_eq!(answers(&rest), ["reject_once, allow_once"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_answers_is_refused_as_narrowly_as_the_agent_lets_it_be() {
    let Some(agent) = asking() else { return };
    let (_plane, _host, workers) = both(agent.approval_timeout("1s")).await;
    for worker in workers {
        let mut stream = worker.observe().await;
        question(&worker, &mut stream, "ask").await;
        let rest = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        assert_eq!(story(&rest), ["settled approval-1 reject_once", "turn end_turn"]);
        assert_eq!(answers(&rest), ["reject_once"]);
        is_settled(&worker, "approval-1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_it_waits_leaves_nobody_waiting() {
    let Some(agent) = asking() else { return };
    let (_plane, _host, workers) = both(agent).await;
    for worker in workers {
        let mut stream = worker.observe().await;
        question(&worker, &mut stream, "ask").await;
        worker.stop(StopMode::Graceful).await;
        let rest = stream.rest().await;
        assert_eq!(story(&rest), ["settled approval-1", "turn cancelled", "end"]);
        assert_eq!(answers(&rest), ["cancelled"]);
        is_settled(&worker, "approval-1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_do_an_interruption_and_an_agent_that_does_not_wait() {
    let Some(agent) = asking() else { return };
    let (_plane, _host, workers) = both(agent).await;
    for worker in workers {
        let mut stream = worker.observe().await;
        question(&worker, &mut stream, "ask").await;
        worker.try_interrupt("").await.unwrap();
        let rest = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        assert_eq!(story(&rest), ["settled approval-1", "turn cancelled"]);
        assert_eq!(answers(&rest), ["cancelled"]);
        is_settled(&worker, "approval-1").await;
        // And one that has gone on without its answer by itself.
        question(&worker, &mut stream, "ask and go").await;
        let rest = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        assert_eq!(story(&rest), ["settled approval-2", "turn end_turn"]);
        is_settled(&worker, "approval-2").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_while_it_waits_leaves_nobody_waiting() {
    let Some(agent) = asking() else { return };
    let (_plane, _host, workers) = both(agent).await;
    for worker in workers {
        let mut stream = worker.observe().await;
        worker.send("pid").await;
        let told = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        let pid: i32 = answers(&told)[0].parse().unwrap();
        question(&worker, &mut stream, "ask").await;
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        let rest = stream.rest().await;
        assert_eq!(story(&rest), ["settled approval-1", "turn failed", "end"]);
        let end = rest.last().and_then(Frame::termination).unwrap();
        assert_eq!(end.reason(), TerminationReason::Killed, "{end:?}");
        assert!(end.message.ends_with("the last was a question"), "{}", end.message);
        is_settled(&worker, "approval-1").await;
        let unknown = worker.try_answer(worker.answer("approval-2", "allow_once")).await.unwrap_err();
        assert_eq!(refusal(&unknown).is(), (Code::NotFound, "UNKNOWN_APPROVAL"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_settles_what_was_open_and_forgets_no_answer() {
    let Some(agent) = asking() else { return };
    for mut place in Place::both(agent.restarting()).await {
        let worker = place.spawn().await;
        let mut stream = worker.observe().await;
        question(&worker, &mut stream, "ask").await;
        let mut answer = worker.answer("approval-1", "allow_once");
        answer.request_id = "answer-1".to_owned();
        let given = worker.try_answer(answer.clone()).await.unwrap();
        stream.first("the end of the turn", |frame| turn_end(frame).is_some()).await;
        question(&worker, &mut stream, "ask").await;
        place.kill().await;
        place.start_again().await;

        let worker = worker.through(place.plane.client());
        assert_eq!(worker.try_answer(answer).await.unwrap(), given, "the first answer again");
        is_settled(&worker, "approval-2").await;
        let another = worker.try_answer(worker.answer("approval-1", "reject_once")).await.unwrap();
        assert_eq!(codes(&another.diagnostics)[1], "approval_settled");
        // The next run goes on counting.
        until("the next run", || async {
            Some(worker.get().await).filter(|it| it.run_generation == 2 && it.state() == WorkerState::Running)
        })
        .await;
        let mut stream = worker.observe_now().await;
        assert_eq!(question(&worker, &mut stream, "ask").await.approval_id, "approval-3");
        worker.try_answer(worker.answer("approval-3", "allow_once")).await.unwrap();
        stream.first("the end of the turn", |frame| turn_end(frame).is_some()).await;
        worker.stop(StopMode::Graceful).await;
        let frames: Vec<_> = worker.observe().await.rest().await.into_iter().filter(Frame::is_durable).collect();
        assert!(frames.iter().map(|frame| frame.sequence).eq(1..=frames.len() as u64), "a gap or a repeat");
        let told = story(&frames);
        let expected = [
            "asked approval-1",
            "settled approval-1 allow_once tests",
            "turn end_turn",
            "asked approval-2",
            "settled approval-2",
            "turn RUNTIME_LOST",
            "asked approval-3",
            "settled approval-3 allow_once tests",
            "turn end_turn",
            "end",
        ];
        assert_eq!(told, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_believed_no_further_than_its_answer_can_be() {
    let host = Hostile::named("one").await;
    let plane = Plane::new().hostile(&host).start().await;
    plane.runtime_is("one", RuntimeStatus::Running).await;
    let worker = Worker::of(plane.client(), &hosts_worker("one", "worker-1"));
    let answer = || worker.try_answer(worker.answer("approval-1", "allow_once"));
    // A host of an older version is not asked.
    let lacks = answer().await.unwrap_err();
    assert_eq!(refusal(&lacks).is(), (Code::Unimplemented, "REMOTE_RUNTIME_UNSUPPORTED"));
    assert_eq!(refusal(&lacks).metadata["feature"], "approvals");
    assert_eq!(host.calls("AnswerApproval"), 0);

    let host = Hostile::named("two").await;
    host.answers(
        "GetRuntime",
        Answer::message(&GetRuntimeResponse { features: vec!["approvals".to_owned()], ..hello("two") }),
    );
    let plane = Plane::new().hostile(&host).start().await;
    plane.runtime_is("two", RuntimeStatus::Running).await;
    let worker = Worker::of(plane.client(), &hosts_worker("two", "worker-1"));
    let answer = || worker.try_answer(worker.answer("approval-1", "allow_once"));
    host.answers("AnswerApproval", Answer::refusal(Code::FailedPrecondition, Some("APPROVAL_SETTLED")));
    let settled = answer().await.unwrap();
    assert_eq!(settled.state(), OperationState::Rejected);
    assert_eq!(codes(&settled.diagnostics), ["remote_runtime_http_rejected", "approval_settled"]);
    for (code, reason, fields) in [
        (Code::InvalidArgument, "INVALID_REQUEST", vec!["decision".to_owned()]),
        (Code::NotFound, "UNKNOWN_APPROVAL", vec![]),
    ] {
        host.answers("AnswerApproval", Answer::refusal(code, Some(reason)));
        let refused = refusal(&answer().await.unwrap_err());
        assert_eq!((refused.is(), &refused.fields), ((code, reason), &fields));
        assert_eq!(refused.metadata["approval_id"], "approval-1");
        assert_eq!(refused.metadata["worker_id"], "worker-1");
    }
    host.answers("AnswerApproval", Answer::message(&AnswerApprovalResponse::default()));
    let malformed = answer().await.unwrap_err();
    assert_eq!(refusal(&malformed).is(), (Code::Internal, "REMOTE_RUNTIME_MALFORMED_RESPONSE"));

    let asked = Approval {
        approval_id: "approval-1".to_owned(),
        title: "Write\u{1b}[2J a file".to_owned(),
        requested_at: Some(std::time::SystemTime::now().into()),
        ..Approval::default()
    };
    let approvals = vec![asked];
    host.answers("ListApprovals", Answer::message(&ListApprovalsResponse { approvals, ..Default::default() }));
    let (runtime_id, worker_id) = worker.ids();
    let list = v1::ListApprovalsRequest { runtime_id, worker_id };
    let malformed = plane.client().workers().list_approvals(list).await.unwrap_err();
    assert_eq!(refusal(&malformed).is(), (Code::Internal, "REMOTE_RUNTIME_MALFORMED_RESPONSE"));
    assert!(!format!("{malformed:?}").contains("a file"));
}
