//! How many calls are let in at once: as many as may be, and fewer while they wait long for their turn. With more of them than
//! the processors get through, all that more in flight do is to keep each other waiting, and those that are refused, too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Between coming and its first turn a call waits no longer than this; it has some four turns in all.
const TURN: Duration = Duration::from_millis(1);
/// So many are let in, however long they wait: with as many the disk's groups are full, and what keeps them waiting may be another
/// program.
const LEAST: usize = 256;
/// Who waited too long counts as much as so many who did not.
const WEIGHT: usize = 8;

/// Follows how long calls wait.
#[derive(Debug)]
pub(super) struct Pace {
    least: usize,
    most: usize,
    /// How many are let in, times [`WEIGHT`].
    now: AtomicUsize,
}

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        Self { least: most.min(LEAST), most, now: AtomicUsize::new(most.saturating_mul(WEIGHT)) }
    }

    /// How many may be in flight, after a call that waited so long for its first turn.
    pub(super) fn after(&self, waited: Duration) -> usize {
        let now = self.now.load(Ordering::Relaxed);
        let next = if waited > TURN { now.saturating_sub(WEIGHT) } else { now.saturating_add(1) };
        let next = next.clamp(self.least.saturating_mul(WEIGHT), self.most.saturating_mul(WEIGHT));
        if next != now {
            // Of two that count at the same time one is enough.
            self.now.store(next, Ordering::Relaxed);
        }
        next / WEIGHT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_millis(40);

    #[test]
    fn fewer_are_let_in_while_they_wait_long_and_all_again_afterwards() {
        let pace = Pace::new(1_024);
        let after = |waited, calls: usize| (0..calls).map(|_| pace.after(waited)).last().unwrap();
        assert_eq!(after(SOON, 10), 1_024);
        assert_eq!(after(LATE, 100), 924);
        assert_eq!(after(LATE, 10_000), LEAST);
        assert_eq!(after(SOON, 800), LEAST + 100);
        assert_eq!(after(SOON, 100_000), 1_024);
    }

    #[test]
    fn who_is_given_little_room_has_all_of_it_however_long_calls_wait() {
        let pace = Pace::new(4);
        assert!((0..100).all(|_| pace.after(LATE) == 4));
    }
}
