//! Who watches a worker through every crash, and goes on by cursor: sees each event once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use workplane::proto::v1::observation_frame::Payload;

use crate::load::may_be_asked_again;
use crate::support::{Frame, Worker, until};

/// Who watches a worker until it has ended.
#[derive(Debug)]
pub(crate) struct Watcher {
    seen: Arc<Mutex<Vec<Frame>>>,
    watching: JoinHandle<()>,
}

impl Watcher {
    /// Watches from the first event on.
    pub(crate) fn new(worker: Worker) -> Self {
        let seen = Arc::default();
        let watching = tokio::spawn(watch(worker, Arc::clone(&seen)));
        Self { seen, watching }
    }

    /// The durable events up to and with `last`, once they have come.
    pub(crate) async fn up_to(&self, last: u64) -> Vec<Frame> {
        until("the watcher to have seen it all", || async {
            let seen = self.seen.lock();
            let there = seen.last().is_some_and(|frame| frame.sequence >= last);
            assert!(there || !self.watching.is_finished(), "the watcher has ended before event {last}");
            there.then(|| seen.iter().filter(|frame| frame.sequence <= last).cloned().collect())
        })
        .await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn watch(worker: Worker, seen: Arc<Mutex<Vec<Frame>>>) {
    let mut cursor: Option<String> = None;
    loop {
        let opened = match &cursor {
            None => worker.try_observe(worker.observation()).await,
            Some(cursor) => worker.try_resume(cursor).await,
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(status) => {
                assert!(may_be_asked_again(&status), "a cursor that was handed out is refused: {status:?}");
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let mut first = true;
        loop {
            match stream.next().await {
                Ok(Some(frame)) => {
                    assert_eq!(std::mem::take(&mut first), matches!(frame.payload(), Payload::Snapshot(_)));
                    assert!(!matches!(frame.payload(), Payload::Gap(_)), "{frame:?}");
                    cursor = Some(frame.cursor.clone());
                    let mut seen = seen.lock();
                    if frame.is_durable() {
                        assert_eq!(frame.sequence, seen.len() as u64 + 1, "a gap or a repeat: {frame:?}");
                        seen.push(frame);
                    }
                }
                Ok(None) => {
                    let ended = seen.lock().last().is_some_and(|frame| frame.termination().is_some());
                    assert!(ended, "a stream ended well before its worker");
                    return;
                }
                Err(status) => {
                    assert!(may_be_asked_again(&status), "{status:?}");
                    break;
                }
            }
        }
    }
}
