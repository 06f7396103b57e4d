//! Agents of the Agent Client Protocol: what their workers tell of themselves.

use super::*;
use crate::model::Activity;

/// The next frame whose payload begins like this.
async fn first(stream: &mut Observation, beginning: &str) -> Published {
    loop {
        let frame = within(next_frame(stream)).await.expect("the stream goes on");
        if text(&frame.wire).starts_with(beginning) {
            return frame;
        }
    }
}

#[tokio::test]
async fn an_agent_is_busy_while_a_turn_runs_and_idle_before_and_after() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    assert_eq!((worker.activity, &*worker.activity_detail), (Activity::Idle, ""));
    let mut stream = stage.observe(&worker, ObserveFrom::Now);
    stage.send(&worker, "on").await.unwrap();
    let started = first(&mut stream, "TurnStarted").await;
    let busy = first(&mut stream, "ActivityChanged").await;
    assert!(text(&busy.wire).contains("activity: Busy, detail: \"working\""), "{}", text(&busy.wire));
    assert_eq!(busy.sequence, started.sequence);
    let ended = first(&mut stream, "TurnEnded").await;
    let idle = loop {
        let change = first(&mut stream, "ActivityChanged").await;
        if text(&change.wire).contains("activity: Idle, detail: \"\"") {
            break change;
        }
    };
    assert_eq!(idle.sequence, ended.sequence);
    let now = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((now.activity, &*now.activity_detail), (Activity::Idle, ""));
    assert!(now.activity_since >= now.last_progress_at, "{now:?}");
}

#[tokio::test]
async fn what_it_is_at_is_told_and_in_the_snapshot_and_pieces_are_progress() {
    let Some(profile) = agent(&[]) else { return };
    let stage = Stage::with(profile).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Now);
    stage.send(&worker, "wait").await.unwrap();
    let took = stage.engine.get_worker(&worker.worker_id).unwrap().last_progress_at;
    first(&mut stream, "0:waiting").await;
    let mut late = stage.observe(&worker, ObserveFrom::Now);
    let Some(Observed::Snapshot(snapshot)) = late.next().await.unwrap() else { panic!("a snapshot is first") };
    assert_eq!((snapshot.worker.activity, &*snapshot.worker.activity_detail), (Activity::Busy, "answering"));
    assert!(snapshot.worker.last_progress_at > took, "{snapshot:?}");
    let change = first(&mut stream, "ActivityChanged").await;
    assert!(text(&change.wire).contains("detail: \"answering\""), "{}", text(&change.wire));
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let ended = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((ended.activity, &*ended.activity_detail, ended.activity_since), (Activity::Idle, "", None));
}

#[tokio::test]
async fn a_program_of_lines_tells_of_no_activity() {
    let stage = Stage::with(sh("read line; printf 'thinking...'; read line; echo done")).await;
    let worker = stage.spawn().await;
    let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
    for input in ["a", "b"] {
        stage.send(&worker, input).await.unwrap();
    }
    while let Some(frame) = within(next_frame(&mut stream)).await {
        assert_ne!(frame.kind, EventKind::ActivityChanged);
    }
}
