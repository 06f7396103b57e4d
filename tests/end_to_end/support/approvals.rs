//! What a worker asks, and the answers to it.

use tonic::Status;
use workplane::proto::v1;
use workplane::proto::v1::observation_frame::Payload;

use super::{Frame, Worker, within};

impl Worker {
    /// What it asks that waits for an answer.
    pub(crate) async fn approvals(&self) -> Vec<v1::Approval> {
        let (runtime_id, worker_id) = self.ids();
        let request = v1::ListApprovalsRequest { runtime_id, worker_id };
        within("approvals", self.client().workers().list_approvals(request)).await.unwrap().into_inner().approvals
    }

    /// The request that answers it.
    pub(crate) fn answer(&self, approval_id: &str, decision: &str) -> v1::AnswerApprovalRequest {
        let (runtime_id, worker_id) = self.ids();
        let (approval_id, decision, request_id) = (approval_id.to_owned(), decision.to_owned(), String::new());
        v1::AnswerApprovalRequest { runtime_id, worker_id, approval_id, decision, request_id }
    }

    pub(crate) async fn try_answer(
        &self,
        request: v1::AnswerApprovalRequest,
    ) -> Result<v1::AnswerApprovalResponse, Status> {
        Ok(within("an answer", self.client().workers().answer_approval(request)).await?.into_inner())
    }
}

impl Frame {
    /// What is asked.
    pub(crate) fn approval(&self) -> Option<&v1::Approval> {
        match self.payload() {
            Payload::ApprovalRequested(asked) => asked.approval.as_ref(),
            _ => None,
        }
    }

    /// What has its answer, or needs none any more.
    pub(crate) fn settled(&self) -> Option<&v1::ApprovalSettled> {
        match self.payload() {
            Payload::ApprovalSettled(settled) => Some(settled),
            _ => None,
        }
    }
}
