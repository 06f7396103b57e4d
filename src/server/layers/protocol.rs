//! Whether a request is one of gRPC at all. What is not gets an answer of HTTP, before anything else is looked at:
//! without this, a GET or a body of JSON would be taken for a call.

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tonic::body::Body;

use super::wrap::{Inner, Wrap, ask};

/// Refuses what is not gRPC: 405 for another method than POST, 415 for another content type than `application/grpc`
/// or `application/grpc+proto`.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Protocol;

impl Wrap for Protocol {
    async fn wrap<S: Inner>(self, request: Request<Body>, inner: S) -> Response<Body> {
        if request.method() != Method::POST {
            // The answer to a HEAD has no body.
            let words = if request.method() == Method::HEAD { "" } else { "this is a gRPC server: a call is a POST\n" };
            let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, words);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        if !is_grpc(request.headers()) {
            let words = "this is a gRPC server: the content type is application/grpc, and messages are protobuf\n";
            return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, words);
        }
        ask(inner, request).await
    }
}

/// Whether messages are said to be protobuf, with or without parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/grpc", "application/grpc+proto"].iter().any(|ours| kind.eq_ignore_ascii_case(ours))
}

fn refused(status: StatusCode, words: &'static str) -> Response<Body> {
    tracing::debug!(%status, "refused: this is not gRPC");
    let mut response = Response::new(Body::new(words.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{Layer as _, ServiceExt as _};

    use super::*;
    use crate::server::layers::Wrapping;

    async fn asked(method: &str, kind: Option<&str>) -> StatusCode {
        let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let mut request = Request::builder().method(method).uri("/any/Method");
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        Wrapping(Protocol).layer(inner).oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn what_is_not_grpc_is_answered_by_http() {
        for kind in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
            assert_eq!(asked("POST", Some(kind)).await, StatusCode::OK, "{kind}");
            assert_eq!(asked("GET", Some(kind)).await, StatusCode::METHOD_NOT_ALLOWED, "{kind}");
        }
        for kind in [None, Some(""), Some("application/json"), Some("application/grpc+json"), Some("application/grpcx")]
        {
            assert_eq!(asked("POST", kind).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind:?}");
        }
    }
}
