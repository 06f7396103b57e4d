//! A host's front door that counts: it passes every call on to the host, and remembers how many of each there were. It
//! can be told to answer a method by itself, with an error.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Status, codegen::http};
use tower::{Service, ServiceExt as _};

/// Counts the calls that a control plane makes to a host.
#[derive(Debug)]
pub(crate) struct CountingRelay {
    address: SocketAddr,
    calls: Calls,
    refusals: Refusals,
}

type Calls = Arc<Mutex<BTreeMap<String, usize>>>;
type Refusals = Arc<Mutex<BTreeMap<String, Status>>>;

impl CountingRelay {
    /// A relay to the host at `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let channel = Endpoint::from_shared(format!("http://{target}")).unwrap().connect_lazy();
        let (calls, refusals) = (Calls::default(), Refusals::default());
        let forward = Forward { channel, calls: Arc::clone(&calls), refusals: Arc::clone(&refusals) };
        tokio::spawn(Server::builder().add_service(forward).serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, calls, refusals }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often a method of the host has been called.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.calls.lock().get(&format!("/{}/{method}", Forward::NAME)).copied().unwrap_or(0)
    }

    /// From now on a method is answered with this, and the host not asked.
    pub(crate) fn refuses(&self, method: &str, status: Status) {
        self.refusals.lock().insert(format!("/{}/{method}", Forward::NAME), status);
    }
}

#[derive(Clone)]
struct Forward {
    channel: Channel,
    calls: Calls,
    refusals: Refusals,
}

impl NamedService for Forward {
    const NAME: &'static str = "workplane.runtime.v1.WorkerRuntimeService";
}

impl Service<http::Request<Body>> for Forward {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        *self.calls.lock().entry(request.uri().path().to_owned()).or_default() += 1;
        if let Some(status) = self.refusals.lock().get(request.uri().path()).cloned() {
            return Box::pin(async { Ok(status.into_http()) });
        }
        let answer = self.channel.clone().oneshot(request);
        Box::pin(async { Ok(answer.await.unwrap_or_else(|_| Status::unavailable("the host is gone").into_http())) })
    }
}
