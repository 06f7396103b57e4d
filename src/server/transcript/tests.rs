//! Transcripts of a scripted worker: what is appended while pages are read, what comes live, and holes between them.

use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::engine::{Envelope, FrameCodec as _, History, Progress, Published, Tail};
use crate::model::{Cursor, Event, Incarnation, Role, RuntimeId, TranscriptItem, WorkerId, WorkerState, WorkspaceId};
use crate::proto::ProtoCodec;
use crate::runtime::fake::worker;
use crate::server::switch::Switch;

/// A worker whose items are given by the test.
struct Script {
    items: Mutex<Vec<Bytes>>,
    tail: Arc<Tail>,
    /// How many items come while each page is read.
    racing: Mutex<Vec<usize>>,
    /// How many items were removed from the front.
    removed: Mutex<u64>,
}

struct NoHistory;

#[async_trait]
impl History for NoHistory {
    async fn read(&self, _: u64, _: u64) -> Result<Vec<Published>> {
        Ok(Vec::new())
    }
}

impl Script {
    fn new(items: usize, racing: &[usize]) -> Arc<Self> {
        let tail = Arc::new(Tail::new(Arc::new(worker("r", "worker-1"))));
        let script =
            Self { items: Mutex::default(), tail, racing: Mutex::new(racing.to_vec()), removed: Mutex::default() };
        for _ in 0..items {
            script.append(true);
        }
        Arc::new(script)
    }

    /// One more item; `told` says whether those who listen hear of it.
    fn append(&self, told: bool) {
        let mut items = self.items.lock();
        let sequence = items.len() as u64 + 1;
        let item = TranscriptItem {
            sequence,
            role: Role::Assistant,
            content: format!("item {sequence}"),
            event_id: sequence,
            created_at: SystemTime::UNIX_EPOCH,
            turn_id: "".into(),
            continues: false,
            truncated_bytes: 0,
        };
        let payload = ProtoCodec.payload(&Event::ItemAppended(item));
        items.push(walk::item_of(&payload).unwrap());
        if !told {
            return;
        }
        let event_id = self.tail.view().last_event_id + 1;
        let (runtime_id, worker_id) = (RuntimeId::new("r").unwrap(), WorkerId::new("worker-1").unwrap());
        let envelope = Envelope {
            runtime_id: &runtime_id,
            worker_id: &worker_id,
            cursor: Cursor::new(Incarnation::generate(), &worker_id, event_id),
            observed_at: SystemTime::UNIX_EPOCH,
            kind: EventKind::ItemAppended,
        };
        let wire = ProtoCodec.frame(&envelope, &payload);
        let frame = Published { sequence: event_id, kind: EventKind::ItemAppended, wire };
        self.tail.publish(|worker| worker.last_event_id = event_id, Progress::Kept, [frame]);
    }

    fn end(&self) {
        self.tail.publish(|worker| worker.state = WorkerState::Stopped, Progress::Kept, None);
    }

    /// What a stream of it says: the sequences, and the last `next_start`.
    async fn said(self: &Arc<Self>, start: u64, follow: bool) -> (Vec<u64>, u64) {
        let stream =
            batches(self.clone(), context(), start, follow, Ends::new(&Switch::default(), None)).await.unwrap();
        let batches: Vec<_> = stream.map(Result::unwrap).collect().await;
        let last = batches.last().map_or(start, |batch| batch.next_start);
        (batches.iter().flat_map(|batch| &batch.items).map(|item| walk::item_sequence(item).unwrap()).collect(), last)
    }
}

#[async_trait]
impl Source for Script {
    async fn transcript(&self, _: &CallContext, start: u64, limit: usize) -> Result<TranscriptPage> {
        let racing = self.racing.lock().pop().unwrap_or_default();
        for _ in 0..racing {
            self.append(true);
        }
        if start < *self.removed.lock() {
            return Err(Error::new(Reason::CursorExpired, "it is gone"));
        }
        let items = self.items.lock();
        let rest = items.get(usize::try_from(start).unwrap()..).unwrap_or_default();
        let page = &rest[..rest.len().min(limit)];
        Ok(TranscriptPage {
            total_items: items.len() as u64,
            next_start: (page.len() < rest.len()).then_some(start + page.len() as u64),
            items: page.to_vec(),
        })
    }

