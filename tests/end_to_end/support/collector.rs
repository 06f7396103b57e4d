//! A collector of traces, as operators have one.

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::until;

/// A collector, and the spans that were sent to it.
pub(crate) struct Collector {
    address: SocketAddr,
    spans: Spans,
    _served: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        self.0.lock().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, spans) = (listener.local_addr().unwrap(), Spans::default());
        let service = Server::builder().add_service(TraceServiceServer::new(spans.clone()));
        let served = tokio::spawn(async move {
            service.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, spans, _served: AbortOnDropHandle::new(served) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that was sent so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.0.lock().clone()
    }

    /// Waits for the span of this kind and method in a trace.
    pub(crate) async fn span(&self, trace_id: &[u8], kind: i32, name: &str) -> Span {
        until(&format!("{name} of kind {kind}"), || async {
            self.spans().into_iter().find(|span| span.trace_id == trace_id && span.kind == kind && span.name == name)
        })
        .await
    }
}

/// The text of an attribute.
pub(crate) fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}
