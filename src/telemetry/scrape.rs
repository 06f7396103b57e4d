//! Metrics over HTTP, in the text form of Prometheus: `GET` or `HEAD /metrics`, and nothing else.
//!
//! Whoever reaches the address reads them: no token is asked for. They hold no content, and no name that a caller gave. A
//! connection is for one request and over soon, and there are few at once, so that nobody holds this process up by asking; and
//! who holds one without asking keeps nobody out, since it gives way to the next.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::{self as ours, Family, Kind, Text, families};

/// Connections at once: one that is too many takes the place of another.
const CONNECTIONS: usize = 64;
/// One that has not asked and is younger gives way to nobody: what it asks may be there already.
const TO_ASK: Duration = Duration::from_millis(10);
/// Nor does one that has asked and is younger: whoever reads takes less.
const TO_READ: Duration = Duration::from_secs(1);
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
            tokio::join!(accept(listener, Here::new(CONNECTIONS, PATIENCE), Arc::new(page)), upkeep(kept));
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

/// Connections that are here.
struct Here {
    most: usize,
    patience: Duration,
    tasks: JoinSet<()>,
    /// Of the tasks, the oldest first; some of them may have ended.
    order: VecDeque<Place>,
}

struct Place {
    task: AbortHandle,
    since: Instant,
    has_asked: Arc<AtomicBool>,
}

impl Here {
    fn new(most: usize, patience: Duration) -> Self {
        Self { most, patience, tasks: JoinSet::new(), order: VecDeque::new() }
    }

    /// Ends as soon as there is room for another one: who has not asked gives way first.
    async fn room(&mut self) {
        while self.tasks.len() >= self.most {
            self.order.retain(|place| !place.task.is_finished());
            let silent = self.order.iter().position(|place| !place.has_asked.load(Relaxed));
            let (at, time) = silent.map_or((0, TO_READ), |at| (at, TO_ASK));
            // Where there is none, all have ended.
            let until = self.order.get(at).map_or_else(Instant::now, |place| place.since + time);
            tokio::select! {
                biased;
                _ = self.tasks.join_next() => {}
                () = sleep_until(until) => {
                    if let Some(place) = self.order.remove(at) {
                        place.task.abort();
                        self.tasks.join_next().await;
                    }
                }
            }
        }
    }

    /// Answers another one, for which there is room.
    fn begin(&mut self, io: TcpStream, page: Arc<impl Fn() -> String + Send + Sync + 'static>) {
        let (patience, has_asked) = (self.patience, Arc::new(AtomicBool::new(false)));
        let asked = Arc::clone(&has_asked);
        let task = self.tasks.spawn(async move { answer(io, &*page, &asked, patience).await });
        self.order.push_back(Place { task, since: Instant::now(), has_asked });
    }
}

