//! The part of a trace that a call to a host is: all of its attempts together.

use tonic::metadata::{Ascii, MetadataValue};

use crate::model::{CallContext, RuntimeId, TraceContext};
use crate::proto::runtime_v1::worker_runtime_service_server::SERVICE_NAME;
use crate::traces::Traced;

/// The span of one call, if anybody wants it, and the context that goes to the host in any case.
pub(super) struct Span {
    traced: Option<Traced>,
    context: TraceContext,
}

impl Span {
    pub(super) fn begin(ctx: &CallContext, method: &'static str, runtime_id: &RuntimeId) -> Self {
        let traced = Traced::call(SERVICE_NAME, method, ctx.trace);
        if let Some(traced) = &traced {
            traced.say("workplane.runtime_id", runtime_id.as_str().to_owned());
        }
        let context = traced.as_ref().map_or(ctx.trace, Traced::context);
        Self { traced, context }
    }

    /// What the host is told of the trace.
    pub(super) fn parent(&self) -> Option<MetadataValue<Ascii>> {
        // Digits and hyphens are allowed in metadata.
        self.context.parent.and_then(|parent| parent.to_string().parse().ok())
    }

    /// The call is over.
    pub(super) fn end(&self, outcome: &'static str, attempts: u32) {
        let Some(traced) = &self.traced else { return };
        traced.say("workplane.outcome", outcome);
        traced.say("workplane.attempts", i64::from(attempts));
        if !matches!(outcome, "ok" | "refused") {
            traced.failed(outcome);
        }
        traced.end();
    }
}
