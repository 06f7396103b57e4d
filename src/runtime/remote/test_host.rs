//! A host for tests: a real engine behind the host's service, served in memory, that can be told to misbehave.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, stream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::test_faults::Faults;
use super::test_wire::Wire;
use super::{RemoteConfig, RemoteRuntime};
use crate::engine::store::MemoryStore;
use crate::engine::{Engine, Observation, Observed, Retention};
use crate::model::{
    BundleSummary, CallContext, Error, RequestId, RuntimeId, TRANSCRIPT_PAGE_MAX, WorkerId, WorkspaceId,
};
use crate::proto::convert;
use crate::proto::frames::Place;
use crate::proto::raw::{HostGetTranscriptResponse, HostObserveWorkerResponse};
use crate::proto::runtime_v1 as host;
use crate::proto::runtime_v1::worker_runtime_service_server::{WorkerRuntimeService, WorkerRuntimeServiceServer};
use crate::proto::status::to_status;
use crate::proto::v1;
use crate::runtime::{LocalRuntime, WorkerRuntime as _};

/// A host, and the wire to it.
pub(super) struct TestHost {
    pub engine: Engine,
    pub faults: Arc<Faults>,
    pub wire: Arc<Wire>,
}

#[derive(Clone)]
struct Service {
    local: LocalRuntime,
    faults: Arc<Faults>,
}

pub(super) const RUNTIME: &str = "remote:primary";

pub(super) fn runtime_id() -> RuntimeId {
    RuntimeId::new(RUNTIME).unwrap()
}

/// A caller's context with a request id of its own.
pub(super) fn ctx() -> CallContext {
    let mut ctx = CallContext::internal(WorkspaceId::new("local:test").unwrap(), Duration::from_mins(1));
    ctx.request_id = Some(RequestId::generate());
    ctx
}

impl TestHost {
    pub(super) async fn start() -> Self {
        Self::keeping(Retention::default()).await
    }

    /// One that keeps only so much.
    pub(super) async fn keeping(retention: Retention) -> Self {
        let mut parts = LocalRuntime::parts(runtime_id(), MemoryStore::new());
        parts.limits.retention = retention;
        let engine = Engine::open(parts).await.unwrap();
        let faults = Arc::new(Faults::default());
        let (wire, incoming) = Wire::new();
        let service = Service { local: LocalRuntime::new(engine.clone(), "A host"), faults: Arc::clone(&faults) };
        let server = tonic::transport::Server::builder().add_service(WorkerRuntimeServiceServer::new(service));
        tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        Self { engine, faults, wire }
    }

    /// Serves it over TCP as well; returns the endpoint.
    pub(super) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let service = Service { local: LocalRuntime::new(self.engine.clone(), ""), faults: Arc::clone(&self.faults) };
        let server = tonic::transport::Server::builder().add_service(WorkerRuntimeServiceServer::new(service));
        tokio::spawn(server.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
        endpoint
    }

    /// A control plane's view of it.
    pub(super) fn runtime(&self) -> RemoteRuntime {
        self.runtime_of(&RemoteConfig::new(runtime_id(), "http://host.test:7500"))
    }

    pub(super) fn runtime_of(&self, config: &RemoteConfig) -> RemoteRuntime {
        RemoteRuntime::with_dial(config, &tokio::runtime::Handle::current(), self.wire.clone()).unwrap()
    }

    pub(super) fn upstreams(&self) -> usize {
        self.faults.upstreams.load(Ordering::Relaxed)
    }
}

