//! The plumbing of a layer, written once: a layer is what it does around the inner service.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Layer, Service};

/// What a layer wraps: the services themselves, or the layers within.
pub(in crate::server) trait Inner:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Inner for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// What a layer does.
pub(in crate::server) trait Wrap: Clone + Send + 'static {
    /// Answers a request, usually by asking `inner`.
    fn wrap<S: Inner>(self, request: Request<Body>, inner: S) -> impl Future<Output = Response<Body>> + Send;
}

/// When a request came: in its extensions, from the outermost layer on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived(pub Instant);

/// Asks the inner service, which is ready.
pub(super) async fn ask<S: Inner>(mut inner: S, request: Request<Body>) -> Response<Body> {
    match inner.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A layer.
#[derive(Debug, Clone)]
pub(in crate::server) struct Wrapping<W>(pub W);

impl<S, W: Clone> Layer<S> for Wrapping<W> {
    type Service = Wrapped<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrapped { inner, wrap: self.0.clone() }
    }
}

/// A service in its layer.
#[derive(Debug, Clone)]
pub(in crate::server) struct Wrapped<S, W> {
    inner: S,
    wrap: W,
}

impl<S: Inner, W: Wrap> Service<Request<Body>> for Wrapped<S, W> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Here and not in the future, which is polled later: tonic's own timer of `grpc-timeout` starts with this call.
        request.extensions_mut().get_or_insert_with(|| Arrived(Instant::now()));
        // The service that was polled ready is the one that must be called; a clone takes its place.
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        let wrap = self.wrap.clone();
        Box::pin(async move { Ok(wrap.wrap(request, ready).await) })
    }
}
