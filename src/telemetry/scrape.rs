//! Metrics over HTTP, in the text form of Prometheus: `GET /metrics`, and nothing else.
//!
//! Whoever reaches the address reads them: no token is asked for. They hold no content, and no name that a caller gave. A
//! connection is for one request and over soon, and there are few at once, so that nobody holds this process up by asking.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::{self as ours, Family, Kind, Text, families};

/// Connections at once; more than that wait in the kernel's own queue.
const CONNECTIONS: usize = 64;
/// How long one has to ask, and then to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after a failure to accept: out of descriptors, the loop would spin.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the values of histograms are put in their places: until then they take memory one by one.
const UPKEEP: Duration = Duration::from_secs(5);
/// The least that hyper takes; more than anybody's request has.
const MAX_HEAD: usize = 8 * 1024;

/// An address at which metrics are to be served.
pub struct Endpoint {
    listener: TcpListener,
    recorded: PrometheusHandle,
}

impl Endpoint {
    /// Listens, and begins to count. What is made before this is not counted.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        tracing::info!(%address, "metrics are served at /metrics, to everybody who reaches this address");
        if !address.ip().to_canonical().is_loopback() {
            tracing::warn!(%address, "metrics_listen is not a loopback address, and no token is asked for there");
        }
        Ok(Self { listener, recorded: recorded() })
    }

    /// Serves until the handle is dropped: what was counted, and what `standing` says stands now.
    pub fn serve(self, standing: impl Fn(&mut Text) + Send + Sync + 'static) -> AbortOnDropHandle<()> {
        let Self { listener, recorded } = self;
        let kept = recorded.clone();
        let page = move || {
            let mut text = Text::after(recorded.render());
            standing(&mut text);
            text.into_string()
        };
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::join!(accept(listener, Arc::new(page)), upkeep(kept));
        }))
    }
}

/// What is counted in this process, from now on.
fn recorded() -> PrometheusHandle {
    static RECORDED: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = RECORDED.get_or_init(|| {
        let bounded = families::ALL.iter().fold(PrometheusBuilder::new(), |builder, family| match family.kind {
            Kind::Histogram(bounds) => builder
                .set_buckets_for_metric(Matcher::Full(family.name.to_owned()), bounds)
                // Only an empty list is refused, and there is none.
                .expect("a histogram has bounds"),
            Kind::Counter | Kind::Gauge => builder,
        });
        let recorder = bounded.build_recorder();
        let handle = recorder.handle();
        // Refused where a test of this process has one already: then that one counts.
        if metrics::set_global_recorder(recorder).is_ok() {
            families::ALL.iter().for_each(describe);
            ours::begin();
        }
        handle
    });
    handle.clone()
}

fn describe(family: &Family) {
    let Family { name, kind, help } = *family;
    match kind {
        Kind::Counter => describe_counter!(name, help),
        Kind::Gauge => describe_gauge!(name, help),
        Kind::Histogram(_) => describe_histogram!(name, help),
    }
}

async fn upkeep(recorded: PrometheusHandle) {
    let mut due = interval(UPKEEP);
    loop {
        due.tick().await;
        recorded.run_upkeep();
    }
}

async fn accept<P: Fn() -> String + Send + Sync + 'static>(listener: TcpListener, page: Arc<P>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((io, _)) => {
                let page = Arc::clone(&page);
                tokio::spawn(async move {
                    answer(io, &*page).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for metrics");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the one request of a connection.
async fn answer(io: TcpStream, page: &(impl Fn() -> String + Sync)) {
    let service = service_fn(async |request: Request<hyper::body::Incoming>| {
        Ok::<_, Infallible>(response(request.method(), request.uri().path(), page))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service);
    // A client that goes away, or says what is no HTTP, is no concern of ours.
    _ = timeout(PATIENCE * 2, connection).await;
}

fn response(method: &Method, path: &str, page: impl Fn() -> String) -> Response<String> {
    let (status, kind, text) = match (method, path) {
        (&Method::GET, "/metrics") => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "ask with GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Serves `page` and says what is answered to these bytes, all of it.
    async fn asked(bytes: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _served = AbortOnDropHandle::new(tokio::spawn(accept(listener, Arc::new(|| "a 1\n".to_owned()))));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(bytes).await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn metrics_are_got_at_their_path_and_nothing_else_is_there() {
        let got = asked(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with("\r\n\r\na 1\n"), "{got}");
        assert!(got.contains("content-type: text/plain; version=0.0.4"), "{got}");
        for (request, status) in [
            ("POST /metrics", "405"),
            ("HEAD /metrics", "405"),
            ("GET /", "404"),
            ("GET /metrics/", "404"),
            ("GET /debug", "404"),
            ("POST /", "404"),
        ] {
            let refused = asked(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
            assert!(refused.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_ask_in_time_is_let_go() {
        // The clock goes on by itself whenever nothing else can.
        for begun in ["", "GET /metrics HTTP/1.1\r\n"] {
            assert!(!asked(begun.as_bytes()).await.contains(" 200 "), "{begun:?}");
        }
    }
}
