//! Both roles without a socket: the same routes, layers and engine as in the binary; its workers run nothing.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::request::Builder;
use http::{Request, Response};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::{Value as Json, json};
use tonic::body::Body;
use tower::ServiceExt as _;
use tower::util::BoxCloneService;
use workplane::engine::store::MemoryStore;
use workplane::engine::{Engine, SystemClock};
use workplane::model::{RuntimeId, TokenTable, WorkspaceId};
use workplane::proto::FILE_DESCRIPTOR_SET;
use workplane::registry::Registry;
use workplane::runtime::{LocalRuntime, WorkerRuntime};
use workplane::server::{Callers, Drain, Edge, control_plane, service, worker_runtime};

use crate::answer::Answer;

pub(crate) const RUNTIME: &str = "embedded-worker-runtime";
pub(crate) const WORKSPACE: &str = "local:test";
const HOST: &str = "workplane.runtime.v1.";

type Role = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

/// All that our files describe.
pub(crate) fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
}

/// Every method of our services.
pub(crate) fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    let ours = pool.services().filter(|service| service.full_name().starts_with("workplane."));
    ours.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// Its path, as in `/workplane.v1.WorkerService/GetWorker`.
pub(crate) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// Whether it is a host's.
pub(crate) fn is_host(method: &MethodDescriptor) -> bool {
    method.full_name().starts_with(HOST)
}

/// A control plane and a host, with one runtime behind both.
pub(crate) struct Bed {
    plane: Role,
    host: Role,
    /// A worker that lives.
    pub(crate) worker: String,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let (runtime, registry, drain) = (runtime().await, Registry::new(), Drain::new());
        registry.replace(vec![runtime.clone()]).unwrap();
        let workspace = || WorkspaceId::new(WORKSPACE).unwrap();
        let clock = Arc::new(SystemClock);
        let plane = control_plane(registry, workspace(), clock.clone(), drain.clone()).await.unwrap();
        let host = worker_runtime(runtime, "memory", workspace(), clock, drain).await.unwrap();
        let tokens = || Some(Arc::new(Callers::new(TokenTable::parse("alice s3cret").unwrap())));
        let mut bed = Self {
            plane: service(plane.routes, &Edge::control_plane(), tokens()).boxed_clone(),
            host: service(host.routes, &Edge::host(), tokens()).boxed_clone(),
            worker: String::new(),
        };
        let spawned = bed
            .ask(
                "workplane.v1.WorkerService.SpawnWorker",
                json!({
                    "runtime_id": RUNTIME, "intent": {"workspace_companion": {}}, "initial_input": {"content": "hello"}
                }),
            )
            .await;
        spawned["worker"]["workerId"].as_str().expect("a worker").clone_into(&mut bed.worker);
        bed
    }

    /// One call that must succeed, in JSON.
    async fn ask(&self, method: &str, request: Json) -> Json {
        let pool = pool();
        let method = methods(&pool).into_iter().find(|known| known.full_name() == method).unwrap();
        let request = prost_reflect::DynamicMessage::deserialize(method.input(), request).unwrap();
        let answer = self.call(&method, &prost::Message::encode_to_vec(&request)).await;
        let message = answer.messages.first().unwrap_or_else(|| panic!("{}", answer.told())).clone();
        let message = prost_reflect::DynamicMessage::decode(method.output(), message).unwrap();
        serde_json::to_value(message).unwrap()
    }

    /// Sends an encoded message.
    pub(crate) async fn call(&self, method: &MethodDescriptor, message: &[u8]) -> Answer {
        let request = request(&path(method)).body(body(framed(message))).unwrap();
        Answer::read(self.send(is_host(method), request).await).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, to_host: bool, request: Request<Body>) -> Response<Body> {
        let role = if to_host { self.host.clone() } else { self.plane.clone() };
        match role.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The head of a request as it should be, by a caller who may.
pub(crate) fn request(path: &str) -> Builder {
    let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    request.header("authorization", "Bearer s3cret")
}

/// A message in gRPC's frame.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.len() + 5);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

/// A body of these bytes.
pub(crate) fn body(bytes: Bytes) -> Body {
    Body::new(Whole(Some(bytes)))
}

/// A body that is there at once.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

async fn runtime() -> Arc<dyn WorkerRuntime> {
    // It has no profiles: what is not in them runs nothing.
    let parts = LocalRuntime::parts(RuntimeId::new(RUNTIME).unwrap(), MemoryStore::new());
    Arc::new(LocalRuntime::new(Engine::open(parts).await.unwrap(), ""))
}
