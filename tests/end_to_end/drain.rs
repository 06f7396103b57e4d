//! How a server with many streams ends: everybody who reads is told where it stands, and goes on elsewhere as if nothing
//! had been; who does not read holds nobody up. The long form (`WORKPLANE_TRAPS=long`) has a thousand streams.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use workplane::proto::raw::ObserveWorkerResponse;
use workplane::proto::v1::RuntimeStatus;
use workplane::proto::{runtime_v1, v1};

use crate::support::{Client, EMBEDDED, Frame, Host, Mute, Plane, Profile, Stream, Worker, refusal, until, within};
use crate::traps::times;

/// A drain is over after this long, whatever happens.
const HARD_END: Duration = Duration::from_secs(30);
/// How hosts call what one worker's stream is.
const AT_HOST: &str = "/workplane.runtime.v1.WorkerRuntimeService/ObserveWorker";
/// More than what stands in all the buffers between a server and a client that does not read.
const LARGE: usize = 100 * 1024;

/// What an observer was told when its server went.
struct Told {
    /// The last event that it had.
    last: u64,
    cursor: String,
}

/// Reads on until the server says that it goes: no event is missing up to there.
async fn until_the_drain(mut stream: Stream) -> Told {
    let (mut last, mut cursor) = (0, None);
    loop {
        match stream.next().await {
            Ok(frame) => {
                let frame = frame.expect("the worker has not ended");
                assert!(cursor.is_none(), "the word of the drain is the last");
                if frame.is_durable() {
                    assert_eq!(frame.sequence, last + 1, "a gap or a repeat");
                    last = frame.sequence;
                }
                if frame.diagnostic() == Some("draining") {
                    cursor = Some(frame.cursor.clone());
                }
            }
            Err(status) => {
                assert_eq!(refusal(&status).is(), (Code::Unavailable, "DRAINING"));
                let cursor = cursor.expect("the drain is told before the end");
                assert_eq!(status.metadata().get("workplane-cursor").unwrap(), cursor.as_str());
                return Told { last, cursor };
            }
        }
    }
}

/// Readers over nine connections, a few in the short form and nine hundred in the long one. All of them are open when this
/// returns; they read until the drain.
async fn readers<S>(client: impl Fn() -> Client, observe: impl Fn(Client) -> S) -> JoinSet<Told>
where
    S: Future<Output = Stream> + Send + 'static,
{
    let number = 9 * times(10, 100);
    let (opened, mut openings) = mpsc::channel(number);
    let mut observers = JoinSet::new();
    for _ in 0..9 {
        let client = client();
        for _ in 0..number / 9 {
            let (stream, opened) = (observe(client.clone()), opened.clone());
            observers.spawn(async move {
                let mut stream = stream.await;
                stream.frame().await;
                opened.send(()).await.unwrap();
                until_the_drain(stream).await
            });
        }
    }
    for _ in 0..number {
        within("a stream to be opened", openings.recv()).await;
    }
    observers
}

/// A worker's stream at its host, which on the wire is as that of a control plane.
async fn observe_at_host(client: Client, request: runtime_v1::ObserveWorkerRequest) -> Stream {
    let mut grpc = Grpc::new(client.transport());
    within("a connection", grpc.ready()).await.unwrap();
    let codec = ProstCodec::<_, ObserveWorkerResponse>::default();
    let stream = grpc.server_streaming(Request::new(request), PathAndQuery::from_static(AT_HOST), codec);
    Stream::new(within("an observation", stream).await.unwrap().into_inner())
}

/// What comes after a cursor at a server.
async fn next_after(worker: &Worker, cursor: &str) -> Frame {
    worker.try_resume(cursor).await.unwrap().first("the next event", Frame::is_durable).await
}

