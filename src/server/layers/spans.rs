//! A span for each request: its method, who called, under which request id. Never what was said.

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::wrap::{Inner, Wrap, ask};
use crate::model::truncate_at_char;

/// The longest method name that is written.
const MAX_METHOD: usize = 120;

/// Spans.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Spans;

impl Wrap for Spans {
    async fn wrap<S: Inner>(self, request: Request<Body>, inner: S) -> Response<Body> {
        let method = truncate_at_char(request.uri().path(), MAX_METHOD);
        let span = tracing::info_span!("request", method, caller = Empty, request_id = Empty);
        async move {
            let response = ask(inner, request).await;
            if let Some(status) = Status::from_header_map(response.headers()) {
                tracing::debug!(code = ?status.code(), "refused");
            }
            response
        }
        .instrument(span)
        .await
    }
}
