//! A panic in a handler ends its own call, as INTERNAL, and nobody else's. The error names its call, as all errors do.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;

use super::wrap::{Inner, Wrap, ask};
use crate::model::{Error, Reason};
use crate::proto::status::to_status;

/// Panics of handlers.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Panics;

impl Wrap for Panics {
    async fn wrap<S: Inner>(self, request: Request<Body>, inner: S) -> Response<Body> {
        match AssertUnwindSafe(ask(inner, request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => internal().into_http(),
        }
    }
}

/// The same for what comes out of a stream after its handler has returned.
pub(in crate::server) fn catching<T>(
    stream: impl Stream<Item = Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> {
    AssertUnwindSafe(stream).catch_unwind().map(|next| next.unwrap_or_else(|_| Err(internal())))
}

/// What the caller is told. What the panic said is the panic hook's to log.
fn internal() -> Status {
    to_status(&Error::new(Reason::Internal, "internal error"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use tonic::Code;
    use tonic_types::StatusExt as _;
    use tower::{Layer as _, ServiceExt as _};

    use super::*;
    use crate::server::layers::Wrapping;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_without_its_words() {
        let panics = tower::service_fn(|_: Request<Body>| async {
            std::hint::black_box(None::<Result<_, Infallible>>).expect("secret words")
        });
        let response = Wrapping(Panics).layer(panics).oneshot(Request::new(Body::empty())).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "internal error");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("workplane", "INTERNAL"));
    }

    #[tokio::test]
    async fn a_panic_in_a_stream_ends_that_stream() {
        let mut items = Box::pin(catching(stream::iter([1, 2]).map(|n| if n == 1 { Ok(n) } else { panic!("words") })));
        assert_eq!(items.next().await.unwrap().unwrap(), 1);
        assert_eq!(items.next().await.unwrap().unwrap_err().code(), Code::Internal);
        assert!(items.next().await.is_none());
    }
}