async fn accept(listener: TcpListener, mut here: Here, page: Arc<impl Fn() -> String + Send + Sync + 'static>) {
    loop {
        match listener.accept().await {
            Ok((io, _)) => {
                here.room().await;
                here.begin(io, Arc::clone(&page));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for metrics");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the one request of a connection.
async fn answer(io: TcpStream, page: &(impl Fn() -> String + Sync), asked: &AtomicBool, patience: Duration) {
    let service = service_fn(async |request: Request<hyper::body::Incoming>| {
        asked.store(true, Relaxed);
        Ok::<_, Infallible>(response(request.method(), request.uri().path(), page))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service);
    // A client that goes away, or says what is no HTTP, is no concern of ours.
    _ = timeout(patience * 2, connection).await;
}

/// The answer to a request; of one to HEAD its body is not sent.
fn response(method: &Method, path: &str, page: impl Fn() -> String) -> Response<String> {
    let (status, kind, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page())
        }
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "ask with GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Longer than any test may wait: nobody is let go for having said nothing.
    const LONG: Duration = Duration::from_mins(5);

    /// Serves a page of so many lines at an address of its own.
    async fn served(page: usize, here: Here) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, page) = (listener.local_addr().unwrap(), "a 1\n".repeat(page));
        let serving = accept(listener, here, Arc::new(move || page.clone()));
        (address, AbortOnDropHandle::new(tokio::spawn(serving)))
    }

    async fn connected(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(bytes).await.unwrap();
        client
    }

    /// All that is said until the end, which may be a reset; it does not wait for others' patience.
    async fn rest(client: &mut TcpStream) -> String {
        let mut said = Vec::new();
        _ = timeout(LONG / 2, client.read_to_end(&mut said)).await.expect("an end");
        String::from_utf8(said).unwrap()
    }

    /// What is answered to these bytes, all of it.
    async fn asked(bytes: &[u8]) -> String {
        let (address, _serving) = served(1, Here::new(CONNECTIONS, PATIENCE)).await;
        rest(&mut connected(address, bytes).await).await
    }

    const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";

    #[tokio::test]
    async fn metrics_are_got_at_their_path_and_nothing_else_is_there() {
        let got = asked(GET).await;
        assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with("\r\n\r\na 1\n"), "{got}");
        assert!(got.contains("content-type: text/plain; version=0.0.4"), "{got}");
        for (request, status) in [
            ("POST /metrics", "405"),
            ("OPTIONS /metrics", "405"),
            ("GET /", "404"),
            ("GET /metrics/", "404"),
            ("GET /debug", "404"),
            ("POST /", "404"),
        ] {
            let refused = asked(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
            assert!(refused.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {refused}");
            assert_eq!(refused.contains("\r\nallow: GET, HEAD\r\n"), status == "405", "{request}: {refused}");
        }
    }

    #[tokio::test]
    async fn who_asks_for_the_head_is_told_what_would_come_without_it() {
        let (got, head) = (asked(GET).await, asked(b"HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await);
        let undated = |head: &str| head.lines().filter(|line| !line.starts_with("date")).collect::<Vec<_>>().join("\n");
        assert_eq!(undated(&head), undated(got.strip_suffix("a 1\n").unwrap()));
        assert!(head.contains("\r\ncontent-length: 4\r\n"), "{head}");
    }

    #[tokio::test]
    async fn who_has_not_asked_gives_way_to_who_asks_the_oldest_first() {
        let (address, _serving) = served(1, Here::new(4, LONG)).await;
        let (begun, left) = GET.split_at(20);
        let mut waiting = Vec::new();
        for _ in 0..4 {
            waiting.push(connected(address, begun).await);
        }
        for gone in 0..3 {
            assert!(rest(&mut connected(address, GET).await).await.contains(" 200 "));
            assert_eq!(rest(&mut waiting[gone]).await, "");
            waiting.push(connected(address, begun).await);
        }
        for still in &mut waiting[3..] {
            still.write_all(left).await.unwrap();
            assert!(rest(still).await.contains(" 200 "));
        }
    }

    #[tokio::test]
    async fn who_does_not_read_the_answer_keeps_nobody_out() {
        // More than the system takes off our hands.
        let (address, _serving) = served(4 << 20, Here::new(4, LONG)).await;
        let mut unread = Vec::new();
        for _ in 0..4 {
            let mut client = connected(address, GET).await;
            assert_eq!(client.read_u8().await.unwrap(), b'H');
            unread.push(client);
        }
        let asked = rest(&mut connected(address, GET).await).await;
        assert!(asked.starts_with("HTTP/1.1 200 ") && asked.len() > 16 << 20);
        assert!(rest(&mut unread[0]).await.len() < asked.len());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_ask_in_time_is_let_go() {
        // The clock goes on by itself whenever nothing else can.
        for begun in ["", "GET /metrics HTTP/1.1\r\n"] {
            assert!(!asked(begun.as_bytes()).await.contains(" 200 "), "{begun:?}");
        }
    }
}
