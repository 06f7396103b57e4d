//! How long a call may take. A unary call has its caller's deadline, or the default, at most the maximum; a stream has
//! its caller's or none, and its opening has what a unary call has. Either ends with `DEADLINE_EXCEEDED`; what must
//! finish does not live in a handler's future.
//!
//! tonic watches `grpc-timeout` too, whether it is asked to or not, and would answer CANCELLED, without a reason: time is
//! taken from the same instant as tonic's, and a caller's deadline ends here a little earlier.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;
use tonic::body::Body;

use super::methods::{is_open, is_stream};
use super::until::Until;
use super::wrap::{Arrived, Inner, Wrap, ask};
use crate::model::{Error, Reason, RequestId};
use crate::proto::status::to_status;

/// The header in which a caller says how long it waits.
const HEADER: &str = "grpc-timeout";
/// The metadata that names the request where it cannot be known what became of it.
pub(in crate::server) const REQUEST_ID: &str = "workplane-request-id";

/// How much earlier than its caller a call ends here, and a stream than its layer: timers count milliseconds.
const EARLIER: Duration = Duration::from_millis(2);
/// The longest deadline of what anybody may call.
const MAX_OPEN: Duration = Duration::from_secs(5);

/// When the caller stops waiting: in the request's extensions. Of a stream without a deadline it is for the opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Deadline(pub Instant);

/// When a stream with a deadline is to end by itself, with its last cursor: in the request's extensions. The layer ends
/// those that do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct StreamEnd(pub Instant);

/// Where the handler leaves the id of its request, so that the caller gets it even when the deadline comes first.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct RequestIdSlot(Arc<OnceLock<RequestId>>);

impl RequestIdSlot {
    pub(in crate::server) fn set(&self, id: RequestId) {
        // A request has one id; a second one would be the same.
        _ = self.0.set(id);
    }
}

/// Deadlines.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Deadlines {
    default: Duration,
    max: Duration,
}

impl Deadlines {
    pub(in crate::server) fn new(default: Duration, max: Duration) -> Self {
        Self { default, max }
    }
}

impl Wrap for Deadlines {
    async fn wrap<S: Inner>(self, mut request: Request<Body>, inner: S) -> Response<Body> {
        let asked = match grpc_timeout(request.headers()) {
            Ok(asked) => asked,
            Err(error) => return to_status(&error).into_http(),
        };
        let asked = asked.map(|time| time.saturating_sub(EARLIER));
        let path = request.uri().path();
        let max = if is_open(path) { self.max.min(MAX_OPEN) } else { self.max };
        let arrived = request.extensions().get().map_or_else(Instant::now, |Arrived(at)| *at);
        let answer_by = arrived + asked.unwrap_or(self.default).min(max);
        if answer_by <= Instant::now() {
            // Nobody waits for it any more: nothing of it is begun.
            return exceeded(None).into_http();
        }
        let end = asked.filter(|_| is_stream(path)).map(|time| arrived + time);
        let slot = RequestIdSlot::default();
        let extensions = request.extensions_mut();
        extensions.insert(Deadline(answer_by));
        extensions.insert(slot.clone());
        if let Some(end) = end {
            extensions.insert(StreamEnd(end.checked_sub(EARLIER).map_or(end, |end| end.max(arrived))));
        }
        match (timeout_at(answer_by, ask(inner, request)).await, end) {
            (Ok(response), Some(end)) => response.map(|body| {
                let exceeded = sleep_until(end).map(|()| exceeded(None));
                Body::new(Until::new(body, exceeded))
            }),
            (Ok(response), None) => response,
            (Err(_), _) => exceeded(slot.0.get()).into_http(),
        }
    }
}

/// The deadline has passed.
pub(in crate::server) fn deadline_exceeded() -> Error {
    Error::new(Reason::DeadlineExceeded, "the deadline of the call has passed")
}

fn exceeded(request_id: Option<&RequestId>) -> Status {
    let mut status = to_status(&deadline_exceeded());
    // An id's characters are all allowed in metadata.
    if let Some(value) = request_id.and_then(|id| id.as_str().parse().ok()) {
        status.metadata_mut().insert(REQUEST_ID, value);
    }
    status
}

