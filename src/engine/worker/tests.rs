//! What a worker makes of what it is told, in an order that no test of a whole one can hold.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::draft::Draft;
use super::stage::{Stage, StageContext};
use super::{Ending, StopWish};
use crate::engine::driver::{Asked, Fact, Utterance};
use crate::engine::profile::Protocol;
use crate::engine::row::{ProcessRecord, WorkerRow};
use crate::engine::store::Batch;
use crate::engine::tests::{PlainCodec, agent_row};
use crate::model::{
    ApprovalId, EventKind, InputKind, Role, StopMode, ToolCall, ToolStatus, TurnEndReason, TurnId, WorkerInput,
};

/// A time, so many seconds from the first.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// An agent that is in a turn, all of which has landed: `turn-2`.
fn in_turn() -> Stage {
    let context = StageContext {
        codec: Arc::new(PlainCodec),
        protocol: Protocol::Acp,
        input_queue: 9,
        approval_timeout: Duration::from_mins(1),
        restarts: None,
    };
    let process = Some(ProcessRecord { pid: 1, start_time: 1, boot: 1 });
    let mut stage = Stage::new(context, WorkerRow { process, ..agent_row() }, 0);
    stage.at(at(1));
    stage.birth(Some((WorkerInput::new(InputKind::User, "work".to_owned()).unwrap(), None)), None);
    stage.ready();
    submit(&mut stage);
    stage.landed(stage.row.last_sequence, None, |_| {});
    stage
}

/// Stages what follows, and submits it.
fn submit(stage: &mut Stage) -> (Draft, Option<Batch>) {
    stage.advance();
    stage.take()
}

fn kinds(draft: &Draft) -> Vec<EventKind> {
    draft.steps.iter().map(|step| step.event.kind()).collect()
}

fn turn() -> TurnId {
    TurnId::from("turn-2")
}

fn said(role: Role, content: &str) -> Fact {
    let content = content.to_owned();
    Fact::Said(Utterance { role, content, turn_id: turn(), continues: false, truncated_bytes: 0 })
}

fn tool() -> Fact {
    let status = ToolStatus::InProgress;
    Fact::Tool(ToolCall { turn_id: turn(), call_id: "1".into(), title: "Read".to_owned(), status })
}

fn asked(number: u64) -> Fact {
    let (approval_id, title, options) = (ApprovalId::numbered(number), String::new(), Vec::new());
    Fact::Asked(Asked { approval_id, turn_id: turn(), title, options })
}

#[test]
fn a_question_that_crosses_an_interruption_needs_no_answer() {
    let mut stage = in_turn();
    stage.told(asked(1));
    submit(&mut stage);
    let before = stage.row.clone();
    stage.make_way();
    stage.told(asked(2));
    assert!(stage.row.approvals.is_empty(), "{:?}", stage.row.approvals);
    // It is not broken off, after all.
    stage.revert(before, 2, vec![asked(2)]);
    stage.broken_off = None;
    stage.release(9);
    assert_eq!(stage.row.approvals.len(), 2);
    // It is, and what fails is something later.
    let before = stage.row.clone();
    stage.make_way();
    submit(&mut stage);
    stage.revert(before, 3, vec![asked(3)]);
    stage.broken_off = Some(turn());
    stage.release(9);
    assert!(stage.row.approvals.iter().all(|it| it.approval_id != ApprovalId::numbered(3)));
}

#[test]
fn a_turn_ends_behind_all_that_was_said_in_it_also_where_that_had_to_wait() {
    let mut stage = in_turn();
    let before = stage.row.clone();
    stage.told(said(Role::Assistant, "a"));
    submit(&mut stage);
    stage.turn_ended(&turn(), TurnEndReason::EndTurn);
    stage.revert(before, 1, vec![said(Role::Assistant, "a")]);
    stage.told(said(Role::Assistant, "b"));
    assert_eq!(kinds(&submit(&mut stage).0), []);
    stage.release(1);
    assert_eq!(kinds(&submit(&mut stage).0), [EventKind::ItemAppended]);
    stage.release(9);
    assert_eq!(kinds(&submit(&mut stage).0), [EventKind::ItemAppended, EventKind::TurnEnded]);
}

#[test]
fn only_what_ends_it_may_use_the_room_that_is_kept_back() {
    let is_vital = |fact: Option<Fact>| {
        let mut stage = in_turn();
        stage.stop(StopWish { ending: Ending::Stopped, message: String::new(), mode: StopMode::Graceful }, None);
        if let Some(fact) = fact {
            stage.told(fact);
        }
        submit(&mut stage).1.unwrap().vital
    };
    assert!(is_vital(None));
    for fact in [said(Role::Assistant, "x"), tool(), asked(1)] {
        assert!(!is_vital(Some(fact.clone())), "{fact:?}");
    }
}

#[test]
fn what_a_worker_is_given_and_what_is_remarked_of_it_is_no_progress_of_its_own() {
    let mut stage = in_turn();
    assert_eq!(stage.row.last_progress_at, Some(at(1)), "it took its first input");
    stage.at(at(2));
    stage.birth(Some((WorkerInput::new(InputKind::User, "more".to_owned()).unwrap(), None)), None);
    stage.told(said(Role::System, "a remark"));
    submit(&mut stage);
    assert_eq!(stage.row.last_progress_at, Some(at(1)));
    for (seconds, fact) in [(3, said(Role::Assistant, "x")), (4, tool()), (5, asked(1))] {
        stage.at(at(seconds));
        stage.told(fact);
        assert_eq!(stage.row.last_progress_at, Some(at(seconds)));
    }
    stage.at(at(6));
    stage.turn_ended(&turn(), TurnEndReason::EndTurn);
    submit(&mut stage);
    assert_eq!(stage.row.last_progress_at, Some(at(5)));
    stage.landed(stage.row.last_sequence, None, |_| {});
    assert!(kinds(&submit(&mut stage).0).contains(&EventKind::TurnStarted));
    assert_eq!(stage.row.last_progress_at, Some(at(6)), "it takes the next");
}
