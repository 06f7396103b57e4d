//! Agents that ask for leave.

use agent_client_protocol::v1::schema::PermissionOption;
use serde_json::{Value, json};

use super::*;
use crate::engine::driver::{Asked, Fact};
use crate::model::{Approval, ApprovalId, ApprovalKind, InputKind, TurnEndReason};

fn options(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({"optionId": kind, "name": format!("{kind}?"), "kind": kind})).collect()
}

#[test]
fn leave_is_answered_as_narrowly_as_the_agent_lets_it_be() {
    let outcome = |kinds: &[&str], permissions| {
        let options: Vec<PermissionOption> = serde_json::from_value(options(kinds)).unwrap();
        let answer = serde_json::to_value(super::super::leave::leave(&options, permissions)).unwrap();
        answer["optionId"].as_str().or(answer["outcome"].as_str()).unwrap().to_owned()
    };
    let all = ["allow_always", "allow_once", "reject_always", "reject_once"];
    assert_eq!(outcome(&all, Permissions::Deny), "reject_once");
    assert_eq!(outcome(&all, Permissions::Allow), "allow_once");
    assert_eq!(outcome(&all[..1], Permissions::Allow), "allow_always");
    assert_eq!(outcome(&all[..2], Permissions::Deny), "cancelled");
    assert_eq!(outcome(&all[2..], Permissions::Allow), "cancelled");
}

/// An agent in a turn, whose questions somebody else answers.
async fn at_work() -> Bed {
    let mut bed = with(Permissions::Ask);
    bed.answers(json!({"protocolVersion": 1})).await;
    bed.answers(json!({"sessionId": "s"})).await;
    bed.prompt("turn-1").await;
    bed
}

impl Bed {
    async fn says(&mut self, message: Value) {
        self.says.write_all((message.to_string() + "\n").as_bytes()).await.unwrap();
    }

    /// Gives it a prompt: the id of the agent's answer to it.
    async fn prompt(&mut self, turn_id: &str) -> Value {
        let content = "go on".to_owned();
        let delivery = Delivery { turn_id: turn_id.into(), kind: InputKind::User, content, sequence: 1 };
        self.inputs.send(delivery).await.unwrap();
        let asked = self.asked().await;
        assert_eq!(asked["method"], "session/prompt");
        asked["id"].clone()
    }

