//! What the stack below refuses by itself, in the words of the contract: a request that does not decode, one that is too
//! large, a method that is not there. Tonic gives these as INTERNAL, `OUT_OF_RANGE` and UNIMPLEMENTED without details;
//! callers get a reason, and the path of the field where it is known. Refusals of ours have their reason and pass.

use http::{Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};

use super::wrap::{Inner, Wrap, ask};
use crate::model::{Error, Reason};
use crate::proto::status::to_status;

/// The services whose statuses are ours to say; those of health and reflection are their own protocols'.
const OURS: &str = "/workplane.";
/// How prost begins what it says of bytes that are not the message they should be.
const UNDECODABLE: &str = "failed to decode Protobuf message: ";

/// Refusals of the stack.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Refusals;

impl Wrap for Refusals {
    async fn wrap<S: Inner>(self, request: Request<Body>, inner: S) -> Response<Body> {
        let ours = request.uri().path().starts_with(OURS);
        let mut response = ask(inner, request).await;
        let Some(status) = Status::from_header_map(response.headers()) else { return response };
        if let Some(error) = told(&status, ours)
            // It fails only for a status that is no metadata; then the stack's own stands.
            && let Ok(()) = to_status(&error).add_header(response.headers_mut())
        {
            tracing::debug!(code = ?status.code(), reason = error.reason().as_str(), "refused by the stack");
        }
        response
    }
}

/// What a caller is told instead; `None` where the status is not one of the stack.
fn told(status: &Status, ours: bool) -> Option<Error> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::Unimplemented => {
            Some(Error::new(Reason::NotYet, "this method, or this form of it, is not served by this version"))
        }
        Code::OutOfRange if ours => {
            Some(Error::new(Reason::InvalidRequest, "the request is larger than this method takes"))
        }
        Code::Internal | Code::Unknown if ours => Some(undecodable(status.message())),
        _ => None,
    }
}

fn undecodable(said: &str) -> Error {
    let path = said.strip_prefix(UNDECODABLE).map(path).unwrap_or_default();
    if path.is_empty() {
        return Error::new(Reason::InvalidRequest, "the request is not one message of this method's type");
    }
    Error::field(path, "is not encoded as its type has it")
}

/// The path in prost's words: `Inner.field: Outer.field: what is wrong`, the innermost first.
fn path(said: &str) -> String {
    let places = said.split(": ").map_while(|place| {
        let (message, field) = place.split_once('.')?;
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (is_name(message) && is_name(field)).then_some(field)
    });
    let mut path: Vec<_> = places.collect();
    path.reverse();
    path.join(".")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use prost::Message as _;
    use tonic_types::StatusExt as _;
    use tower::{Layer as _, ServiceExt as _};

    use super::*;
    use crate::proto::v1;
    use crate::server::layers::Wrapping;

    async fn heard(path: &str, said: Status) -> Status {
        let inner = tower::service_fn(move |_: Request<Body>| {
            let said = said.clone();
            async move { Ok::<_, Infallible>(said.into_http()) }
        });
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = Wrapping(Refusals).layer(inner).oneshot(request).await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
    }

    #[tokio::test]
    async fn a_field_that_does_not_decode_is_named_by_its_path() {
        // ticket_id, two messages down, is not UTF-8.
        let bad: &[u8] = &[0x1a, 5, 0x1a, 3, 0x0a, 1, 0xff];
        let words = v1::SpawnWorkerRequest::decode(bad).unwrap_err().to_string();
        let status = heard("/workplane.v1.WorkerService/SpawnWorker", Status::internal(words)).await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_REQUEST");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "intent.kind.ticket_id");
    }

    #[tokio::test]
    async fn what_the_stack_refuses_has_a_reason_of_ours() {
        let path = "/workplane.v1.WorkerService/SpawnWorker";
        for (said, reason) in [
            (Status::internal("Missing request message."), "INVALID_REQUEST"),
            (Status::out_of_range("Error, decoded message length too large"), "INVALID_REQUEST"),
            (Status::unimplemented(""), "NOT_YET"),
        ] {
            let status = heard(path, said).await;
            assert_eq!(status.get_details_error_info().unwrap().reason, reason);
        }
    }

    #[tokio::test]
    async fn refusals_of_ours_and_of_other_protocols_pass_as_they_are() {
        let ours = to_status(&Error::new(Reason::StoreError, "words"));
        assert_eq!(heard("/workplane.v1.WorkerService/SpawnWorker", ours).await.code(), Code::Internal);
        let unknown = heard("/grpc.health.v1.Health/Check", Status::not_found("service not registered")).await;
        assert_eq!((unknown.code(), unknown.details().len()), (Code::NotFound, 0));
    }
}
