//! Stories that need a store which lands at once, or whose commits can be counted: they are told on memory alone.

use super::tail::Tail;
use super::*;

#[tokio::test]
async fn sixty_four_inputs_at_once_are_taken_in_order_with_fewer_commits() {
    // acceptance 128
    let store = MemoryStore::new();
    let stage = Stage::open(parts(store.clone(), [("it", Profile::catalog())])).await;
    let worker = stage.spawn().await;
    let before = store.position();
    let sends = (0..64).map(|n| {
        let (engine, input) = (stage.engine.clone(), input_for(&worker.worker_id, &format!("{n}")));
        async move { engine.send_input(&context(None, 0), input).await.unwrap() }
    });
    let acks = futures_util::future::join_all(sends).await;
    assert!(acks.is_sorted_by_key(|ack| ack.event_id), "taken in another order than sent");
    assert!(acks.windows(2).all(|pair| pair[0].event_id < pair[1].event_id));
    let commits = store.position() - before;
    assert!(commits < 64, "{commits} commits for 64 inputs");
}

/// A history that takes its time.
#[derive(Debug)]
struct SlowHistory(Duration);

#[async_trait::async_trait]
impl History for SlowHistory {
    async fn read(&self, _: u64, until: u64) -> crate::model::Result<Vec<Published>> {
        tokio::time::sleep(self.0).await;
        Ok(vec![Published { sequence: until, kind: EventKind::StateChanged, wire: Bytes::new() }])
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_takes_longer_than_its_reader_waits_at_once_still_comes_to_its_end() {
    let stage = Stage::with(Profile::catalog()).await;
    let worker = stage.spawn().await;
    let tail = Arc::new(Tail::new(stage.engine.get_worker(&worker.worker_id).unwrap()));
    let history = Arc::new(SlowHistory(Duration::from_secs(10)));
    let mut stream = Observation::open(stage.parts.incarnation, tail, history, Some(0), None);
    assert!(matches!(stream.next().await, Ok(Some(Observed::Snapshot(_)))));
    let mut waits = 0;
    // As an edge waits that has heartbeats to send.
    while tokio::time::timeout(Duration::from_secs(1), stream.next()).await.is_err() {
        waits += 1;
        assert!(waits < 60, "it begins anew each time");
    }
    assert!(waits >= 9);
}
