//! What observers see.

use super::*;
use crate::model::{Cursor, Reason};

#[tokio::test]
async fn a_snapshot_comes_first_and_an_ended_stream_replays_to_its_end() {
    // acceptance 110, 118
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    stage.send(&worker, "a").await.unwrap();
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    let Some(Observed::Snapshot(snapshot)) = stream.next().await.unwrap() else { panic!("a snapshot is first") };
    assert_eq!(snapshot.resumes_after, 0);
    let frames = to_the_end(stream, 0).await;
    assert!(frames.last().unwrap().1.starts_with("End("));

    let end = Cursor::new(stage.parts.incarnation, &worker.worker_id, frames.len() as u64);
    assert!(to_the_end(stage.observe(&worker, ObserveFrom::After(end)), end.sequence).await.is_empty());
}

#[tokio::test]
async fn cursors_of_the_future_or_of_another_store_are_expired() {
    // acceptance 112, 116
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    let future = Cursor::new(stage.parts.incarnation, &worker.worker_id, 99);
    let foreign = Cursor::new(Incarnation::generate(), &worker.worker_id, 1);
    for cursor in [future, foreign] {
        let observed = stage.engine.observe_worker(&worker.worker_id, ObserveFrom::After(cursor), None);
        let refused = observed.err().unwrap();
        assert_eq!(refused.reason(), Reason::CursorExpired);
        let oldest = &refused.metadata().iter().find(|(key, _)| *key == "oldest_cursor").unwrap().1;
        let oldest = Cursor::decode(oldest, &worker.worker_id).unwrap();
        assert!(stage.engine.observe_worker(&worker.worker_id, ObserveFrom::After(oldest), None).is_ok());
    }
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_slows_nobody() {
    // acceptance 112
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    let slow = stage.observe(&worker, ObserveFrom::Now);
    let from = slow.sequence();
    for n in 0..1_000 {
        stage.send(&worker, &format!("{n}")).await.unwrap();
    }
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let frames = within(to_the_end(slow, from)).await;
    let users: Vec<_> = frames.iter().filter_map(|(_, payload)| payload.strip_prefix("User:")).collect();
    assert_eq!(users.len(), 1_000);
    assert_eq!(*users[999], *"1999:999");
}

#[tokio::test]
async fn what_is_being_said_is_told_and_in_the_snapshot() {
    let stage = Stage::with(sh("read line; printf 'thinking...'; read line; echo done")).await;
    let worker = stage.spawn().await;
    // What was said before somebody observes is in the snapshot only.
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    stage.send(&worker, "begin").await.unwrap();
    loop {
        let frame = within(next_frame(&mut stream)).await.unwrap();
        if frame.kind == EventKind::OutputDelta {
            assert_eq!(text(&frame.wire), "0:thinking...");
            break;
        }
    }
    let mut late = stage.observe(&worker, ObserveFrom::Now);
    let Some(Observed::Snapshot(snapshot)) = late.next().await.unwrap() else { panic!("a snapshot is first") };
    assert_eq!(snapshot.in_progress.unwrap().text, "thinking...");
    stage.send(&worker, "go on").await.unwrap();
    let frames = within(to_the_end(late, snapshot.resumes_after)).await;
    assert!(frames.iter().any(|(_, payload)| payload == "Assistant:3:thinking...done"), "{frames:?}");
}

#[tokio::test]
async fn a_replay_ends_where_it_was_asked_to() {
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    for _ in 0..10 {
        stage.send(&worker, "x").await.unwrap();
    }
    let mut replay = stage.engine.observe_worker(&worker.worker_id, ObserveFrom::Beginning, Some(7)).unwrap();
    let mut last = 0;
    while let Some(frame) = next_frame(&mut replay).await {
        last = frame.sequence;
    }
    assert_eq!(last, 7);
}
