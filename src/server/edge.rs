//! The limits of the listener, and serving. A limit that hyper would have by itself is set here too: tonic's builder
//! otherwise removes it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tower::{Layer, Service};

use super::callers::Callers;
use super::drain::Drain;
use super::layers::{Auth, Deadlines, Load, Measures, Panics, Protocol, Refusals, Spans, Traces, Wrapping};

/// What every request passes, from the outside in.
type Layers = (
    Wrapping<Spans>,
    Wrapping<Measures>,
    Wrapping<Panics>,
    Wrapping<Protocol>,
    Wrapping<Auth>,
    Wrapping<Traces>,
    Wrapping<Load>,
    Wrapping<Deadlines>,
    Wrapping<Refusals>,
);

/// What a host's request has beside what the control plane was sent: who asks, and the bundle's digest.
const CONTEXT: usize = 4 * 1024;

/// How much of everything the listener allows, each with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Connections at once; more than that wait in the kernel's own queue. 4,096.
    pub max_connections: usize,
    /// Connections from one address (of IPv6, from one /64) on which nobody has shown a token; the next is closed at
    /// once. 64: who has none is to need many addresses to take the room of those who have. Loopback has no such limit.
    pub max_connections_per_address: usize,
    /// Connections on which one caller was the first to show its token; on the next it is `OVERLOADED`, and that one
    /// ends. 256: clients of one team share a token, and none may take all the room there is.
    pub max_connections_per_caller: usize,
    /// How long a handshake of TLS may take. 5 s.
    pub tls_handshake_timeout: Duration,
    /// Handshakes under way at once; the next takes the place of the oldest, once that has had a second. 256.
    pub max_handshakes: usize,
    /// How long a connection may take to say that it speaks HTTP/2: keepalive begins only after that. 10 s.
    pub preface_timeout: Duration,
    /// How long it may then take to ask for something that it may have: health, or with a token. 10 s: who connects has a
    /// reason to.
    pub first_request_timeout: Duration,
    /// The age at which a connection is told to go (GOAWAY): what it has asked for goes on, and what comes next comes
    /// over another one, so that clients spread over servers that are new. None: a balancer that needs it is rare.
    pub max_connection_age: Option<Duration>,
    /// How long such a connection may still take to finish. 30 s, as long as a unary call without a deadline.
    pub connection_age_grace: Duration,
    /// Streams that one connection may have open: a client that needs more opens another. 100; a host allows its
    /// control plane 1,000, since that carries all of its observers on one connection.
    pub max_concurrent_streams: u32,
    /// Streams that one connection may make us reset for its own errors before it is closed: the flood of CVE-2023-44487
    /// and its like. 1,024.
    pub max_local_error_resets: usize,
    /// Streams that a peer may have opened and reset before we looked at them. 20.
    pub max_pending_accept_resets: usize,
    /// Headers of one request, in bytes. 16 KiB.
    pub max_header_list_size: u32,
    /// One frame, in bytes. 16 KiB, the least that HTTP/2 allows: it bounds what one stream may hold up.
    pub max_frame_size: u32,
    /// What one stream may send ahead, in bytes. 64 KiB.
    pub stream_window: u32,
    /// What one connection may send ahead, in bytes. 1 MiB.
    pub connection_window: u32,
    /// How long a connection may be silent before it is asked whether it lives. 30 s.
    pub keepalive_interval: Duration,
    /// How long it has to answer that. 10 s. A connection that takes no byte for both together is closed: it could not
    /// even be asked.
    pub keepalive_timeout: Duration,
    /// How long an answer or a stream may have something to say that its reader, alive otherwise, does not take; then
    /// the connection ends. 5 min: longer than a person thinks, and what is held for it is bounded (1 MiB).
    pub stalled_stream_timeout: Duration,
    /// Unary calls in flight in all; the next is `OVERLOADED`. 1,024; while calls wait more than 1 ms for their first turn, fewer,
    /// down to 256: more would only wait for each other.
    pub max_unary: usize,
    /// Unary calls in flight on one connection, until their answers were read; the next is `OVERLOADED`, but for Get,
    /// Stop and Cancel. 64; a host allows its control plane 1,024: all clients' calls come over that one.
    pub max_unary_per_connection: usize,
    /// As many more for Get, Stop and Cancel. 64.
    pub max_unary_lane: usize,
    /// Health checks in flight, and as many watches of health open: for anybody, and beside all else. 256.
    pub max_open: usize,
    /// Streams open in all. 20,000.
    pub max_streams: usize,
    /// Streams that one caller who has shown a token has open. 1,000; to a host its control plane is all callers: 20,000.
    pub max_streams_per_caller: usize,
    /// The largest request, in bytes. 256 KiB: an input of 128 KiB, with room; a host allows as much as its control
    /// plane, and 4 KiB more for who asks.
    pub max_request: usize,
    /// The largest request that gives a config bundle. 4 MiB; likewise.
    pub max_bundle_request: usize,
    /// What all requests together may take while they are read and until they are answered, in bytes; beyond it they
    /// are `OVERLOADED`. 64 MiB: 256 of the largest that are no bundles. What is small (4 KiB) does not count.
    pub request_memory: usize,
    /// How long a unary call, or the opening of a stream, may take where the caller does not say. 30 s.
    pub default_deadline: Duration,
    /// The longest deadline of either; a later one is lowered to it. 5 min; 5 s where no token is asked for.
    pub max_deadline: Duration,
}

