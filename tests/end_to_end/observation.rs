//! What an observer is told: where it stands, what happened, and what is being said.

use prost_types::Duration;
use tonic::Code;
use workplane::proto::v1;
use workplane::proto::v1::observation_frame::Payload;
use workplane::proto::v1::{StopMode, WorkerState};

use crate::support::{EMBEDDED, Frame, Host, Plane, Profile, Worker, both, refusal};

fn snapshot(frame: &Frame) -> &v1::Snapshot {
    let Payload::Snapshot(snapshot) = frame.payload() else { panic!("not a snapshot: {frame:?}") };
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_is_a_snapshot_and_the_last_the_end() {
    // acceptance 110, 111
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        worker.send("hello").await;
        let mut stream = worker.observe().await;
        let first = stream.frame().await;
        assert_eq!((snapshot(&first).first_sequence, first.sequence), (1, 0));
        stream.up_to("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
        worker.stop(StopMode::Graceful).await;
        let rest = stream.rest().await;
        assert!(rest.last().unwrap().termination().is_some());
        assert!(!rest.iter().any(|frame| matches!(frame.payload(), Payload::Snapshot(_))));

        // An ended worker is told alike: its snapshot, its events, its end.
        let frames = worker.observe().await.rest().await;
        assert_eq!(snapshot(&frames[0]).worker.as_ref().unwrap().state(), WorkerState::Stopped);
        assert!(frames[1..].iter().zip(1..).all(|(frame, sequence)| frame.sequence == sequence));
        assert!(frames.last().unwrap().termination().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_now_on_means_nothing_that_was_before() {
    // acceptance 110
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        worker.send("before").await;
        worker.observe().await.first("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
        let mut stream = worker.observe_now().await;
        let first = stream.frame().await;
        let stands_at = snapshot(&first).next_sequence;
        assert!(stands_at > 1);
        worker.send("after").await;
        let next = stream.first("the next event", Frame::is_durable).await;
        // What was on its way when the stream was opened may be the next: the end of the first turn.
        assert!(next.sequence >= stands_at, "{} is before {stands_at}", next.sequence);
        let item = stream.first("the next item", |frame| frame.item().is_some()).await;
        assert_eq!(item.item().unwrap().content, "after");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_an_input_come_in_their_order_under_the_ids_of_its_answer() {
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        let mut request = worker.input("hello");
        request.request_id = "greeting".to_owned();
        let taken = worker.try_send(request).await.unwrap();
        let mut stream = worker.observe().await;
        let accepted = stream.first("the input", |frame| matches!(frame.payload(), Payload::InputAccepted(_))).await;
        let Payload::InputAccepted(input) = accepted.payload() else { unreachable!("it was looked for") };
        assert_eq!((Some(accepted.sequence), input.request_id.as_str()), (taken.event_id, "greeting"));
        assert_eq!(Some(input.transcript_sequence), taken.transcript_sequence);
        // The item is adjacent: the two are one commit.
        let appended = stream.frame().await;
        assert_eq!(appended.sequence, accepted.sequence + 1);
        assert_eq!(appended.item().unwrap().content, "hello");
        let started = stream.first("its turn", |frame| matches!(frame.payload(), Payload::TurnStarted(_))).await;
        let Payload::TurnStarted(turn) = started.payload() else { unreachable!("it was looked for") };
        assert_eq!(turn.request_id, "greeting");
        let ended = stream.first("its end", |frame| matches!(frame.payload(), Payload::TurnEnded(_))).await;
        let Payload::TurnEnded(end) = ended.payload() else { unreachable!("it was looked for") };
        assert_eq!((&end.turn_id, end.reason.as_str()), (&turn.turn_id, "written"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_said_is_told_before_it_is_an_item() {
    // acceptance 114
    let (_plane, _host, workers) = both(Profile::script("printf 'half a'; read go; echo ' line'; cat")).await;
    for worker in workers {
        // Someone who comes while it is being said has it in the snapshot, or as it comes.
        let mut early = worker.observe().await;
        let delta = early
            .up_to("the first half", |frame| match frame.payload() {
                Payload::Snapshot(snapshot) => snapshot.in_progress.is_some(),
                Payload::OutputDelta(_) => true,
                _ => false,
            })
            .await
            .pop();
        match delta.unwrap().payload() {
            Payload::OutputDelta(delta) => assert_eq!((delta.offset, delta.text.as_str()), (0, "half a")),
            Payload::Snapshot(snapshot) => assert_eq!(snapshot.in_progress.as_ref().unwrap().text, "half a"),
            _ => unreachable!("it was looked for"),
        }
        // Whoever comes later has it in the snapshot.
        let mut late = worker.observe_now().await;
        let in_progress = snapshot(&late.frame().await).in_progress.clone().expect("it is being said");
        assert_eq!((in_progress.text.as_str(), in_progress.offset), ("half a", 0));

        worker.send("go").await;
        for stream in [&mut early, &mut late] {
            let said = stream.first("the line", |frame| {
                frame.item().is_some_and(|item| item.role() == v1::TranscriptRole::Assistant)
            });
            assert_eq!(said.await.item().unwrap().content, "half a line");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_beats() {
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        let second = Duration { seconds: 1, nanos: 0 };
        let request = v1::ObserveWorkerRequest { heartbeat_interval: Some(second), ..worker.observation() };
        let mut stream = worker.try_observe(request).await.unwrap();
        let mut last = 0;
        for _ in 0..2 {
            let beat = stream.up_to("a heartbeat", |frame| matches!(frame.payload(), Payload::Heartbeat(_))).await;
            last = beat.iter().filter(|frame| frame.is_durable()).map(|frame| frame.sequence).max().unwrap_or(last);
            assert_eq!(beat.last().unwrap().sequence, last);
        }
        for wrong in [Duration { seconds: 0, nanos: 1 }, Duration { seconds: 301, nanos: 0 }] {
            let request = v1::ObserveWorkerRequest { heartbeat_interval: Some(wrong), ..worker.observation() };
            let refused = refusal(&worker.try_observe(request).await.unwrap_err());
            assert_eq!(refused.is(), (Code::InvalidArgument, "INVALID_REQUEST"));
            assert_eq!(refused.fields, ["heartbeat_interval"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_worker_cannot_be_observed() {
    // acceptance 26, 49, 61, 79, 112
    let host = Host::named("one").start().await;
    let plane = Plane::new().host(&host).start().await;
    for runtime_id in [EMBEDDED, "one"] {
        let nobody = v1::Worker {
            runtime_id: runtime_id.to_owned(),
            worker_id: "worker-01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
            ..Default::default()
        };
        let nobody = Worker::of(plane.client(), &nobody);
        let refused = refusal(&nobody.try_observe(nobody.observation()).await.unwrap_err());
        assert_eq!(refused.is(), (Code::NotFound, "UNKNOWN_WORKER"));
        assert_eq!(refused.metadata.get("runtime_id").map(String::as_str), Some(runtime_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_leaves_its_last_cursor_in_a_trailer() {
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        worker.stop(StopMode::Graceful).await;
        let mut stream = worker.observe().await;
        let mut last = None;
        while let Some(frame) = stream.next().await.unwrap() {
            last = Some(frame);
        }
        assert_eq!(stream.trailer("workplane-cursor").await, last.map(|frame| frame.cursor.clone()));
    }
}
