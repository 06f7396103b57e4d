//! What a program asks that somebody has to answer: from the question to the answer that the program is given.
//!
//! ```text
//!                approval_requested lands           answered, or too late: approval_settled staged     …landed
//!  (the program asks) ─────────────────▶ open ────────────────────────────────────────────▶ settled ─────────▶ the driver
//!                                          │  its turn ends, the worker is to end, the program is gone         is told
//!                                          └─────────────────────────────────────────────────────▶ settled, with no answer
//! ```
//! What is open stands in the row, so that no restart forgets it. Here is what the row does not know: when each is
//! refused because nobody answers, and what the driver is to be told. A driver whose turn is broken off or over answers its
//! program by itself.

use std::sync::Arc;

use tokio::time::Instant;

use super::AnswerCommand;
use super::flight::{Answer, refuse_answer};
use super::stage::Stage;
use super::task::Task;
use crate::engine::driver::{Asked, Reply};
use crate::engine::receipts::{Outcome, Receipt};
use crate::model::{AnswerAck, AnswerApproval, Approval, ApprovalId, Error, Event, Reason, Result, Settlement, TurnId};

/// The questions of the program that runs, oldest first.
#[derive(Debug, Default)]
pub(super) struct Questions(Vec<Question>);

#[derive(Debug)]
struct Question {
    approval_id: ApprovalId,
    /// The sequence of its `approval_requested` event.
    asked: u64,
    /// When it is refused.
    due: Instant,
    /// With the sequence of its `approval_settled` event, and what the driver is told, where it is told.
    settled: Option<(u64, Option<Reply>)>,
}

impl Questions {
    /// All events up to `last` have landed: what the driver is told.
    pub(super) fn landed(&mut self, last: u64) -> Vec<Reply> {
        let landed = |it: &mut Question| matches!(it.settled, Some((at, _)) if at <= last);
        self.0.extract_if(.., landed).filter_map(|it| it.settled?.1).collect()
    }

    /// Nothing after `last` will land.
    pub(super) fn revert(&mut self, last: u64) {
        self.0.retain(|it| it.asked <= last);
        for it in &mut self.0 {
            it.settled.take_if(|(at, _)| *at > last);
        }
    }
}

impl Stage {
    /// The program asks. Where its turn is over, or about to be or to be broken off, the question needs no answer any more.
    pub(super) fn ask(&mut self, Asked { approval_id, turn_id, title, options }: Asked) {
        let is_broken_off = self.broken_off.as_ref() == Some(&turn_id);
        let is_moot = is_broken_off || self.stop.is_some() || !self.inputs.is_under_way(&turn_id);
        let approval = Approval { approval_id: approval_id.clone(), turn_id, title, options, requested_at: self.now };
        let approval = Arc::new(approval);
        self.row.approvals_asked = self.row.approvals_asked.max(approval_id.number().unwrap_or_default());
        self.row.approvals.push(Arc::clone(&approval));
        let asked = self.append(Event::ApprovalRequested(approval));
        self.draft.last_was_said();
        let due = Instant::now() + self.context.approval_timeout;
        self.questions.0.push(Question { approval_id: approval_id.clone(), asked, due, settled: None });
        if is_moot {
            self.settle(over(approval_id), false);
        }
    }

    /// Decides on an answer: the first one counts.
    fn answer(&mut self, command: &AnswerCommand) -> Result<(AnswerAck, Option<Receipt>)> {
        let AnswerApproval { worker_id: _, approval_id, decision } = &command.answer;
        let open = self.row.approvals.iter().find(|open| open.approval_id == *approval_id);
        let open = open.ok_or_else(|| not_open(approval_id, self.row.approvals_asked))?;
        let option = open.options.iter().find(|option| *option.option_id == **decision);
        let option = option.ok_or_else(AnswerApproval::not_offered)?;
        let (option_id, caller) = (Some(Arc::clone(&option.option_id)), Some(command.caller.clone()));
        let event_id = self.settle(Settlement { approval_id: approval_id.clone(), option_id, caller }, true);
        let receipt = self.receipt(command.hold.as_ref(), |worker_id| Outcome::Answered { worker_id, event_id });
        Ok((AnswerAck { event_id, diagnostics: Vec::new() }, receipt))
    }

