//! Rows of the contract that are short enough to be told alone.

use super::history::StoreHistory;
use super::store::Select;
use super::*;
use crate::model::{CapabilityRequest, Cursor, MAX_PAGE_BYTES, Reason, Severity, TerminationReason, WorkerState};

#[tokio::test]
async fn a_worker_that_is_made_with_nothing_says_so() {
    // acceptance 90
    let stage = Stage::with(Profile::catalog()).await;
    let bare = stage.spawn().await;
    let said: Vec<_> = bare.diagnostics.iter().map(|it| (it.code.as_ref(), it.severity)).collect();
    for code in ["runtime.local_default_resources", "worker.tools_less"] {
        assert!(said.contains(&(code, Severity::Info)), "{said:?}");
    }
    let mut equipped = request(builtin("it"));
    equipped.requested_capabilities = vec![CapabilityRequest { name: "read".to_owned(), reason: None }];
    let equipped = stage.engine.create_worker(&context(None, 0), equipped).await.unwrap().worker;
    assert!(equipped.diagnostics.iter().all(|it| it.code != "worker.tools_less"));
    assert!(bare.worker_id < equipped.worker_id, "ids rise");
}

#[tokio::test]
async fn ids_are_not_used_again_neither_after_a_restart_nor_when_the_store_is_lost() {
    // acceptance 36
    let store = store();
    let first = Stage::open(parts(store.clone(), [("it", Profile::catalog())])).await;
    let old = first.spawn().await.worker_id;
    let again = Stage::open(first.parts.clone()).await;
    let new = again.spawn().await.worker_id;
    let elsewhere = Stage::with(Profile::catalog()).await.spawn().await.worker_id;
    assert!(old < new && new < elsewhere, "{old} {new} {elsewhere}");
    for id in [&old, &new, &elsewhere] {
        let uuid = uuid::Uuid::try_parse(id.as_str().strip_prefix("worker-").unwrap()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
    }
    for blank in ["", " ", "\t"] {
        assert!(WorkerId::new(blank).is_err() && RuntimeId::new(blank).is_err());
    }
}

#[tokio::test]
async fn pages_of_a_transcript_end_where_it_ends() {
    // acceptance 93
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    for n in 0..3 {
        stage.send(&worker, &format!("{n}")).await.unwrap();
    }
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let read = async |start, limit| {
        let page = stage.engine.read_transcript(&worker.worker_id, start, limit).await.unwrap();
        assert_eq!(page.total_items, 6, "also after the stop");
        (page.frames.len(), page.next_start)
    };
    assert_eq!(read(0, 4).await, (4, Some(4)));
    assert_eq!(read(4, 4).await, (2, None));
    assert_eq!(read(0, 6).await, (6, None));
    assert_eq!(read(5, usize::MAX).await, (1, None));
    for beyond in [6, 7, u64::MAX] {
        assert_eq!(read(beyond, 256).await, (0, None));
    }
}

#[tokio::test]
async fn each_worker_counts_its_own_events_and_the_store_all_commits() {
    // acceptance 107
    let stage = Stage::with(Profile::catalog()).await;
    let (one, two) = (stage.spawn().await, stage.spawn().await);
    let mut acks = Vec::new();
    for n in 0..5 {
        for worker in [&one, &two] {
            acks.push((worker.worker_id.clone(), stage.send(worker, &format!("{n}")).await.unwrap()));
        }
    }
    stage.stop(&one, TerminalIntent::Stop, StopMode::Graceful).await;
    stage.stop(&two, TerminalIntent::Cancel, StopMode::Graceful).await;
    let mut commits = std::collections::BTreeMap::new();
    for (worker, end) in [(&one, "Stopped"), (&two, "Cancelled")] {
        // Counted from 1, without a gap: the observer checks that.
        let seen = to_the_end(stage.observe(worker, ObserveFrom::Beginning), 0).await;
        assert_eq!(seen.len() as u64, stage.engine.get_worker(&worker.worker_id).unwrap().last_event_id);
        for kind in ["StateChanged(Starting)", "StateChanged(Running)", "InputAccepted", "User:", "Assistant:", "End("]
        {
            assert!(seen.iter().any(|(_, payload)| payload.starts_with(kind)), "{kind} is not told");
        }
        assert!(seen.last().unwrap().1.contains(end));
        for (_, ack) in acks.iter().filter(|(id, _)| *id == worker.worker_id) {
            let (_, accepted) = &seen[usize::try_from(ack.event_id).unwrap() - 1];
            assert!(accepted.starts_with("InputAccepted"), "event_id is the sequence: {accepted}");
        }
        let store = &stage.parts.store;
        let stored = store.read(&worker.worker_id, Select::EventsAfter(0), 1_000, MAX_PAGE_BYTES).await.unwrap();
        assert!(stored.is_sorted_by_key(|frame| frame.position), "a later event has no earlier position");
        for frame in stored {
            let whose = commits.entry(frame.position).or_insert_with(|| worker.worker_id.clone());
            assert_eq!(*whose, worker.worker_id, "two commits share position {}", frame.position);
        }
    }
    // In the order in which they came, of whichever worker: births, inputs in turn, ends.
    let (one, two) = (&one.worker_id, &two.worker_id);
    assert_eq!(commits.values().collect::<Vec<_>>(), [one, two].repeat(7));
}

#[tokio::test]
async fn events_are_read_in_bounded_batches_that_go_on_where_the_last_one_ended() {
    // acceptance 108
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    for n in 0..100 {
        stage.send(&worker, &format!("{n}")).await.unwrap();
    }
    let total = stage.engine.get_worker(&worker.worker_id).unwrap().last_event_id;
    assert_eq!(total, 302);
    let tail = Arc::new(Tail::new(stage.engine.get_worker(&worker.worker_id).unwrap()));
    let history = StoreHistory::new(Arc::new(stage.parts.clone()), worker.worker_id.clone(), tail);
    let sequences = |frames: Vec<Published>| frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>();
    let first = sequences(history.read(0, total).await.unwrap());
    assert_eq!(first, (1..=256).collect::<Vec<_>>(), "as many as a batch may have");
    let rest = sequences(history.read(256, total).await.unwrap());
    assert_eq!(rest, (257..=302).collect::<Vec<_>>());
    assert_eq!(sequences(history.read(256, 260).await.unwrap()), [257, 258, 259, 260], "no more than was asked for");
    // An empty batch leaves the reader where it was: what comes next comes to it.
    assert_eq!(sequences(history.read(total, total).await.unwrap()), [0; 0]);
    stage.send(&worker, "more").await.unwrap();
    assert_eq!(sequences(history.read(total, total + 1).await.unwrap()), [total + 1]);
}

#[tokio::test]
async fn a_reader_starts_at_the_first_event_or_now_and_with_no_cursor_of_another_runtime() {
    // acceptance 108
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    let mut now = stage.observe(&worker, ObserveFrom::Now);
    let mut all = stage.observe(&worker, ObserveFrom::Beginning);
    stage.send(&worker, "hello").await.unwrap();
    assert_eq!(within(next_frame(&mut now)).await.unwrap().sequence, 3);
    for sequence in 1..=3 {
        assert_eq!(within(next_frame(&mut all)).await.unwrap().sequence, sequence);
    }
    let foreign = Cursor::new(Incarnation::generate(), &worker.worker_id, 1);
    let refused = stage.engine.observe_worker(&worker.worker_id, ObserveFrom::After(foreign), None).err().unwrap();
    assert_eq!(refused.reason(), Reason::CursorExpired);
    let refused = crate::model::transcript_limit(257).unwrap_err();
    assert_eq!(refused.reason(), Reason::LimitTooLarge);
    let numbers: Vec<_> = refused.metadata().iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(numbers, [("limit", "257"), ("max", "256")]);
}

#[tokio::test]
async fn a_runtime_that_is_stopped_ends_each_worker_once_and_can_still_be_read() {
    // acceptance 89, 95
    for profile in [Profile::catalog(), sh("exec cat")] {
        let stage = Stage::with(profile).await;
        let it = super::bundles::bundle("1", &[]);
        stage.engine.sync_bundle(&context(None, 0), it.clone()).await.unwrap();
        let (live, ended) = (stage.spawn().await, stage.spawn().await);
        let first_end = stage.stop(&ended, TerminalIntent::Cancel, StopMode::Graceful).await.event_id;
        stage.send(&live, "kept").await.unwrap();
        within(stage.engine.shutdown()).await;
        let last = stage.engine.get_worker(&live.worker_id).unwrap().last_event_id;
        within(stage.engine.shutdown()).await;

        let now = stage.engine.get_worker(&live.worker_id).unwrap();
        let termination = now.termination.clone().unwrap();
        assert_eq!((now.state, termination.reason), (WorkerState::Stopped, TerminationReason::Drained));
        assert_eq!((now.last_event_id, termination.last_sequence), (last, last), "the second time changes nothing");
        let before = stage.engine.get_worker(&ended.worker_id).unwrap();
        assert_eq!((before.state, Some(before.last_event_id)), (WorkerState::Cancelled, first_end), "it had ended");
        for worker in [&live, &ended] {
            let events = within(to_the_end(stage.observe(worker, ObserveFrom::Beginning), 0)).await;
            assert_eq!(events.iter().filter(|(_, payload)| payload.starts_with("End(")).count(), 1);
        }
        assert_eq!(stage.engine.list_workers(&crate::model::WorkerFilter::default(), None, 9).workers.len(), 2);
        assert_eq!(stage.transcript(&live).await[0], "User:1:kept");
        assert!(stage.engine.check_bundle(&it.reference()).is_ok());
        let refused = stage.engine.create_worker(&context(None, 0), request(builtin("it"))).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::RuntimeStopped);
        assert_eq!(stage.send(&live, "x").await.unwrap_err().reason(), Reason::RuntimeStopped);
    }
}

