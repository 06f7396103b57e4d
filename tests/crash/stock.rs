//! What lies in a store while it is killed: many workers that have ended, with long transcripts.

use futures_util::StreamExt as _;
use futures_util::stream;
use workplane::proto::v1;

use crate::fleet::spawned;
use crate::load::asked;
use crate::support::{Client, Worker, until};

/// How many are asked for at once.
const AT_ONCE: usize = 16;
/// The profile of those whose program says [`ITEMS`] lines and ends.
pub(crate) const PROFILE: &str = "builtin:stock";
/// How many items each has.
pub(crate) const ITEMS: u64 = 100;
/// What that profile runs.
pub(crate) const PROGRAM: [&str; 4] = ["seq", "-f", "%0200g", "100"];

/// Workers that have ended.
#[derive(Debug)]
pub(crate) struct Stock(Vec<Worker>);

impl Stock {
    /// Makes so many, and waits until all have said what they say.
    pub(crate) async fn lay_in(client: &Client, runtime_id: &str, workers: usize) -> Self {
        let make = |n| spawned(client, runtime_id, PROFILE, format!("stock-{runtime_id}-{n}"));
        let stock = Self(stream::iter(0..workers).map(make).buffer_unordered(AT_ONCE).collect().await);
        stock.check().await;
        stock
    }

    /// All are there, with all of their items, and ended as they did.
    pub(crate) async fn check(&self) {
        stream::iter(&self.0).map(check).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

async fn check(worker: &Worker) {
    let id = &worker.worker_id;
    let ended =
        until(&format!("the end of {id}"), || async { asked("a worker", || worker.try_get()).await.termination }).await;
    assert_eq!(ended.reason(), v1::TerminationReason::Exited, "{id}");
    let page = asked("a page", || worker.page(ITEMS - 1, 1)).await;
    assert_eq!((page.total_items, page.items.len()), (ITEMS, 1), "{id}");
}
