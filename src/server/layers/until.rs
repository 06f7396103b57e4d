//! A body that goes on until something happens, and ends then with trailers that say so.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// What is waited for: how the body ends then.
type End = Pin<Box<dyn Future<Output = Status> + Send>>;

/// A body with an end that it does not know of. Where it has trailers of its own ready at that moment, those are told.
pub(super) struct Until {
    body: Body,
    end: End,
    over: bool,
}

impl Until {
    pub(super) fn new(body: Body, end: impl Future<Output = Status> + Send + 'static) -> Self {
        Self { body, end: Box::pin(end), over: false }
    }
}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        // The end first: a body that is always ready must end, too.
        if let Poll::Ready(status) = self.end.as_mut().poll(cx) {
            self.over = true;
            let mut body = std::mem::replace(&mut self.body, Body::empty());
            if let Poll::Ready(Some(Ok(last))) = Pin::new(&mut body).poll_frame(cx)
                && last.is_trailers()
            {
                return Poll::Ready(Some(Ok(last)));
            }
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}
