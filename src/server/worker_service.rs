//! `workplane.v1.WorkerService`.

use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::context::{Incoming, bad, refuse};
use super::page::cut;
use super::routes::ControlPlane;
use crate::model::{Error, StopAck, StopWorker, Worker};
use crate::proto::convert::{self, Spawn};
use crate::proto::v1::worker_service_server::WorkerService;
use crate::proto::v1::{
    AcceptanceEvidence, AnswerApprovalRequest, AnswerApprovalResponse, CancelWorkerRequest, CancelWorkerResponse,
    ConnectPoint, DeleteWorkerRequest, DeleteWorkerResponse, Diagnostic, GetWorkerRequest, GetWorkerResponse,
    InterruptWorkerRequest, InterruptWorkerResponse, ListApprovalsRequest, ListApprovalsResponse,
    ListConnectPointsRequest, ListConnectPointsResponse, ListWorkersRequest, ListWorkersResponse, OperationState,
    SendInputRequest, SendInputResponse, SpawnWorkerRequest, SpawnWorkerResponse, StopWorkerRequest,
    StopWorkerResponse, WatchWorkersRequest, WatchWorkersResponse,
};
use crate::registry::{Evidence, Operation, Spawned};

/// The service.
pub(super) struct Workers(pub ControlPlane);

#[tonic::async_trait]
impl WorkerService for Workers {
    async fn spawn_worker(
        &self,
        request: Request<SpawnWorkerRequest>,
    ) -> Result<Response<SpawnWorkerResponse>, Status> {
        self.0.drain.check_intake().map_err(bad)?;
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        // What is wrong with the runtime's id is said first; then with the rest, the request's own id last.
        let Spawn { request, workspace } = convert::spawn(message).map_err(bad)?;
        let mut ctx = ctx.map_err(bad)?;
        ctx.workspace = workspace.unwrap_or(ctx.workspace);
        let spawned = self.0.registry.spawn_worker(&ctx, request).await.map_err(|error| refuse(&error, &ctx))?;
        let (state, spawned, diagnostics) = outcome(spawned);
        let (worker, evidence) = spawned.map(|Spawned { worker, evidence }| (worker, evidence)).unzip();
        Ok(Response::new(SpawnWorkerResponse {
            state: state.into(),
            worker: worker.map(convert::worker),
            acceptance_evidence: evidence.into_iter().flatten().map(acceptance_evidence).collect(),
            diagnostics,
        }))
    }

    async fn get_worker(&self, request: Request<GetWorkerRequest>) -> Result<Response<GetWorkerResponse>, Status> {
        let (incoming, GetWorkerRequest { runtime_id, worker_id }) = Incoming::of(request);
        let worker = self.worker(incoming, &runtime_id, &worker_id).await?;
        Ok(Response::new(GetWorkerResponse { worker: Some(convert::worker(worker)) }))
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let asked = convert::list_workers(message).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        let (runtime_id, after) = (asked.runtime_id.as_ref(), asked.page.after.as_ref());
        let listing = self.0.registry.list_workers(&ctx, runtime_id, &asked.filter, after, asked.page.limit).await;
        let listing = listing.map_err(|error| refuse(&error, &ctx))?;
        let key = |worker: &Worker| (worker.runtime_id.clone(), worker.worker_id.clone());
        let keys: Vec<_> = listing.items.iter().map(key).collect();
        let mut workers: Vec<_> = listing.items.into_iter().map(convert::worker).collect();
        let next = if cut(&mut workers) { keys.get(workers.len() - 1).cloned() } else { listing.next };
        Ok(Response::new(ListWorkersResponse {
            workers,
            diagnostics: convert::diagnostics(listing.diagnostics),
            next_page_token: next.map(|key| asked.page.token(&key)).unwrap_or_default(),
        }))
    }

