//! `workplane.runtime.v1.WorkerRuntimeService`: what a host serves to its control planes. All refusals are statuses here.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::context::{Incoming, bad, refuse};
use super::drain::Drain;
use super::layers::catching;
use super::observation::frames;
use super::page::cut;
use super::source::OfRuntime;
use super::transcript::{batches, cut_page};
use crate::engine::Clock;
use crate::model::{BundleSummary, Error, WorkspaceId};
use crate::proto::convert::{self, Observe, StreamTranscript, Transcript};
use crate::proto::raw::{HostGetTranscriptResponse, HostObserveWorkerResponse, HostStreamTranscriptResponse};
use crate::proto::runtime_v1 as host;
use crate::proto::runtime_v1::worker_runtime_service_server::WorkerRuntimeService;
use crate::runtime::WorkerRuntime;

/// The service.
pub(super) struct HostRuntime {
    pub runtime: Arc<dyn WorkerRuntime>,
    pub store_backend: &'static str,
    pub workspace: WorkspaceId,
    pub clock: Arc<dyn Clock>,
    pub drain: Drain,
}

#[tonic::async_trait]
impl WorkerRuntimeService for HostRuntime {
    async fn get_runtime(
        &self,
        request: Request<host::GetRuntimeRequest>,
    ) -> Result<Response<host::GetRuntimeResponse>, Status> {
        let (incoming, host::GetRuntimeRequest {}) = Incoming::of(request);
        let info = self.runtime.describe(&incoming.read(&self.workspace)).await;
        Ok(Response::new(convert::host_runtime(info, self.clock.now(), self.store_backend)))
    }