type Answer<T> = Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    fn note<T>(&self, request: &Request<T>) {
        let header = |name| request.metadata().get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        self.faults.tokens.lock().push(header("authorization"));
    }

    /// The same, of a call that may be refused before it does anything.
    fn asked<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.note(request);
        self.faults.next.lock().pop_front().map_or(Ok(()), Err)
    }

    /// The answer of a change that was made, where it arrives.
    fn answered<T>(&self, answer: T) -> Answer<T> {
        let lost = self.faults.loses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if lost.is_ok() { Err(Status::unavailable("lost")) } else { Ok(Response::new(answer)) }
    }

    /// As [`Service::note`], and what it answers whatever it is asked.
    fn refused<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.note(request);
        self.faults.refuses.lock().clone().map_or(Ok(()), Err)
    }

    /// What it has, as it tells of it.
    fn told(&self, summary: BundleSummary) -> v1::ConfigBundleAvailability {
        let mut availability = convert::availability(summary);
        if let Some(lie) = self.faults.lies.lock().as_ref() {
            lie(&mut availability);
        }
        availability
    }

    /// Who asks for a change.
    fn context(&self, context: Option<host::RequestContext>) -> CallContext {
        let context = convert::host_context(context).unwrap();
        self.faults.request_ids.lock().push(context.request_id.to_string());
        CallContext {
            request_id: Some(context.request_id),
            workspace: context.workspace,
            caller: context.caller,
            ..ctx()
        }
    }
}

fn worker_id(text: &str) -> WorkerId {
    WorkerId::new(text).unwrap()
}

macro_rules! later {
    ($($name:ident: $request:ident => $response:ty),* $(,)?) => {$(
        fn $name<'a, 'b>(&'a self, _: Request<host::$request>) -> Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(to_status(&Error::not_yet(stringify!($name)))) })
        }
    )*};
}

#[tonic::async_trait]
impl WorkerRuntimeService for Service {
    type WatchWorkersStream = BoxStream<host::WatchWorkersResponse>;
    type StreamTranscriptStream = BoxStream<crate::proto::raw::HostStreamTranscriptResponse>;
    type ObserveWorkerStream = BoxStream<HostObserveWorkerResponse>;
    type ObserveWorkersStream = BoxStream<host::ObserveWorkersResponse>;

    async fn get_runtime(&self, request: Request<host::GetRuntimeRequest>) -> Answer<host::GetRuntimeResponse> {
        self.note(&request);
        let mut answer = convert::host_runtime(self.local.info(), SystemTime::now(), "memory");
        if let Some(other) = self.faults.says_it_is.lock().clone() {
            answer.runtime_id = other;
        }
        if let Some(features) = self.faults.features.lock().clone() {
            answer.features = features;
        }
        Ok(Response::new(answer))
    }

    async fn create_worker(&self, request: Request<host::CreateWorkerRequest>) -> Answer<host::CreateWorkerResponse> {
        self.asked(&request)?;
        let mut request = request.into_inner();
        let on_behalf = self.context(request.context.take());
        let create = convert::host_create(request).unwrap();
        let created = self.local.create_worker(&on_behalf, create).await.map_err(|error| to_status(&error))?;
        self.answered(convert::host_created(created))
    }

