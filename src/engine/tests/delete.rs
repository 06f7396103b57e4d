//! The end of a worker's record, and what is still answered after it.

use super::*;
use crate::model::{Cursor, DeleteAck, DeleteWorker, Reason, WorkerState};

impl Stage {
    pub(super) async fn delete(&self, worker: &Worker, force: bool, id: Option<&str>) -> Result<DeleteAck> {
        let request = DeleteWorker { worker_id: worker.worker_id.clone(), force };
        within(self.engine.delete_worker(&context(id, 1), request)).await
    }

    fn reason(&self, worker: &Worker) -> Option<Reason> {
        self.engine.get_worker(&worker.worker_id).err().map(|error| error.reason())
    }
}

#[tokio::test]
async fn a_live_worker_is_deleted_only_by_force_and_an_ended_one_at_once() {
    for profile in [Profile::catalog(), sh("trap '' TERM; exec sleep 1000")] {
        let stage = Stage::with(profile).await;
        let worker = stage.spawn().await;
        let refused = stage.delete(&worker, false, None).await.unwrap_err();
        assert_eq!((refused.reason(), stage.reason(&worker)), (Reason::WorkerRunning, None));
        let watching = tokio::spawn(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0));
        stage.delete(&worker, true, None).await.unwrap();
        let seen = within(watching).await.unwrap();
        assert!(seen.last().unwrap().1.starts_with("End("), "its end is told: {seen:?}");
        assert_eq!(stage.reason(&worker), Some(Reason::UnknownWorker));

        let ended = stage.spawn().await;
        stage.stop(&ended, TerminalIntent::Stop, StopMode::Force).await;
        stage.delete(&ended, false, None).await.unwrap();
        assert_eq!(stage.reason(&ended), Some(Reason::UnknownWorker));
        assert_eq!(stage.engine.counts().total, 0);
        assert_eq!(stage.send(&ended, "x").await.unwrap_err().reason(), Reason::UnknownWorker);
        let again = stage.delete(&ended, true, None).await.unwrap_err();
        assert_eq!(again.reason(), Reason::UnknownWorker);
        // Their places are free again, and their ids are not.
        assert!(stage.spawn().await.worker_id > ended.worker_id);
    }
}

#[tokio::test]
async fn what_a_deleted_worker_was_asked_is_answered_as_before_also_after_a_restart() {
    let mut stage = Stage::with(Profile::catalog()).await;
    let spawn = |stage: &Stage| {
        let engine = stage.engine.clone();
        async move { engine.create_worker(&context(Some("s"), 1), request(builtin("it"))).await.unwrap().worker }
    };
    let worker = spawn(&stage).await;
    let send = |stage: &Stage| {
        let (engine, input) = (stage.engine.clone(), input_for(&worker.worker_id, "x"));
        async move { engine.send_input(&context(Some("i"), 1), input).await.unwrap() }
    };
    let stop = |stage: &Stage| {
        let (engine, worker_id) = (stage.engine.clone(), worker.worker_id.clone());
        let intent = TerminalIntent::Stop;
        let request = StopWorker { worker_id, intent, reason: String::new(), mode: StopMode::Graceful };
        async move { engine.stop_worker(&context(Some("e"), 1), request).await.unwrap() }
    };
    let (taken, ended) = (send(&stage).await, stop(&stage).await);
    stage.delete(&worker, false, Some("d")).await.unwrap();
    for _ in 0..2 {
        assert_eq!((send(&stage).await, stop(&stage).await), (taken.clone(), ended.clone()));
        let made = spawn(&stage).await;
        assert_eq!((made.worker_id, made.state), (worker.worker_id.clone(), WorkerState::Stopped));
        stage.delete(&worker, false, Some("d")).await.unwrap();
        let other = stage.delete(&worker, false, Some("another")).await.unwrap_err();
        assert_eq!((other.reason(), stage.engine.counts().total), (Reason::UnknownWorker, 0));
        stage = Stage::open(stage.parts.clone()).await;
    }
}

#[tokio::test]
async fn a_reader_that_is_behind_when_its_worker_is_deleted_is_told_so_and_how_it_ended() {
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    for n in 0..400 {
        stage.send(&worker, &format!("{n}")).await.unwrap();
    }
    stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    let last = stage.engine.get_worker(&worker.worker_id).unwrap().last_event_id;
    let mut streams = Vec::new();
    for after in [0, 7, last - 1] {
        let cursor = Cursor::new(stage.parts.incarnation, &worker.worker_id, after);
        streams.push((after, stage.observe(&worker, ObserveFrom::After(cursor))));
    }
    stage.delete(&worker, false, None).await.unwrap();
    for (after, mut stream) in streams {
        let mut told = Vec::new();
        while let Some(frame) = next_frame(&mut stream).await {
            told.push((frame.kind, frame.sequence, text(&frame.wire)));
        }
        let (kind, sequence, end) = told.pop().unwrap();
        assert_eq!((kind, sequence), (EventKind::End, last), "{end}");
        match told.pop() {
            Some((kind, to, gap)) => {
                assert_eq!((kind, to), (EventKind::Gap, last - 1));
                assert!(gap.contains(&format!("from: {}", after + 1)) && gap.contains("Deleted"), "{gap}");
            }
            None => assert_eq!(after, last - 1),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_deleted_once_however_often_the_store_fails() {
    for seed in 0..4 {
        let how = Unsteadiness { seed, delay: Duration::from_millis(2), failure: 0.3 };
        let (stage, _store) = Stage::unsteady(sh("exec cat"), how).await;
        let worker = loop {
            if let Ok(made) = stage.engine.create_worker(&context(Some("s"), 1), request(builtin("it"))).await {
                break made.worker;
            }
        };
        while let Err(error) = stage.delete(&worker, true, Some("d")).await {
            assert_eq!(error.reason(), Reason::StoreError, "{error}");
        }
        assert_eq!(stage.reason(&worker), Some(Reason::UnknownWorker));
        let again = within(Stage::open(stage.parts.clone())).await;
        assert_eq!(again.engine.counts().total, 0, "seed {seed}");
    }
}