    async fn send_input(&self, request: Request<SendInputRequest>) -> Result<Response<SendInputResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        let (runtime_id, input) = convert::send_input(message).map_err(bad)?;
        let ctx = ctx.map_err(bad)?;
        let worker_id = input.worker_id.to_string();
        let sent = self.0.registry.send_input(&ctx, &runtime_id, input).await.map_err(|error| refuse(&error, &ctx))?;
        let (state, ack, diagnostics) = outcome(sent);
        Ok(Response::new(SendInputResponse {
            state: state.into(),
            runtime_id: runtime_id.to_string(),
            worker_id,
            transcript_sequence: ack.as_ref().map(|ack| ack.transcript_sequence),
            event_id: ack.map(|ack| ack.event_id),
            diagnostics,
        }))
    }

    async fn stop_worker(&self, request: Request<StopWorkerRequest>) -> Result<Response<StopWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        let (runtime_id, stop) = convert::stop_worker(message).map_err(bad)?;
        let ended = self.end(ctx, runtime_id, stop).await?;
        Ok(Response::new(ended))
    }

    async fn cancel_worker(
        &self,
        request: Request<CancelWorkerRequest>,
    ) -> Result<Response<CancelWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        let (runtime_id, cancel) = convert::cancel_worker(message).map_err(bad)?;
        let StopWorkerResponse { state, runtime_id, worker_id, event_id, diagnostics } =
            self.end(ctx, runtime_id, cancel).await?;
        Ok(Response::new(CancelWorkerResponse { state, runtime_id, worker_id, event_id, diagnostics }))
    }

    async fn list_connect_points(
        &self,
        request: Request<ListConnectPointsRequest>,
    ) -> Result<Response<ListConnectPointsResponse>, Status> {
        let (incoming, ListConnectPointsRequest { runtime_id, worker_id }) = Incoming::of(request);
        let worker = self.worker(incoming, &runtime_id, &worker_id).await?;
        let can_observe = self.0.registry.can_observe(&worker.runtime_id).map_err(bad)?;
        Ok(Response::new(ListConnectPointsResponse { connect_points: vec![stream_proxy(can_observe, worker.stale)] }))
    }

    async fn delete_worker(
        &self,
        request: Request<DeleteWorkerRequest>,
    ) -> Result<Response<DeleteWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        let (runtime_id, delete) = convert::delete_worker(message).map_err(bad)?;
        let ctx = ctx.map_err(bad)?;
        let worker_id = delete.worker_id.to_string();
        let deleted = self.0.registry.delete_worker(&ctx, &runtime_id, delete).await;
        let (state, _, diagnostics) = outcome(deleted.map_err(|error| refuse(&error, &ctx))?);
        let runtime_id = runtime_id.to_string();
        Ok(Response::new(DeleteWorkerResponse { state: state.into(), runtime_id, worker_id, diagnostics }))
    }

    async fn interrupt_worker(
        &self,
        request: Request<InterruptWorkerRequest>,
    ) -> Result<Response<InterruptWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        let (runtime_id, worker_id) = convert::interrupt_worker(&message).map_err(bad)?;
        let ctx = ctx.map_err(bad)?;
        let interrupted = self.0.registry.interrupt_worker(&ctx, &runtime_id, &worker_id).await;
        let (state, ack, diagnostics) = outcome(interrupted.map_err(|error| refuse(&error, &ctx))?);
        let event_id = ack.and_then(|ack| ack.event_id);
        let InterruptWorkerRequest { runtime_id, worker_id, .. } = message;
        Ok(Response::new(InterruptWorkerResponse { state: state.into(), runtime_id, worker_id, event_id, diagnostics }))
    }

    async fn list_approvals(
        &self,
        request: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        let (incoming, ListApprovalsRequest { runtime_id, worker_id }) = Incoming::of(request);
        let (runtime_id, worker_id) = convert::worker_ids(&runtime_id, &worker_id).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        let approvals = self.0.registry.list_approvals(&ctx, &runtime_id, &worker_id).await;
        let approvals = approvals.map_err(|error| refuse(&error, &ctx))?;
        let approvals = approvals.iter().map(|asked| convert::approval(asked)).collect();
        Ok(Response::new(ListApprovalsResponse { approvals, diagnostics: Vec::new() }))
    }

    async fn answer_approval(
        &self,
        request: Request<AnswerApprovalRequest>,
    ) -> Result<Response<AnswerApprovalResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        let (runtime_id, answer) = convert::answer_approval(message).map_err(bad)?;
        let ctx = ctx.map_err(bad)?;
        let (worker_id, approval_id) = (answer.worker_id.to_string(), answer.approval_id.to_string());
        let answered = self.0.registry.answer_approval(&ctx, &runtime_id, answer).await;
        let (state, ack, diagnostics) = outcome(answered.map_err(|error| refuse(&error, &ctx))?);
        Ok(Response::new(AnswerApprovalResponse {
            state: state.into(),
            runtime_id: runtime_id.to_string(),
            worker_id,
            approval_id,
            event_id: ack.map(|ack| ack.event_id),
            diagnostics,
        }))
    }

    type WatchWorkersStream = BoxStream<WatchWorkersResponse>;

    async fn watch_workers(
        &self,
        _: Request<WatchWorkersRequest>,
    ) -> Result<Response<Self::WatchWorkersStream>, Status> {
        Err(bad(Error::not_yet("WorkerService.WatchWorkers")))
    }
}

