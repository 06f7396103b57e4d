//! The span of each request that is let in, in the trace that its caller is in. That goes on with the request, whether
//! anybody traces here or not.
//!
//! Only behind [`Auth`](super::Auth): whether a trace is kept is for its caller to say, and a stranger is none. So what is
//! refused there has no span, nor has health, which anybody may ask for.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Request, Response};
use tonic::body::Body;

use super::measures::names;
use super::methods::is_open;
use super::wrap::{Inner, Wrap, ask};
use crate::model::{Caller, TRACEPARENT, TraceContext, TraceParent};
use crate::traces::Traced;

/// Where the span of a request is put for who says how the request ended.
#[derive(Debug, Clone, Default)]
pub(super) struct SpanSlot(Arc<OnceLock<Traced>>);

impl SpanSlot {
    /// The span, where there is one.
    pub(super) fn get(&self) -> Option<&Traced> {
        self.0.get()
    }
}

/// Traces.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Traces;

impl Wrap for Traces {
    async fn wrap<S: Inner>(self, mut request: Request<Body>, inner: S) -> Response<Body> {
        if !is_open(request.uri().path()) {
            go_on(&mut request);
        }
        ask(inner, request).await
    }
}

/// Puts a request into the trace of its caller, and its span, if any, where others find it.
fn go_on(request: &mut Request<Body>) {
    let mut trace = trace_of(request.headers());
    let (service, method) = names(request.uri().path());
    if let Some(span) = Traced::request(service, method, trace) {
        trace = span.context();
        if let Some(caller) = request.extensions().get::<Caller>() {
            span.say("workplane.caller", caller.as_str().to_owned());
        }
        if let Some(SpanSlot(slot)) = request.extensions().get() {
            slot.get_or_init(|| span.clone());
        }
        request.extensions_mut().insert(span);
    }
    if trace.parent.is_some() {
        request.extensions_mut().insert(trace);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
