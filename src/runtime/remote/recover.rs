//! Which failures end a retry, and how long to wait before the next attempt (robustness.md, "Control plane → host").
//! Plain data: the attempts themselves are made in `call`.

use std::time::Duration;

use rand::Rng as _;

use crate::model::{Error, ErrorClass, Reason};

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
    /// How an attempt failed that may have been done all the same.
    doubt: Option<Error>,
}

impl Recover {
    /// For a call that is sent `most` times.
    pub(super) fn new(most: u32) -> Self {
        Self { most, made: 1, doubt: None }
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
        // Full jitter: callers that failed together do not come back together. Not before the host wants them back.
        let asked = error.retry_delay().unwrap_or_default().min(MOST);
        Some(rand::rng().random_range(Duration::ZERO..=most).max(asked))
    }

    /// An attempt at a change failed that had been sent.
    pub(super) fn doubts(&mut self, error: &Error) {
        if self.doubt.is_none() && error.reason().class() == ErrorClass::Unknown {
            self.doubt = Some(error.clone());
        }
    }

    /// What the caller is told when the last attempt ended so. A condition that this one met says nothing of an earlier
    /// one whose outcome is not known.
    pub(super) fn verdict(&mut self, last: Error) -> Error {
        match self.doubt.take() {
            Some(doubt) if last.reason().class() == ErrorClass::Condition => doubt,
            _ => last,
        }
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

    /// What is left, of 10.
    pub(super) fn left(&self) -> f64 {
        f64::from(self.0) / 10.0
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
    fn a_host_that_says_when_to_come_back_is_not_asked_before() {
        let asked = |delay| {
            let error = failure(Reason::Draining).retry_after(delay);
            Recover::new(READ_ATTEMPTS).pause(&error, Duration::ZERO).unwrap()
        };
        assert_eq!(asked(Duration::from_millis(1_500)), Duration::from_millis(1_500));
        assert_eq!(asked(Duration::from_mins(1)), MOST, "no caller waits that long");
    }

    #[test]
    fn a_condition_does_not_hide_an_earlier_attempt_that_may_have_been_done() {
        // acceptance 24
        let unknown = failure(Reason::RemoteRuntimeNetworkError);
        for reason in Reason::ALL {
            let mut recover = Recover::new(CHANGE_ATTEMPTS);
            recover.doubts(&unknown);
            recover.doubts(&failure(Reason::RemoteRuntimeTimeout));
            let hidden = reason.class() == ErrorClass::Condition;
            let told = recover.verdict(failure(*reason)).reason();
            assert_eq!(told, if hidden { unknown.reason() } else { *reason }, "{reason:?}");
        }
        // What was refused was not done.
        let mut recover = Recover::new(CHANGE_ATTEMPTS);
        recover.doubts(&failure(Reason::Draining));
        assert_eq!(recover.verdict(failure(Reason::Overloaded)).reason(), Reason::Overloaded);
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
