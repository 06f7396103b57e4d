//! What the stack below refuses by itself, in the words of the contract: a request that does not decode, one that is too
//! large, a method that is not there. Tonic gives these as INTERNAL, `OUT_OF_RANGE` and UNIMPLEMENTED without details;
//! callers get a reason, and the path of the field where it is known. Refusals of ours have their reason and pass.

use http::{Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};

use super::bodies::{Bodies, Heard};
use super::methods::{OURS, is_known};
use super::wrap::{Inner, Wrap, ask};
use crate::model::{Error, Reason};
use crate::proto::bad_field;
use crate::proto::status::to_status;
use crate::server::Edge;

/// Refusals of the stack.
#[derive(Debug, Clone)]
pub(in crate::server) struct Refusals {
    bodies: Bodies,
}

impl Refusals {
    /// It is asked with requests as large as `edge` has it.
    pub(in crate::server) fn new(edge: &Edge) -> Self {
        Self { bodies: Bodies::new(edge) }
    }
}

impl Wrap for Refusals {
    async fn wrap<S: Inner>(self, request: Request<Body>, inner: S) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let (parts, body) = request.into_parts();
        let (body, heard) = self.bodies.read(&path, body);
        let mut response = ask(inner, Request::from_parts(parts, body)).await;
        let Some(status) = Status::from_header_map(response.headers()) else { return response };
        if let Some(error) = told(&status, &path, &heard)
            // It fails only for a status that is no metadata; then the stack's own stands.
            && let Ok(()) = to_status(&error).add_header(response.headers_mut())
        {
            tracing::debug!(code = ?status.code(), reason = error.reason().as_str(), "refused by the stack");
        }
        response
    }
}

/// What a caller is told instead; `None` where the status is not one of the stack.
fn told(status: &Status, path: &str, heard: &Heard) -> Option<Error> {
    let ours = path.starts_with(OURS);
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        // Either role serves all methods of its own.
        Code::Unimplemented if is_known(path) => Some(Error::new(Reason::NotYet, elsewhere(path))),
        Code::Unimplemented => {
            Some(Error::new(Reason::NotYet, "this method, or this form of it, is not served by this version"))
        }
        Code::OutOfRange if ours => {
            Some(Error::new(Reason::InvalidRequest, "the request is larger than this method takes"))
        }
        // Of other protocols too: it is the caller's own doing.
        Code::Internal | Code::Unknown => Some(undecodable(path, heard)),
        _ => None,
    }
}

/// What is said of a method of the other role.
fn elsewhere(path: &str) -> &'static str {
    if path.starts_with("/workplane.v1.") {
        "this is a worker runtime, which serves a control plane: ask the control plane (`workplane serve`)"
    } else {
        "this is a control plane: the method is one of a worker runtime (`workplane runtime`)"
    }
}

fn undecodable(path: &str, heard: &Heard) -> Error {
    match heard.message().and_then(|message| bad_field(path, &message)) {
        Some(field) => Error::field(field, "is not encoded as its type has it"),
        None => Error::new(Reason::InvalidRequest, "the request is not one message of this method's type"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic_types::StatusExt as _;
    use tower::{Layer as _, ServiceExt as _};

    use super::*;
    use crate::server::layers::Wrapping;

    async fn heard(path: &str, said: Status) -> Status {
        let inner = tower::service_fn(move |_: Request<Body>| {
            let said = said.clone();
            async move { Ok::<_, Infallible>(said.into_http()) }
        });
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = Wrapping(Refusals::new(&Edge::control_plane())).layer(inner).oneshot(request).await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
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
