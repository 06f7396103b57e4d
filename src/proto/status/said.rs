//! Tells what a host said from what was made of its answer here. Tonic makes statuses of its own where it cannot read an
//! answer, and nothing in them shows that; so each status that is in an answer is marked before tonic reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{MapOk, TryFutureExt as _};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// The mark. One that comes from a host is taken off.
const MARK: &str = "workplane-said";

/// Marks the statuses of a channel's answers.
#[derive(Debug, Clone)]
pub struct Marking<S>(pub S);

impl<S: Service<Request<Body>, Response = Response<Body>>> Service<Request<Body>> for Marking<S> {
    type Response = Response<Marked>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<Body>) -> Response<Marked>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request).map_ok(|mut response| {
            mark(response.headers_mut());
            response.map(Marked)
        })
    }
}

/// The body of an answer, whose trailers are marked.
#[derive(Debug)]
pub struct Marked(Body);

impl http_body::Body for Marked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut polled = Pin::new(&mut self.0).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            mark(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

fn mark(headers: &mut HeaderMap) {
    headers.remove(MARK);
    if headers.get("grpc-status").is_some_and(|code| code != "0") {
        headers.insert(MARK, HeaderValue::from_static("1"));
    }
}

/// Whether the host itself said so.
pub(super) fn is_said(status: &Status) -> bool {
    status.metadata().contains_key(MARK)
}

/// The status as it comes out of a host's answer.
#[cfg(test)]
pub(super) fn said(mut status: Status) -> Status {
    status.metadata_mut().insert(MARK, tonic::metadata::MetadataValue::from_static("1"));
    status
}
