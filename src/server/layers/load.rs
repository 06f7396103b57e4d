//! How much at once: what is over is refused at once, as `OVERLOADED`, before it costs anything. What ends work or asks
//! how things stand has a lane of its own, so that it passes also when all else is full. What anybody may call has room
//! of its own alone: so nobody without a token takes that of others, and health is told however much there is to do.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

use super::held::held;
use super::methods::{OURS, is_open, is_stream};
use super::pace::Pace;
use super::return_times::{ReturnTimes, SOONEST};
use super::until::Until;
use super::wrap::{Arrived, Inner, Wrap, ask};
use crate::metrics::Shed;
use crate::model::{Caller, Error, Reason};
use crate::proto::status::to_status;
use crate::server::callers::Pass;
use crate::server::drain::draining;
use crate::server::tally::{Counted, Tally};
use crate::server::{Connection, Drain, Edge};

/// Methods that pass also when all else is full, by how their names begin.
const LANE: [&str; 4] = ["Get", "Stop", "Cancel", "Interrupt"];

/// Limits on what is in flight in this server.
#[derive(Debug, Clone)]
pub(in crate::server) struct Load {
    unary: Arc<Semaphore>,
    max_unary: usize,
    pace: Arc<Pace>,
    lane: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    open_unary: Arc<Semaphore>,
    open_streams: Arc<Semaphore>,
    callers: Tally<Caller>,
    max_streams_per_caller: usize,
    drain: Drain,
    return_times: Arc<ReturnTimes>,
}

impl Load {
    pub(in crate::server) fn new(edge: &Edge, drain: Drain) -> Self {
        let of = |most| Arc::new(Semaphore::new(most));
        Self {
            unary: of(edge.max_unary),
            max_unary: edge.max_unary,
            pace: Arc::new(Pace::new(edge.max_unary)),
            lane: of(edge.max_unary_lane),
            streams: of(edge.max_streams),
            open_unary: of(edge.max_open),
            open_streams: of(edge.max_open),
            callers: Tally::default(),
            max_streams_per_caller: edge.max_streams_per_caller,
            drain,
            return_times: Arc::new(ReturnTimes::new()),
        }
    }

    /// Room for a stream: in all, and where its caller has said who it is, among those of that one.
    fn stream(&self, path: &str, request: &Request<Body>) -> Option<(OwnedSemaphorePermit, Option<Counted<Caller>>)> {
        if is_open(path) {
            return Some((self.open_streams.clone().try_acquire_owned().ok()?, None));
        }
        let extensions = request.extensions();
        let counted = match (extensions.get::<Connection>(), extensions.get::<Caller>()) {
            (Some(connection), Some(caller)) if connection.caller().is_some() => {
                Some(self.callers.take(caller, self.max_streams_per_caller)?)
            }
            _ => None,
        };
        Some((self.streams.clone().try_acquire_owned().ok()?, counted))
    }

    fn unary(&self, path: &str, waited: Duration) -> Option<OwnedSemaphorePermit> {
        if is_open(path) {
            return self.open_unary.clone().try_acquire_owned().ok();
        }
        let in_flight = self.max_unary - self.unary.available_permits();
        let fits = in_flight < self.pace.after(waited);
        let permit = if fits { self.unary.clone().try_acquire_owned().ok() } else { None };
        permit.or_else(|| if is_in_lane(path) { self.lane.clone().try_acquire_owned().ok() } else { None })
    }

    fn overloaded(&self, why: Shed) -> Response<Body> {
        // Whom anybody may be is not let in among those who are known.
        let retry = if matches!(why, Shed::Health) { SOONEST } else { self.return_times.next() };
        overloaded(why, retry)
    }
}

/// Whether a method ends work or asks how things stand.
fn is_in_lane(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    is_open(path) || LANE.iter().any(|begins| method.starts_with(begins))
}

impl Wrap for Load {
    async fn wrap<S: Inner>(self, request: Request<Body>, inner: S) -> Response<Body> {
        let path = request.uri().path();
        let connection = request.extensions().get::<Connection>().cloned();
        if is_stream(path) {
            let Some(room) = self.stream(path, &request) else { return self.overloaded(why(path, Shed::Streams)) };
            let pass = request.extensions().get::<Arc<Pass>>();
            let opened = pass.zip(connection.as_ref()).map(|(pass, connection)| pass.open(connection));
            let ends_itself = path.starts_with(OURS);
            return ask(inner, request).await.map(|body| {
                let body = if ends_itself { body } else { Body::new(Until::new(body, drained(self.drain))) };
                held(body, connection.as_ref(), (room, opened))
            });
        }
        let of_connection = match &connection {
            Some(connection) => match connection.unary(is_in_lane(path)) {
                Some(call) => Some(call),
                // Others are none the worse for it.
                None => return overloaded(Shed::Connection, SOONEST),
            },
            None => None,
        };
        let waited = request.extensions().get::<Arrived>().map(|arrived| arrived.0.elapsed());
        let Some(_room) = self.unary(path, waited.unwrap_or_default()) else {
            return self.overloaded(why(path, Shed::Unary));
        };
        // Nobody waits for the health of a server that ends.
        let _call = (!is_open(path)).then(|| self.drain.call());
        let response = ask(inner, request).await;
        // In all, a call is over when it is answered: who does not read takes no room of others.
        response.map(|body| held(body, connection.as_ref(), of_connection))
    }
}

