//! The edge over real sockets, with a real engine behind it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use std::time::Duration;

use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

mod refusals;

use super::{Callers, Connections, Drain, Edge, Health, Served, accept, control_plane, serve, worker_runtime};
use crate::engine::store::MemoryStore;
use crate::engine::{
    Engine, EngineLimits, EngineParts, InputForm, Permissions, Profile, Profiles, Protocol, Restart, SystemClock,
};
use crate::model::{ProfileSelector, RuntimeId, TokenTable, WorkspaceId};
use crate::proto::runtime_v1;
use crate::proto::runtime_v1::worker_runtime_service_client::WorkerRuntimeServiceClient;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::observation_service_client::ObservationServiceClient;
use crate::proto::v1::transcript_service_client::TranscriptServiceClient;
use crate::proto::v1::worker_service_client::WorkerServiceClient;
use crate::proto::v1::{self, OperationState};
use crate::registry::Registry;

use crate::runtime::{LocalRuntime, WorkerRuntime};

const RUNTIME: &str = "embedded-worker-runtime";

/// Sends the token of the tests.
#[derive(Clone)]
struct Bearer;

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer s3cret"));
        Ok(request)
    }
}

type Called = InterceptedService<Channel, Bearer>;

/// A server, and a channel to it.
struct Plane {
    address: SocketAddr,
    channel: Channel,
    drain: Drain,
    health: Health,
}

impl Plane {
    async fn of(served: Served, drain: Drain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = format!("http://{address}");
        let tokens = Some(Arc::new(Callers::new(TokenTable::parse("alice s3cret").unwrap())));
        let (routes, ending) = (served.routes, drain.clone());
        tokio::spawn(async move {
            let edge = Edge::control_plane();
            serve(accept(listener, Connections::new(&edge), None), routes, &edge, tokens, ending).await.unwrap();
        });
        let channel = Endpoint::from_shared(endpoint).unwrap().connect().await.unwrap();
        Self { address, channel, drain, health: served.health }
    }

    async fn control() -> Self {
        let (registry, drain) = (Registry::new(), Drain::new());
        registry.replace(vec![runtime().await]).unwrap();
        let served = control_plane(registry, workspace(), Arc::new(SystemClock), drain.clone()).await.unwrap();
        Self::of(served, drain).await
    }

    fn workers(&self) -> WorkerServiceClient<Called> {
        WorkerServiceClient::with_interceptor(self.channel.clone(), Bearer)
    }

    fn transcripts(&self) -> TranscriptServiceClient<Called> {
        TranscriptServiceClient::with_interceptor(self.channel.clone(), Bearer)
    }

    fn observations(&self) -> ObservationServiceClient<Called> {
        ObservationServiceClient::with_interceptor(self.channel.clone(), Bearer)
    }

    /// A worker that runs `cat`.
    async fn spawn(&self) -> String {
        let request = v1::SpawnWorkerRequest {
            runtime_id: RUNTIME.to_owned(),
            intent: Some(v1::SpawnIntent {
                kind: Some(v1::spawn_intent::Kind::WorkspaceCompanion(v1::WorkspaceCompanion {})),
            }),
            profile: Some(v1::ProfileSelector {
                kind: Some(v1::profile_selector::Kind::Builtin("builtin:cat".to_owned())),
            }),
            ..Default::default()
        };
        let spawned = self.workers().spawn_worker(request).await.unwrap().into_inner();
        assert_eq!(spawned.state(), OperationState::Accepted, "{spawned:?}");
        spawned.worker.unwrap().worker_id
    }

    async fn send(&self, worker_id: &str, content: &str) {
        let request = v1::SendInputRequest {
            runtime_id: RUNTIME.to_owned(),
            worker_id: worker_id.to_owned(),
            content: content.to_owned(),
            ..Default::default()
        };
        let sent = self.workers().send_input(request).await.unwrap().into_inner();
        assert_eq!(sent.state(), OperationState::Accepted);
    }

    async fn stop(&self, worker_id: &str) {
        let request = v1::StopWorkerRequest {
            runtime_id: RUNTIME.to_owned(),
            worker_id: worker_id.to_owned(),
            ..Default::default()
        };
        self.workers().stop_worker(request).await.unwrap();
    }

    async fn observe(
        &self,
        worker_id: &str,
        start: v1::ObserveStart,
    ) -> tonic::Streaming<crate::proto::raw::ObserveWorkerResponse> {
        let request = v1::ObserveWorkerRequest {
            runtime_id: RUNTIME.to_owned(),
            worker_id: worker_id.to_owned(),
            start: start.into(),
            ..Default::default()
        };
        self.observations().observe_worker(request).await.unwrap().into_inner()
    }
}

fn workspace() -> WorkspaceId {
    WorkspaceId::new("local:test").unwrap()
}

