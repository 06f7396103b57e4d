//! A body that is looked at as it goes by, frame by frame.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// What comes of a body next: a frame, an error, or its end.
pub(super) type Next = Option<Result<Frame<Bytes>, Status>>;

/// `body`, of which `see` is shown all that comes and may change it. After an error nothing more comes; `see` is dropped
/// with the body.
pub(super) fn seen(body: Body, see: impl FnMut(&mut Next) + Send + Unpin + 'static) -> Body {
    Body::new(Seen { body, see })
}

struct Seen<S> {
    body: Body,
    see: S,
}

impl<S: FnMut(&mut Next) + Unpin> http_body::Body for Seen<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let mut next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        (self.see)(&mut next);
        if let Some(Err(_)) = next {
            self.body = Body::empty();
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