/// The end of a stream that does not listen to the drain by itself, as a watch of health.
async fn drained(drain: Drain) -> Status {
    drain.streams().on().await;
    to_status(&draining())
}

/// What there is too much of.
fn why(path: &str, otherwise: Shed) -> Shed {
    if is_open(path) { Shed::Health } else { otherwise }
}

fn overloaded(why: Shed, retry: Duration) -> Response<Body> {
    why.count();
    to_status(&Error::new(Reason::Overloaded, "the server takes no more for now").retry_after(retry)).into_http()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::Frame;
    use tonic::{Code, Status};
    use tower::{Layer as _, Service, ServiceExt as _};

    use super::*;
    use crate::server::layers::Wrapping;

    /// A body that goes on.
    struct Endless;

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    /// Room for one of each.
    fn one() -> Wrapping<Load> {
        let edge = Edge { max_unary: 1, max_unary_lane: 1, max_streams: 1, max_open: 1, ..Edge::control_plane() };
        Wrapping(Load::new(&edge, Drain::new()))
    }

    fn request(path: &str) -> Request<Body> {
        Request::builder().uri(path).body(Body::empty()).unwrap()
    }

    fn is_overloaded(response: &Response<Body>) -> bool {
        Status::from_header_map(response.headers()).is_some_and(|status| status.code() == Code::ResourceExhausted)
    }

    #[tokio::test]
    async fn when_all_is_full_only_what_ends_or_asks_passes() {
        let hang = tower::service_fn(|request: Request<Body>| async move {
            if request.uri().path().ends_with("SendInput") {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let mut service = one().layer(hang);
        let first = service.ready().await.unwrap().call(request("/s/SendInput"));
        let mut first = std::pin::pin!(first);
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        for (method, shed) in [("SendInput", true), ("SpawnWorker", true), ("StopWorker", false), ("Check", true)] {
            let answer = service.ready().await.unwrap().call(request(&format!("/s/{method}"))).await.unwrap();
            assert_eq!(is_overloaded(&answer), shed, "{method}");
        }
    }

    #[tokio::test]
    async fn what_anybody_may_call_takes_nothing_of_the_others_room() {
        let hang = tower::service_fn(|request: Request<Body>| async move {
            if request.uri().path().ends_with("Health/Check") {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Body::new(Endless)))
        });
        let service = one().layer(hang);
        let call = |path: &str| service.clone().oneshot(request(path));
        let mut check = std::pin::pin!(call("/grpc.health.v1.Health/Check"));
        assert!(futures_util::poll!(check.as_mut()).is_pending());
        let _watch = call("/grpc.health.v1.Health/Watch").await.unwrap();
        for method in ["Check", "List", "Watch"] {
            let refused = call(&format!("/grpc.health.v1.Health/{method}")).await.unwrap();
            assert!(is_overloaded(&refused), "{method}");
        }
        for path in ["/s/SendInput", "/s/GetWorker", "/workplane.v1.ObservationService/ObserveWorker"] {
            assert!(!is_overloaded(&call(path).await.unwrap()), "{path}");
        }
    }

    #[tokio::test]
    async fn a_drain_waits_for_calls_and_not_for_streams_or_health() {
        let hang = tower::service_fn(|request: Request<Body>| async move {
            if !is_stream(request.uri().path()) {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Body::new(Endless)))
        });
        let drain = Drain::new();
        let service = Wrapping(Load::new(&Edge::control_plane(), drain.clone())).layer(hang);
        let call = |path: &str| Box::pin(service.clone().oneshot(request(path)));
        let _stream = call("/workplane.v1.ObservationService/ObserveWorker").await.unwrap();
        let mut check = call("/grpc.health.v1.Health/Check");
        assert!(futures_util::poll!(&mut check).is_pending());
        let mut unary = call("/s/SendInput");
        assert!(futures_util::poll!(&mut unary).is_pending());
        drain.stop_intake();
        let mut ended = std::pin::pin!(drain.calls_ended());
        assert!(futures_util::poll!(&mut ended).is_pending());
        drop(unary);
        ended.await;
    }

    #[tokio::test]
    async fn a_stream_that_does_not_listen_to_the_drain_is_ended_by_it() {
        let open =
            tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::new(Endless))) });
        let drain = Drain::new();
        let service = Wrapping(Load::new(&Edge::control_plane(), drain.clone())).layer(open);
        let watch = service.clone().oneshot(request("/grpc.health.v1.Health/Watch")).await.unwrap();
        let mut watch = std::pin::pin!(watch.into_body());
        let mut next = std::future::poll_fn(|cx| http_body::Body::poll_frame(watch.as_mut(), cx));
        assert!(futures_util::poll!(&mut next).is_pending());
        drain.end_streams();
        let status = Status::from_header_map(next.await.unwrap().unwrap().trailers_ref().unwrap()).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn a_stream_counts_until_it_is_dropped() {
        let open =
            tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::new(Endless))) });
        let mut service = one().layer(open);
        let mut call = async || {
            let request = request("/workplane.v1.ObservationService/ObserveWorker");
            service.ready().await.unwrap().call(request).await.unwrap()
        };
        let first = call().await;
        assert!(!is_overloaded(&first));
        assert!(is_overloaded(&call().await));
        drop(first);
        assert!(!is_overloaded(&call().await));
    }
}
