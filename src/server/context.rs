//! From a request to the context of a call: who calls, until when, and under which id.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Status};

use super::callers::Pass;
use super::drain::Drain;
use super::ends::Ends;
use super::layers::{Deadline, REQUEST_ID, RequestIdSlot, StreamEnd};
use crate::model::{CallContext, Caller, Error, ErrorClass, Fingerprint, RequestId, Result, TraceContext, WorkspaceId};
use crate::proto::convert::{HostContext, host_context};
use crate::proto::fingerprint::{Mutating, fingerprint};
use crate::proto::runtime_v1::RequestContext;
use crate::proto::status::to_status;
use crate::traces::Traced;

/// How long a call may take that no layer has set a deadline for.
const DEFAULT: Duration = Duration::from_secs(30);

/// What the layers know of a request. Taken before its message is.
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    caller: Caller,
    pass: Option<Arc<Pass>>,
    deadline: Instant,
    stream_end: Option<Instant>,
    trace: TraceContext,
    span: Option<Traced>,
    slot: RequestIdSlot,
}

impl Incoming {
    /// Takes a request apart.
    pub(super) fn of<T>(request: Request<T>) -> (Self, T) {
        let extensions = request.extensions();
        let incoming = Self {
            caller: extensions.get().cloned().unwrap_or_else(Caller::anonymous),
            pass: extensions.get().cloned(),
            deadline: extensions.get().map_or_else(|| Instant::now() + DEFAULT, |Deadline(at)| *at),
            stream_end: extensions.get().map(|StreamEnd(at)| *at),
            // Of the request's own span where it has one; else of its caller's.
            trace: extensions.get().copied().unwrap_or_default(),
            span: extensions.get().cloned(),
            slot: extensions.get().cloned().unwrap_or_default(),
        };
        (incoming, request.into_inner())
    }

    /// When the stream that is asked for is to end; `None` where the caller has not said.
    pub(super) fn stream_end(&self) -> Option<Instant> {
        self.stream_end
    }

    /// What else ends the stream that is asked for.
    pub(super) fn ends(&self, drain: &Drain) -> Ends {
        Ends::new(drain.streams(), self.pass.clone())
    }

    /// The context of a call that changes nothing.
    pub(super) fn read(self, workspace: &WorkspaceId) -> CallContext {
        CallContext {
            caller: self.caller,
            workspace: workspace.clone(),
            deadline: self.deadline,
            request_id: None,
            fingerprint: Fingerprint::default(),
            trace: self.trace,
        }
    }

    /// The context of a call that changes something; without an id it gets one. The request has lost its id then.
    pub(super) fn change<M: Mutating<Name = String>>(
        self,
        workspace: &WorkspaceId,
        request: &mut M,
    ) -> Result<CallContext> {
        let (id, fingerprint) = fingerprint(request);
        let id = if id.is_empty() { RequestId::generate() } else { RequestId::new(&id)? };
        self.remember(&id);
        Ok(CallContext { request_id: Some(id), fingerprint, ..self.read(workspace) })
    }

    /// The context of a call that a control plane makes for somebody else. The request has lost its own context then.
    pub(super) fn host_change<M: Mutating<Name = Option<RequestContext>>>(
        self,
        request: &mut M,
    ) -> Result<CallContext> {
        let (context, fingerprint) = fingerprint(request);
        let HostContext { request_id, workspace, caller } = host_context(context)?;
        self.remember(&request_id);
        let call = self.read(&workspace);
        Ok(CallContext { caller, request_id: Some(request_id), fingerprint, ..call })
    }

    fn remember(&self, id: &RequestId) {
        tracing::Span::current().record("request_id", id.as_str());
        if let Some(span) = &self.span {
            span.say("workplane.request_id", id.as_str().to_owned());
        }
        self.slot.set(id.clone());
    }
}

/// The status of an error. Where it cannot be known what became of the request, it carries the request's id.
pub(super) fn refuse(error: &Error, ctx: &CallContext) -> Status {
    let mut status = to_status(error);
    if error.reason().class() == ErrorClass::Unknown
        && let Some(id) = &ctx.request_id
        // An id's characters are all allowed in metadata.
        && let Ok(value) = id.as_str().parse()
    {
        status.metadata_mut().insert(REQUEST_ID, value);
    }
    status
}

/// The status of an error that comes before there is a context.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn bad(error: Error) -> Status {
    to_status(&error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use crate::proto::v1::SendInputRequest;

    fn workspace() -> WorkspaceId {
        WorkspaceId::new("local:default").unwrap()
    }

    #[test]
    fn a_request_without_an_id_gets_one() {
        let mut message = SendInputRequest::default();
        let (incoming, ()) = Incoming::of(Request::new(()));
        let ctx = incoming.change(&workspace(), &mut message).unwrap();
        assert!(ctx.request_id.is_some());
        let mut message = SendInputRequest { request_id: "a b".to_owned(), ..Default::default() };
        let (incoming, ()) = Incoming::of(Request::new(()));
        let refused = incoming.change(&workspace(), &mut message).unwrap_err();
        assert_eq!(refused.fields()[0].field, "request_id");
    }

    #[test]
    fn an_unknown_outcome_names_the_request() {
        let mut ctx = CallContext::internal(workspace(), DEFAULT);
        ctx.request_id = Some(RequestId::new("r-1").unwrap());
        let named = |reason| refuse(&Error::new(reason, "no"), &ctx).metadata().get(REQUEST_ID).cloned();
        assert_eq!(named(Reason::RemoteRuntimeTimeout).unwrap(), "r-1");
        assert_eq!(named(Reason::UnknownWorker), None);
    }
}
