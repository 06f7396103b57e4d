//! Spans of traces: one for each request, and one for each call to a host. They bear names, codes and ids, never content.
//!
//! Beside the spans of the log, which they have nothing to do with: so what is logged and what is traced do not hang on each
//! other's levels, and nothing of what the exporter itself does is ever traced. `opentelemetry` is a facade, as `metrics` is:
//! `telemetry::export` decides whether anybody gets them. Until then nothing is made, and a trace context is handed on
//! as it came.

use std::sync::{Arc, OnceLock};

use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value, global};
use parking_lot::Mutex;

use crate::model::{TraceContext, TraceParent};

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// Somebody gets spans from now on: the global provider is there.
pub fn begin() {
    TRACER.get_or_init(|| global::tracer("workplane"));
}

/// Whether spans are made.
#[must_use]
pub fn are_wanted() -> bool {
    TRACER.get().is_some()
}

/// A span under way; it ends when it is dropped. Clones are the same span.
#[derive(Debug, Clone)]
pub struct Traced(Arc<Mutex<BoxedSpan>>);

impl Traced {
    /// A span for a request of this method, in the trace that its caller is in, if any.
    #[must_use]
    pub fn request(service: &str, method: &str, from: TraceContext) -> Option<Self> {
        Self::begin(SpanKind::Server, service, method, from)
    }

    /// A span for a call of this method of a host, made for a caller that is in a trace; else there is none.
    #[must_use]
    pub fn call(service: &str, method: &str, from: TraceContext) -> Option<Self> {
        Self::begin(SpanKind::Client, service, method, TraceContext { parent: Some(from.parent?) })
    }

    fn begin(kind: SpanKind, service: &str, method: &str, from: TraceContext) -> Option<Self> {
        let tracer = TRACER.get()?;
        let attributes = [("rpc.system", "grpc"), ("rpc.service", service), ("rpc.method", method)];
        let attributes = attributes.map(|(name, value)| KeyValue::new(name, value.to_owned()));
        let name = format!("{service}/{method}");
        let span = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        let parent = from.parent.map(remote).unwrap_or_default();
        Some(Self(Arc::new(Mutex::new(tracer.build_with_context(span, &parent)))))
    }

    /// Says something of it.
    pub fn say(&self, name: &'static str, value: impl Into<Value>) {
        self.0.lock().set_attribute(KeyValue::new(name, value));
    }

    /// It did not go well, and not for a fault of who asked.
    pub fn failed(&self, why: &'static str) {
        self.0.lock().set_status(Status::error(why));
    }

    /// It is over, whoever still holds it.
    pub fn end(&self) {
        self.0.lock().end();
    }

    /// The context of what is done within it.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        let span = self.0.lock();
        let here = span.span_context();
        let parent = TraceParent {
            trace_id: here.trace_id().to_bytes(),
            span_id: here.span_id().to_bytes(),
            is_sampled: here.is_sampled(),
        };
        TraceContext { parent: here.is_valid().then_some(parent) }
    }
}

/// The context of a span that is somewhere else.
fn remote(parent: TraceParent) -> Context {
    let TraceParent { trace_id, span_id, is_sampled } = parent;
    let flags = TraceFlags::default().with_sampled(is_sampled);
    let (trace, span) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id));
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
}
