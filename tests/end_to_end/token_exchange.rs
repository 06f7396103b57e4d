//! Tokens and certificates that are exchanged while a server runs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tonic::{Code, Status};
use workplane::proto::runtime_v1::GetRuntimeRequest;
use workplane::proto::v1;

use crate::support::{
    Certificates, Client, EMBEDDED, Host, Plane, Profile, Proxy, Running, TOKEN, framed, refusal, until, within,
    write_secret,
};

/// Exchanges a file at once, as one who takes care does it.
fn exchange(file: &std::path::Path, text: &str) {
    let new = write_secret(file.parent().unwrap(), "new", text);
    fs::rename(new, file).unwrap();
}

/// Waits until every change of a file is news to a server.
async fn until_watched(server: &Running) {
    until("the files to be looked after", async || server.log().contains("files are looked after").then_some(())).await;
}

async fn list(client: &Client) -> Result<(), Status> {
    client.runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.map(drop)
}

/// Waits until a call with this client goes as it should.
async fn until_call(what: &str, client: &Client, wanted: impl Fn(Result<(), Status>) -> bool) {
    until(what, async || wanted(list(client).await).then_some(())).await;
}

fn is_refused(answer: Result<(), Status>) -> bool {
    answer.is_err_and(|status| refusal(&status).is() == (Code::Unauthenticated, "UNAUTHENTICATED"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_removed_opens_nothing_and_its_streams_end_with_their_cursors() {
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    exchange(&plane.token_file(), &format!("tests {TOKEN}\nbob token-of-bob\n"));
    let bob = Client::new(plane.address(), Some("token-of-bob"));
    until_call("the new token to be in force", &bob, |answer| answer.is_ok()).await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let (mut his, mut other) = (worker.through(bob.clone()).observe_now().await, worker.observe_now().await);
    his.frame().await;
    let request = v1::StreamTranscriptRequest {
        runtime_id: worker.runtime_id.clone(),
        worker_id: worker.worker_id.clone(),
        start: 0,
        follow: true,
    };
    let mut transcript = bob.transcripts().stream_transcript(request).await.unwrap().into_inner();
    worker.send("hello").await;
    his.first("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;

    exchange(&plane.token_file(), &format!("tests {TOKEN}\n"));
    let ended = loop {
        match his.next().await {
            Ok(frame) => drop(frame.expect("it does not end well")),
            Err(ended) => break ended,
        }
    };
    assert_eq!(refusal(&ended).is(), (Code::Unauthenticated, "UNAUTHENTICATED"));
    let ended_too = loop {
        match transcript.message().await {
            Ok(batch) => drop(batch.expect("it does not end well")),
            Err(ended) => break ended,
        }
    };
    assert_eq!(refusal(&ended_too).is(), (Code::Unauthenticated, "UNAUTHENTICATED"));
    assert!(is_refused(list(&bob).await));
    // Somebody else's stream goes on, and his own goes on for who may.
    worker.send("again").await;
    let again = |frame: &crate::support::Frame| frame.item().is_some_and(|item| item.content.starts_with("again"));
    other.first("what comes next", again).await;
    let cursor = ended.metadata().get("workplane-cursor").unwrap().to_str().unwrap().to_owned();
    let mut resumed = worker.try_resume(&cursor).await.unwrap();
    let frames = resumed.up_to("what came next", again).await;
    assert!(frames.iter().all(|frame| frame.item().is_none_or(|item| item.sequence > 2)), "nothing comes twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_removed_token_that_nobody_reads_loses_its_connection() {
    // More than a client lets come unread.
    let talk = "i=0; while [ $i -lt 400 ]; do printf '%01000d\\n' $i; i=$((i+1)); done; exec cat";
    let plane = Plane::new().profile("builtin:coder", Profile::script(talk)).start().await;
    exchange(&plane.token_file(), &format!("tests {TOKEN}\nbob token-of-bob\n"));
    let bob = Client::new(plane.address(), Some("token-of-bob"));
    until_call("the new token to be in force", &bob, |answer| answer.is_ok()).await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    until("all to be said", async || (worker.get().await.transcript_length >= 400).then_some(())).await;

    let io = TcpStream::connect(plane.address()).await.unwrap();
    let (mut http, connection) = h2::client::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://plane/workplane.v1.ObservationService/ObserveWorker")
        .header("content-type", "application/grpc")
        .header("authorization", "Bearer token-of-bob");
    let (answer, mut body) = http.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(framed(&worker.observation().encode_to_vec()), true).unwrap();
    // What comes after its head is not read while it is there.
    let mut unread = answer.await.unwrap().into_body();
    exchange(&plane.token_file(), &format!("tests {TOKEN}\n"));
    _ = within("the end of the connection", connection).await.unwrap();
    while let Some(Ok(_)) = unread.data().await {}
    assert!(!matches!(unread.trailers().await, Ok(Some(_))), "it ended without a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_broken_changes_nothing_and_is_told_once() {
    let ours = Certificates::new();
    ours.issue("plane", &["plane.test"]);
    let mut plane = Plane::new().set(ours.served("plane")).start().await;
    let secure = || Client::over(ours.channel(plane.address(), "plane.test", None), Some(TOKEN));
    list(&secure()).await.unwrap();
    let tokens = plane.token_file();
    exchange(&tokens, &format!("tests {TOKEN}\nbob two tokens\n"));
    fs::write(ours.path("plane.pem"), "nothing of the kind").unwrap();
    let told = |log: &str| {
        let line =
            |what: &str| log.lines().filter(|line| line.contains("cannot be used") && line.contains(what)).count();
        (line("line 2"), line("plane.pem has no certificate in it"))
    };
    let running = plane.process();
    let log = until("both to be told", async || Some(running.log()).filter(|log| told(log) == (1, 1))).await;
    assert!(!log.contains(TOKEN), "{log}");
    let secure = || Client::over(ours.channel(plane.address(), "plane.test", None), Some(TOKEN));
    list(&secure()).await.unwrap();

    // As soon as they are mended, they are in force; and nothing more was told of what was broken.
    ours.issue("plane", &["other.test"]);
    exchange(&tokens, &format!("tests {TOKEN}\nbob token-of-bob\n"));
    let address = plane.address();
    until("the mended files to be in force", async || {
        list(&Client::over(ours.channel(address, "other.test", None), Some("token-of-bob"))).await.ok()
    })
    .await;
    let log = plane.process().log();
    assert_eq!(told(&log), (1, 1), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_certificates_are_exchanged_under_load_and_no_call_fails() {
    let ours = Arc::new(Certificates::new());
    ours.issue("plane", &["plane.test", "first.test"]);
    let plane = Plane::new().set(ours.served("plane")).start().await;
    let address = plane.address();
    let over = |name: &str, token: &str| Client::over(ours.channel(address, name, None), Some(token));
    // What the callers show. Each fiftieth call is made on a connection of its own.
    let shown = Arc::new(RwLock::new((over("plane.test", TOKEN), TOKEN)));
    let made = Arc::new(AtomicU64::new(0));
    let calling = {
        let (ours, shown, made) = (Arc::clone(&ours), Arc::clone(&shown), Arc::clone(&made));
        tokio::spawn(async move {
            let (mut calls, mut due) = (JoinSet::new(), interval(Duration::from_millis(2)));
            // Where the machine is slow, fewer: never more than one connection may have under way.
            due.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let room = Arc::new(Semaphore::new(32));
            loop {
                due.tick().await;
                let permit = room.clone().acquire_owned().await;
                let (client, token) = shown.read().clone();
                let is_new = made.fetch_add(1, Ordering::Relaxed) % 50 == 0;
                let anew = is_new.then(|| Client::over(ours.channel(address, "plane.test", None), Some(token)));
                calls.spawn(async move {
                    let _permit = permit;
                    list(&anew.unwrap_or(client)).await
                });
                while let Some(done) = calls.try_join_next() {
                    if let Err(status) = done.unwrap() {
                        return status;
                    }
                }
            }
        })
    };

    let tokens = plane.token_file();
    exchange(&tokens, &format!("tests {TOKEN}\ntests token-two\n"));
    until_call("both tokens to be in force", &over("plane.test", "token-two"), |answer| answer.is_ok()).await;
    ours.issue("plane", &["plane.test", "second.test"]);
    until("the new certificate to be shown", async || list(&over("second.test", TOKEN)).await.ok()).await;
    *shown.write() = (over("plane.test", "token-two"), "token-two");
    // What was begun with the old one is over when as many more have begun as are ever under way.
    more(&made, &calling).await;
    exchange(&tokens, "tests token-two\n");
    until_call("the old token to be gone", &over("plane.test", TOKEN), is_refused).await;
    more(&made, &calling).await;
    assert!(list(&over("first.test", "token-two")).await.is_err(), "the old certificate is shown no more");
    let has_ended = calling.is_finished();
    calling.abort();
    let ended = calling.await;
    assert!(!has_ended, "a call failed: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_of_a_host_go_on_when_its_token_is_exchanged() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    // The control plane has a file of its own.
    let directory = tempfile::tempdir().unwrap();
    let shown = write_secret(directory.path(), "token", "token-of-one\n");
    let mut entry = host.entry(host.address());
    entry.token_file = shown.clone();
    let mut plane = Plane::new().remote(entry).start().await;
    until_watched(plane.process()).await;
    let worker = plane.spawn("one", "builtin:coder").await;
    let mut stream = worker.observe().await;
    stream.frame().await;

    exchange(&host.token_file(), "plane token-of-one\nplane token-two\n");
    until_worker_runtime(&host, "token-two", true).await;
    exchange(&shown, "token-two\n");
    let running = plane.process();
    let read = async || running.log().contains("a file of the remote runtime one").then_some(());
    until("the control plane to read the new one", read).await;
    exchange(&host.token_file(), "plane token-two\n");
    until_worker_runtime(&host, "token-of-one", false).await;
    worker.send("hello").await;
    let frames = stream.up_to("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
    assert!(frames.iter().filter(|frame| frame.is_durable()).count() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_may_change_its_authority_and_the_control_plane_goes_on() {
    let (first, second) = (Certificates::new(), Certificates::new());
    first.issue("host", &["host.test"]);
    let host =
        Host::named("one").profile("builtin:coder", Profile::text(["cat"])).set(first.served("host")).start().await;
    let wire = Proxy::to(host.address()).await;
    let mut entry = host.entry(wire.address());
    entry.tls = [first.trusted(), vec![("server_name".to_owned(), "host.test".to_owned())]].concat();
    let mut plane = Plane::new().remote(entry).start().await;
    until_watched(plane.process()).await;
    let worker = plane.spawn("one", "builtin:coder").await;

    let both = [&first, &second].map(|authority| fs::read_to_string(authority.path("ca.pem")).unwrap());
    exchange(&first.path("ca.pem"), &both.concat());
    let running = plane.process();
    let read = async || running.log().contains("a file of the remote runtime one").then_some(());
    until("the control plane to trust both", read).await;
    second.issue("host", &["host.test"]);
    for suffix in ["pem", "key"] {
        let file = format!("host.{suffix}");
        exchange(&first.path(&file), &fs::read_to_string(second.path(&file)).unwrap());
    }
    let anew = || Client::over(second.channel(host.address(), "host.test", None), Some("token-of-one"));
    let shown = async || anew().worker_runtime().get_runtime(GetRuntimeRequest {}).await.ok();
    until("the host to show the new one", shown).await;
    // Nothing was in the way of what was there; what comes next is of the new one.
    worker.send("hello").await;
    let before = wire.connections();
    wire.cut();
    until("an input to be taken again", async || worker.try_send(worker.input("again")).await.ok()).await;
    assert!(wire.connections() > before);
}

/// Waits for many more calls, unless one has failed.
async fn more<T>(made: &AtomicU64, calling: &JoinHandle<T>) {
    let begun = made.load(Ordering::Relaxed);
    let done = async || (calling.is_finished() || made.load(Ordering::Relaxed) > begun + 500).then_some(());
    until("other calls", done).await;
}

/// Waits until the host lets a token in, or not.
async fn until_worker_runtime(host: &Host, token: &str, let_in: bool) {
    let client = Client::new(host.address(), Some(token));
    until(&format!("{token} to be let in: {let_in}"), async || {
        let answer = client.worker_runtime().get_runtime(GetRuntimeRequest {}).await;
        (answer.is_ok() == let_in).then_some(())
    })
    .await;
}