    async fn get_worker(&self, request: Request<host::GetWorkerRequest>) -> Answer<host::GetWorkerResponse> {
        self.asked(&request)?;
        *self.faults.timeout.lock() =
            request.metadata().get("grpc-timeout").and_then(|it| it.to_str().ok()).map(str::to_owned);
        if *self.faults.hangs.lock() {
            std::future::pending::<()>().await;
        }
        if let Some(status) = self.faults.refuses.lock().clone() {
            return Err(status);
        }
        let worker_id = worker_id(&request.into_inner().worker_id);
        let worker = self.local.get_worker(&ctx(), &worker_id).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(host::GetWorkerResponse { worker: Some(convert::worker(worker)) }))
    }

    async fn list_workers(&self, request: Request<host::ListWorkersRequest>) -> Answer<host::ListWorkersResponse> {
        self.asked(&request)?;
        let asked = convert::host_list_workers(request.into_inner()).map_err(|error| to_status(&error))?;
        let page =
            self.local.list_workers(&ctx(), &asked.filter, asked.page.after.as_ref(), asked.page.limit).await.unwrap();
        let next_page_token = match page.workers.last() {
            Some(last) if page.more => asked.page.token(&last.worker_id),
            _ => String::new(),
        };
        let workers = page.workers.into_iter().map(convert::worker).collect();
        Ok(Response::new(host::ListWorkersResponse { workers, diagnostics: Vec::new(), next_page_token }))
    }

    async fn send_input(&self, request: Request<host::SendInputRequest>) -> Answer<host::SendInputResponse> {
        self.asked(&request)?;
        let mut request = request.into_inner();
        let on_behalf = self.context(request.context.take());
        let input = convert::host_send(request).unwrap();
        let ack = self.local.send_input(&on_behalf, input).await.map_err(|error| to_status(&error))?;
        self.answered(convert::host_sent(ack))
    }

    async fn stop_worker(&self, request: Request<host::StopWorkerRequest>) -> Answer<host::StopWorkerResponse> {
        self.asked(&request)?;
        let mut request = request.into_inner();
        let on_behalf = self.context(request.context.take());
        let stop = convert::host_stop(request).unwrap();
        let ack = self.local.stop_worker(&on_behalf, stop).await.map_err(|error| to_status(&error))?;
        self.answered(convert::host_stopped(ack))
    }

    async fn cancel_worker(&self, request: Request<host::CancelWorkerRequest>) -> Answer<host::CancelWorkerResponse> {
        self.asked(&request)?;
        let mut request = request.into_inner();
        let on_behalf = self.context(request.context.take());
        let stop = convert::host_cancel(request).unwrap();
        let ack = self.local.stop_worker(&on_behalf, stop).await.map_err(|error| to_status(&error))?;
        self.answered(convert::host_cancelled(ack))
    }

    async fn interrupt_worker(
        &self,
        request: Request<host::InterruptWorkerRequest>,
    ) -> Answer<host::InterruptWorkerResponse> {
        self.asked(&request)?;
        let message = request.into_inner();
        let worker_id = convert::host_interrupt(&message).map_err(|error| to_status(&error))?;
        let on_behalf = self.context(message.context);
        let ack = self.local.interrupt_worker(&on_behalf, &worker_id).await.map_err(|error| to_status(&error))?;
        self.answered(convert::host_interrupted(ack))
    }

    async fn delete_worker(&self, request: Request<host::DeleteWorkerRequest>) -> Answer<host::DeleteWorkerResponse> {
        self.asked(&request)?;
        let mut request = request.into_inner();
        let on_behalf = self.context(request.context.take());
        let delete = convert::host_delete(request).unwrap();
        let ack = self.local.delete_worker(&on_behalf, delete).await.map_err(|error| to_status(&error))?;
        self.answered(convert::host_deleted(ack))
    }

    async fn get_transcript(&self, request: Request<host::GetTranscriptRequest>) -> Answer<HostGetTranscriptResponse> {
        self.asked(&request)?;
        let host::GetTranscriptRequest { worker_id: of, start, limit: _ } = request.into_inner();
        let page = self.local.get_transcript(&ctx(), &worker_id(&of), start, TRANSCRIPT_PAGE_MAX).await;
        let page = page.map_err(|error| to_status(&error))?;
        Ok(Response::new(HostGetTranscriptResponse {
            worker_id: of,
            start,
            limit: 256,
            total_items: page.total_items,
            next_start: page.next_start,
            items: page.items,
            diagnostics: Vec::new(),
        }))
    }

    async fn observe_worker(&self, request: Request<host::ObserveWorkerRequest>) -> Answer<Self::ObserveWorkerStream> {
        self.note(&request);
        let observe = convert::host_observe(request.into_inner()).map_err(|error| to_status(&error))?;
        let counter = if observe.stop_after.is_some() { &self.faults.replays } else { &self.faults.upstreams };
        counter.fetch_add(1, Ordering::Relaxed);
        let observation = self.local.observe_worker(&ctx(), &observe.worker_id, observe.from, observe.stop_after).await;
        let observation = observation.map_err(|error| to_status(&error))?;
        Ok(Response::new(self.frames(observation, &observe.worker_id)))
    }

    later! {
        watch_workers: WatchWorkersRequest => Self::WatchWorkersStream,
        list_approvals: ListApprovalsRequest => host::ListApprovalsResponse,
        answer_approval: AnswerApprovalRequest => host::AnswerApprovalResponse,
        stream_transcript: StreamTranscriptRequest => Self::StreamTranscriptStream,
        observe_workers: ObserveWorkersRequest => Self::ObserveWorkersStream,
    }

    async fn sync_config_bundle(
        &self,
        request: Request<host::SyncConfigBundleRequest>,
    ) -> Answer<host::SyncConfigBundleResponse> {
        self.refused(&request)?;
        let mut request = request.into_inner();
        let on_behalf = self.context(request.context.take());
        let bundle = convert::host_sync_config_bundle(request).map_err(|error| to_status(&error))?;
        let summary = self.local.sync_config_bundle(&on_behalf, bundle).await.map_err(|error| to_status(&error))?;
        let availability = Some(self.told(summary));
        Ok(Response::new(host::SyncConfigBundleResponse { availability, diagnostics: Vec::new() }))
    }

    async fn check_config_bundle(
        &self,
        request: Request<host::CheckConfigBundleRequest>,
    ) -> Answer<host::CheckConfigBundleResponse> {
        self.refused(&request)?;
        let reference = convert::host_check_config_bundle(request.into_inner()).map_err(|error| to_status(&error))?;
        let summary = self.local.check_config_bundle(&ctx(), &reference).await.map_err(|error| to_status(&error))?;
        let availability = Some(self.told(summary));
        Ok(Response::new(host::CheckConfigBundleResponse { availability, diagnostics: Vec::new() }))
    }

    async fn remove_config_bundle(
        &self,
        request: Request<host::RemoveConfigBundleRequest>,
    ) -> Answer<host::RemoveConfigBundleResponse> {
        self.refused(&request)?;
        let mut request = request.into_inner();
        let on_behalf = self.context(request.context.take());
        let reference = convert::host_remove_config_bundle(request).map_err(|error| to_status(&error))?;
        self.local.remove_config_bundle(&on_behalf, reference).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(host::RemoveConfigBundleResponse::default()))
    }

    async fn list_config_bundles(
        &self,
        request: Request<host::ListConfigBundlesRequest>,
    ) -> Answer<host::ListConfigBundlesResponse> {
        self.refused(&request)?;
        let page = convert::host_list_config_bundles(request.into_inner()).map_err(|error| to_status(&error))?;
        let found = self.local.list_config_bundles(&ctx(), page.after.as_ref(), page.limit).await.unwrap();
        let next = found.bundles.last().filter(|_| found.more).map(BundleSummary::reference);
        Ok(Response::new(host::ListConfigBundlesResponse {
            bundles: found.bundles.into_iter().map(convert::bundle_summary).collect(),
            diagnostics: Vec::new(),
            next_page_token: next.map(|key| page.token(&key)).unwrap_or_default(),
        }))
    }
}

