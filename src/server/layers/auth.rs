//! Who calls: a bearer token, looked at before a byte of the body is read. Health is open to all.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use tonic::Status;
use tonic::body::Body;

use super::methods::is_open;
use super::wrap::{Inner, Wrap, ask};
use crate::metrics::TOKENS_REFUSED;
use crate::model::{Caller, Error, Reason};
use crate::proto::status::to_status;
use crate::server::Connection;
use crate::server::callers::{Callers, Pass, unauthenticated};
use crate::server::seldom::Seldom;

/// Lets in who has a token, and tells the services who that is: a [`Caller`] in the request's extensions, and the
/// [`Pass`] that it holds for as long as its token is in force.
#[derive(Debug, Clone)]
pub(in crate::server) struct Auth {
    callers: Option<Arc<Callers>>,
    /// Who was refused: never who they are or what they showed.
    refused: Arc<Seldom>,
}

impl Auth {
    /// Without callers everybody is let in, as `anonymous`.
    pub(in crate::server) fn new(callers: Option<Arc<Callers>>) -> Self {
        Self { callers, refused: Arc::default() }
    }

    /// What a request shows; `None` where nothing is asked for. The connection hears of it.
    fn pass(&self, request: &Request<Body>) -> Result<Option<Arc<Pass>>, Status> {
        // `/Service/Method?x` is routed like `/Service/Method`: nothing may hang on the difference.
        if request.uri().query().is_some() {
            return Err(to_status(&Error::new(Reason::NotYet, "a path has no query")));
        }
        let Some(callers) = self.callers.as_ref().filter(|_| !is_open(request.uri().path())) else { return Ok(None) };
        let Some(pass) = bearer(request.headers()).and_then(|token| callers.pass(token)) else {
            TOKENS_REFUSED.increment(1);
            // Never who they are or what they showed.
            if let Some(calls) = self.refused.count() {
                tracing::warn!(calls, "calls were refused: they show no token of the token_file that is in force");
            }
            return Err(to_status(&unauthenticated()));
        };
        match request.extensions().get::<Connection>() {
            Some(connection) if !connection.authenticated(pass.caller()) => {
                Err(to_status(&Error::new(Reason::Overloaded, "this caller has too many connections")))
            }
            _ => Ok(Some(pass)),
        }
    }
}

/// The one bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

impl Wrap for Auth {
    async fn wrap<S: Inner>(self, mut request: Request<Body>, inner: S) -> Response<Body> {
        let pass = match self.pass(&request) {
            Ok(pass) => pass,
            Err(status) => return status.into_http(),
        };
        if let Some(connection) = request.extensions().get::<Connection>() {
            connection.asked();
            if self.callers.is_none() {
                connection.let_in();
            }
        }
        let caller = pass.as_ref().map_or_else(Caller::anonymous, |pass| pass.caller().clone());
        tracing::Span::current().record("caller", caller.as_str());
        // No one further in has any business with it.
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(caller);
        if let Some(pass) = pass {
            request.extensions_mut().insert(pass);
        }
        ask(inner, request).await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Code;
    use tower::{Layer as _, ServiceExt as _};

    use super::*;
    use crate::model::TokenTable;
    use crate::server::layers::Wrapping;

    /// Who got in; `None` who did not, with the code.
    async fn call(tokens: Option<&str>, path: &str, authorization: &[&str]) -> Result<String, Code> {
        let tokens = tokens.map(|text| Arc::new(Callers::new(TokenTable::parse(text).unwrap())));
        let echo = tower::service_fn(|request: Request<Body>| async move {
            assert!(!request.headers().contains_key(AUTHORIZATION));
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(request.extensions().get::<Caller>().unwrap().clone());
            Ok::<_, Infallible>(response)
        });
        let mut request = Request::builder().uri(path);
        for value in authorization {
            request = request.header(AUTHORIZATION, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = Wrapping(Auth::new(tokens)).layer(echo).oneshot(request).await.unwrap();
        match response.extensions().get::<Caller>() {
            Some(caller) => Ok(caller.to_string()),
            None => Err(Status::from_header_map(response.headers()).unwrap().code()),
        }
    }

    const METHOD: &str = "/workplane.v1.WorkerService/GetWorker";

    #[tokio::test]
    async fn only_the_right_token_is_let_in() {
        // acceptance 123
        let tokens = Some("alice one\nbob two");
        assert_eq!(call(tokens, METHOD, &["Bearer two"]).await, Ok("bob".to_owned()));
        assert_eq!(call(tokens, METHOD, &["bearer one"]).await, Ok("alice".to_owned()));
        let refused: [&[&str]; 7] = [
            &[],
            &["Bearer three"],
            &["Bearer"],
            &["one"],
            &["Basic one"],
            &["Bearer  one"],
            &["Bearer one", "Bearer one"],
        ];
        for wrong in refused {
            assert_eq!(call(tokens, METHOD, wrong).await, Err(Code::Unauthenticated), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn health_is_open_and_reflection_is_not() {
        let tokens = Some("alice one");
        assert!(call(tokens, "/grpc.health.v1.Health/Check", &[]).await.is_ok());
        for path in [
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.health.v1.Health/Check/",
            "/grpc.health.v1.Health/Other",
        ] {
            assert_eq!(call(tokens, path, &[]).await, Err(Code::Unauthenticated));
        }
    }

    #[tokio::test]
    async fn a_path_with_a_query_is_no_method() {
        for path in [METHOD.to_owned() + "?x=1", "/grpc.health.v1.Health/Check?".to_owned()] {
            assert_eq!(call(Some("alice one"), &path, &["Bearer one"]).await, Err(Code::Unimplemented));
        }
    }

    #[tokio::test]
    async fn without_a_table_all_are_anonymous() {
        // acceptance 123
        assert_eq!(call(None, METHOD, &["Bearer whatever"]).await, Ok("anonymous".to_owned()));
    }
}
