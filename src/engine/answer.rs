//! Answers to what a worker asks.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::core::{Engine, answered, overloaded};
use super::receipts::{Claim, Outcome, refused};
use super::worker::{AnswerCommand, Command, not_open};
use crate::model::{AnswerAck, AnswerApproval, Approval, CallContext, Error, Reason, Result, WorkerId};

impl Engine {
    /// What a worker asks that waits for an answer, oldest first.
    ///
    /// # Errors
    /// Unknown workers.
    pub fn list_approvals(&self, worker_id: &WorkerId) -> Result<Vec<Arc<Approval>>> {
        Ok(self.get_worker(worker_id)?.approvals.to_vec())
    }

    /// Answers a question; the first answer counts. It is durable when this returns.
    ///
    /// # Errors
    /// [`Reason::UnknownApproval`]; [`Reason::ApprovalSettled`] where it has its answer or needs none any more; a decision
    /// that is none of its options; unknown workers, a failed store.
    pub async fn answer_approval(&self, ctx: &CallContext, answer: AnswerApproval) -> Result<AnswerAck> {
        let hold = match self.0.receipts.claim(ctx, "AnswerApproval").await? {
            Claim::Repeat(Outcome::Answered { event_id, .. }) => {
                return Ok(AnswerAck { event_id, diagnostics: Vec::new() });
            }
            Claim::Repeat(_) => return Err(Error::new(Reason::RequestIdReused, "request_id was used before")),
            Claim::New(hold) => Some(hold),
            Claim::Anonymous => None,
        };
        let slot = match self.check_running().and_then(|()| self.sound(&answer.worker_id)) {
            Ok(slot) => slot,
            Err(error) => return Err(refused(hold, error)),
        };
        let permit = match slot.inbox.as_ref().map(mpsc::Sender::try_reserve) {
            Some(Ok(permit)) => permit,
            Some(Err(mpsc::error::TrySendError::Full(()))) => return Err(refused(hold, overloaded())),
            // It has ended, and nothing that it asked is open.
            Some(Err(mpsc::error::TrySendError::Closed(()))) | None => {
                return Err(refused(hold, not_open(&answer.approval_id, slot.tail.view().approvals_asked)));
            }
        };
        let (reply, decided) = oneshot::channel();
        permit.send(Command::Answer(AnswerCommand { answer, caller: ctx.caller.clone(), hold, reply }));
        answered(ctx, decided).await?
    }
}