    async fn asks(&mut self, id: impl Into<Value>, title: &str, options: Value) {
        let call = json!({"toolCallId": "c", "title": title});
        let params = json!({"sessionId": "s", "toolCall": call, "options": options});
        let (id, method) = (id.into(), "session/request_permission");
        self.says(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
    }

    /// The next question that is told on.
    async fn question(&mut self) -> Asked {
        loop {
            match self.reports.recv().await.unwrap() {
                Report::Told(Fact::Asked(asked)) => return asked,
                Report::State(_) | Report::Ready => {}
                other => panic!("no question: {other:?}"),
            }
        }
    }

    async fn reply(&self, number: u64, option_id: Option<&str>) {
        let (approval_id, option_id) = (ApprovalId::numbered(number), option_id.map(Into::into));
        self.answers.send(Reply { approval_id, option_id }).await.unwrap();
    }

    /// What the agent is answered next, and to which of its questions.
    async fn answered(&mut self) -> (Value, String) {
        let answer = self.asked().await;
        let outcome = &answer["result"]["outcome"];
        let words = outcome["optionId"].as_str().or(outcome["outcome"].as_str()).unwrap();
        (answer["id"].clone(), words.to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_waits_for_somebody_elses_answer_in_whatever_order() {
    let mut bed = at_work().await;
    bed.asks(1, "one", options(&["allow_once", "reject_once"])).await;
    bed.asks("two", "two", options(&["allow_once", "reject_once"])).await;
    let (one, two) = (bed.question().await, bed.question().await);
    assert_eq!((one.approval_id.as_str(), &*one.turn_id, &*one.title), ("approval-1", "turn-1", "one"));
    assert_eq!((two.approval_id.as_str(), &*two.title), ("approval-2", "two"));
    let told: Vec<_> = one.options.iter().map(|it| (&*it.option_id, &*it.label, it.kind)).collect();
    let expected = [
        ("allow_once", "allow_once?", ApprovalKind::AllowOnce),
        ("reject_once", "reject_once?", ApprovalKind::RejectOnce),
    ];
    assert_eq!(told, expected);
    bed.reply(2, Some("allow_once")).await;
    assert_eq!(bed.answered().await, ("two".into(), "allow_once".to_owned()));
    // A second answer has nobody to go to.
    bed.reply(2, Some("reject_once")).await;
    bed.reply(1, None).await;
    assert_eq!(bed.answered().await, (1.into(), "cancelled".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn no_more_questions_wait_than_may_and_the_agent_is_read_on() {
    let mut bed = at_work().await;
    for n in 1..=Approval::MAX_OPEN {
        bed.asks(n, "more", options(&["allow_once", "reject_once"])).await;
        assert_eq!(bed.question().await.approval_id, ApprovalId::numbered(n as u64));
    }
    for n in [100, 101] {
        bed.asks(n, "too many", options(&["allow_once", "reject_once"])).await;
        assert_eq!(bed.answered().await, (n.into(), "reject_once".to_owned()));
    }
    let Report::Told(Fact::Said(said)) = bed.reports.recv().await.unwrap() else { panic!("a remark") };
    assert!(said.content.contains("no more of its questions can wait"), "{said:?}");
    assert!(bed.reports.try_recv().is_err(), "it is said once");
    // As soon as one is answered there is room for another.
    bed.reply(1, Some("reject_once")).await;
    bed.answered().await;
    bed.asks(102, "again", options(&["allow_once"])).await;
    assert_eq!(bed.question().await.title, "again");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_broken_off_answers_what_is_open_as_cancelled() {
    let mut bed = at_work().await;
    bed.asks(1, "open", options(&["allow_once"])).await;
    bed.question().await;
    bed.signals.stopping.cancel();
    assert_eq!(bed.asked().await["method"], "session/cancel");
    assert_eq!(bed.answered().await, (1.into(), "cancelled".to_owned()));
    bed.asks(2, "late", options(&["allow_once"])).await;
    assert_eq!(bed.answered().await, (2.into(), "cancelled".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn so_does_one_that_is_over_and_outside_of_a_turn_nobody_is_asked() {
    let mut bed = with(Permissions::Ask);
    bed.answers(json!({"protocolVersion": 1})).await;
    bed.answers(json!({"sessionId": "s"})).await;
    let prompt = bed.prompt("turn-1").await;
    bed.asks(1, "open", options(&["allow_once"])).await;
    bed.question().await;
    bed.says(json!({"jsonrpc": "2.0", "id": prompt, "result": {"stopReason": "end_turn"}})).await;
    assert_eq!(bed.answered().await, (1.into(), "cancelled".to_owned()));
    let ended = bed.reports.recv().await.unwrap();
    assert!(matches!(&ended, Report::TurnEnded(turn, TurnEndReason::EndTurn) if **turn == *"turn-1"), "{ended:?}");
    bed.asks(2, "idle", options(&["allow_once", "reject_once"])).await;
    assert_eq!(bed.answered().await, (2.into(), "reject_once".to_owned()));
    let Report::Told(Fact::Said(said)) = bed.reports.recv().await.unwrap() else { panic!("a remark") };
    assert!(said.content.contains("it was at no input"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_asks_is_told_on_in_a_form_that_carries_nothing_else() {
    let mut bed = at_work().await;
    let mut asked: Vec<_> =
        (0..40).map(|n| json!({"optionId": format!("o-{n}"), "name": "x", "kind": "allow_once"})).collect();
    asked[0] = json!({"optionId": "Yes, do it", "name": format!("\u{1b}[2J{}", "é".repeat(200)), "kind": "allow_once"});
    asked[1] = json!({"optionId": "x".repeat(129), "name": "long", "kind": "allow_once"});
    asked[2] = json!({"optionId": "o-3", "name": "double", "kind": "allow_once"});
    let title = format!("rm\n-rf {}", "x".repeat(5_000));
    bed.asks(1, &title, asked.into()).await;
    let question = bed.question().await;
    assert!(question.title.starts_with("rm -rf x") && question.title.ends_with(" …"), "{}", question.title);
    assert!(question.title.len() <= Approval::MAX_TITLE && question.title.chars().all(is_plain));
    assert_eq!(question.options.len(), Approval::MAX_OPTIONS);
    let ids: Vec<_> = question.options.iter().take(3).map(|option| &*option.option_id).collect();
    assert_eq!(ids, ["option-1", "o-3", "o-4"]);
    assert!(question.options[0].label.len() <= Approval::MAX_LABEL && question.options[0].label.chars().all(is_plain));
    assert_eq!(question.options[1].label, "double");
    bed.reply(1, Some("option-1")).await;
    assert_eq!(bed.answered().await, (1.into(), "Yes, do it".to_owned()));
    // Nothing to choose from: nobody is asked.
    bed.asks(2, "nothing", json!([])).await;
    assert_eq!(bed.answered().await, (2.into(), "cancelled".to_owned()));
}
