//! What was last known of each remote worker, and when: so that a host that cannot be reached makes its workers stale,
//! and never absent (`unreachable_is_not_gone`). It can be rebuilt at any time by asking the hosts; nothing here is the
//! truth. Bounded: beyond the limit, what was heard of longest ago is forgotten first. What a host is known to have no
//! more is forgotten at once: all of it with another incarnation of its store, and what its lists leave out.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::{Incarnation, RuntimeId, Worker, WorkerFilter, WorkerId, WorkerPage};

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
    runtimes: HashMap<RuntimeId, Sightings>,
    /// Every sighting by its number, the oldest first.
    order: BTreeMap<u64, (RuntimeId, WorkerId)>,
    next: u64,
}

/// The workers of one runtime.
#[derive(Debug, Default)]
struct Sightings {
    /// Of the store that they were in; `None` where nobody has said.
    incarnation: Option<Incarnation>,
    workers: BTreeMap<WorkerId, Sighting>,
}

/// A moment in the order of sightings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

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

    /// A runtime's store is of this incarnation, as far as is known. What was seen of another one is gone.
    pub(super) fn follow(&self, runtime_id: &RuntimeId, incarnation: Option<Incarnation>) {
        let Some(incarnation) = incarnation else { return };
        let mut known = self.known.lock();
        let Known { runtimes, order, .. } = &mut *known;
        let sightings = runtimes.entry(runtime_id.clone()).or_default();
        if sightings.incarnation.replace(incarnation).is_some_and(|before| before != incarnation) {
            for gone in std::mem::take(&mut sightings.workers).into_values() {
                order.remove(&gone.number);
            }
        }
    }

    /// Now.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.known.lock().next)
    }

    /// Notes a page of a runtime's list that was asked for at `asked`. What should be in it and is not is gone, unless it
    /// was seen since.
    pub(super) fn note_page(
        &self,
        runtime_id: &RuntimeId,
        asked: Mark,
        filter: &WorkerFilter,
        after: Option<&WorkerId>,
        page: &WorkerPage,
    ) {
        self.note(&page.workers);
        let last = page.workers.last().map(|worker| &worker.worker_id);
        // One that is not among those of a state may be in another; and an empty page with more to come says nothing.
        if !filter.states.is_empty() || (page.more && last.is_none()) {
            return;
        }
        let within = |id: &WorkerId| !page.more || last.is_some_and(|last| id <= last);
        let mut known = self.known.lock();
        let Known { runtimes, order, .. } = &mut *known;
        let Some(Sightings { workers, .. }) = runtimes.get_mut(runtime_id) else { return };
        let gone: Vec<_> = workers
            .range::<WorkerId, _>(beyond(after))
            .take_while(|(id, _)| within(id))
            .filter(|(_, seen)| seen.number < asked.0 && filter.matches(&seen.worker))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            if let Some(gone) = workers.remove(&id) {
                order.remove(&gone.number);
            }
        }
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
        self.known.lock().runtimes.get(runtime_id)?.workers.get(worker_id).map(Sighting::stale)
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
        let Some(Sightings { workers, .. }) = known.runtimes.get(runtime_id) else { return WorkerPage::default() };
        let rest = workers.range::<WorkerId, _>(beyond(after)).map(|(_, seen)| seen);
        let mut matching = rest.filter(|seen| filter.matches(&seen.worker));
        let workers = matching.by_ref().take(limit).map(Sighting::stale).collect();
        WorkerPage { workers, more: matching.next().is_some() }
    }
}

/// The ids after `after`.
fn beyond(after: Option<&WorkerId>) -> (Bound<&WorkerId>, Bound<&WorkerId>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

impl Known {
    fn insert(&mut self, worker: Worker, seen: Instant) {
        let (runtime_id, worker_id) = (worker.runtime_id.clone(), worker.worker_id.clone());
        let number = self.next;
        self.next += 1;
        let workers = &mut self.runtimes.entry(runtime_id.clone()).or_default().workers;
        if let Some(before) = workers.insert(worker_id.clone(), Sighting { worker, seen, number }) {
            self.order.remove(&before.number);
        }
        self.order.insert(number, (runtime_id, worker_id));
    }

    fn remove(&mut self, runtime_id: &RuntimeId, worker_id: &WorkerId) {
        let Some(sightings) = self.runtimes.get_mut(runtime_id) else { return };
        if let Some(gone) = sightings.workers.remove(worker_id) {
            self.order.remove(&gone.number);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, (runtime_id, worker_id))) = self.order.pop_first()
            && let Some(sightings) = self.runtimes.get_mut(&runtime_id)
        {
            sightings.workers.remove(&worker_id);
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

    /// The ids that are known of the runtime `r`.
    fn known(catalogue: &Catalogue) -> Vec<String> {
        let page = catalogue.stale_page(&id("r"), &WorkerFilter::default(), None, 99);
        page.workers.into_iter().map(|worker| worker.worker_id.to_string()).collect()
    }

    #[tokio::test]
    async fn what_a_page_leaves_out_is_gone_and_nothing_else_is() {
        let catalogue = Catalogue::default();
        let page = |ids: &[&str], more| WorkerPage { workers: ids.iter().map(|id| worker("r", id)).collect(), more };
        let (all, first) = (WorkerFilter::default(), WorkerId::new("w-1").unwrap());
        let labelled = WorkerFilter { labels: [("a".to_owned(), "b".to_owned())].into(), ..WorkerFilter::default() };
        let failed = WorkerFilter { states: vec![crate::model::WorkerState::Failed], ..WorkerFilter::default() };
        let seen = ["w-1", "w-2", "w-3", "w-4", "w-5"].map(|id| worker("r", id));
        catalogue.note(&seen);
        for filter in [&labelled, &failed] {
            catalogue.note_page(&id("r"), catalogue.mark(), filter, None, &page(&[], false));
        }
        assert_eq!(known(&catalogue).len(), 5);
        catalogue.note_page(&id("r"), catalogue.mark(), &all, Some(&first), &page(&["w-3"], true));
        assert_eq!(known(&catalogue), ["w-1", "w-3", "w-4", "w-5"]);
        let asked = catalogue.mark();
        catalogue.note([&seen[3]]);
        catalogue.note_page(&id("r"), asked, &all, None, &page(&["w-3"], false));
        assert_eq!(known(&catalogue), ["w-3", "w-4"], "one that was seen since it was asked is there");
        assert_eq!(catalogue.known.lock().order.len(), 2);
    }

    #[tokio::test]
    async fn another_incarnation_has_none_of_the_workers_of_the_last_one() {
        let (catalogue, first) = (Catalogue::default(), Incarnation::generate());
        catalogue.note([&worker("r", "w-1"), &worker("s", "w-2")]);
        for same in [None, Some(first), None, Some(first)] {
            catalogue.follow(&id("r"), same);
            assert_eq!(known(&catalogue), ["w-1"]);
        }
        catalogue.follow(&id("r"), Some(Incarnation::generate()));
        assert_eq!(known(&catalogue).len(), 0);
        assert_eq!(catalogue.known.lock().order.len(), 1);
    }
}
