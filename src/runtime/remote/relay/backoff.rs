//! How long to wait before the next attempt: doubling, with full jitter, and for how long at all.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{Instant, sleep};

const FIRST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(10);
/// How long a host that was lost is tried for (acceptance 119).
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The attempts to get a lost host back.
#[derive(Debug)]
pub(super) struct Backoff {
    attempt: u32,
    lost: Instant,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { attempt: 0, lost: Instant::now() }
    }

    /// The host was lost anew; a host that is lost again and again is tried ever more slowly.
    pub(super) fn lost_again(&mut self) {
        self.lost = Instant::now();
    }

    /// The host has proved to be back.
    pub(super) fn settled(&mut self) {
        self.attempt = 0;
    }

    /// Waits for the next attempt; `false` once it has been too long.
    pub(super) async fn wait(&mut self) -> bool {
        let left = PATIENCE.saturating_sub(self.lost.elapsed());
        if left.is_zero() {
            return false;
        }
        let most = FIRST.saturating_mul(1 << self.attempt.min(10)).min(MOST);
        self.attempt = self.attempt.saturating_add(1);
        // Full jitter, and never past the end: one attempt is made there.
        let pause = rand::rng().random_range(Duration::ZERO..=most).min(left);
        sleep(pause).await;
        true
    }
}
