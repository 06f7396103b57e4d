//! The real server on a port of its own, steered by hand.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::config::{ServeConfig, ServeFlags, ServerFlags};
use crate::proto::raw::ObserveWorkerResponse;
use crate::proto::v1::observation_service_client::ObservationServiceClient;
use crate::proto::v1::runtime_service_client::RuntimeServiceClient;
use crate::proto::v1::worker_service_client::WorkerServiceClient;
use crate::proto::v1::{
    ListRuntimesRequest, ListRuntimesResponse, ObserveStart, ObserveWorkerRequest, ProfileSelector, SpawnIntent,
    SpawnWorkerRequest, WorkspaceCompanion, profile_selector, spawn_intent,
};

/// A running control plane, and the directory of its files.
struct Plane {
    directory: tempfile::TempDir,
    address: SocketAddr,
    drain: CancellationToken,
    configs: mpsc::Sender<ServeConfig>,
    served: JoinHandle<Result<(), AppError>>,
}

impl Plane {
    async fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = load(&directory, config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, configs, control) = Control::by_hand();
        let plane = ControlPlane::open(config).await.unwrap();
        let served = tokio::spawn(plane.run(listener, control));
        Self { directory, address, drain, configs, served }
    }

    /// Hands it another configuration, and waits until it has taken it.
    async fn follow(&self, config: &str) {
        self.configs.send(load(&self.directory, config)).await.unwrap();
        // There is room for one: a second one is taken once the first was followed.
        drop(self.configs.reserve().await.unwrap());
        self.configs.send(load(&self.directory, config)).await.unwrap();
        drop(self.configs.reserve().await.unwrap());
    }

    /// The ids of its runtimes, asked for with `token`.
    async fn runtimes(&self, token: &str) -> Result<Vec<String>, Code> {
        let mut client = RuntimeServiceClient::connect(format!("http://{}", self.address)).await.unwrap();
        let mut request = Request::new(ListRuntimesRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let response = client.list_runtimes(request).await.map_err(|status| status.code())?;
        Ok(response.into_inner().runtimes.into_iter().map(|runtime| runtime.runtime_id).collect())
    }

    async fn end(self) {
        self.drain.cancel();
        self.served.await.unwrap().unwrap();
    }
}

fn load(directory: &tempfile::TempDir, config: &str) -> ServeConfig {
    let write = |name: &str, text: &str| -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    for token in ["one", "two"] {
        write(token, &format!("ops token-{token}\n"));
    }
    let server = ServerFlags { config: Some(write("serve.toml", config)), ..ServerFlags::default() };
    let pause =
        |name: &str| (name == "WORKPLANE_DRAIN_PAUSE" && !config.contains("drain_pause")).then(|| "0s".to_owned());
    ServeConfig::load(&ServeFlags { server, workspace_id: None }, &pause).unwrap()
}

fn remote(id: &str) -> String {
    format!("[[remote_runtimes]]\nruntime_id = '{id}'\nendpoint = 'http://127.0.0.1:1'\n")
}

#[tokio::test]
async fn another_configuration_changes_remote_runtimes_and_tokens_while_it_serves() {
    let plane = Plane::start(&format!("token_file = 'one'\n{}", remote("a"))).await;
    assert_eq!(plane.runtimes("token-one").await.unwrap(), ["embedded-worker-runtime", "a"]);
    assert_eq!(plane.runtimes("token-two").await.unwrap_err(), Code::Unauthenticated);
    plane.follow(&format!("token_file = 'two'\n{}{}", remote("b"), remote("a"))).await;
    assert_eq!(plane.runtimes("token-two").await.unwrap(), ["embedded-worker-runtime", "b", "a"]);
    assert_eq!(plane.runtimes("token-one").await.unwrap_err(), Code::Unauthenticated);
    // A file that is gone from the configuration opens nothing.
    plane.follow("").await;
    assert_eq!(plane.runtimes("").await.unwrap_err(), Code::Unauthenticated);
    assert_eq!(plane.runtimes("token-two").await.unwrap(), ["embedded-worker-runtime"]);
    plane.end().await;
}