/// The time a caller gives: at most eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let mut all = headers.get_all(HEADER).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match parse(value.as_bytes()) {
            Some(time) => Ok(Some(time)),
            None => Err(Error::field(HEADER, "must be 1 to 8 digits and one of H, M, S, m, u and n")),
        },
        (Some(_), Some(_)) => Err(Error::field(HEADER, "is there twice")),
    }
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3_600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::{Body as _, Frame};
    use tonic::Code;
    use tower::{Layer as _, Service as _, ServiceExt as _};

    use super::*;
    use crate::server::layers::Wrapping;

    const UNARY: &str = "/workplane.v1.WorkerService/GetWorker";
    const STREAM: &str = "/workplane.v1.ObservationService/ObserveWorker";

    fn layer() -> Wrapping<Deadlines> {
        Wrapping(Deadlines::new(Duration::from_secs(30), Duration::from_mins(5)))
    }

    fn request(path: &str, timeout: Option<&str>) -> Request<Body> {
        let mut request = Request::builder().uri(path);
        if let Some(timeout) = timeout {
            request = request.header(HEADER, timeout);
        }
        request.body(Body::empty()).unwrap()
    }

    /// How long a handler that never answers is waited for, and what comes then.
    async fn waited(path: &str, timeout: Option<&str>) -> (Duration, Code) {
        let never = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let start = Instant::now();
        let response = layer().layer(never).oneshot(request(path, timeout)).await.unwrap();
        (start.elapsed(), Status::from_header_map(response.headers()).unwrap().code())
    }

    #[tokio::test(start_paused = true)]
    async fn a_unary_call_ends_at_its_callers_deadline_or_the_default() {
        for (timeout, millis) in [(None, 30_000), (Some("7S"), 6_998), (Some("2M"), 119_998), (Some("9H"), 300_000)] {
            let (time, code) = waited(UNARY, timeout).await;
            assert_eq!((time.as_millis(), code), (millis, Code::DeadlineExceeded), "{timeout:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_time_is_over_is_not_begun() {
        let begun = tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        for path in [UNARY, STREAM] {
            for timeout in ["0S", "0n", "00000000m", "999999n", "1m"] {
                let response = layer().layer(begun).oneshot(request(path, Some(timeout))).await.unwrap();
                let status = Status::from_header_map(response.headers()).expect(timeout);
                assert_eq!(status.code(), Code::DeadlineExceeded, "{timeout}");
            }
            // And one that was over before it was looked at.
            let call = layer().layer(begun).call(request(path, Some("50m")));
            tokio::time::advance(Duration::from_millis(60)).await;
            let status = Status::from_header_map(call.await.unwrap().headers()).unwrap();
            assert_eq!(status.code(), Code::DeadlineExceeded);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_ends_also_where_the_stream_has_no_deadline() {
        for (timeout, millis) in [(None, 30_000), (Some("7S"), 6_998), (Some("9H"), 300_000)] {
            let (time, code) = waited(STREAM, timeout).await;
            assert_eq!((time.as_millis(), code), (millis, Code::DeadlineExceeded), "{timeout:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_anybody_may_call_is_over_soon() {
        for (path, timeout) in [("Check", None), ("Check", Some("1H")), ("List", None), ("Watch", Some("1H"))] {
            let (time, code) = waited(&format!("/grpc.health.v1.Health/{path}"), timeout).await;
            assert_eq!((time, code), (MAX_OPEN, Code::DeadlineExceeded), "{path} {timeout:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_counts_from_the_call_and_not_from_the_first_look_at_it() {
        let never = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let start = Instant::now();
        let call = layer().layer(never).call(request(UNARY, Some("500m")));
        tokio::time::advance(Duration::from_millis(400)).await;
        drop(call.await);
        assert_eq!(start.elapsed(), Duration::from_millis(498));
    }

    #[tokio::test]
    async fn a_malformed_timeout_is_an_invalid_argument() {
        for bad in ["", "S", "1", "123456789S", "-1S", "1.5S", "1s", "+1S", " 1S"] {
            assert_eq!(waited(UNARY, Some(bad)).await.1, Code::InvalidArgument, "{bad:?}");
        }
    }

    /// A body that never has anything.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_ends_at_its_callers_deadline_with_trailers() {
        let open =
            tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::new(Silent))) });
        let start = Instant::now();
        let response = layer().layer(open).oneshot(request(STREAM, Some("300m"))).await.unwrap();
        let mut body = response.into_body();
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(start.elapsed(), Duration::from_millis(298));
        let status = Status::from_header_map(frame.trailers_ref().unwrap()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_told_to_the_handler() {
        let told = |path: &'static str, timeout| async move {
            let echo = tower::service_fn(|request: Request<Body>| async move {
                let mut response = Response::new(Body::empty());
                response.extensions_mut().insert(*request.extensions().get::<Deadline>().unwrap());
                Ok::<_, Infallible>(response)
            });
            let start = Instant::now();
            let response = layer().layer(echo).oneshot(request(path, timeout)).await.unwrap();
            response.extensions().get::<Deadline>().unwrap().0 - start
        };
        assert_eq!(told(UNARY, Some("100m")).await, Duration::from_millis(98));
        assert_eq!(told(UNARY, None).await, Duration::from_secs(30));
        // For the opening alone.
        assert_eq!(told(STREAM, None).await, Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn an_exceeded_deadline_names_the_request() {
        let hang = tower::service_fn(|request: Request<Body>| async move {
            request.extensions().get::<RequestIdSlot>().unwrap().set(RequestId::new("r-1").unwrap());
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        });
        let response = layer().layer(hang).oneshot(request(UNARY, None)).await.unwrap();
        assert_eq!(response.headers()[REQUEST_ID], "r-1");
    }
}