impl Edge {
    /// For a control plane, which clients call.
    #[must_use]
    pub const fn control_plane() -> Self {
        Self {
            max_connections: 4_096,
            max_connections_per_address: 64,
            max_connections_per_caller: 256,
            tls_handshake_timeout: Duration::from_secs(5),
            max_handshakes: 256,
            preface_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(10),
            max_connection_age: None,
            connection_age_grace: Duration::from_secs(30),
            max_concurrent_streams: 100,
            max_local_error_resets: 1_024,
            max_pending_accept_resets: 20,
            max_header_list_size: 16 * 1024,
            max_frame_size: 16 * 1024,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            stalled_stream_timeout: Duration::from_mins(5),
            max_unary: 1_024,
            max_unary_per_connection: 64,
            max_unary_lane: 64,
            max_open: 256,
            max_streams: 20_000,
            max_streams_per_caller: 1_000,
            max_request: 256 * 1024,
            max_bundle_request: 4 * 1024 * 1024,
            request_memory: 64 * 1024 * 1024,
            default_deadline: Duration::from_secs(30),
            max_deadline: Duration::from_mins(5),
        }
    }

    /// For a host, which control planes call.
    #[must_use]
    pub const fn host() -> Self {
        let plane = Self::control_plane();
        Self {
            max_concurrent_streams: 1_000,
            max_unary_per_connection: 1_024,
            max_streams_per_caller: plane.max_streams,
            max_request: plane.max_request + CONTEXT,
            max_bundle_request: plane.max_bundle_request + CONTEXT,
            ..plane
        }
    }

    /// What every request passes, from the outside in.
    fn layers(&self, callers: Option<Arc<Callers>>, drain: Drain) -> Layers {
        (
            Wrapping(Spans::default()),
            Wrapping(Measures),
            Wrapping(Panics),
            Wrapping(Protocol),
            Wrapping(Auth::new(callers)),
            Wrapping(Traces),
            Wrapping(Load::new(self, drain)),
            Wrapping(Deadlines::new(self.default_deadline, self.max_deadline)),
            Wrapping(Refusals::new(self)),
        )
    }

    fn server(&self) -> Server {
        // No `timeout`: tonic's answers CANCELLED and does not end streams; our own layer does both right. What a caller
        // asks for in `grpc-timeout`, tonic watches all the same: our layer is earlier.
        let server = Server::builder();
        // Without a grace of tonic's: with one, it says nothing at the age. Who stays beyond ours, `connection` ends.
        let server = match self.max_connection_age {
            Some(age) => server.max_connection_age(age),
            None => server,
        };
        server
            .max_concurrent_streams(self.max_concurrent_streams)
            .http2_max_local_error_reset_streams(Some(self.max_local_error_resets))
            .http2_max_pending_accept_reset_streams(Some(self.max_pending_accept_resets))
            .http2_max_header_list_size(self.max_header_list_size)
            .max_frame_size(self.max_frame_size)
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .http2_adaptive_window(Some(false))
            .http2_keepalive_interval(Some(self.keepalive_interval))
            .http2_keepalive_timeout(Some(self.keepalive_timeout))
    }
}

/// Serves until the drain stops the intake and the last connection has closed. Bounding how long that takes is the
/// caller's: a client that keeps a stream open keeps its connection.
///
/// Without `callers` everybody is let in, as `anonymous`. Their owner may exchange them while this serves.
///
/// # Errors
/// When tonic cannot serve at all; never for one connection.
pub async fn serve<I, IO>(
    incoming: I,
    routes: Routes,
    edge: &Edge,
    callers: Option<Arc<Callers>>,
    drain: Drain,
) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = io::Result<IO>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    edge.server()
        .layer(edge.layers(callers, drain.clone()))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move { drain.intake_stopped().await })
        .await
}

/// What [`serve`] asks for each request, without a connection around it: the services in their layers. It never drains.
#[must_use]
pub fn service(
    routes: Routes,
    edge: &Edge,
    callers: Option<Arc<Callers>>,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    edge.layers(callers, Drain::new()).layer(routes)
}
