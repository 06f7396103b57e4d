//! One upstream, many readers, and everything that can go wrong in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::time::Instant;

use super::super::test_host::{TestHost, ctx, runtime_id};
use super::super::test_wire::Mode;
use super::super::tests::{say, spawned, stop};
use crate::engine::{Observation, ObserveFrom, Observed};
use crate::model::{Cursor, Error, Incarnation, Reason, TerminalIntent, WorkerId, WorkerState};
use crate::proto::v1::{self, observation_frame::Payload};
use crate::runtime::WorkerRuntime as _;
use crate::runtime::remote::{RemoteConfig, RemoteRuntime, RemoteSettings};

type Change = Box<dyn Fn(Bytes) -> Bytes + Send + Sync>;

pub(super) async fn observe(runtime: &RemoteRuntime, worker_id: &WorkerId, from: ObserveFrom) -> Observation {
    let mut observation = runtime.observe_worker(&ctx(), worker_id, from, None).await.unwrap();
    let Some(Observed::Snapshot(_)) = observation.next().await.unwrap() else { panic!("a snapshot comes first") };
    observation
}

pub(super) async fn refused(runtime: &RemoteRuntime, worker_id: &WorkerId, from: ObserveFrom) -> Error {
    match runtime.observe_worker(&ctx(), worker_id, from, None).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// Everything until the end of the stream, and how it ended.
pub(super) async fn rest(observation: &mut Observation) -> (Vec<v1::ObservationFrame>, Option<Error>) {
    let mut frames = Vec::new();
    loop {
        match observation.next().await {
            Ok(Some(Observed::Frame(frame))) => frames.push(v1::ObservationFrame::decode(frame.wire).unwrap()),
            Ok(Some(Observed::Notice(notice))) => {
                let diagnostic = v1::Diagnostic { code: notice.code.into_owned(), ..v1::Diagnostic::default() };
                let payload = Some(Payload::Diagnostic(diagnostic));
                frames.push(v1::ObservationFrame { payload, ..v1::ObservationFrame::default() });
            }
            Ok(Some(Observed::Snapshot(_))) => panic!("a second snapshot"),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

fn is_durable(frame: &v1::ObservationFrame) -> bool {
    !matches!(frame.payload, Some(Payload::Diagnostic(_) | Payload::OutputDelta(_) | Payload::ActivityChanged(_)))
}

fn durable(frames: &[v1::ObservationFrame]) -> Vec<u64> {
    frames.iter().filter(|it| is_durable(it)).map(|frame| frame.sequence).collect()
}

pub(super) fn diagnostics(frames: &[v1::ObservationFrame]) -> Vec<&str> {
    let code = |frame: &'_ v1::ObservationFrame| match &frame.payload {
        Some(Payload::Diagnostic(said)) => Some(said.code.clone()),
        _ => None,
    };
    frames
        .iter()
        .filter_map(|frame| match code(frame).as_deref() {
            Some("upstream_disconnect") => Some("upstream_disconnect"),
            Some("upstream_reconnected") => Some("upstream_reconnected"),
            Some(_) => Some("another"),
            None => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn many_readers_share_one_upstream_and_read_the_same_to_the_end() {
    // acceptance 122
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(observe(&runtime, &worker_id, ObserveFrom::Beginning).await);
    }
    for n in 0..10 {
        say(&runtime, &worker_id, &format!("input {n}")).await;
    }
    runtime.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    let (first, end) = rest(&mut readers[0]).await;
    assert!(end.is_none());
    let last = first.last().unwrap().sequence;
    assert_eq!(durable(&first), (1..=last).collect::<Vec<_>>());
    assert!(matches!(first.last().unwrap().payload, Some(Payload::End(_))));
    for reader in &mut readers[1..] {
        assert_eq!(rest(reader).await, (first.clone(), None));
        assert_eq!(reader.view().state, WorkerState::Stopped);
        assert_eq!(reader.view().transcript_length, 20);
    }
    assert_eq!(host.upstreams(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_has_fallen_behind_is_fed_from_the_host() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut slow = observe(&runtime, &worker_id, ObserveFrom::Now).await;
    let from = slow.sequence();
    for n in 0..400 {
        say(&runtime, &worker_id, &format!("input {n}")).await;
    }
    runtime.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    let (frames, end) = rest(&mut slow).await;
    assert!(end.is_none());
    assert_eq!(durable(&frames), (from + 1..=frames.last().unwrap().sequence).collect::<Vec<_>>());
    assert!(host.faults.replays.load(Ordering::Relaxed) > 0);
    assert_eq!(host.upstreams(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_host_is_found_again_without_gap_or_repeat() {
    // acceptance 118, 119
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut reader = observe(&runtime, &worker_id, ObserveFrom::Beginning).await;
    let reading = tokio::spawn(async move { rest(&mut reader).await });
    let engine = host.engine.clone();
    for n in 0..100 {
        let input = crate::model::WorkerInput::new(crate::model::InputKind::User, format!("input {n}")).unwrap();
        let delivery = crate::model::InputDelivery::Queue;
        let send = crate::model::SendInput { worker_id: worker_id.clone(), input, delivery };
        engine.send_input(&ctx(), send).await.unwrap();
        if n % 20 == 10 {
            host.wire.cut();
        }
        tokio::time::sleep(Duration::from_millis(n * 7 % 50)).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    engine.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    let (frames, end) = reading.await.unwrap();
    assert!(end.is_none());
    assert_eq!(durable(&frames), (1..=frames.last().unwrap().sequence).collect::<Vec<_>>());
    let said = diagnostics(&frames);
    assert!(said.len() >= 4 && said.len().is_multiple_of(2), "{said:?}");
    assert!(said.chunks(2).all(|pair| pair == ["upstream_disconnect", "upstream_reconnected"]), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stays_away_ends_the_stream_and_the_cursor_is_still_good() {
    // acceptance 119
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut reader = observe(&runtime, &worker_id, ObserveFrom::Now).await;
    let cursor = Cursor::new(reader.incarnation(), &worker_id, reader.sequence());
    host.wire.set(Mode::Refuse);
    host.wire.cut();
    let began = Instant::now();
    let Some(Observed::Notice(_)) = reader.next().await.unwrap() else { panic!("the loss is told") };
    assert!(reader.view().stale && observe(&runtime, &worker_id, ObserveFrom::Now).await.view().stale);
    let (frames, end) = rest(&mut reader).await;
    assert_eq!(end.unwrap().reason(), Reason::RemoteRuntimeNetworkError);
    assert!(frames.is_empty());
    assert!((30..32).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    host.wire.set(Mode::Connect);
    say(&runtime, &worker_id, "still there?").await;
    let mut again = observe(&runtime, &worker_id, ObserveFrom::After(cursor)).await;
    let Some(Observed::Frame(next)) = again.next().await.unwrap() else { panic!("a frame") };
    assert_eq!(next.sequence, cursor.sequence + 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_says_how_long_ago_the_host_was_heard_of() {
    // acceptance 119
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut first = observe(&runtime, &worker_id, ObserveFrom::Now).await;
    let opened_at = first.view().last_seen_at;
    // The host's heartbeats tell of the worker, too.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(first.view().last_seen_at > opened_at);
    host.wire.set(Mode::Refuse);
    host.wire.cut();
    first.next().await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let mut late = runtime.observe_worker(&ctx(), &worker_id, ObserveFrom::Now, None).await.unwrap();
    let Some(Observed::Snapshot(snapshot)) = late.next().await.unwrap() else { panic!("a snapshot comes first") };
    let age = snapshot.worker.seen_age.unwrap();
    assert!(snapshot.worker.stale && (7..=12).contains(&age.as_secs()), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn observers_go_on_with_another_token_name_and_timeout() {
    let host = TestHost::start().await;
    let config = |token: &str| RemoteConfig {
        token: Some(token.into()),
        display_name: format!("known by {token}"),
        timeout: Duration::from_secs(token.len() as u64),
        ..RemoteConfig::new(runtime_id(), "http://host.test:7500")
    };
    let runtime = host.runtime_of(&config("one"));
    let worker_id = spawned(&runtime).await;
    let mut reader = observe(&runtime, &worker_id, ObserveFrom::Now).await;
    runtime.adopt(RemoteSettings::new(&config("four5")).unwrap());
    host.faults.tokens.lock().clear();
    say(&runtime, &worker_id, "hello").await;
    assert!(matches!(reader.next().await, Ok(Some(Observed::Frame(_)))));
    // The probe shows the new one at once, and every call does.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let seen = host.faults.tokens.lock().clone();
    assert!(seen.len() == 2 && seen.iter().all(|token| token.as_deref() == Some("Bearer four5")), "{seen:?}");
    assert_eq!((host.upstreams(), runtime.core.settings.load().display_name.as_str()), (1, "known by four5"));
    *host.faults.hangs.lock() = true;
    let began = Instant::now();
    runtime.get_worker(&ctx(), &worker_id).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn observers_of_a_runtime_that_has_moved_are_told_to_come_back() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut reader = observe(&runtime, &worker_id, ObserveFrom::Now).await;
    runtime.moved();
    drop(runtime);
    let (_, end) = rest(&mut reader).await;
    assert_eq!(end.unwrap().reason(), Reason::RemoteRuntimeNetworkError);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_frame_ends_the_stream() {
    // acceptance 119
    let change = |change: fn(&mut v1::ObservationFrame)| {
        move |bytes: Bytes| {
            let mut frame = v1::ObservationFrame::decode(bytes).unwrap();
            change(&mut frame);
            Bytes::from(frame.encode_to_vec())
        }
    };
    let changes: Vec<(&str, Change)> = vec![
        ("another worker", Box::new(change(|frame| frame.worker_id = "worker-2".to_owned()))),
        ("a skipped event", Box::new(change(|frame| frame.sequence += 1))),
        ("a repeated event", Box::new(change(|frame| frame.sequence -= 1))),
        ("a cursor of another place", Box::new(change(|frame| frame.cursor = frame.cursor.replace('A', "B")))),
        ("no payload", Box::new(change(|frame| frame.payload = None))),
        ("a cut frame", Box::new(|bytes: Bytes| bytes.slice(..bytes.len() - 1))),
        ("an unknown field", Box::new(|bytes: Bytes| [&bytes[..], &[0xFA, 0x07, 0]].concat().into())),
        (
            "an item of another place",
            Box::new(change(|frame| {
                let item = v1::TranscriptItem { sequence: 0, role: 1, ..Default::default() };
                frame.payload = Some(Payload::ItemAppended(v1::ItemAppended { item: Some(item) }));
            })),
        ),
        (
            "a word of its own",
            Box::new(change(|frame| {
                let reason = "see /etc/passwd".to_owned();
                frame.payload = Some(Payload::TurnEnded(v1::TurnEnded { turn_id: String::new(), reason }));
            })),
        ),
    ];
    for (what, change) in changes {
        let host = TestHost::start().await;
        let runtime = host.runtime();
        let worker_id = spawned(&runtime).await;
        let mut reader = observe(&runtime, &worker_id, ObserveFrom::Now).await;
        *host.faults.tampers.lock() = Some(Arc::new(move |n, bytes| if n == 0 { bytes } else { change(bytes) }));
        say(&runtime, &worker_id, "hello").await;
        let (frames, end) = rest(&mut reader).await;
        assert_eq!(end.unwrap().reason(), Reason::RemoteRuntimeMalformedResponse, "{what}");
        assert!(frames.is_empty(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_another_runtime_is_a_wrong_identity() {
    // acceptance 72
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    *host.faults.tampers.lock() = Some(Arc::new(|_, bytes| {
        let mut frame = v1::ObservationFrame::decode(bytes).unwrap();
        frame.runtime_id = "impostor".to_owned();
        frame.encode_to_vec().into()
    }));
    let error = refused(&runtime, &worker_id, ObserveFrom::Now).await;
    assert_eq!(error.reason(), Reason::RemoteRuntimeWrongIdentity);
}

#[tokio::test(start_paused = true)]
async fn a_relay_waits_a_while_for_its_readers_to_come_back() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let open = || host.faults.streams.load(Ordering::Relaxed);
    drop(observe(&runtime, &worker_id, ObserveFrom::Now).await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let back = observe(&runtime, &worker_id, ObserveFrom::Now).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((host.upstreams(), open()), (1, 1));
    drop(back);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(open(), 0);
    let _anew = observe(&runtime, &worker_id, ObserveFrom::Now).await;
    assert_eq!(host.upstreams(), 2);
}

#[tokio::test(start_paused = true)]
async fn cursors_of_another_incarnation_or_of_the_future_have_expired() {
    // acceptance 112, 116
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let incarnation = host.engine.parts().incarnation;
    for cursor in [Cursor::new(Incarnation::generate(), &worker_id, 0), Cursor::new(incarnation, &worker_id, 99)] {
        let error = refused(&runtime, &worker_id, ObserveFrom::After(cursor)).await;
        assert_eq!(error.reason(), Reason::CursorExpired);
        let oldest = error.metadata().iter().find(|(key, _)| *key == "oldest_cursor").unwrap();
        assert_eq!(Cursor::decode(&oldest.1, &worker_id).unwrap(), Cursor::new(incarnation, &worker_id, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_worker_is_what_its_host_says_and_leaves_nothing_behind() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let nobody = WorkerId::new("worker-1").unwrap();
    assert_eq!(refused(&runtime, &nobody, ObserveFrom::Now).await.reason(), Reason::UnknownWorker);
    assert!(runtime.core.relays.0.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_ended_is_replayed_to_its_end() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    runtime.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    let mut reader = observe(&runtime, &worker_id, ObserveFrom::Beginning).await;
    let (frames, end) = rest(&mut reader).await;
    assert!(end.is_none() && matches!(frames.last().unwrap().payload, Some(Payload::End(_))));
}
