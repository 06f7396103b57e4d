//! How many calls are let in at once: as many as may be, and fewer while they wait long for their turn. With more of them than
//! the processors get through, all that more in flight do is to keep each other waiting, and those that are refused, too.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Gauge;
use tokio::time::Instant;

use crate::metrics::families;

/// Between coming and its first turn a call waits no longer than this; it has some four turns in all.
const TURN: Duration = Duration::from_millis(1);
/// So many are let in, however long they wait: with as many the disk's groups are full, and what keeps them waiting may be another
/// program.
const LEAST: usize = 256;
/// Who waited too long counts as much as so many who did not.
const WEIGHT: usize = 8;
/// After so long without one that waited too long all are let in again: what was is no reason any more.
const OVER_MILLISECONDS: u64 = 1_000;

/// Follows how long calls wait.
#[derive(Debug)]
pub(super) struct Pace {
    least: usize,
    most: usize,
    /// How many are let in, times [`WEIGHT`].
    now: AtomicUsize,
    began: Instant,
    /// When one waited too long last, in milliseconds.
    late: AtomicU64,
    told: Gauge,
}

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        let told = families::IN_FLIGHT_LIMIT.gauge(&[]);
        told.set(number(most));
        Self {
            least: most.min(LEAST),
            most,
            now: AtomicUsize::new(most.saturating_mul(WEIGHT)),
            began: Instant::now(),
            late: AtomicU64::new(0),
            told,
        }
    }

    /// How many may be in flight, after a call that waited so long for its first turn.
    pub(super) fn after(&self, waited: Duration) -> usize {
        let (now, at) = (self.now.load(Ordering::Relaxed), self.milliseconds());
        let next = if waited > TURN {
            self.late.store(at, Ordering::Relaxed);
            now.saturating_sub(WEIGHT)
        } else if now < self.most.saturating_mul(WEIGHT) && at > self.late.load(Ordering::Relaxed) + OVER_MILLISECONDS {
            usize::MAX
        } else {
            now.saturating_add(1)
        };
        let next = next.clamp(self.least.saturating_mul(WEIGHT), self.most.saturating_mul(WEIGHT));
        if next != now {
            // Of two that count at the same time one is enough.
            self.now.store(next, Ordering::Relaxed);
            self.told.set(number(next / WEIGHT));
        }
        next / WEIGHT
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 nobody misses the ones")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_millis(40);

    #[tokio::test(start_paused = true)]
    async fn fewer_are_let_in_while_they_wait_long_and_all_again_afterwards() {
        let pace = Pace::new(1_024);
        let after = |waited, calls: usize| (0..calls).map(|_| pace.after(waited)).last().unwrap();
        assert_eq!(after(SOON, 10), 1_024);
        assert_eq!(after(LATE, 100), 924);
        assert_eq!(after(LATE, 10_000), LEAST);
        assert_eq!(after(SOON, 800), LEAST + 100);
        assert_eq!(after(SOON, 100_000), 1_024);
        assert_eq!(after(LATE, 10_000), LEAST);
        tokio::time::advance(Duration::from_millis(1_001)).await;
        assert_eq!(after(SOON, 1), 1_024, "what was a second ago is over, however few calls came since");
    }

    #[test]
    fn who_is_given_little_room_has_all_of_it_however_long_calls_wait() {
        let pace = Pace::new(4);
        assert!((0..100).all(|_| pace.after(LATE) == 4));
    }
}
