//! A host that answers as it is told to, over bare HTTP/2: so it can say what no real one ever would. It says who it is
//! when it is asked, and nothing else until a test scripts it. It uses nothing of the fixture, so that benches have it too.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{PingPong, SendStream};
use http::{HeaderMap, Response};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use workplane::proto::{runtime_v1, v1};

/// The words of a host that must never come through (acceptance 83).
pub(crate) const SECRET: &str = "see /var/lib/store/metadata.json and /run/sessions/7.sock, token=hunter2";

/// Every value that an error of ours may carry.
const VALUES: [&str; 13] = [
    "runtime_id",
    "worker_id",
    "approval_id",
    "config_bundle_id",
    "request_id",
    "error_id",
    "expected",
    "actual",
    "oldest_cursor",
    "max_workers",
    "feature",
    "limit",
    "max",
];

/// How a method is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With this message.
    Message(Bytes),
    /// With this message, after a while.
    After(Duration, Bytes),
    /// With this message, once that has been cancelled.
    Once(CancellationToken, Bytes),
    /// Never.
    Nothing,
    /// With these bytes where messages should be, and then OK.
    Bytes(Bytes),
    /// With these bytes; then the stream is reset.
    Reset(Bytes),
    /// With these bytes; then the connection is gone.
    Gone(Bytes),
    /// With this status, and nothing before it.
    Status(Box<Status>),
    /// With a page of HTML and this status of HTTP.
    Page(u16),
}

impl Answer {
    pub(crate) fn message(message: &impl Message) -> Self {
        Self::Message(message.encode_to_vec().into())
    }

    /// A refusal in the host's own words, with a reason of ours if one is given.
    pub(crate) fn refusal(code: Code, reason: Option<&str>) -> Self {
        let Some(reason) = reason else { return Self::Status(Box::new(Status::new(code, SECRET))) };
        let words = VALUES.map(|key| (key.to_owned(), "token-hunter2".to_owned()));
        let metadata = words.into_iter().chain([("path".to_owned(), SECRET.to_owned())]).collect::<HashMap<_, _>>();
        let details = ErrorDetails::with_error_info(reason, "workplane", metadata);
        Self::Status(Box::new(Status::with_error_details(code, SECRET, details)))
    }
}

/// A message as it stands in the body of an answer.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a message of a test is small").to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// A scripted host.
#[derive(Debug)]
pub(crate) struct Hostile {
    runtime_id: String,
    address: SocketAddr,
    script: Arc<Script>,
    directory: tempfile::TempDir,
    _running: DropGuard,
}

#[derive(Debug, Default)]
struct Script {
    answers: Mutex<BTreeMap<String, Vec<Answer>>>,
    calls: Mutex<BTreeMap<String, usize>>,
    connections: AtomicUsize,
}

impl Hostile {
    /// A host that says that it is this runtime.
    pub(crate) async fn named(runtime_id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (script, running) = (Arc::new(Script::default()), CancellationToken::new());
        let directory = tempfile::tempdir().expect("there is room for a token");
        super::write_secret(directory.path(), "tokens", "plane token-of-a-hostile-host\n");
        let (served, ended) = (Arc::clone(&script), running.clone());
        tokio::spawn(async move { ended.run_until_cancelled(accept(listener, served, ended.clone())).await });
        let this =
            Self { runtime_id: runtime_id.to_owned(), address, script, directory, _running: running.drop_guard() };
        this.answers("GetRuntime", Answer::message(&hello(runtime_id)));
        this
    }

    /// From now on it answers calls of this method so.
    pub(crate) fn answers(&self, method: &str, answer: Answer) {
        self.answers_in_turn(method, vec![answer]);
    }

    /// From now on it answers calls of this method with these, one after the other, and then with the last.
    pub(crate) fn answers_in_turn(&self, method: &str, mut answers: Vec<Answer>) {
        answers.reverse();
        self.script.answers.lock().insert(method.to_owned(), answers);
    }

    /// How often a method has been called.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.script.calls.lock().get(method).copied().unwrap_or(0)
    }

    /// How many connections have been made to it.
    pub(crate) fn connections(&self) -> usize {
        self.script.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn runtime_id(&self) -> &str {
        &self.runtime_id
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.directory.path().join("tokens")
    }
}

