//! Which failures end a retry, and how long to wait before the next attempt (robustness.md, "Control plane → host").
//! Plain data: the attempts themselves are made in `call`.

use std::time::Duration;

use rand::Rng as _;

use crate::model::{Error, Reason};

/// How often a read is sent at most.
pub(super) const READ_ATTEMPTS: u32 = 4;
/// How often a change is sent at most, always with the same request id.
pub(super) const CHANGE_ATTEMPTS: u32 = 3;
/// The longest pause before the second attempt, and before any.
const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(2);
/// An attempt that took this long has had its time: what it lacked was not another try.
const LONG: Duration = Duration::from_secs(2);

/// The attempts of one call.
#[derive(Debug)]
pub(super) struct Recover {
    most: u32,
    made: u32,
}

impl Recover {
    /// For a call that is sent `most` times.
    pub(super) fn new(most: u32) -> Self {
        Self { most, made: 1 }
    }

    /// How many attempts have been made, with the one under way.
    pub(super) fn made(&self) -> u32 {
        self.made
    }

    /// How long to wait before the call is sent again; `None` where this failure, of an attempt that took this long,
    /// ends it.
    pub(super) fn pause(&mut self, error: &Error, took: Duration) -> Option<Duration> {
        if self.made >= self.most || took >= LONG || !is_passing(error.reason()) {
            return None;
        }
        let most = FIRST.saturating_mul(1 << (self.made - 1).min(10)).min(MOST);
        self.made += 1;
        // Full jitter: callers that failed together do not come back together.
        Some(rand::rng().random_range(Duration::ZERO..=most))
    }
}

/// Whether the same may go well in a moment: what is UNAVAILABLE, and nothing else. What was refused would be refused
/// again, and where the time is over there is none for another attempt.
const fn is_passing(reason: Reason) -> bool {
    matches!(reason, Reason::RemoteRuntimeNetworkError | Reason::Draining)
}

/// The tokens that retries to one host cost, so that they do not drown one that is in trouble: 10, less one for each
/// failure, a tenth more for each success, and no retry with less than 5. Counted in tenths.
#[derive(Debug)]
pub(super) struct Tokens(u32);

impl Tokens {
    const FULL: u32 = 100;
    const ENOUGH: u32 = 50;

    pub(super) fn new() -> Self {
        Self(Self::FULL)
    }

    /// A call went well.
    pub(super) fn succeeded(&mut self) {
        self.0 = (self.0 + 1).min(Self::FULL);
    }

    /// An attempt failed in a way that a retry might mend.
    pub(super) fn failed(&mut self) {
        self.0 = self.0.saturating_sub(10);
    }

    /// Whether there may be a retry.
    pub(super) fn suffice(&self) -> bool {
        self.0 >= Self::ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::status::code;

    fn failure(reason: Reason) -> Error {
        Error::new(reason, "as scripted")
    }

    #[test]
    fn only_what_is_unavailable_is_tried_again() {
        for reason in Reason::ALL {
            let again = Recover::new(READ_ATTEMPTS).pause(&failure(*reason), Duration::ZERO).is_some();
            assert_eq!(again, code(*reason) == tonic::Code::Unavailable, "{reason:?}");
        }
    }

    #[test]
    fn attempts_end_and_pauses_double_with_full_jitter() {
        let error = failure(Reason::RemoteRuntimeNetworkError);
        let mut longest = [Duration::ZERO; 7];
        for _ in 0..300 {
            let mut recover = Recover::new(8);
            for longest in &mut longest {
                *longest = recover.pause(&error, Duration::ZERO).unwrap().max(*longest);
            }
            assert_eq!((recover.pause(&error, Duration::ZERO), recover.made()), (None, 8));
        }
        for (longest, most) in longest.iter().zip([100, 200, 400, 800, 1600, 2000, 2000].map(Duration::from_millis)) {
            assert!((most / 2..=most).contains(longest), "{longest:?} of {most:?}");
        }
    }

    #[test]
    fn an_attempt_that_had_its_time_is_not_made_again() {
        let error = failure(Reason::RemoteRuntimeNetworkError);
        assert!(Recover::new(READ_ATTEMPTS).pause(&error, LONG).is_none());
    }

    #[test]
    fn the_budget_ends_retries_after_five_failures_and_comes_back_slowly() {
        let mut tokens = Tokens::new();
        for _ in 0..5 {
            tokens.failed();
            assert!(tokens.suffice());
        }
        tokens.failed();
        assert!(!tokens.suffice());
        (0..9).for_each(|_| tokens.succeeded());
        assert!(!tokens.suffice());
        tokens.succeeded();
        assert!(tokens.suffice());
        (0..20).for_each(|_| tokens.failed());
        (0..49).for_each(|_| tokens.succeeded());
        assert!(!tokens.suffice(), "it was empty");
        (0..1000).for_each(|_| tokens.succeeded());
        (0..5).for_each(|_| tokens.failed());
        assert!(tokens.suffice());
        tokens.failed();
        assert!(!tokens.suffice(), "it is never more than full");
    }
}
