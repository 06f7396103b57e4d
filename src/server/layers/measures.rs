//! What is counted and traced of each request: its method, how long it took until it was answered, with which code it ended.
//! A method that nobody serves is `other`, whatever its path says.
//!
//! The trace that its caller is in goes on with it, whether anybody traces here or not.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{LazyLock, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::methods;
use super::wrap::{Arrived, Inner, Wrap, ask};
use crate::metrics::{families, is_listened_to};
use crate::model::{TRACEPARENT, TraceContext, TraceParent};
use crate::traces::{self, Traced};

/// The codes of gRPC, by their numbers, and what ends without one.
const CODES: [&str; 18] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
    "NOT_GRPC",
];
/// The place of what was no call of gRPC, and was told so by HTTP.
const NOT_GRPC: usize = 17;

/// Those that are no fault of callers.
const OURS: [usize; 6] = [
    Code::Unknown as usize,
    Code::DeadlineExceeded as usize,
    Code::Unimplemented as usize,
    Code::Internal as usize,
    Code::Unavailable as usize,
    Code::DataLoss as usize,
];

/// What is counted of one method. What it never did has no series.
#[derive(Debug)]
struct Measured {
    service: String,
    method: String,
    is_stream: bool,
    ended: [OnceLock<Counter>; CODES.len()],
    seconds: OnceLock<Histogram>,
    in_flight: OnceLock<Gauge>,
}

impl Measured {
    fn new(service: &str, method: &str, is_stream: bool) -> Self {
        Self {
            service: service.to_owned(),
            method: method.to_owned(),
            is_stream,
            ended: [const { OnceLock::new() }; CODES.len()],
            seconds: OnceLock::new(),
            in_flight: OnceLock::new(),
        }
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [("service", &self.service), ("method", &self.method)]
    }

    fn ended(&self, code: usize) {
        let [service, method] = self.labels();
        let counter =
            self.ended[code].get_or_init(|| families::CALLS.counter(&[service, method, ("code", CODES[code])]));
        counter.increment(1);
    }

    fn answered(&self, since: Instant) {
        let seconds = self.seconds.get_or_init(|| families::CALL_SECONDS.histogram(&self.labels()));
        seconds.record(since.elapsed());
    }

    fn in_flight(&self) -> &Gauge {
        let kind = ("kind", if self.is_stream { "stream" } else { "unary" });
        let [service, method] = self.labels();
        self.in_flight.get_or_init(|| families::IN_FLIGHT.gauge(&[service, method, kind]))
    }
}

/// All methods that either role serves, by their paths.
static MEASURED: LazyLock<HashMap<String, Measured>> = LazyLock::new(|| {
    let measured = |path: String, is_stream| {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let measured = Measured::new(service, method, is_stream);
        Some((path, measured))
    };
    methods::all().filter_map(|(path, is_stream)| measured(path, is_stream)).collect()
});
/// All others.
static OTHER: LazyLock<Measured> = LazyLock::new(|| Measured::new("other", "other", false));

fn measured(path: &str) -> &'static Measured {
    MEASURED.get(path).unwrap_or_else(|| &OTHER)
}

/// A call under way. One that is dropped before it has ended was given up by its caller.
struct Call {
    measured: &'static Measured,
    span: Option<Traced>,
    is_over: bool,
}

impl Call {
    fn begin(measured: &'static Measured, span: Option<Traced>) -> Self {
        measured.in_flight().increment(1);
        Self { measured, span, is_over: false }
    }

    fn ended(&mut self, code: usize) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        self.measured.ended(code);
        self.measured.in_flight().decrement(1);
        if let Some(span) = &self.span {
            span.say("rpc.grpc.status", CODES[code]);
            if OURS.contains(&code) {
                span.failed(CODES[code]);
            }
            span.end();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ended(Code::Cancelled as usize);
    }
}

/// Measures.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Measures;

impl Wrap for Measures {
    async fn wrap<S: Inner>(self, mut request: Request<Body>, inner: S) -> Response<Body> {
        let mut trace = trace_of(request.headers());
        let mut call = None;
        if is_listened_to() || traces::are_wanted() {
            let measured = measured(request.uri().path());
            let span = Traced::request(&measured.service, &measured.method, trace);
            if let Some(span) = &span {
                trace = span.context();
                request.extensions_mut().insert(span.clone());
            }
            call = Some(Call::begin(measured, span));
        }
        if trace.parent.is_some() {
            request.extensions_mut().insert(trace);
        }
        let Some(call) = call else { return ask(inner, request).await };
        let arrived = request.extensions().get().map_or_else(Instant::now, |Arrived(at)| *at);
        let response = ask(inner, request).await;
        call.measured.answered(arrived);
        conclude(call, response)
    }
}

/// Counts how a call ended, now or at the end of its stream.
fn conclude(mut call: Call, response: Response<Body>) -> Response<Body> {
    match code(response.headers()) {
        Some(code) => call.ended(code),
        None if response.status() != StatusCode::OK => call.ended(NOT_GRPC),
        None if call.measured.is_stream => return response.map(|body| Body::new(Streamed { body, call })),
        // Whatever goes out now, it was answered.
        None => call.ended(Code::Ok as usize),
    }
    response
}

/// The trace that a caller is in; none where the header is malformed, or there twice.
fn trace_of(headers: &HeaderMap) -> TraceContext {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let parent = match (all.next(), all.next()) {
        (Some(value), None) => TraceParent::parse(value.as_bytes()),
        _ => None,
    };
    TraceContext { parent }
}

/// The code in headers or trailers, if they have one.
fn code(headers: &HeaderMap) -> Option<usize> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()) as usize)
}

/// A stream that is under way until it has ended.
struct Streamed {
    body: Body,
    call: Call,
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    self.call.ended(code);
                }
            }
            Poll::Ready(Some(Err(status))) => self.call.ended(status.code() as usize),
            Poll::Ready(None) => self.call.ended(Code::Ok as usize),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_named_by_its_number() {
        for (number, name) in CODES[..NOT_GRPC].iter().enumerate() {
            let code = Code::from_i32(i32::try_from(number).unwrap());
            let spelled: String = name.chars().filter(|c| *c != '_').collect();
            // "Canceled" has one l less in the libraries.
            assert_eq!(format!("{code:?}").to_uppercase(), spelled, "{number}");
        }
    }

    #[test]
    fn a_trace_is_known_by_one_header_that_is_well_formed() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let of = |values: &[&str]| {
            let pair = |value: &&str| (TRACEPARENT.parse().unwrap(), value.parse().unwrap());
            trace_of(&values.iter().map(pair).collect::<HeaderMap>()).parent.map(|parent| parent.to_string())
        };
        assert_eq!(of(&[parent]).as_deref(), Some(parent));
        for none in [&[][..], &["00-0-0-00"], &[parent, parent]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn every_method_is_measured_as_itself_and_nothing_else_is() {
        for (path, is_stream) in methods::all() {
            let measured = &MEASURED[&path];
            assert_eq!(format!("/{}/{}", measured.service, measured.method), path);
            assert_eq!(measured.is_stream, is_stream, "{path}");
        }
        for path in ["/grpc.health.v1.Health/Check", "/workplane.v1.WorkerService/SendInput"] {
            assert!(MEASURED.contains_key(path), "{path}");
        }
        assert!(!MEASURED.contains_key("/workplane.v1.WorkerService/sendinput"));
    }
}
