//! What may happen often is said at once, and then now and then: a flood of it must not become one of the log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(5);

/// How often something happened since it was said last, and when that was.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Counts one; where it is time to say so, how many there were.
    pub(super) fn count(&self) -> Option<u64> {
        let (said, times) = &mut *self.0.lock();
        *times += 1;
        said.is_none_or(|at| at.elapsed() >= EVERY).then(|| {
            *said = Some(Instant::now());
            std::mem::take(times)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_at_once_and_then_now_and_then() {
        let seldom = Seldom::default();
        assert_eq!([seldom.count(), seldom.count(), seldom.count()], [Some(1), None, None]);
        tokio::time::advance(EVERY).await;
        assert_eq!([seldom.count(), seldom.count()], [Some(3), None]);
    }
}