async fn runtime() -> Arc<dyn WorkerRuntime> {
    let runtime_id = RuntimeId::new(RUNTIME).unwrap();
    let cat = Profile {
        protocol: Protocol::Lines,
        command: vec!["cat".to_owned()],
        input: InputForm::Text,
        cwd: None,
        env: BTreeMap::new(),
        restart: Restart::Never,
        permissions: Permissions::Deny,
        handshake_timeout: Profile::HANDSHAKE_TIMEOUT,
        approval_timeout: Profile::APPROVAL_TIMEOUT,
    };
    let selector = ProfileSelector::builtin("builtin:cat".to_owned()).unwrap();
    let parts = EngineParts {
        profiles: Profiles::from_iter([(selector, cat)]),
        limits: EngineLimits { stop_grace: Duration::from_millis(300), ..EngineLimits::default() },
        ..LocalRuntime::parts(runtime_id, MemoryStore::new())
    };
    Arc::new(LocalRuntime::new(Engine::open(parts).await.unwrap(), ""))
}

fn decoded(message: crate::proto::raw::ObserveWorkerResponse) -> v1::ObservationFrame {
    v1::ObservationFrame::decode(message.frame.unwrap()).unwrap()
}

fn content(item: &bytes::Bytes) -> String {
    v1::TranscriptItem::decode(item.clone()).unwrap().content
}

#[tokio::test]
async fn what_is_said_is_observed_followed_and_paged_alike() {
    let plane = Plane::control().await;
    let worker_id = plane.spawn().await;
    let mut observed = plane.observe(&worker_id, v1::ObserveStart::Beginning).await;
    let mut transcripts = plane.transcripts();
    let followed = transcripts.stream_transcript(v1::StreamTranscriptRequest {
        runtime_id: RUNTIME.to_owned(),
        worker_id: worker_id.clone(),
        start: 0,
        follow: true,
    });
    let mut followed = followed.await.unwrap().into_inner();
    for n in 0..20 {
        plane.send(&worker_id, &format!("line {n}")).await;
    }
    let mut answers = 0;
    let mut contents = Vec::new();
    let mut last = 0;
    while let Some(message) = observed.next().await {
        let frame = decoded(message.unwrap());
        match frame.payload.unwrap() {
            Payload::Snapshot(snapshot) => {
                assert_eq!((frame.sequence, snapshot.next_sequence), (0, 1));
                assert_eq!(snapshot.worker.unwrap().worker_id, worker_id);
            }
            Payload::ItemAppended(appended) => {
                let item = appended.item.unwrap();
                answers += usize::from(item.role() == v1::TranscriptRole::Assistant);
                contents.push(item.content);
                if answers == 20 {
                    plane.stop(&worker_id).await;
                    answers = 0;
                }
            }
            Payload::End(_) => assert_eq!(frame.sequence, last + 1),
            _ => {}
        }
        if frame.sequence != last {
            assert_eq!(frame.sequence, last + 1);
            last = frame.sequence;
        }
    }
    // The end is OK, and names the last cursor.
    let trailers = observed.trailers().await.unwrap().unwrap();
    assert!(trailers.get("workplane-cursor").is_some());

    let mut live = Vec::new();
    while let Some(batch) = followed.next().await {
        let batch = batch.unwrap();
        live.extend(batch.items.iter().map(content));
        assert_eq!(batch.next_start, live.len() as u64);
    }
    assert_eq!(live, contents);

    let (mut paged, mut start) = (Vec::new(), Some(0));
    while let Some(from) = start {
        let page = transcripts.get_transcript(v1::GetTranscriptRequest {
            runtime_id: RUNTIME.to_owned(),
            worker_id: worker_id.clone(),
            start: from,
            limit: 7,
        });
        let page = page.await.unwrap().into_inner();
        assert_eq!((page.state(), page.total_items), (OperationState::Accepted, contents.len() as u64));
        paged.extend(page.items.iter().map(content));
        start = page.next_start;
    }
    assert_eq!(paged, contents);
}

#[tokio::test]
async fn a_drain_tells_observers_where_they_stand() {
    let plane = Plane::control().await;
    let worker_id = plane.spawn().await;
    let mut observed = plane.observe(&worker_id, v1::ObserveStart::Now).await;
    assert!(matches!(decoded(observed.next().await.unwrap().unwrap()).payload, Some(Payload::Snapshot(_))));
    plane.drain.end_streams();
    let mut said = Vec::new();
    let end = loop {
        match observed.next().await.unwrap() {
            Ok(message) => said.push(decoded(message)),
            Err(status) => break status,
        }
    };
    let last = said.pop().unwrap();
    assert!(matches!(last.payload, Some(Payload::Diagnostic(diagnostic)) if diagnostic.code == "draining"));
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(end.get_details_error_info().unwrap().reason, "DRAINING");
    assert_eq!(end.metadata().get("workplane-cursor").unwrap(), last.cursor.as_str());
}

#[tokio::test]
async fn a_malformed_cursor_and_an_unknown_worker_are_told_apart() {
    // acceptance 20, 109
    let plane = Plane::control().await;
    let refused = |cursor: Option<&str>| {
        let request = v1::ObserveWorkerRequest {
            runtime_id: RUNTIME.to_owned(),
            worker_id: "worker-none".to_owned(),
            cursor: cursor.map(str::to_owned),
            ..Default::default()
        };
        let mut client = plane.observations();
        async move { client.observe_worker(request).await.unwrap_err().get_details_error_info().unwrap().reason }
    };
    assert_eq!(refused(Some("x")).await, "CURSOR_MALFORMED");
    assert_eq!(refused(None).await, "UNKNOWN_WORKER");
}