    async fn observe(&self, _: &CallContext, from: ObserveFrom, _: Option<u64>) -> Result<Observation> {
        assert_eq!(from, ObserveFrom::Now);
        Ok(Observation::open(Incarnation::generate(), self.tail.clone(), Arc::new(NoHistory), None, None))
    }
}

fn context() -> CallContext {
    CallContext::internal(WorkspaceId::new("local:test").unwrap(), Duration::from_secs(30))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn what_comes_while_pages_are_read_is_sent_once(
        items in 0_usize..600, racing in prop::collection::vec(0_usize..5, 0..4), later in 0_usize..300, start in 0_u64..50
    ) {
        block_on(async {
            let script = Script::new(items, &racing);
            let follow = script.said(start, true);
            let append = async {
                for n in 0..later {
                    script.append(true);
                    // Some come together, some alone.
                    if n % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                script.end();
            };
            let ((said, next), ()) = futures_util::join!(follow, append);
            let total = script.items.lock().len() as u64;
            assert_eq!(said, (start + 1..=total).collect::<Vec<_>>());
            assert_eq!(next, total.max(start));
        });
    }
}

#[tokio::test]
async fn a_hole_in_what_comes_live_is_read_as_pages() {
    let script = Script::new(2, &[]);
    let mut stream =
        Box::pin(batches(script.clone(), context(), 0, true, Ends::new(&Switch::default(), None)).await.unwrap());
    assert_eq!(stream.next().await.unwrap().unwrap().next_start, 2);
    script.append(false);
    script.append(false);
    script.append(true);
    let batch = stream.next().await.unwrap().unwrap();
    assert_eq!((batch.items.len(), batch.next_start), (3, 5));
    script.end();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn what_was_removed_before_it_was_sent_is_told_and_never_skipped() {
    let script = Script::new(300, &[]);
    let mut stream =
        Box::pin(batches(script.clone(), context(), 0, false, Ends::new(&Switch::default(), None)).await.unwrap());
    assert_eq!(stream.next().await.unwrap().unwrap().next_start, 256);
    *script.removed.lock() = 280;
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), tonic::Code::OutOfRange);
    assert!(stream.next().await.is_none());
    let opened = batches(script.clone(), context(), 279, true, Ends::new(&Switch::default(), None)).await;
    assert_eq!(opened.err().unwrap().reason(), Reason::CursorExpired, "told before the stream begins");
    assert_eq!(script.said(280, false).await.0, (281..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_follow_it_ends_where_it_began_to_read() {
    let script = Script::new(300, &[9, 0]);
    let (said, next) = script.said(0, false).await;
    assert_eq!((said.len(), next), (300, 300));
    assert_eq!(Script::new(3, &[]).said(7, false).await, (Vec::new(), 7));
}

#[tokio::test]
async fn a_drain_ends_it() {
    let streams = Switch::default();
    let script = Script::new(1, &[]);
    let mut stream = Box::pin(batches(script, context(), 0, true, Ends::new(&streams, None)).await.unwrap());
    assert!(stream.next().await.unwrap().is_ok());
    streams.turn_on();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), tonic::Code::Unavailable);
    assert!(stream.next().await.is_none());
}

#[test]
fn pages_are_cut_at_their_size_with_one_item_at_least() {
    let item = |bytes: usize| Bytes::from(vec![0; bytes]);
    let page = |items: Vec<Bytes>| cut_page(TranscriptPage { total_items: 9, next_start: None, items }, 4);
    let cut = page(vec![item(200_000), item(100_000), item(1)]);
    assert_eq!((cut.items.len(), cut.next_start), (1, Some(5)));
    let whole = page(vec![item(1), item(1)]);
    assert_eq!((whole.items.len(), whole.next_start), (2, None));
    assert_eq!(page(vec![item(300_000)]).items.len(), 1);
}
