//! What is counted of each request: its method, how long it took until it was answered, with which code it ended. Its span,
//! if it was given one further in, hears the same. A method that nobody serves is `other`, whatever its path says.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use http::{HeaderMap, Request, Response, StatusCode};
use metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::methods;
use super::seen::{Next, seen};
use super::traces::SpanSlot;
use super::wrap::{Arrived, Inner, Wrap, ask};
use crate::metrics::{families, is_listened_to};
use crate::proto::status::reason_of;
use crate::traces;

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

/// The service and the method at `path`, as they are counted.
pub(super) fn names(path: &str) -> (&'static str, &'static str) {
    let measured = measured(path);
    (&measured.service, &measured.method)
}

/// A call under way. One that is dropped before it has ended was given up by its caller.
struct Call {
    measured: &'static Measured,
    /// Where its span is, if it was given one.
    span: Option<SpanSlot>,
    is_over: bool,
}

impl Call {
    fn begin(measured: &'static Measured, span: Option<SpanSlot>) -> Self {
        measured.in_flight().increment(1);
        Self { measured, span, is_over: false }
    }

    /// It ended with `code`; its status says why, where there is one.
    fn ended(&mut self, code: usize, status: impl FnOnce() -> Option<Status>) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        self.measured.ended(code);
        self.measured.in_flight().decrement(1);
        if let Some(span) = self.span.as_ref().and_then(SpanSlot::get) {
            span.say("rpc.grpc.status", CODES[code]);
            if is_a_fault(code, self.measured.is_stream, status) {
                span.failed(CODES[code]);
            }
            span.end();
        }
    }

    /// What comes of its stream next: it is under way until that has ended.
    fn streams(&mut self, next: &Next) {
        match next {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(code) = code(trailers)
                {
                    self.ended(code, || Status::from_header_map(trailers));
                }
            }
            Some(Err(status)) => self.ended(status.code() as usize, || Some(status.clone())),
            None => self.ended(Code::Ok as usize, || None),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ended(Code::Cancelled as usize, || None);
    }
}

/// Whether a call that ended so is a fault, and none of its caller's. A stream with a deadline is meant to end by it, and
/// who comes back after a drain is served elsewhere, or later.
fn is_a_fault(code: usize, is_stream: bool, status: impl FnOnce() -> Option<Status>) -> bool {
    if is_stream && code == Code::DeadlineExceeded as usize {
        return false;
    }
    let is_drain = || status().is_some_and(|status| reason_of(&status) == "DRAINING");
    OURS.contains(&code) && !(code == Code::Unavailable as usize && is_drain())
}

/// Measures.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Measures;

impl Wrap for Measures {
    async fn wrap<S: Inner>(self, mut request: Request<Body>, inner: S) -> Response<Body> {
        let span = traces::are_wanted().then(SpanSlot::default);
        if span.is_none() && !is_listened_to() {
            return ask(inner, request).await;
        }
        if let Some(span) = &span {
            request.extensions_mut().insert(span.clone());
        }
        let call = Call::begin(measured(request.uri().path()), span);
        let arrived = request.extensions().get().map_or_else(Instant::now, |Arrived(at)| *at);
        let response = ask(inner, request).await;
        call.measured.answered(arrived);
        conclude(call, response)
    }
}

/// Counts how a call ended, now or at the end of its stream.
fn conclude(mut call: Call, response: Response<Body>) -> Response<Body> {
    match code(response.headers()) {
        Some(code) => call.ended(code, || Status::from_header_map(response.headers())),
        None if response.status() != StatusCode::OK => call.ended(NOT_GRPC, || None),
        None if call.measured.is_stream => return response.map(|body| seen(body, move |next| call.streams(next))),
        // Whatever goes out now, it was answered.
        None => call.ended(Code::Ok as usize, || None),
    }
    response
}

/// The code in headers or trailers, if they have one.
fn code(headers: &HeaderMap) -> Option<usize> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Error, Reason};
    use crate::proto::status::to_status;

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
    fn a_streams_own_deadline_and_a_drain_are_no_faults() {
        let draining = || Some(to_status(&Error::new(Reason::Draining, "no")));
        let away = || Some(Status::unavailable("no"));
        for is_stream in [false, true] {
            assert!(!is_a_fault(Code::Unavailable as usize, is_stream, draining));
            assert!(is_a_fault(Code::Unavailable as usize, is_stream, away));
            assert_eq!(is_a_fault(Code::DeadlineExceeded as usize, is_stream, || None), !is_stream);
            assert!(is_a_fault(Code::Internal as usize, is_stream, || None));
            assert!(!is_a_fault(Code::NotFound as usize, is_stream, || None));
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
