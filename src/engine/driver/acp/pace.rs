//! How fast an agent's output is read. Far faster than any of it is kept, and no faster: what comes beyond is dropped, and
//! dropping it at the speed of a pipe would take the processor from everybody else. The agent waits at its pipe instead.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How much is read, in bytes, in a microsecond: 64 MB a second.
const BYTES: u64 = 64;
/// How much may come at once before that counts; an agent that reads out a file or two does not notice.
const BURST: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes that were read before their time.
    ahead: usize,
    since: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { ahead: 0, since: Instant::now() }
    }

    /// So much was read: waits until more may be.
    pub(super) async fn keep(&mut self, bytes: usize) {
        let now = Instant::now();
        let earned = now.saturating_duration_since(self.since).as_micros().saturating_mul(BYTES.into());
        self.since = now;
        self.ahead = self.ahead.saturating_sub(usize::try_from(earned).unwrap_or(usize::MAX)) + bytes;
        if let Some(ahead) = self.ahead.checked_sub(BURST) {
            sleep(Duration::from_micros(ahead as u64 / BYTES)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 64 * 1024;

    #[tokio::test(start_paused = true)]
    async fn what_comes_at_once_is_read_at_once_and_a_flood_at_its_pace() {
        let (mut pace, began) = (Pace::new(), Instant::now());
        for _ in 0..BURST / CHUNK {
            pace.keep(CHUNK).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..64_000_000 / CHUNK {
            pace.keep(CHUNK).await;
        }
        let took = began.elapsed();
        assert!((Duration::from_millis(900)..=Duration::from_millis(2_100)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_made_up_for_and_saves_nothing_for_later() {
        let mut pace = Pace::new();
        pace.keep(BURST).await;
        sleep(Duration::from_hours(1)).await;
        let began = Instant::now();
        pace.keep(BURST).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        pace.keep(64_000).await;
        assert!(began.elapsed() >= Duration::from_millis(1));
    }
}