impl Workers {
    async fn worker(&self, incoming: Incoming, runtime_id: &str, worker_id: &str) -> Result<Worker, Status> {
        let (runtime_id, worker_id) = convert::worker_ids(runtime_id, worker_id).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        self.0.registry.get_worker(&ctx, &runtime_id, &worker_id).await.map_err(|error| refuse(&error, &ctx))
    }

    /// A stop or a cancellation.
    async fn end(
        &self,
        ctx: crate::model::Result<crate::model::CallContext>,
        runtime_id: crate::model::RuntimeId,
        stop: StopWorker,
    ) -> Result<StopWorkerResponse, Status> {
        let ctx = ctx.map_err(bad)?;
        let worker_id = stop.worker_id.to_string();
        let ended = self.0.registry.stop_worker(&ctx, &runtime_id, stop).await.map_err(|error| refuse(&error, &ctx))?;
        let (state, ack, diagnostics) = outcome(ended);
        Ok(StopWorkerResponse {
            state: state.into(),
            runtime_id: runtime_id.to_string(),
            worker_id,
            event_id: ack.and_then(|StopAck { event_id, state: _, diagnostics: _ }| event_id),
            diagnostics,
        })
    }
}

/// An operation's state, what came of it, and what else there is to say.
pub(super) fn outcome<T>(operation: Operation<T>) -> (OperationState, Option<T>, Vec<Diagnostic>) {
    let (state, value, diagnostics) = match operation {
        Operation::Accepted { value, diagnostics } => (OperationState::Accepted, Some(value), diagnostics),
        Operation::Rejected(diagnostics) => (OperationState::Rejected, None, diagnostics),
        Operation::Unsupported(diagnostics) => (OperationState::Unsupported, None, diagnostics),
    };
    (state, value, convert::diagnostics(diagnostics))
}

/// How a worker may be observed through this control plane (acceptance 41).
fn stream_proxy(can_observe: bool, stale: bool) -> ConnectPoint {
    let status = match (can_observe, stale) {
        (false, _) => "not_implemented",
        (true, false) => "available",
        (true, true) => "unavailable",
    };
    let pending = || crate::model::Diagnostic::info("worker_proxy_pending", "nothing here observes this worker");
    let diagnostics = if can_observe { Vec::new() } else { convert::diagnostics(vec![pending()]) };
    ConnectPoint { kind: "stream_proxy".to_owned(), status: status.to_owned(), diagnostics }
}

fn acceptance_evidence(from: Evidence) -> AcceptanceEvidence {
    let Evidence { kind, detail } = from;
    AcceptanceEvidence { kind: kind.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_connect_point_says_what_can_be_done_with_it() {
        // acceptance 41
        let of = |can_observe, stale| {
            let ConnectPoint { kind, status, diagnostics } = stream_proxy(can_observe, stale);
            assert_eq!(kind, "stream_proxy");
            (status, diagnostics.into_iter().map(|it| (it.code.clone(), it.severity())).collect::<Vec<_>>())
        };
        let pending = ("worker_proxy_pending".to_owned(), crate::proto::v1::DiagnosticSeverity::Info);
        assert_eq!(of(false, false), ("not_implemented".to_owned(), vec![pending]));
        assert_eq!(of(true, false), ("available".to_owned(), Vec::new()));
        assert_eq!(of(true, true), ("unavailable".to_owned(), Vec::new()));
    }
}
