//! What workers ask, and the answers to it.

use std::sync::Arc;

use super::refusal::Lacking;
use super::{Operation, Registry, bounded};
use crate::model::{AnswerAck, AnswerApproval, Approval, CallContext, Result, RuntimeId, WorkerId};

impl Registry {
    /// What a worker asks that waits for an answer.
    ///
    /// # Errors
    /// As [`Registry::get_transcript`].
    pub async fn list_approvals(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        worker_id: &WorkerId,
    ) -> Result<Vec<Arc<Approval>>> {
        let runtime = self.find(runtime_id)?;
        let approvals = runtime.list_approvals(ctx, worker_id).await;
        self.told(&runtime, worker_id, approvals)
    }

    /// Answers what a worker asks.
    ///
    /// # Errors
    /// As [`Registry::send_input`], and [`UnknownApproval`](crate::model::Reason::UnknownApproval).
    pub async fn answer_approval(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        request: AnswerApproval,
    ) -> Result<Operation<AnswerAck>> {
        let runtime = self.find(runtime_id)?;
        let (worker_id, approval_id) = (request.worker_id.clone(), request.approval_id.clone());
        match self.told(&runtime, &worker_id, runtime.answer_approval(ctx, request).await) {
            Ok(mut ack) => {
                let diagnostics = bounded(std::mem::take(&mut ack.diagnostics));
                Ok(Operation::Accepted { value: ack, diagnostics })
            }
            Err(error) => Lacking::Answer.in_band(&runtime, error.with("approval_id", &approval_id)),
        }
    }
}
