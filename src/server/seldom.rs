//! What happens often, and is said now and then.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How often it is said.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Counts since it was said last.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Counts one; where it is time to say so, how many there were.
    pub(super) fn count(&self) -> Option<u64> {
        let (said, times) = &mut *self.0.lock();
        *times += 1;
        if said.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return None;
        }
        *said = Some(Instant::now());
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_at_once_and_then_now_and_then_with_how_often_it_was() {
        let seldom = Seldom::default();
        assert_eq!([seldom.count(), seldom.count(), seldom.count()], [Some(1), None, None]);
        tokio::time::advance(SAY_EVERY).await;
        assert_eq!([seldom.count(), seldom.count()], [Some(3), None]);
    }
}
