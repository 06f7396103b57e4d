//! What waits for the writer: bounded, in order, refused at once when it is full.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::stage::cost;
use super::types::Submission;
use super::{Commit, StoreFault};

/// A submission and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) submission: Submission,
    /// How many bytes a group of it alone takes at most.
    pub(super) cost: u64,
    pub(super) settle: oneshot::Sender<Result<u64, StoreFault>>,
}

impl Waiting {
    /// How many events it brings; what brings none counts as one.
    pub(super) fn events(&self) -> usize {
        self.submission.changes.iter().map(|change| change.events.len()).sum::<usize>().max(1)
    }

    pub(super) fn settle(self, outcome: Result<u64, StoreFault>) {
        // Whoever gave up waiting finds the outcome in the log.
        let _ = self.settle.send(outcome);
    }
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Land these.
    Group(Vec<Waiting>),
    /// Nothing came for as long as was asked for.
    Quiet,
    /// Nothing waits and nothing will come any more.
    Closed,
}

/// A group takes at most this many submissions and, but for its first one, this many bytes.
const GROUP_SUBMISSIONS: usize = 1_024;
const GROUP_BYTES: u64 = 4 << 20;
/// Those who were answered just now are likely to come again: with them the next group is larger, and there are fewer
/// syncs. So half of those in flight are waited for (while their group syncs, the other half is on its way), as long as
/// three syncs take lately, and while there is one who comes within the time of one: their own way takes processor time,
/// and so does every sync. But at least:
const SHORTEST_GATHER: Duration = Duration::from_micros(50);
const GATHER_SYNCS: u32 = 3;
/// Where most did not come, this many groups do not wait: so waiting in vain costs a ninth, and a quarter
/// where just enough come to be waited for.
const DISCOURAGED: u32 = 8;
/// So much of the limits what is vital may exceed them by: an eighth.
const VITAL_MARGIN: usize = 8;

#[derive(Debug)]
pub(super) struct Queue {
    max_submissions: usize,
    max_bytes: u64,
    inner: Mutex<Inner>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    /// How many events wait: one submission may have those of many who wait for it.
    events: usize,
    closed: bool,
    /// The writer is to be woken once so many events wait.
    wake_at: usize,
    /// How many events were in flight when the last group was settled.
    in_flight: usize,
    /// How long a sync takes lately.
    sync: Duration,
    /// So many groups do not wait for others to come.
    discouraged: u32,
}

impl Queue {
    pub(super) fn new(max_submissions: usize, max_bytes: usize) -> Self {
        Self { max_submissions, max_bytes: max_bytes as u64, inner: Mutex::default(), came: Condvar::new() }
    }

    /// How many submissions wait.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    pub(super) fn submit(&self, submission: Submission) -> Commit {
        let (settle, commit) = Commit::pending();
        let waiting = Waiting { cost: cost(&submission), submission, settle };
        if let Err((waiting, fault)) = self.push(waiting) {
            waiting.settle(Err(fault));
        }
        commit
    }

    fn push(&self, waiting: Waiting) -> Result<(), (Waiting, StoreFault)> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err((waiting, StoreFault::Failed));
        }
        if !self.has_room(&inner, &waiting) {
            return Err((waiting, StoreFault::Overloaded));
        }
        inner.bytes += waiting.cost;
        let before = inner.events;
        inner.events += waiting.events();
        inner.waiting.push_back(waiting);
        let enough = before < inner.wake_at && inner.events >= inner.wake_at;
        drop(inner);
        if enough {
            self.came.notify_one();
        }
        Ok(())
    }

    /// What alone is more than may wait is taken where nothing waits: it would never fit, and no
    /// segment takes one without end. What is vital has a margin, so
    /// that what fills the queue does not keep anything from ending.
    fn has_room(&self, inner: &Inner, waiting: &Waiting) -> bool {
        let (mut submissions, mut bytes) = (self.max_submissions, self.max_bytes);
        if waiting.submission.vital {
            submissions += submissions.div_ceil(VITAL_MARGIN);
            bytes += bytes.div_ceil(VITAL_MARGIN as u64);
        }
        inner.waiting.is_empty() || (inner.waiting.len() < submissions && inner.bytes + waiting.cost <= bytes)
    }

    /// Takes what waits; waits for it at most this long, without end where that is `None`.
    pub(super) fn take(&self, patience: Option<Duration>) -> Next {
        let mut inner = self.inner.lock();
        inner.wake_at = 1;
        while inner.waiting.is_empty() {
            if inner.closed {
                return Next::Closed;
            }
            match patience {
                None => self.came.wait(&mut inner),
                Some(patience) => {
                    if self.came.wait_for(&mut inner, patience).timed_out() && inner.waiting.is_empty() {
                        return if inner.closed { Next::Closed } else { Next::Quiet };
                    }
                }
            }
        }
        self.gather(&mut inner);
        inner.wake_at = 0;
        Next::Group(inner.group())
    }

    /// So many events of a group are about to be answered, and their like is likely to come again; its sync took so long.
    pub(super) fn settled(&self, events: usize, sync: Duration) {
        let mut inner = self.inner.lock();
        inner.in_flight = inner.events + events;
        inner.sync = (inner.sync * 3 + sync) / 4;
    }

    /// Waits for those who were answered just now.
    fn gather(&self, inner: &mut MutexGuard<'_, Inner>) {
        if inner.discouraged > 0 {
            inner.discouraged -= 1;
            return;
        }
        let lull = inner.sync.max(SHORTEST_GATHER);
        let until = Instant::now() + lull * GATHER_SYNCS;
        let enough = inner.in_flight.div_ceil(2);
        // A group may be full before, if each brings but one.
        inner.wake_at = enough.min(GROUP_SUBMISSIONS);
        while inner.events < enough && inner.waiting.len() < GROUP_SUBMISSIONS && !inner.closed {
            let before = inner.events;
            if before >= inner.wake_at {
                inner.wake_at = enough;
            }
            let left = until.saturating_duration_since(Instant::now());
            let is_late = self.came.wait_for(inner, left.min(lull)).timed_out();
            if is_late && (inner.events == before || left <= lull) {
                // A few who went for good are no reason to do without the others.
                let most = inner.events * 8 >= enough * 7;
                inner.discouraged = if most { 0 } else { DISCOURAGED };
                return;
            }
        }
    }

    /// Nothing is taken any more; what waits still lands.
    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.came.notify_all();
    }
}