    async fn create_worker(
        &self,
        request: Request<host::CreateWorkerRequest>,
    ) -> Result<Response<host::CreateWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let create = convert::host_create(message).map_err(bad)?;
        let created = self.runtime.create_worker(&ctx, create).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(convert::host_created(created)))
    }

    async fn get_worker(
        &self,
        request: Request<host::GetWorkerRequest>,
    ) -> Result<Response<host::GetWorkerResponse>, Status> {
        let (incoming, host::GetWorkerRequest { worker_id }) = Incoming::of(request);
        let worker_id = convert::host_worker_id(&worker_id).map_err(bad)?;
        let ctx = incoming.read(&self.workspace);
        let worker = self.runtime.get_worker(&ctx, &worker_id).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(host::GetWorkerResponse { worker: Some(convert::worker(worker)) }))
    }

    async fn list_workers(
        &self,
        request: Request<host::ListWorkersRequest>,
    ) -> Result<Response<host::ListWorkersResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let asked = convert::host_list_workers(message).map_err(bad)?;
        let ctx = incoming.read(&self.workspace);
        let found = self.runtime.list_workers(&ctx, &asked.filter, asked.page.after.as_ref(), asked.page.limit).await;
        let found = found.map_err(|error| refuse(&error, &ctx))?;
        let ids: Vec<_> = found.workers.iter().map(|worker| worker.worker_id.clone()).collect();
        let mut workers: Vec<_> = found.workers.into_iter().map(convert::worker).collect();
        let more = cut(&mut workers) || found.more;
        let last = ids.get(workers.len().wrapping_sub(1)).filter(|_| more);
        Ok(Response::new(host::ListWorkersResponse {
            workers,
            diagnostics: Vec::new(),
            next_page_token: last.map(|key| asked.page.token(key)).unwrap_or_default(),
        }))
    }

    async fn send_input(
        &self,
        request: Request<host::SendInputRequest>,
    ) -> Result<Response<host::SendInputResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let input = convert::host_send(message).map_err(bad)?;
        let ack = self.runtime.send_input(&ctx, input).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(convert::host_sent(ack)))
    }

    async fn stop_worker(
        &self,
        request: Request<host::StopWorkerRequest>,
    ) -> Result<Response<host::StopWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let stop = convert::host_stop(message).map_err(bad)?;
        let ack = self.runtime.stop_worker(&ctx, stop).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(convert::host_stopped(ack)))
    }

    async fn cancel_worker(
        &self,
        request: Request<host::CancelWorkerRequest>,
    ) -> Result<Response<host::CancelWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let cancel = convert::host_cancel(message).map_err(bad)?;
        let ack = self.runtime.stop_worker(&ctx, cancel).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(convert::host_cancelled(ack)))
    }

    async fn get_transcript(
        &self,
        request: Request<host::GetTranscriptRequest>,
    ) -> Result<Response<HostGetTranscriptResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let Transcript { worker_id, start, limit } = convert::host_transcript(message).map_err(bad)?;
        let ctx = incoming.read(&self.workspace);
        let page = self.runtime.get_transcript(&ctx, &worker_id, start, limit).await;
        let page = cut_page(page.map_err(|error| refuse(&error, &ctx))?, start);
        Ok(Response::new(HostGetTranscriptResponse {
            worker_id: worker_id.to_string(),
            start,
            // At most 256.
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
            total_items: page.total_items,
            next_start: page.next_start,
            items: page.items,
            diagnostics: Vec::new(),
        }))
    }

    type StreamTranscriptStream = BoxStream<HostStreamTranscriptResponse>;

    async fn stream_transcript(
        &self,
        request: Request<host::StreamTranscriptRequest>,
    ) -> Result<Response<Self::StreamTranscriptStream>, Status> {
        let (incoming, message) = Incoming::of(request);
        let StreamTranscript { worker_id, start, follow } = convert::host_stream_transcript(message).map_err(bad)?;
        let ends = incoming.ends(&self.drain);
        let ctx = incoming.read(&self.workspace);
        let source = Arc::new(OfRuntime { runtime: self.runtime.clone(), worker_id });
        let batches = batches(source, ctx.clone(), start, follow, ends);
        let batches = batches.await.map_err(|error| refuse(&error, &ctx))?;
        let answers = catching(batches).map(|batch| {
            batch.map(|batch| HostStreamTranscriptResponse { items: batch.items, next_start: batch.next_start })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    type ObserveWorkerStream = BoxStream<HostObserveWorkerResponse>;

    async fn observe_worker(
        &self,
        request: Request<host::ObserveWorkerRequest>,
    ) -> Result<Response<Self::ObserveWorkerStream>, Status> {
        let (incoming, message) = Incoming::of(request);
        let (until, ends) = (incoming.stream_end(), incoming.ends(&self.drain));
        let Observe { worker_id, from, heartbeat, stop_after } = convert::host_observe(message).map_err(bad)?;
        let ctx = incoming.read(&self.workspace);
        let observation = self.runtime.observe_worker(&ctx, &worker_id, from, stop_after).await;
        let observation = observation.map_err(|error| refuse(&error, &ctx))?;
        let frames = frames(observation, heartbeat, self.clock.clone(), ends, until);
        let answers = catching(frames).map(|frame| frame.map(|frame| HostObserveWorkerResponse { frame: Some(frame) }));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn delete_worker(
        &self,
        request: Request<host::DeleteWorkerRequest>,
    ) -> Result<Response<host::DeleteWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let delete = convert::host_delete(message).map_err(bad)?;
        let ack = self.runtime.delete_worker(&ctx, delete).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(convert::host_deleted(ack)))
    }

    async fn interrupt_worker(
        &self,
        request: Request<host::InterruptWorkerRequest>,
    ) -> Result<Response<host::InterruptWorkerResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let worker_id = convert::host_interrupt(&message).map_err(bad)?;
        let ack = self.runtime.interrupt_worker(&ctx, &worker_id).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(convert::host_interrupted(ack)))
    }

    async fn list_approvals(
        &self,
        request: Request<host::ListApprovalsRequest>,
    ) -> Result<Response<host::ListApprovalsResponse>, Status> {
        let (incoming, host::ListApprovalsRequest { worker_id }) = Incoming::of(request);
        let worker_id = convert::host_worker_id(&worker_id).map_err(bad)?;
        let ctx = incoming.read(&self.workspace);
        let approvals = self.runtime.list_approvals(&ctx, &worker_id).await.map_err(|error| refuse(&error, &ctx))?;
        let approvals = approvals.iter().map(|asked| convert::approval(asked)).collect();
        Ok(Response::new(host::ListApprovalsResponse { approvals, diagnostics: Vec::new() }))
    }

    async fn answer_approval(
        &self,
        request: Request<host::AnswerApprovalRequest>,
    ) -> Result<Response<host::AnswerApprovalResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let answer = convert::host_answer(message).map_err(bad)?;
        let ack = self.runtime.answer_approval(&ctx, answer).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(convert::host_answered(ack)))
    }

    type WatchWorkersStream = BoxStream<host::WatchWorkersResponse>;

    async fn watch_workers(
        &self,
        _: Request<host::WatchWorkersRequest>,
    ) -> Result<Response<Self::WatchWorkersStream>, Status> {
        Err(bad(Error::not_yet("WorkerRuntimeService.WatchWorkers")))
    }

    type ObserveWorkersStream = BoxStream<host::ObserveWorkersResponse>;

    async fn observe_workers(
        &self,
        _: Request<host::ObserveWorkersRequest>,
    ) -> Result<Response<Self::ObserveWorkersStream>, Status> {
        Err(bad(Error::not_yet("WorkerRuntimeService.ObserveWorkers")))
    }

    async fn sync_config_bundle(
        &self,
        request: Request<host::SyncConfigBundleRequest>,
    ) -> Result<Response<host::SyncConfigBundleResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let bundle = convert::host_sync_config_bundle(message).map_err(bad)?;
        let summary = self.runtime.sync_config_bundle(&ctx, bundle).await.map_err(|error| refuse(&error, &ctx))?;
        let availability = Some(convert::availability(summary));
        Ok(Response::new(host::SyncConfigBundleResponse { availability, diagnostics: Vec::new() }))
    }

    async fn check_config_bundle(
        &self,
        request: Request<host::CheckConfigBundleRequest>,
    ) -> Result<Response<host::CheckConfigBundleResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let reference = convert::host_check_config_bundle(message).map_err(bad)?;
        let ctx = incoming.read(&self.workspace);
        let summary = self.runtime.check_config_bundle(&ctx, &reference).await.map_err(|error| refuse(&error, &ctx))?;
        let availability = Some(convert::availability(summary));
        Ok(Response::new(host::CheckConfigBundleResponse { availability, diagnostics: Vec::new() }))
    }

    async fn remove_config_bundle(
        &self,
        request: Request<host::RemoveConfigBundleRequest>,
    ) -> Result<Response<host::RemoveConfigBundleResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.host_change(&mut message).map_err(bad)?;
        let reference = convert::host_remove_config_bundle(message).map_err(bad)?;
        self.runtime.remove_config_bundle(&ctx, reference).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(host::RemoveConfigBundleResponse { diagnostics: Vec::new() }))
    }

    async fn list_config_bundles(
        &self,
        request: Request<host::ListConfigBundlesRequest>,
    ) -> Result<Response<host::ListConfigBundlesResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let page = convert::host_list_config_bundles(message).map_err(bad)?;
        let ctx = incoming.read(&self.workspace);
        let found = self.runtime.list_config_bundles(&ctx, page.after.as_ref(), page.limit).await;
        let found = found.map_err(|error| refuse(&error, &ctx))?;
        let keys: Vec<_> = found.bundles.iter().map(BundleSummary::reference).collect();
        let mut bundles: Vec<_> = found.bundles.into_iter().map(convert::bundle_summary).collect();
        let more = cut(&mut bundles) || found.more;
        let last = keys.get(bundles.len().wrapping_sub(1)).filter(|_| more);
        Ok(Response::new(host::ListConfigBundlesResponse {
            bundles,
            diagnostics: Vec::new(),
            next_page_token: last.map(|key| page.token(key)).unwrap_or_default(),
        }))
    }
}