/// All events of a worker up to the item with this content.
async fn all(worker: &Worker, last: &str) -> Vec<Frame> {
    let is_last = |frame: &Frame| frame.item().is_some_and(|item| item.content == last);
    worker.observe().await.up_to("the last event", is_last).await.into_iter().filter(Frame::is_durable).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_with_hundreds_of_streams_it_tells_every_reader_and_nothing_is_lost() {
    let cat = || Profile::text(["cat"]);
    let host = Host::named("one").profile("builtin:coder", cat()).start().await;
    let mut first = Plane::new().host(&host).start().await;
    let second = Plane::new().host(&host).start().await;
    second.runtime_is("one", RuntimeStatus::Running).await;
    let quiet = first.spawn("one", "builtin:coder").await;
    let loud = first.spawn("one", "builtin:coder").await;

    // A hundred streams of one connection that is not read from any more, with more to be said on them than fits.
    let path = "/workplane.v1.ObservationService/ObserveWorker";
    let _mute = Mute::open(first.address(), path, "token-of-the-tests", &loud.observation(), 100).await;
    loud.send(&"x".repeat(LARGE)).await;
    // And others that are; a server has seconds to tell them, however busy its machine is.
    let address = first.address();
    let observed = quiet.clone();
    let observers = readers(
        || Plane::client_at(address),
        move |client| {
            let worker = observed.through(client);
            async move { worker.observe().await }
        },
    )
    .await;
    // What is said meanwhile goes on.
    let (talking, quiet) = (Arc::new(AtomicBool::new(true)), quiet.through(second.client()));
    let talk = {
        let (talking, quiet) = (Arc::clone(&talking), quiet.clone());
        tokio::spawn(async move {
            while talking.load(Ordering::Relaxed) {
                quiet.send("meanwhile").await;
            }
        })
    };

    let asked = Instant::now();
    first.process().signal(Signal::TERM);
    let told = within("all observers to be told", observers.join_all()).await;
    assert_eq!(first.process().ended().await.code(), Some(0));
    assert!(asked.elapsed() < HARD_END, "{:?}", asked.elapsed());
    talking.store(false, Ordering::Relaxed);
    talk.await.unwrap();
    println!("{} observers of a control plane were told; it took {:?}", told.len(), asked.elapsed());

    quiet.send("the last").await;
    let events = all(&quiet, "the last").await;
    for Told { last, cursor } in told {
        let next = next_after(&quiet, &cursor).await;
        assert_eq!(next.sequence, last + 1);
        let at = usize::try_from(last).unwrap();
        assert!(events[at] == next, "another event than at the first server");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_that_has_much_to_catch_up_is_told_after_what_is_on_its_way() {
    let mut plane = Plane::new().durable().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    for _ in 0..100 {
        worker.send(&"x".repeat(LARGE)).await;
    }
    worker.send("the last").await;
    let all_said = async || Some(worker.get().await).filter(|worker| worker.transcript_length == 202);
    let events = until("all to be said", all_said).await.last_event_id;
    // It has read one frame, and will read the others.
    let mut stream = worker.observe().await;
    stream.frame().await;
    plane.process().signal(Signal::TERM);
    let address = plane.address();
    let taken = async || tokio::net::TcpStream::connect(address).await.is_err().then_some(());
    until("no more connections to be taken", taken).await;
    let Told { last, cursor } = until_the_drain(stream).await;
    assert!(last < events, "it was sent all {events} events first");
    assert_eq!(plane.process().ended().await.code(), Some(0));
    plane.start_again().await;
    assert_eq!(next_after(&worker, &cursor).await.sequence, last + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_asked_to_end_does_so_whoever_does_not_read_and_its_observers_find_all_when_it_is_back() {
    let mut host = Host::named("one").durable().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    worker.send("one").await;
    let request = runtime_v1::ObserveWorkerRequest {
        worker_id: worker.worker_id.clone(),
        start: v1::ObserveStart::Beginning.into(),
        ..Default::default()
    };
    let _mute = Mute::open(host.address(), AT_HOST, "token-of-one", &request, 100).await;
    let asked_for = request.clone();
    let observers = readers(|| host.client(), move |client| observe_at_host(client, asked_for.clone())).await;
    let mut watch = HealthClient::new(Client::new(host.address(), None).channel());
    let mut watch = watch.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("it is well");
    let mut stream = worker.observe().await;
    let mut frames = stream.up_to("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;

    let asked = Instant::now();
    host.process().signal(Signal::TERM);
    let told = within("all observers to be told", observers.join_all()).await;
    assert_eq!(host.process().ended().await.code(), Some(0));
    assert!(asked.elapsed() < HARD_END, "{:?}", asked.elapsed());
    println!("{} observers of a host were told; it took {:?}", told.len(), asked.elapsed());
    // It was told that the server is not well, and then that it goes.
    watch.message().await.unwrap().expect("it is not well");
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);

    host.start_again().await;
    for Told { last, cursor } in told {
        let request = runtime_v1::ObserveWorkerRequest { cursor: Some(cursor), ..request.clone() };
        let next = observe_at_host(host.client(), request).await.first("the next event", Frame::is_durable).await;
        assert_eq!(next.sequence, last + 1);
    }
    frames.extend(stream.rest().await);
    let sequences: Vec<_> = frames.iter().filter(|frame| frame.is_durable()).map(|frame| frame.sequence).collect();
    assert!(sequences.iter().copied().eq(1..=sequences.len() as u64), "{sequences:?}");
    let end = frames.last().unwrap().termination().expect("a drain of its host ends a worker");
    assert_eq!(end.reason(), v1::TerminationReason::Drained, "{end:?}");
}
