//! A span for each request: its method, who called, under which ids; never what was said. What fails is told in one line
//! of the log, at a level that says whose fault it is, and its error names the id that the line has.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::methods::is_stream;
use super::seen::seen;
use super::wrap::{Inner, Wrap, ask};
use crate::model::truncate_at_char;
use crate::proto::status::{name_call, reason_of};
use crate::server::seldom::Seldom;

/// The longest method name that is written.
const MAX_METHOD: usize = 120;

/// Spans.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Spans(Arc<Troubled>);

/// What is not the caller's fault and may come in great numbers.
#[derive(Debug, Default)]
struct Troubled {
    unavailable: Seldom,
    too_late: Seldom,
    exhausted: Seldom,
}

/// What tells one call from all others in the log.
#[derive(Debug, Clone, Copy)]
struct CallId(u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One call, until it is over.
#[derive(Debug, Clone)]
struct Call {
    id: CallId,
    began: Instant,
    span: Span,
    is_stream: bool,
    troubled: Arc<Troubled>,
}

impl Wrap for Spans {
    async fn wrap<S: Inner>(self, request: Request<Body>, inner: S) -> Response<Body> {
        let (id, began) = (CallId(rand::random()), Instant::now());
        let method = truncate_at_char(request.uri().path(), MAX_METHOD);
        let span = tracing::info_span!("request", method, call_id = %id, caller = Empty, request_id = Empty);
        let is_stream = is_stream(request.uri().path());
        let mut response = ask(inner, request).instrument(span.clone()).await;
        let call = Call { id, began, span, is_stream, troubled: self.0 };
        call.ended(response.headers_mut());
        if !is_stream {
            return response;
        }
        response.map(|body| {
            seen(body, move |next| {
                if let Some(Ok(frame)) = next
                    && let Some(trailers) = frame.trailers_mut()
                {
                    call.ended(trailers);
                }
            })
        })
    }
}

impl Call {
    /// Reads what it ended with, if these headers or trailers say so.
    fn ended(&self, headers: &mut HeaderMap) {
        // Most calls go well, and their status is not parsed.
        if headers.get("grpc-status").is_none_or(|code| code == "0") {
            return;
        }
        let Some(status) = Status::from_header_map(headers) else { return };
        name_call(headers, &status, &self.id);
        self.span.in_scope(|| self.told(status.code(), &reason_of(&status)));
    }

    /// One line. What may come in great numbers, since a host or all of the server is in trouble, is said now and then.
    fn told(&self, code: Code, reason: &str) {
        let took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let seldom = match code {
            Code::Internal | Code::Unknown | Code::DataLoss => {
                tracing::error!(?code, reason, took_ms, "a call failed");
                return;
            }
            // Who comes back is served elsewhere, or later.
            Code::Unavailable if reason == "DRAINING" => None,
            Code::Unavailable => Some(&self.troubled.unavailable),
            // A stream with a deadline is meant to end by it.
            Code::DeadlineExceeded if self.is_stream => None,
            Code::DeadlineExceeded => Some(&self.troubled.too_late),
            Code::ResourceExhausted => Some(&self.troubled.exhausted),
            _ => None,
        };
        if let Some(calls) = seldom.and_then(Seldom::count) {
            tracing::warn!(?code, reason, took_ms, calls, "calls fail: this one, and others since the last word of it");
        } else {
            tracing::debug!(?code, reason, took_ms, "a call was refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::Frame;
    use tonic_types::StatusExt as _;
    use tower::{Layer as _, ServiceExt as _};

    use super::*;
    use crate::model::Error;
    use crate::proto::status::to_status;
    use crate::server::layers::Wrapping;

    async fn answered(path: &str, headers: HeaderMap, trailers: HeaderMap) -> (HeaderMap, HeaderMap) {
        let inner = tower::service_fn(move |_: Request<Body>| {
            let mut response = Response::new(Body::new(Trailing(Some(trailers.clone()))));
            *response.headers_mut() = headers.clone();
            async move { Ok::<_, Infallible>(response) }
        });
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = Wrapping(Spans::default()).layer(inner).oneshot(request).await.unwrap();
        let (parts, mut body) = response.into_parts();
        let last = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await;
        (parts.headers, last.unwrap().unwrap().into_trailers().unwrap())
    }

    /// A body of nothing but trailers.
    struct Trailing(Option<HeaderMap>);

    impl http_body::Body for Trailing {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }

    #[tokio::test]
    async fn an_error_names_its_call_and_keeps_all_else_wherever_it_stands() {
        let mut refused = to_status(&Error::unknown_worker(&"r", &"w").retry_after(std::time::Duration::from_secs(7)));
        refused.metadata_mut().insert("workplane-cursor", "c".parse().unwrap());
        let mut said = HeaderMap::new();
        refused.add_header(&mut said).unwrap();
        let stream = "/workplane.v1.ObservationService/ObserveWorker";
        let (head, _) = answered("/workplane.v1.WorkerService/GetWorker", said.clone(), HeaderMap::new()).await;
        let (_, tail) = answered(stream, HeaderMap::new(), said).await;
        for told in [head, tail] {
            let status = Status::from_header_map(&told).unwrap();
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str()), (Code::NotFound, "UNKNOWN_WORKER"));
            assert_eq!((info.metadata["worker_id"].as_str(), info.metadata["call_id"].len()), ("w", 16));
            assert_eq!(status.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs(), 7);
            assert_eq!(status.metadata().get("workplane-cursor").unwrap(), "c");
        }
    }

    #[tokio::test]
    async fn what_went_well_or_is_another_protocols_stays_as_it_is() {
        let mut foreign = HeaderMap::new();
        Status::not_found("service not registered").add_header(&mut foreign).unwrap();
        let well: HeaderMap =
            [("grpc-status", "0")].into_iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
        for said in [foreign, well] {
            assert_eq!(answered("/s/M", said.clone(), HeaderMap::new()).await.0, said);
        }
    }
}
