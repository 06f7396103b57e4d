//! Agents that ask for leave: what becomes of their questions.

use super::*;
use crate::model::{Activity, AnswerAck, AnswerApproval, ApprovalId, Reason};

/// An agent whose questions somebody answers; none where there is no python3.
fn asking() -> Option<Profile> {
    agent(&[]).map(|profile| Profile { permissions: Permissions::Ask, ..profile })
}

impl Stage {
    /// Waits until it has asked so many questions.
    async fn asked(&self, worker: &Worker, count: u64) {
        let mut stream = self.observe(worker, ObserveFrom::Now);
        while self.engine.get_worker(&worker.worker_id).unwrap().approvals_asked < count {
            within(next_frame(&mut stream)).await.unwrap();
        }
    }

    async fn answer(&self, ctx: &CallContext, worker: &Worker, number: u64, decision: &str) -> Result<AnswerAck> {
        let (worker_id, decision) = (worker.worker_id.clone(), decision.to_owned());
        let answer = AnswerApproval { worker_id, approval_id: ApprovalId::numbered(number), decision };
        within(self.engine.answer_approval(ctx, answer)).await
    }

    async fn refused(&self, worker: &Worker, number: u64, decision: &str) -> Reason {
        self.answer(&context(None, 0), worker, number, decision).await.unwrap_err().reason()
    }

    /// The payload of its event with this sequence, and how many of its kind there are.
    async fn event(&self, worker: &Worker, sequence: u64) -> String {
        let after = crate::model::Cursor::new(self.parts.incarnation, &worker.worker_id, sequence - 1);
        text(&next_frame(&mut self.observe(worker, ObserveFrom::After(after))).await.unwrap().wire)
    }
}

#[tokio::test]
async fn a_question_stands_until_it_is_answered_and_its_answer_names_who_gave_it() {
    let Some(profile) = asking() else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    assert_eq!(stage.refused(&worker, 1, "allow_once").await, Reason::UnknownApproval);
    stage.send(&worker, "ask twice").await.unwrap();
    stage.asked(&worker, 2).await;
    let open = stage.engine.list_approvals(&worker.worker_id).unwrap();
    assert_eq!(open.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["Write file 1", "Write file 2"]);
    assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap().activity, Activity::Waiting);
    assert_eq!(stage.refused(&worker, 1, "perhaps").await, Reason::InvalidRequest);
    assert_eq!(stage.refused(&worker, 3, "allow_once").await, Reason::UnknownApproval);
    let ack = stage.answer(&context(None, 0), &worker, 2, "allow_once").await.unwrap();
    let settled = stage.event(&worker, ack.event_id).await;
    let told = "approval_id: approval-2, option_id: Some(\"allow_once\"), caller: Some(Caller(\"tester\"))";
    assert!(settled.starts_with("ApprovalSettled") && settled.contains(told), "{settled}");
    assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap().activity, Activity::Waiting, "the other is open");
    assert_eq!(stage.refused(&worker, 2, "reject_once").await, Reason::ApprovalSettled);
    stage.answer(&context(None, 0), &worker, 1, "reject_once").await.unwrap();
    within(stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful)).await;
    assert_eq!(stage.refused(&worker, 1, "allow_once").await, Reason::ApprovalSettled, "also once it has ended");
    assert_eq!(stage.refused(&worker, 3, "allow_once").await, Reason::UnknownApproval);
    let nobody = AnswerApproval {
        worker_id: WorkerId::generate(),
        approval_id: ApprovalId::numbered(1),
        decision: "x".to_owned(),
    };
    let unknown = stage.engine.answer_approval(&context(None, 0), nobody).await.unwrap_err();
    assert_eq!(unknown.reason(), Reason::UnknownWorker);
}

#[tokio::test]
async fn a_question_that_nobody_answers_is_refused_in_time_and_by_nobody() {
    let Some(profile) = asking() else { return };
    let stage = Stage::with(Profile { approval_timeout: Duration::from_millis(50), ..profile }).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Now);
    stage.send(&worker, "ask twice").await.unwrap();
    let mut settled = Vec::new();
    while settled.len() < 2 {
        let frame = text(&within(next_frame(&mut stream)).await.unwrap().wire);
        settled.extend(frame.starts_with("ApprovalSettled").then_some(frame));
    }
    let told = "option_id: Some(\"reject_once\"), caller: None";
    assert!(settled.iter().all(|it| it.contains(told)), "{settled:?}");
    assert_eq!(stage.refused(&worker, 1, "allow_once").await, Reason::ApprovalSettled);
}

#[tokio::test]
async fn a_restart_settles_what_is_open_and_repeats_what_was_answered_also_of_who_was_deleted() {
    let Some(profile) = asking() else { return };
    let parts = parts(store(), [("it", profile)]);
    let (apart, first_life) = engine_apart(&parts);
    let stage = Stage::open(first_life).await;
    let worker = stage.spawn().await;
    stage.send(&worker, "ask twice").await.unwrap();
    stage.asked(&worker, 2).await;
    let ctx = || context(Some("answer"), 1);
    let ack = stage.answer(&ctx(), &worker, 1, "allow_once").await.unwrap();
    gone(apart).await;
    let again = Stage::open(parts).await;
    assert_eq!(again.engine.list_approvals(&worker.worker_id).unwrap(), []);
    assert_eq!(again.refused(&worker, 2, "allow_once").await, Reason::ApprovalSettled);
    let told: Vec<_> = to_the_end(again.observe(&worker, ObserveFrom::Beginning), 0).await;
    let place = |what: &str| told.iter().position(|(_, payload)| payload.starts_with(what)).unwrap();
    let open = told.iter().rposition(|(_, payload)| payload.starts_with("ApprovalSettled")).unwrap();
    assert!(told[open].1.contains("approval-2, option_id: None, caller: None"), "{}", told[open].1);
    assert!(place("ApprovalSettled") < open && open < place("TurnEnded") && place("TurnEnded") < place("End"));
    for _ in 0..2 {
        assert_eq!(again.answer(&ctx(), &worker, 1, "allow_once").await.unwrap(), ack);
        let _ = again.delete(&worker, false, None).await;
    }
    let other = again.answer(&context(Some("answer"), 2), &worker, 1, "reject_once").await.unwrap_err();
    assert_eq!(other.reason(), Reason::RequestIdReused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_full_store_no_answer_counts_and_a_stop_leaves_nobody_waiting() {
    let Some(profile) = asking() else { return };
    let steady = Unsteadiness { seed: 3, delay: Duration::from_millis(1), failure: 0.0 };
    let (stage, store) = Stage::unsteady(profile, steady).await;
    let worker = stage.spawn().await;
    stage.send(&worker, "ask").await.unwrap();
    stage.asked(&worker, 1).await;
    store.memory().leave_room(Some(0));
    for _ in 0..3 {
        assert_eq!(stage.refused(&worker, 1, "allow_once").await, Reason::StoreFull);
    }
    assert_eq!(stage.engine.list_approvals(&worker.worker_id).unwrap().len(), 1, "it is still open");
    within(stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful)).await;
    assert_eq!(stage.refused(&worker, 1, "allow_once").await, Reason::ApprovalSettled);
    let told = to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0).await;
    let settled: Vec<_> = told.iter().filter(|(_, payload)| payload.starts_with("ApprovalSettled")).collect();
    assert!(matches!(&settled[..], [(_, it)] if it.contains("option_id: None, caller: None")), "{settled:?}");
}