/// Counts the streams that are open.
struct Open(Arc<Faults>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    fn frames(&self, observation: Observation, worker_id: &WorkerId) -> BoxStream<HostObserveWorkerResponse> {
        self.faults.streams.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            runtime_id: runtime_id(),
            worker_id: worker_id.clone(),
            incarnation: observation.incarnation(),
            sequence: 0,
        };
        let state = (observation, place, 0, Open(self.faults.clone()));
        Box::pin(stream::try_unfold(state, |(mut observation, mut place, n, open)| async move {
            let waiting = tokio::time::timeout(Duration::from_secs(5), observation.next()).await;
            let wire = match waiting {
                Err(_) => place.heartbeat(Duration::ZERO, SystemTime::now()),
                Ok(Err(error)) => return Err(to_status(&error)),
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(Observed::Snapshot(view)))) => {
                    place.sequence = view.resumes_after;
                    place.snapshot(&view, SystemTime::now())
                }
                Ok(Ok(Some(Observed::Notice(notice)))) => place.diagnostic(notice, SystemTime::now()),
                Ok(Ok(Some(Observed::Frame(frame)))) => {
                    place.sequence = frame.sequence;
                    frame.wire
                }
            };
            let tamper = open.0.tampers.lock().clone();
            let wire = tamper.map_or_else(|| wire.clone(), |tamper| tamper(n, wire.clone()));
            let response = HostObserveWorkerResponse { frame: Some(wire) };
            Ok(Some((response, (observation, place, n + 1, open))))
        }))
    }
}
