//! When answers to requests may be forgotten, without looking at all of them: by the time at which they were given, and
//! of those that are old enough by the life of their worker, which keeps them. What is looked at once and must stay is
//! not looked at again before its worker is gone.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Book, Entry, Receipts, ShortKey};
use crate::engine::store::Forgotten;
use crate::model::WorkerId;

/// How long an answer is kept at least; it is kept for its worker's life in any case.
const KEPT_FOR: Duration = Duration::from_hours(24);
/// Answers that were given within so long of each other ripen together, with the last of them.
const TOGETHER: Duration = Duration::from_mins(10);

/// The keys of answers, by when they may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Aging {
    /// Not old enough yet, by when the last of them may have been given.
    young: BTreeMap<SystemTime, Vec<ShortKey>>,
    /// Old enough, and still to be looked at.
    ripe: Vec<Vec<ShortKey>>,
    /// Old enough, and kept for their worker's life.
    kept: HashMap<WorkerId, Vec<ShortKey>>,
}

impl Aging {
    /// An answer was given.
    pub(super) fn add(&mut self, key: ShortKey, at: SystemTime) {
        // A clock that is before 1970 is wrong, and by how much is of no use.
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let together = UNIX_EPOCH + TOGETHER * u32::try_from(since / TOGETHER.as_secs() + 1).unwrap_or(u32::MAX);
        self.young.entry(together).or_default().push(key);
    }

    /// All that was given before this is old enough, and what was kept for workers that are gone need not be kept.
    pub(super) fn ripen(&mut self, before: SystemTime, is_gone: impl Fn(&WorkerId) -> bool) {
        while let Some(oldest) = self.young.first_entry().filter(|oldest| *oldest.key() <= before) {
            self.ripe.push(oldest.remove());
        }
        self.ripe.extend(self.kept.extract_if(|worker_id, _| is_gone(worker_id)).map(|(_, keys)| keys));
    }

    /// The next one that is old enough.
    pub(super) fn next(&mut self) -> Option<ShortKey> {
        loop {
            let keys = self.ripe.last_mut()?;
            match keys.pop() {
                Some(key) => return Some(key),
                None => _ = self.ripe.pop(),
            }
        }
    }

    /// This one is kept as long as its worker is there.
    pub(super) fn keep(&mut self, worker_id: &WorkerId, key: ShortKey) {
        match self.kept.get_mut(worker_id) {
            Some(keys) => keys.push(key),
            None => _ = self.kept.insert(worker_id.clone(), vec![key]),
        }
    }

    /// These could not be forgotten, and are looked at again.
    pub(super) fn again(&mut self, keys: Vec<ShortKey>) {
        self.ripe.push(keys);
    }
}

// === impl Receipts ===

impl Receipts {
    /// From now on answers are found by [`Self::outdated`] that are older than a day and whose worker is gone.
    pub(crate) fn ripen(&self, now: SystemTime, is_gone: impl Fn(&WorkerId) -> bool) {
        // A clock that stepped back makes nothing older.
        if let Some(before) = now.checked_sub(KEPT_FOR) {
            let mut book = self.book.lock();
            book.aging.ripen(before, &is_gone);
            book.inputs.ripen(before, &is_gone);
        }
    }

    /// Some of those that need not be kept, of `most` that are looked at; `None` once all were.
    pub(crate) fn outdated(&self, most: usize, is_gone: impl Fn(&WorkerId) -> bool) -> Option<Vec<Forgotten>> {
        let mut book = self.book.lock();
        let Book { entries, aging, inputs, .. } = &mut *book;
        if let Some(outdated) = inputs.some(most) {
            return Some(outdated);
        }
        let mut outdated = Vec::new();
        for looked in 0..most {
            let Some(key) = aging.next() else { return (looked > 0).then_some(outdated) };
            let Some(Entry::Answered(receipt)) = entries.get(&key) else { continue };
            match receipt.outcome.worker_id() {
                Some(worker_id) if !is_gone(worker_id) => aging.keep(worker_id, key),
                worker_id => outdated.push(Forgotten { key, worker_id: worker_id.cloned() }),
            }
        }
        Some(outdated)
    }