#[tokio::test]
async fn noisy_neighbour_keeps_cursors() {
    // acceptance 115
    let stage = Stage::with(Profile::catalog()).await;
    let (quiet, noisy) = (stage.spawn().await, stage.spawn().await);
    stage.send(&quiet, "before").await.unwrap();
    let seen = stage.engine.get_worker(&quiet.worker_id).unwrap().last_event_id;
    let cursor = Cursor::new(stage.parts.incarnation, &quiet.worker_id, seen);
    for n in 0..2_000 {
        stage.send(&noisy, &format!("{n}")).await.unwrap();
    }
    stage.send(&quiet, "after").await.unwrap();
    stage.stop(&quiet, TerminalIntent::Stop, StopMode::Graceful).await;
    let frames = to_the_end(stage.observe(&quiet, ObserveFrom::After(cursor)), seen).await;
    assert!(frames.iter().any(|(_, payload)| payload.ends_with(":after")), "{frames:?}");
    assert!(frames.iter().all(|(_, payload)| !payload.ends_with(":1999")));
}

#[tokio::test]
async fn workers_are_counted_by_what_became_of_them() {
    // acceptance 96
    let stage = Stage::with(Profile::catalog()).await;
    let workers = [stage.spawn().await, stage.spawn().await, stage.spawn().await];
    stage.stop(&workers[0], TerminalIntent::Stop, StopMode::Graceful).await;
    stage.stop(&workers[1], TerminalIntent::Cancel, StopMode::Graceful).await;
    let counts = stage.engine.counts();
    assert_eq!((counts.total, counts.active, counts.stopped, counts.cancelled, counts.failed), (3, 1, 1, 1, 0));
    let listed = stage.engine.list_workers(&crate::model::WorkerFilter::default(), None, 9).workers;
    let states: Vec<_> = listed.iter().map(|worker| worker.state).collect();
    assert_eq!(states, [WorkerState::Stopped, WorkerState::Cancelled, WorkerState::Running], "ordered by id");
    assert_eq!(stage.parts.store.backend(), Stage::BACKEND);
}
