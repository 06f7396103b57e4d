//! How often and how soon a program that failed is started anew.

use std::time::{Duration, SystemTime};

/// How often and how soon a program that failed is started anew, where its profile says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarts {
    /// How long the first new start waits; each further one twice as long.
    pub first_pause: Duration,
    /// But no longer than this.
    pub longest_pause: Duration,
    /// How many there may be within `window`; then the worker has failed.
    pub budget: usize,
    /// See `budget`.
    pub window: Duration,
}

impl Default for Restarts {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_mins(1),
            budget: 5,
            window: Duration::from_mins(10),
        }
    }
}

impl Restarts {
    /// Those of `starts` that still count at `now`. One that lies in the future was told by a clock that was wrong.
    pub(super) fn counted(&self, starts: &[SystemTime], now: SystemTime) -> Vec<SystemTime> {
        let counts = |start: &&SystemTime| now.duration_since(**start).is_ok_and(|age| age <= self.window);
        starts.iter().filter(counts).copied().collect()
    }

    /// How long the last of `count` new starts waits. `chance`, from 0 to 1, spreads those of many workers over the
    /// later half of it.
    pub(super) fn pause(&self, count: usize, chance: f64) -> Duration {
        let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX).min(31);
        let pause = self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause);
        pause.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_the_last_up_to_the_longest() {
        let restarts = Restarts::default();
        let pauses = [1, 2, 3, 7, 100].map(|count| restarts.pause(count, 1.0).as_secs());
        assert_eq!(pauses, [1, 2, 4, 60, 60]);
        assert_eq!(restarts.pause(1, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn only_what_was_started_within_the_window_counts() {
        let restarts = Restarts::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(9);
        let starts = [now - Duration::from_mins(11), now - Duration::from_mins(9), now + Duration::from_mins(1)];
        assert_eq!(restarts.counted(&starts, now), starts[1..2]);
    }
}
