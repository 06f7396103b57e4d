//! An observation that is left and taken up again: nothing is missing, and nothing comes twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tonic::Code;
use workplane::proto::v1::StopMode;

use crate::support::{
    EMBEDDED, Frame, Host, Plane, Profile, Proxy, Stream, Worker, chance, line_of, lines_of, refusal, until,
};

const TIMES: usize = 100;
/// The host side takes a moment for each reconnection, so that it is cut less often.
const TIMES_AT_THE_HOST: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn resumed_at_any_cursor_the_embedded_stream_goes_on_with_the_same_bytes() {
    // acceptance 118
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    resumes_at_any_cursor(&plane, EMBEDDED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resumed_at_any_cursor_a_hosts_stream_goes_on_with_the_same_bytes() {
    // acceptance 118
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    resumes_at_any_cursor(&plane, "one").await;
}

async fn resumes_at_any_cursor(plane: &Plane, runtime_id: &str) {
    let mut chance = chance();
    let worker = plane.spawn(runtime_id, "builtin:coder").await;
    for _ in 0..150 {
        let length = chance.length(4096);
        worker.send(&chance.text(length, |c| c != '\n')).await;
    }
    answered(&worker, 150).await;

    // While it lives, then when it has ended.
    let alive = durable(worker.observe().await.up_to("the last answer", is_item(300)).await);
    for _ in 0..TIMES / 2 {
        let from = chance.below(alive.len() - 1);
        let stream = resume(&worker, &alive[from].cursor).await;
        same_bytes(&alive[from + 1..], &durable(take(stream, is_item(300)).await));
    }
    worker.stop(StopMode::Graceful).await;
    let ended = durable(worker.observe().await.rest().await);
    same_bytes(&alive, &ended[..alive.len()]);
    for _ in 0..TIMES / 2 {
        let from = chance.below(ended.len());
        let stream = resume(&worker, &ended[from].cursor).await;
        same_bytes(&ended[from + 1..], &durable(stream.rest().await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_from_the_control_plane_under_load_an_observer_misses_nothing() {
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let wire = Proxy::to(plane.address()).await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    survives_cuts(&worker, &wire, TIMES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_from_the_control_plane_under_load_an_observer_of_a_hosts_worker_misses_nothing() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let wire = Proxy::to(plane.address()).await;
    let worker = plane.spawn("one", "builtin:coder").await;
    survives_cuts(&worker, &wire, TIMES).await;
}

/// Reads through `wire`, which is cut again and again, while inputs come in by another way.
async fn survives_cuts(worker: &Worker, wire: &Proxy, times: usize) {
    let mut chance = chance();
    let load = Load::on(worker);
    let observer = worker.through(Plane::client_at(wire.address()));
    let mut frames: Vec<Frame> = Vec::new();
    for _ in 0..times {
        let mut stream = open(&observer, frames.last()).await;
        for _ in 0..chance.below(20) {
            keep(&mut frames, stream.frame().await);
        }
        wire.cut();
        // What was on its way may still come.
        while let Ok(Some(frame)) = stream.next().await {
            keep(&mut frames, frame);
        }
    }
    load.stop().await;
    worker.stop(StopMode::Graceful).await;
    for frame in open(&observer, frames.last()).await.rest().await {
        keep(&mut frames, frame);
    }
    whole(worker, &frames).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_from_the_host_under_load_the_control_plane_goes_on_where_it_was() {
    // acceptance 119
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let wire = Proxy::to(host.address()).await;
    let plane = Plane::new().host_via(&host, wire.address()).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    let mut chance = chance();
    let load = Load::on(&worker);
    let mut stream = worker.observe().await;
    let mut frames = Vec::new();
    let mut told = Vec::new();
    for _ in 0..TIMES_AT_THE_HOST {
        // One connection is for calls, one for observation: both come back.
        let both_are_back = wire.connections() + 2;
        wire.cut();
        let mut more = chance.below(50);
        while more > 0 || wire.connections() < both_are_back {
            let frame = stream.frame().await;
            told.extend(frame.diagnostic().map(str::to_owned));
            more = more.saturating_sub(usize::from(frame.is_durable()));
            keep(&mut frames, frame);
        }
    }
    // It says so when it loses the host, and when it has it again. One who reads too slowly may miss a word of that.
    assert!(told.iter().any(|code| code == "upstream_disconnect"), "{told:?}");
    assert!(told.iter().any(|code| code == "upstream_reconnected"), "{told:?}");
    load.stop().await;
    worker.stop(StopMode::Graceful).await;
    for frame in stream.rest().await {
        keep(&mut frames, frame);
    }
    whole(&worker, &frames).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_refused_unless_it_is_byte_for_byte_one_that_was_handed_out() {
    // acceptance 109
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let (worker, other) = (plane.spawn(EMBEDDED, "builtin:coder").await, plane.spawn(EMBEDDED, "builtin:coder").await);
    let cursor = worker.observe().await.frame().await.cursor.clone();
    let mut changed = cursor.clone();
    changed.replace_range(10..11, if cursor.as_bytes()[10] == b'A' { "B" } else { "A" });
    let longer = format!("{cursor}A");
    for wrong in ["", "x", &changed, &longer, &"A".repeat(10_000)] {
        let refused = worker.try_resume(wrong).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::InvalidArgument, "CURSOR_MALFORMED"), "{wrong:.100}");
    }
    let refused = other.try_resume(&cursor).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::InvalidArgument, "CURSOR_MALFORMED"));
    assert!(worker.try_resume(&cursor).await.is_ok());
}

/// Inputs for a worker, one after another, until it is stopped.
struct Load {
    on: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn on(worker: &Worker) -> Self {
        let on = Arc::new(AtomicBool::new(true));
        let (worker, still_on) = (worker.clone(), Arc::clone(&on));
        let task = tokio::spawn(async move {
            let mut n = 0_u64;
            while still_on.load(Ordering::Relaxed) {
                n += 1;
                let mut request = worker.input(&format!("input {n}"));
                request.request_id = format!("load-{n}");
                // Its way to the host may be cut: then it is sent again, and is the same input.
                let taken = async || worker.try_send(request.clone()).await.ok();
                until("an input to be taken", taken).await;
            }
        });
        Self { on, task }
    }

    async fn stop(self) {
        self.on.store(false, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// Opens a stream after the last frame, as often as it takes.
async fn open(observer: &Worker, last: Option<&Frame>) -> Stream {
    let cursor = last.map(|frame| frame.cursor.clone());
    let attempt = async || match &cursor {
        Some(cursor) => observer.try_resume(cursor).await,
        None => observer.try_observe(observer.observation()).await,
    };
    until("the stream to be opened", async || match attempt().await {
        Ok(stream) => Some(stream),
        // The connection was cut once more: a status of the client library's own, which has no details.
        Err(status) => {
            assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
            None
        }
    })
    .await
}

async fn resume(worker: &Worker, cursor: &str) -> Stream {
    worker.try_resume(cursor).await.unwrap()
}

/// Keeps a durable frame, which must be the next.
fn keep(frames: &mut Vec<Frame>, frame: Frame) {
    let last = frames.last().map_or(0, |frame| frame.sequence);
    if frame.is_durable() {
        assert_eq!(frame.sequence, last + 1, "a gap or a repeat");
        frames.push(frame);
    } else {
        // What is not durable repeats the last sequence.
        assert!(frame.sequence >= last, "{frame:?} after {last}");
    }
}

/// The frames are all there are, and say what the transcript says.
async fn whole(worker: &Worker, frames: &[Frame]) {
    let end = frames.last().and_then(|frame| frame.termination()).expect("the last frame is the end");
    assert_eq!(end.last_sequence, frames.len() as u64);
    let transcript: Vec<_> = worker.transcript(256).await.iter().map(line_of).collect();
    assert!(lines_of(frames) == transcript, "the observed items are not the transcript's");
}

async fn answered(worker: &Worker, inputs: u64) {
    worker.observe().await.first("the last answer", is_item(2 * inputs)).await;
}

fn is_item(sequence: u64) -> impl Fn(&Frame) -> bool {
    move |frame| frame.item().is_some_and(|item| item.sequence == sequence)
}

async fn take(mut stream: Stream, last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    stream.up_to("the last answer", last).await
}

fn durable(frames: Vec<Frame>) -> Vec<Frame> {
    frames.into_iter().filter(Frame::is_durable).collect()
}

fn same_bytes(expected: &[Frame], got: &[Frame]) {
    let sequences = |frames: &[Frame]| frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(expected), sequences(got));
    assert!(expected == got, "the same events came as other bytes");
}