impl Inner {
    fn group(&mut self) -> Vec<Waiting> {
        let mut group = Vec::with_capacity(self.waiting.len().min(GROUP_SUBMISSIONS));
        let (mut bytes, mut events) = (0, 0);
        while let Some(next) = self.waiting.front() {
            let fits = bytes + next.cost <= GROUP_BYTES && group.len() < GROUP_SUBMISSIONS;
            if !fits && !group.is_empty() {
                break;
            }
            bytes += next.cost;
            events += next.events();
            group.extend(self.waiting.pop_front());
        }
        self.bytes -= bytes;
        self.events -= events;
        group
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use bytes::Bytes;

    use super::super::types::{Change, NewEvent};
    use super::*;

    const LONG: Duration = Duration::from_mins(5);

    fn submission(events: usize) -> Submission {
        let event = NewEvent { tag: 1, payload: Bytes::new() };
        let changes = vec![Change { events: vec![event; events], ..Change::default() }];
        Submission { changes, vital: false }
    }

    fn group(queue: &Queue) -> usize {
        match queue.take(None) {
            Next::Group(group) => group.len(),
            other => panic!("{other:?}"),
        }
    }

    fn is_taken(queue: &Queue, events: usize, vital: bool) -> bool {
        let (settle, _commit) = Commit::pending();
        let submission = Submission { vital, ..submission(events) };
        match queue.push(Waiting { cost: cost(&submission), submission, settle }) {
            Ok(()) => true,
            Err((_, fault)) => {
                assert_eq!(fault, StoreFault::Overloaded);
                false
            }
        }
    }

    #[test]
    fn what_is_larger_than_all_that_may_wait_is_taken_alone() {
        let queue = Queue::new(16, cost(&submission(4)).try_into().unwrap());
        assert!(is_taken(&queue, 5, false));
        assert!(!is_taken(&queue, 1, false), "the queue is full");
        assert_eq!(group(&queue), 1);
        assert!(is_taken(&queue, 1, false));
        assert!(!is_taken(&queue, 5, false), "something waits");
    }

    #[test]
    fn what_is_vital_exceeds_the_limits_by_an_eighth() {
        let few = Queue::new(16, 1 << 20);
        let small = Queue::new(1_000, usize::try_from(cost(&submission(1))).unwrap() * 16);
        for queue in [few, small] {
            let taken = |vital| (0..100).take_while(|_| is_taken(&queue, 1, vital)).count();
            assert_eq!((taken(false), taken(true), taken(false)), (16, 2, 0));
        }
    }

    #[test]
    fn those_who_were_answered_just_now_are_waited_for_by_their_events() {
        let queue = Queue::new(16, 1 << 20);
        queue.settled(8, LONG);
        drop(queue.submit(submission(2)));
        thread::scope(|scope| {
            scope.spawn(|| drop(queue.submit(submission(2))));
            assert_eq!(group(&queue), 2);
        });
    }

    #[test]
    fn who_does_not_come_again_is_not_waited_for_again_and_again() {
        let queue = Queue::new(16, 1 << 20);
        queue.settled(4, Duration::ZERO);
        for _ in 0..DISCOURAGED {
            drop(queue.submit(submission(1)));
            let begun = Instant::now();
            assert_eq!(group(&queue), 1);
            assert!(begun.elapsed() < LONG / 4);
            queue.settled(4, LONG);
        }
    }
}
