//! When those come back who were refused for there being too much: one after the other, and not all at once, since to refuse
//! them again takes from what could be done meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Nobody comes back sooner.
pub(super) const SOONEST: Duration = Duration::from_millis(100);
/// Nor is anybody told to come later: from there on they come more often.
const LATEST: Duration = Duration::from_secs(2);
/// How far apart they come.
const APART: Duration = Duration::from_millis(1);

/// Hands out times to come back.
#[derive(Debug)]
pub(super) struct ReturnTimes {
    began: Instant,
    /// The last one that was handed out, in microseconds.
    last: AtomicU64,
}

impl ReturnTimes {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }

    /// In how long the next one is to come back.
    pub(super) fn next(&self) -> Duration {
        let now = micros(self.began.elapsed());
        let (soonest, latest) = (now + micros(SOONEST), now + micros(LATEST));
        let after = |last: u64| (last + micros(APART)).clamp(soonest, latest);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        // Either way it is what was there before.
        Duration::from_micros(after(last.unwrap_or_else(|last| last)) - now)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_comes_back_after_those_before_and_not_too_late() {
        let times = ReturnTimes::new();
        let told: Vec<_> = (0..3_000).map(|_| times.next()).collect();
        assert_eq!(told[..3], [100, 101, 102].map(Duration::from_millis));
        assert!(told.is_sorted());
        assert_eq!(told.last(), Some(&LATEST));
        tokio::time::advance(LATEST).await;
        assert_eq!(times.next(), SOONEST, "nobody is left who comes before");
    }
}