#[tokio::test]
async fn a_heartbeat_comes_when_nothing_else_does() {
    let plane = Plane::control().await;
    let worker_id = plane.spawn().await;
    let request = v1::ObserveWorkerRequest {
        runtime_id: RUNTIME.to_owned(),
        worker_id: worker_id.clone(),
        heartbeat_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let mut observed = plane.observations().observe_worker(request).await.unwrap().into_inner();
    let beat = loop {
        let frame = decoded(observed.next().await.unwrap().unwrap());
        if let Some(Payload::Heartbeat(beat)) = frame.payload {
            break beat;
        }
    };
    assert_eq!(beat.host_seen_age, Some(prost_types::Duration::default()));
}

#[tokio::test]
async fn later_methods_say_that_they_come_later() {
    let plane = Plane::control().await;
    let status = plane.workers().watch_workers(v1::WatchWorkersRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.get_details_error_info().unwrap().reason, "NOT_YET");
}

#[tokio::test]
async fn without_a_token_there_is_health_and_nothing_else() {
    // acceptance 123
    let plane = Plane::control().await;
    let mut workers = WorkerServiceClient::new(plane.channel.clone());
    let status = workers.get_worker(v1::GetWorkerRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut health = tonic_health::pb::health_client::HealthClient::new(plane.channel.clone());
    for service in ["", "workplane.v1.WorkerService"] {
        let mut check = async || {
            let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
            health.check(request).await.unwrap().into_inner().status()
        };
        plane.health.not_serving().await;
        assert_eq!(check().await, tonic_health::pb::health_check_response::ServingStatus::NotServing);
        plane.health.serving().await;
        assert_eq!(check().await, tonic_health::pb::health_check_response::ServingStatus::Serving);
    }
}

#[tokio::test]
async fn a_host_serves_the_same_runtime_with_statuses() {
    let drain = Drain::new();
    let served = worker_runtime(runtime().await, "memory", workspace(), Arc::new(SystemClock), drain.clone());
    let plane = Plane::of(served.await.unwrap(), drain).await;
    let mut host = WorkerRuntimeServiceClient::with_interceptor(plane.channel.clone(), Bearer);
    let told = host.get_runtime(runtime_v1::GetRuntimeRequest {}).await.unwrap().into_inner();
    assert_eq!((told.runtime_id.as_str(), told.store_backend.as_str()), (RUNTIME, "memory"));
    assert_eq!(told.status(), v1::RuntimeStatus::Running);

    let mut create = runtime_v1::CreateWorkerRequest {
        context: Some(runtime_v1::RequestContext {
            request_id: "r-1".to_owned(),
            workspace_id: "local:other".to_owned(),
            caller: "bob".to_owned(),
            fence: 0,
        }),
        intent: Some(runtime_v1::WorkerIntent {
            kind: Some(runtime_v1::worker_intent::Kind::Assistant(runtime_v1::AssistantIntent { purpose: None })),
        }),
        profile: Some(v1::ProfileSelector {
            kind: Some(v1::profile_selector::Kind::RuntimeDefault(v1::RuntimeDefault {})),
        }),
        ..Default::default()
    };
    let first = host.create_worker(create.clone()).await.unwrap().into_inner().worker.unwrap();
    assert_eq!(first.workspace_id, "local:other");
    let again = host.create_worker(create.clone()).await.unwrap().into_inner().worker.unwrap();
    assert_eq!(again.worker_id, first.worker_id);
    create.requested_worker_name = Some("another".to_owned());
    let reused = host.create_worker(create).await.unwrap_err();
    assert_eq!(reused.get_details_error_info().unwrap().reason, "REQUEST_ID_REUSED");
    let unknown = host.get_worker(runtime_v1::GetWorkerRequest { worker_id: "worker-none".to_owned() }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_observation_that_ends_at_its_deadline_names_its_last_cursor() {
    let plane = Plane::control().await;
    let worker_id = plane.spawn().await;
    let mut request = Request::new(v1::ObserveWorkerRequest {
        runtime_id: RUNTIME.to_owned(),
        worker_id: worker_id.clone(),
        start: v1::ObserveStart::Beginning.into(),
        ..Default::default()
    });
    request.set_timeout(Duration::from_millis(1_500));
    let mut observed = plane.observations().observe_worker(request).await.unwrap().into_inner();
    let mut last = None;
    let end = loop {
        match observed.next().await.unwrap() {
            Ok(message) => last = Some(decoded(message)),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::DeadlineExceeded);
    assert_eq!(end.get_details_error_info().unwrap().reason, "DEADLINE_EXCEEDED");
    assert_eq!(end.metadata().get("workplane-cursor").unwrap(), last.unwrap().cursor.as_str());
}