    /// Forgets answers.
    pub(crate) fn forget(&self, forgotten: &[Forgotten]) {
        let mut book = self.book.lock();
        for it in forgotten {
            book.forget(it);
        }
    }

    /// These could not be forgotten yet.
    pub(crate) fn remember(&self, remembered: Vec<Forgotten>) {
        let mut book = self.book.lock();
        let Book { entries, aging, inputs, .. } = &mut *book;
        let (ours, of_inputs): (Vec<_>, Vec<_>) =
            remembered.into_iter().partition(|it| entries.get(&it.key).is_some_and(|entry| entry.is_of(it)));
        aging.again(ours.into_iter().map(|it| it.key).collect());
        for it in &of_inputs {
            inputs.again(it);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use tokio::time::Instant;

    use super::*;
    use crate::engine::receipts::{Outcome, Receipt, ReceiptKey};
    use crate::engine::store::MemoryStore;
    use crate::model::Fingerprint;

    /// A million answers to live workers, which are all old enough: no look at them takes long, and none looks at those
    /// again that must stay.
    #[test]
    fn of_a_million_receipts_few_are_looked_at_at_once_and_those_of_live_workers_once() {
        let found = of_a_million(|worker_id, _| Outcome::Stopping(worker_id));
        // Each worker is asked for, and none of its receipts looked at.
        assert_eq!(found, [(0, 1_000_000), (0, 1_000), (1_000, 2_000)]);
    }

    #[test]
    fn of_a_million_inputs_few_are_looked_at_at_once_and_none_before_its_worker_is_gone() {
        let found = of_a_million(|worker_id, n| Outcome::Input { worker_id, transcript_sequence: n, event_id: n });
        assert_eq!(found, [(0, 1_000), (0, 1_000), (1_000, 1_000)]);
    }

    /// How many are outdated, and for how many it is asked whether their worker is gone: twice of none, then of one of a thousand.
    fn of_a_million(outcome: impl Fn(WorkerId, u64) -> Outcome) -> [(usize, usize); 3] {
        let (receipts, fingerprint) = (Receipts::new(MemoryStore::new()), Fingerprint([0; 32]));
        let workers: Vec<_> = (0..1_000).map(|_| WorkerId::generate()).collect();
        let receipt = |n: u64| {
            let key = ReceiptKey::from_bytes(std::array::from_fn(|at| n.to_le_bytes()[at % 8]));
            let worker_id = workers[usize::try_from(n).unwrap() % workers.len()].clone();
            let outcome = outcome(worker_id, n);
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(n);
            Receipt { key, fingerprint, outcome, at }
        };
        let mut longest = [Duration::ZERO; 3];
        let mut timed = |which: usize, begun: Instant| longest[which] = longest[which].max(begun.elapsed());
        for n in 0..1_000_000 {
            let receipt = receipt(n);
            let begun = Instant::now();
            receipts.restore([receipt]);
            timed(0, begun);
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(48);
        let asked = Cell::new(0_usize);
        let mut pass = |gone: &[WorkerId]| {
            let is_gone = |id: &WorkerId| {
                asked.set(asked.get() + 1);
                gone.contains(id)
            };
            asked.set(0);
            let begun = Instant::now();
            receipts.ripen(now, is_gone);
            timed(1, begun);
            let mut found = 0;
            loop {
                let begun = Instant::now();
                let Some(outdated) = receipts.outdated(1_000, is_gone) else { break };
                timed(2, begun);
                found += outdated.len();
                receipts.forget(&outdated);
            }
            (found, asked.get())
        };
        let found = [pass(&[]), pass(&[]), pass(&workers[..1])];
        println!(
            "longest under the lock: answering {:?}, ripening {:?}, 1,000 looked at {:?}",
            longest[0], longest[1], longest[2]
        );
        found
    }
}
