//! The tests of the core that this engine replaces, under their names.

use super::bundles::bundle;
use super::*;
use crate::model::{Cursor, Reason, WorkerState};

#[tokio::test]
async fn create_list_and_detail_are_told_alike() {
    // acceptance 87, 135
    let stage = Stage::with(Profile::catalog()).await;
    let (one, two) = (stage.spawn().await, stage.spawn().await);
    assert_eq!((one.state, one.transcript_length, one.last_event_id), (WorkerState::Running, 0, 2));
    let listed = stage.engine.list_workers(&crate::model::WorkerFilter::default(), None, 9).workers;
    assert_eq!(listed, [one.clone(), two], "ordered by id, as they were told when they were made");
    assert_eq!(*stage.engine.get_worker(&one.worker_id).unwrap(), one);
    assert_eq!((one.role.as_deref(), one.profile.as_deref()), (Some("coder"), Some("it")));
}

#[tokio::test]
async fn synced_config_bundle_is_what_a_worker_is_made_with() {
    // acceptance 91, 105, 135
    let stage = Stage::with(Profile::catalog()).await;
    let bundle = bundle("1", &[builtin("it")]);
    stage.engine.sync_bundle(&context(None, 0), bundle.clone()).await.unwrap();
    let mut create = request(builtin("it"));
    create.config_bundle = Some(bundle.reference());
    let worker = stage.engine.create_worker(&context(None, 0), create).await.unwrap().worker;
    assert_eq!(worker.config_bundle, Some(bundle.reference()));
    assert!(worker.diagnostics.iter().all(|it| it.code != "runtime.local_default_resources"));
}

#[tokio::test]
async fn config_bundle_errors_are_typed() {
    // acceptance 91, 104, 135
    let stage = Stage::with(Profile::catalog()).await;
    let (known, unknown) = (bundle("1", &[]), bundle("2", &[]));
    let refused = async |reference| {
        let mut create = request(builtin("it"));
        create.config_bundle = Some(reference);
        stage.engine.create_worker(&context(None, 0), create).await.unwrap_err().reason()
    };
    assert_eq!(refused(known.reference()).await, Reason::ConfigBundleMissing);
    stage.engine.sync_bundle(&context(None, 0), known.clone()).await.unwrap();
    assert_eq!(refused(unknown.reference()).await, Reason::ConfigBundleDigestMismatch);
    assert_eq!(refused(known.reference()).await, Reason::InvalidProfileSelector);
}

#[tokio::test]
async fn tools_less_worker_says_that_no_execution_is_connected() {
    // acceptance 90, 92, 135
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    assert!(worker.diagnostics.iter().any(|it| it.code == "worker.tools_less"));
    stage.send(&worker, "hello").await.unwrap();
    let said = stage.transcript(&worker).await;
    assert_eq!(said.len(), 2);
    assert!(said[1].starts_with("Assistant:2:") && said[1].contains("execution is not connected"));
}

#[tokio::test]
async fn send_input_and_project_bounded_transcript() {
    // acceptance 92, 93, 135
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    for n in 1..=3 {
        assert_eq!(stage.send(&worker, "hello").await.unwrap().transcript_sequence, 2 * n - 1);
    }
    let page = stage.engine.read_transcript(&worker.worker_id, 2, 3).await.unwrap();
    assert_eq!((page.total_items, page.frames.len(), page.next_start), (6, 3, Some(5)));
    assert_eq!(text(&page.frames[0].body), "User:3:hello");
}

#[tokio::test]
async fn stop_then_cancel_keeps_the_stop() {
    // acceptance 94, 135
    first_end_wins(TerminalIntent::Stop, TerminalIntent::Cancel, WorkerState::Stopped, "worker stopped").await;
}

#[tokio::test]
async fn cancel_then_stop_keeps_the_cancellation() {
    // acceptance 94, 135
    first_end_wins(TerminalIntent::Cancel, TerminalIntent::Stop, WorkerState::Cancelled, "worker cancelled").await;
}

async fn first_end_wins(first: TerminalIntent, second: TerminalIntent, final_state: WorkerState, message: &str) {
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    let ended = stage.stop(&worker, first, StopMode::Graceful).await;
    let again = stage.stop(&worker, second, StopMode::Graceful).await;
    assert_eq!((ended.state, again.state, ended.event_id), (final_state, final_state, again.event_id));
    let now = stage.engine.get_worker(&worker.worker_id).unwrap();
    assert_eq!((now.termination.clone().unwrap().message.as_str(), Some(now.last_event_id)), (message, ended.event_id));
}

#[tokio::test]
async fn event_cursor_goes_on_after_what_was_read() {
    // acceptance 108, 135
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    stage.send(&worker, "hello").await.unwrap();
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let all = to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0).await;
    for read in 0..=all.len() {
        let cursor = Cursor::new(stage.parts.incarnation, &worker.worker_id, read as u64);
        let rest = to_the_end(stage.observe(&worker, ObserveFrom::After(cursor)), read as u64).await;
        assert_eq!(rest, all[read..]);
    }
}