#[tokio::test]
async fn remote_runtimes_that_stay_where_they_are_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let configs = |ids: &[&str]| load(&directory, &ids.iter().map(|id| remote(id)).collect::<String>()).remotes;
    let first = remotes::Remotes::default().next(configs(&["a", "b"])).unwrap();
    let mut changed = configs(&["b", "a"]);
    changed[0].endpoint = "http://127.0.0.1:2".parse().unwrap();
    changed[1].timeout = Duration::from_secs(3);
    changed[1].display_name = "Another name".to_owned();
    changed[1].token = Some("another-token".into());
    let second = first.next(changed).unwrap();
    let (first, second): (Vec<_>, Vec<_>) = (first.runtimes().collect(), second.runtimes().collect());
    assert!(std::sync::Arc::ptr_eq(&first[0], &second[1]));
    assert!(!std::sync::Arc::ptr_eq(&first[1], &second[0]));
}

#[tokio::test]
async fn a_server_that_drains_takes_no_more_connections_and_ends() {
    let plane = Plane::start("").await;
    let address = plane.address;
    plane.runtimes("").await.unwrap();
    plane.end().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_drain_pauses_then_lets_calls_finish_and_only_then_ends_streams() {
    let plane = Plane::start("drain_pause = '2s'\n[profiles.'builtin:still']\nprotocol = 'catalog'\n").await;
    let endpoint = format!("http://{}", plane.address);
    let channel = connect(&endpoint).await;
    let mut observed = observe(channel.clone()).await;

    // A call whose message does not come yet, and one behind it on the same connection: so the first has arrived.
    let (say, said) = oneshot::channel::<()>();
    let (begun, begins) = oneshot::channel();
    let message = stream::once(async move {
        begun.send(()).unwrap();
        said.await.unwrap();
        ListRuntimesRequest::default()
    });
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    let call = tokio::spawn(async move {
        grpc.ready().await.unwrap();
        let path = "/workplane.v1.RuntimeService/ListRuntimes".parse().unwrap();
        let codec = tonic_prost::ProstCodec::<ListRuntimesRequest, ListRuntimesResponse>::default();
        grpc.client_streaming(Request::new(message), path, codec).await
    });
    begins.await.unwrap();
    RuntimeServiceClient::new(channel).list_runtimes(ListRuntimesRequest::default()).await.unwrap();

    plane.drain.cancel();
    let mut status = ServingStatus::Serving;
    while status == ServingStatus::Serving {
        // For a while new connections are taken as before.
        let mut health = HealthClient::new(connect(&endpoint).await);
        status = health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status();
    }
    assert_eq!(status, ServingStatus::NotServing);
    assert_eq!(plane.runtimes("").await.unwrap().len(), 1);
    while tokio::net::TcpStream::connect(plane.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let early = tokio::time::timeout(Duration::from_millis(100), observed.message()).await;
    assert!(early.is_err(), "a stream ends before the calls: {early:?}");
    say.send(()).unwrap();
    call.await.unwrap().unwrap();
    observed.message().await.unwrap().expect("the frame that tells of the drain");
    assert_eq!(observed.message().await.unwrap_err().code(), Code::Unavailable);
    plane.end().await;
}

async fn connect(endpoint: &str) -> Channel {
    Endpoint::from_shared(endpoint.to_owned()).unwrap().connect().await.unwrap()
}

/// The stream of a new worker that does nothing, after its snapshot.
async fn observe(channel: Channel) -> tonic::Streaming<ObserveWorkerResponse> {
    let runtime_id = crate::config::EMBEDDED_RUNTIME.to_owned();
    let spawn = SpawnWorkerRequest {
        runtime_id: runtime_id.clone(),
        intent: Some(SpawnIntent { kind: Some(spawn_intent::Kind::WorkspaceCompanion(WorkspaceCompanion {})) }),
        profile: Some(ProfileSelector { kind: Some(profile_selector::Kind::Builtin("builtin:still".to_owned())) }),
        ..Default::default()
    };
    let spawned = WorkerServiceClient::new(channel.clone()).spawn_worker(spawn).await.unwrap().into_inner();
    let worker_id = spawned.worker.unwrap().worker_id;
    let start = ObserveStart::Now.into();
    let observe = ObserveWorkerRequest { runtime_id, worker_id, start, ..Default::default() };
    let mut observed = ObservationServiceClient::new(channel).observe_worker(observe).await.unwrap().into_inner();
    observed.message().await.unwrap().expect("a snapshot");
    observed
}
