//! How much of a caller's time one call to a runtime may take (robustness.md, "Control plane → host").

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{CallContext, Error, Reason, Result};

/// How long a runtime may take to answer its part of a list.
pub(crate) const LIST_TIMEOUT: Duration = Duration::from_secs(2);
/// With less than this left, nothing is asked: no answer could come in time.
const TOO_LATE: Duration = Duration::from_millis(100);
/// What is kept back at least for the way of the answer to the caller; else a twentieth of what is left.
const MARGIN: Duration = Duration::from_millis(50);

/// Until when a call may take: `most` from now, or what is left of the caller's time less a margin.
///
/// # Errors
/// [`Reason::DeadlineExceeded`] with under 100 ms left.
pub(crate) fn budget(ctx: &CallContext, most: Duration) -> Result<Instant> {
    let left = ctx.remaining();
    if left < TOO_LATE {
        return Err(Error::new(Reason::DeadlineExceeded, "too little time is left to ask the runtime"));
    }
    Ok(Instant::now() + most.min(left.saturating_sub(MARGIN.max(left / 20))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkspaceId;

    fn left(time: Duration, most: Duration) -> Option<Duration> {
        let ctx = CallContext::internal(WorkspaceId::new("w").unwrap(), time);
        budget(&ctx, most).ok().map(|until| until - Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_gets_the_shorter_of_its_own_limit_and_what_the_caller_has_left() {
        let most = Duration::from_secs(2);
        assert_eq!(left(Duration::from_secs(30), most), Some(most));
        assert_eq!(left(Duration::from_secs(2), most), Some(Duration::from_millis(1_900)));
        assert_eq!(left(Duration::from_millis(200), most), Some(Duration::from_millis(150)));
        assert_eq!(left(Duration::from_millis(99), most), None);
    }
}
