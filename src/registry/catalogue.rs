//! What was last known of each remote worker, and when: so that a host that cannot be reached makes its workers stale,
//! and never absent (`unreachable_is_not_gone`). It can be rebuilt at any time by asking the hosts; nothing here is the
//! truth. Bounded: beyond the limit, what was heard of longest ago is forgotten first.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::{RuntimeId, Worker, WorkerFilter, WorkerId, WorkerPage};

/// How many workers are remembered.
const MAX_WORKERS: usize = 100_000;

/// The last known view of remote workers.
#[derive(Debug)]
pub(super) struct Catalogue {
    known: Mutex<Known>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Known {
    runtimes: HashMap<RuntimeId, BTreeMap<WorkerId, Sighting>>,
    /// Every sighting by its number, the oldest first.
    order: BTreeMap<u64, (RuntimeId, WorkerId)>,
    next: u64,
}

#[derive(Debug)]
struct Sighting {
    worker: Worker,
    seen: Instant,
    number: u64,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::with_limit(MAX_WORKERS)
    }
}

impl Catalogue {
    fn with_limit(limit: usize) -> Self {
        Self { known: Mutex::default(), limit }
    }

    /// Notes workers as their host has just told of them.
    pub(super) fn note<'a>(&self, workers: impl IntoIterator<Item = &'a Worker>) {
        let seen = Instant::now();
        let mut known = self.known.lock();
        for worker in workers {
            known.insert(worker.clone(), seen);
        }
        while known.order.len() > self.limit {
            known.forget_oldest();
        }
    }

    /// Forgets a worker: its host says that there is none of this id.
    pub(super) fn forget(&self, runtime_id: &RuntimeId, worker_id: &WorkerId) {
        self.known.lock().remove(runtime_id, worker_id);
    }

    /// Forgets the workers of all other runtimes.
    pub(super) fn retain(&self, keep: impl Fn(&RuntimeId) -> bool) {
        let mut known = self.known.lock();
        let Known { runtimes, order, .. } = &mut *known;
        runtimes.retain(|id, _| keep(id));
        order.retain(|_, (id, _)| keep(id));
    }

    /// A worker as it was when it was last heard of.
    pub(super) fn stale(&self, runtime_id: &RuntimeId, worker_id: &WorkerId) -> Option<Worker> {
        self.known.lock().runtimes.get(runtime_id)?.get(worker_id).map(Sighting::stale)
    }

    /// The page that an unreachable runtime would have answered with, as far as is known.
    pub(super) fn stale_page(
        &self,
        runtime_id: &RuntimeId,
        filter: &WorkerFilter,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> WorkerPage {
        let known = self.known.lock();
        let Some(workers) = known.runtimes.get(runtime_id) else { return WorkerPage::default() };
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut matching =
            workers.range::<WorkerId, _>(from).map(|(_, seen)| seen).filter(|seen| filter.matches(&seen.worker));
        let workers = matching.by_ref().take(limit).map(Sighting::stale).collect();
        WorkerPage { workers, more: matching.next().is_some() }
    }
}

impl Known {
    fn insert(&mut self, worker: Worker, seen: Instant) {
        let (runtime_id, worker_id) = (worker.runtime_id.clone(), worker.worker_id.clone());
        let number = self.next;
        self.next += 1;
        let workers = self.runtimes.entry(runtime_id.clone()).or_default();
        if let Some(before) = workers.insert(worker_id.clone(), Sighting { worker, seen, number }) {
            self.order.remove(&before.number);
        }
        self.order.insert(number, (runtime_id, worker_id));
    }

    fn remove(&mut self, runtime_id: &RuntimeId, worker_id: &WorkerId) {
        let Some(workers) = self.runtimes.get_mut(runtime_id) else { return };
        if let Some(gone) = workers.remove(worker_id) {
            self.order.remove(&gone.number);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, (runtime_id, worker_id))) = self.order.pop_first()
            && let Some(workers) = self.runtimes.get_mut(&runtime_id)
        {
            workers.remove(&worker_id);
        }
    }
}

impl Sighting {
    fn stale(&self) -> Worker {
        let mut worker = self.worker.clone();
        worker.stale = true;
        worker.seen_age = Some(self.seen.elapsed());
        worker
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::fake::worker;

    fn id(text: &str) -> RuntimeId {
        RuntimeId::new(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_grows_old_and_is_not_forgotten() {
        let catalogue = Catalogue::default();
        catalogue.note([&worker("r", "w-1")]);
        tokio::time::advance(Duration::from_secs(90)).await;
        let known = catalogue.stale(&id("r"), &WorkerId::new("w-1").unwrap()).unwrap();
        assert!(known.stale);
        assert_eq!(known.seen_age, Some(Duration::from_secs(90)));
    }

    #[tokio::test]
    async fn beyond_the_limit_the_oldest_sighting_goes() {
        let catalogue = Catalogue::with_limit(2);
        catalogue.note([&worker("r", "w-1"), &worker("r", "w-2")]);
        catalogue.note([&worker("r", "w-1"), &worker("s", "w-3")]);
        let has =
            |runtime: &str, worker: &str| catalogue.stale(&id(runtime), &WorkerId::new(worker).unwrap()).is_some();
        assert_eq!((has("r", "w-1"), has("r", "w-2"), has("s", "w-3")), (true, false, true));
    }

    #[tokio::test]
    async fn pages_of_what_is_known_follow_the_ids() {
        let catalogue = Catalogue::default();
        catalogue.note([&worker("r", "w-3"), &worker("r", "w-1"), &worker("r", "w-2")]);
        let page = catalogue.stale_page(&id("r"), &WorkerFilter::default(), Some(&WorkerId::new("w-1").unwrap()), 1);
        assert_eq!(page.workers[0].worker_id.as_str(), "w-2");
        assert!(page.more);
        catalogue.retain(|runtime| runtime.as_str() != "r");
        assert!(catalogue.stale_page(&id("r"), &WorkerFilter::default(), None, 9).workers.is_empty());
    }
}
