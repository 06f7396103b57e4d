//! What may happen very often and is to be said now and then.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(5);

/// Counts what happens between two words of it.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Counts one. Where it is time to say so: how many there were since that was said last.
    pub(super) fn count(&self) -> Option<u64> {
        let (said, count) = &mut *self.0.lock();
        *count += 1;
        if said.is_some_and(|at| at.elapsed() < EVERY) {
            return None;
        }
        *said = Some(Instant::now());
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_at_once_and_then_now_and_then_with_how_many_there_were() {
        let seldom = Seldom::default();
        assert_eq!([seldom.count(), seldom.count(), seldom.count()], [Some(1), None, None]);
        tokio::time::advance(EVERY).await;
        assert_eq!([seldom.count(), seldom.count()], [Some(3), None]);
    }
}