    /// When the next question is refused because nobody has answered it.
    pub(super) fn question_due(&self) -> Option<Instant> {
        self.questions.0.iter().filter(|it| it.settled.is_none()).map(|it| it.due).min()
    }

    /// Refuses what nobody has answered in time, as narrowly as the program lets it be.
    fn refuse_overdue(&mut self, now: Instant) {
        let overdue = self.questions.0.iter().filter(|it| it.settled.is_none() && it.due <= now);
        for approval_id in overdue.map(|it| it.approval_id.clone()).collect::<Vec<_>>() {
            let open = self.row.approvals.iter().find(|open| open.approval_id == approval_id);
            let refusal = open.and_then(|open| open.narrowest_refusal());
            let option_id = refusal.map(|option| Arc::clone(&option.option_id));
            self.settle(Settlement { approval_id, option_id, caller: None }, true);
        }
    }

    /// What was asked in this turn needs no answer any more.
    pub(super) fn settle_of_turn(&mut self, turn_id: &TurnId) {
        self.settle_where(|open| open.turn_id == *turn_id);
    }

    /// Nothing that was asked needs an answer any more.
    pub(super) fn settle_all(&mut self) {
        self.settle_where(|_| true);
    }

    fn settle_where(&mut self, is_over: impl Fn(&Approval) -> bool) {
        let ids: Vec<_> =
            self.row.approvals.iter().filter(|open| is_over(open)).map(|open| open.approval_id.clone()).collect();
        for approval_id in ids {
            self.settle(over(approval_id), false);
        }
    }

    /// Settles a question; with `tells`, the driver is told once that has landed.
    fn settle(&mut self, settlement: Settlement, tells: bool) -> u64 {
        let Settlement { approval_id, option_id, caller: _ } = settlement.clone();
        self.row.approvals.retain(|open| open.approval_id != approval_id);
        let at = self.append(Event::ApprovalSettled(settlement));
        // One of the run before is known to the row alone.
        if let Some(question) = self.questions.0.iter_mut().find(|it| it.approval_id == approval_id) {
            question.settled = Some((at, tells.then_some(Reply { approval_id, option_id })));
        }
        at
    }
}

/// What becomes of a question that needs no answer any more.
fn over(approval_id: ApprovalId) -> Settlement {
    Settlement { approval_id, option_id: None, caller: None }
}

impl Task {
    /// Decides on an answer. Who is refused waits for what that rests on.
    pub(super) fn decide_answer(&mut self, command: AnswerCommand) -> Answer {
        let decided = self.parts.stage.answer(&command);
        let AnswerCommand { answer: _, caller: _, hold, reply } = command;
        match decided {
            Ok((ack, receipt)) => Answer::Approval(reply, ack, hold.zip(receipt)),
            Err(error) => Answer::NotAnswered(reply, error, hold),
        }
    }

    /// Some question was not answered in time.
    pub(super) fn refuse_overdue(&mut self) {
        self.now();
        self.parts.stage.refuse_overdue(Instant::now());
        self.advance(Vec::new());
    }

    /// Tells the driver the answers that have landed.
    pub(super) fn hand_answers(&mut self) {
        let replies = self.parts.stage.questions.landed(self.parts.landed.row.last_sequence);
        let Some(answers) = self.parts.link.as_ref().and_then(|link| link.answers.as_ref()) else { return };
        for reply in replies {
            // There is room for all that may be open; a driver that is gone says so by its exit.
            let _ = answers.try_send(reply);
        }
    }

    /// What is told who answers a worker that has ended.
    pub(super) fn refuse_late(&self, command: AnswerCommand) {
        let error = not_open(&command.answer.approval_id, self.parts.landed.row.approvals_asked);
        refuse_answer(command, error);
    }
}

/// Why a question of a worker that has asked so many cannot be answered.
pub(in crate::engine) fn not_open(approval_id: &ApprovalId, asked: u64) -> Error {
    let was_asked = approval_id.number().is_some_and(|number| (1..=asked).contains(&number));
    let (reason, message) = if was_asked {
        (Reason::ApprovalSettled, "it has its answer, or needs none any more")
    } else {
        (Reason::UnknownApproval, "the worker has asked nothing of this id")
    };
    Error::new(reason, message).with("approval_id", approval_id)
}