/// What a host says of itself that is well.
pub(crate) fn hello(runtime_id: &str) -> runtime_v1::GetRuntimeResponse {
    runtime_v1::GetRuntimeResponse {
        runtime_id: runtime_id.to_owned(),
        display_name: format!("Host {runtime_id}"),
        incarnation: "0123456789abcdef0123456789abcdef".to_owned(),
        version: "0.0.0".to_owned(),
        features: Vec::new(),
        capabilities: Some(v1::RuntimeCapabilities { can_get_worker: true, ..Default::default() }),
        now: Some(SystemTime::now().into()),
        status: v1::RuntimeStatus::Running.into(),
        ..Default::default()
    }
}

/// A running worker.
pub(crate) fn worker(runtime_id: &str, worker_id: &str) -> v1::Worker {
    v1::Worker {
        runtime_id: runtime_id.to_owned(),
        worker_id: worker_id.to_owned(),
        workspace_id: "local:default".to_owned(),
        label: worker_id.to_owned(),
        state: v1::WorkerState::Running.into(),
        run_generation: 1,
        created_at: Some(SystemTime::now().into()),
        first_sequence: 1,
        last_event_id: 1,
        ..Default::default()
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, running: CancellationToken) {
    while let Ok((stream, _)) = listener.accept().await {
        _ = stream.set_nodelay(true);
        script.connections.fetch_add(1, Ordering::Relaxed);
        let (script, gone) = (Arc::clone(&script), running.child_token());
        tokio::spawn(async move { gone.run_until_cancelled(serve(stream, script, gone.clone())).await });
    }
}

async fn serve(stream: TcpStream, script: Arc<Script>, gone: CancellationToken) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let pings = connection.ping_pong().expect("nobody else has taken it");
    let pings = Arc::new(tokio::sync::Mutex::new(pings));
    while let Some(Ok((request, respond))) = connection.accept().await {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        *script.calls.lock().entry(method.clone()).or_default() += 1;
        let answer = script.answers.lock().get_mut(&method).and_then(|answers| match answers.len() {
            0 | 1 => answers.last().cloned(),
            _ => answers.pop(),
        });
        let answer = answer.unwrap_or_else(|| Answer::refusal(Code::Unimplemented, None));
        let (gone, pings) = (gone.clone(), Arc::clone(&pings));
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(chunk)) = body.data().await {
                _ = body.flow_control().release_capacity(chunk.len());
            }
            // A control plane that has gone hears nothing, and nobody minds.
            _ = say(answer, respond, gone, &pings).await;
        });
    }
}

async fn say(
    answer: Answer,
    mut respond: SendResponse<Bytes>,
    gone: CancellationToken,
    pings: &tokio::sync::Mutex<PingPong>,
) -> Result<(), h2::Error> {
    match answer {
        Answer::Message(message) => ok(&mut begin(&mut respond)?, framed(&message)),
        Answer::After(pause, message) => {
            tokio::time::sleep(pause).await;
            ok(&mut begin(&mut respond)?, framed(&message))
        }
        Answer::Once(token, message) => {
            token.cancelled().await;
            ok(&mut begin(&mut respond)?, framed(&message))
        }
        Answer::Nothing => {
            gone.cancelled().await;
            Ok(())
        }
        Answer::Bytes(bytes) => ok(&mut begin(&mut respond)?, bytes),
        Answer::Reset(bytes) => {
            let mut stream = begin(&mut respond)?;
            stream.send_data(bytes, false)?;
            written(pings).await?;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
            Ok(())
        }
        Answer::Gone(bytes) => {
            let mut stream = begin(&mut respond)?;
            stream.send_data(bytes, false)?;
            written(pings).await?;
            gone.cancel();
            Ok(())
        }
        Answer::Status(status) => {
            let mut response = Response::new(());
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
            _ = status.add_header(response.headers_mut());
            respond.send_response(response, true).map(|_| ())
        }
        Answer::Page(status) => {
            let response = Response::builder().status(status).header("content-type", "text/html").body(());
            let mut stream = respond.send_response(response.expect("it is well formed"), false)?;
            stream.send_data(Bytes::from(format!("<html>{SECRET}</html>")), true)
        }
    }
}

fn begin(respond: &mut SendResponse<Bytes>) -> Result<SendStream<Bytes>, h2::Error> {
    let response = Response::builder().header("content-type", "application/grpc").body(());
    respond.send_response(response.expect("it is well formed"), false)
}

fn ok(stream: &mut SendStream<Bytes>, body: Bytes) -> Result<(), h2::Error> {
    stream.send_data(body, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// Waits until the connection has written what it was given; a reset overtakes what was not written. The other end's
/// answer to a ping says so: what was queued goes out with the ping at the latest.
async fn written(pings: &tokio::sync::Mutex<PingPong>) -> Result<(), h2::Error> {
    pings.lock().await.ping(h2::Ping::opaque()).await.map(|_| ())
}
