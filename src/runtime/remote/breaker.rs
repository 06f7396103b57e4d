//! The circuit breaker of one host, as plain data: whether a call may be made now, from how those before it went. It
//! knows no clock and waits for nothing; robustness.md has the numbers.
//!
//! ```text
//!            5 failures in a row, or half of 20 in 10 s            its time is over: the next call probes
//!   CLOSED ─────────────────────────────────────────────▶ OPEN ───────────────────────────────────────────▶ PROBING
//!      ▲                                             1 s, │ ▲                                                 │  │
//!      │   a new connection, where none could be made     │ │        failed: open for twice as long           │  │
//!      ├──────────────────────────────────────────────────┘ └─────────────────────────────────────────────────┘  │
//!      └─────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!                                                                                                        answered
//! ```
//!
//! One broken connection is one failure, however many calls were under way on it; so is one dial that failed.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row open it.
const IN_A_ROW: u32 = 5;
/// As does half of what ended in this time, if it was at least [`ENOUGH`].
const WINDOW: Duration = Duration::from_secs(10);
const ENOUGH: u32 = 20;
/// The window moves in steps of this.
const STEP: Duration = Duration::from_secs(1);
/// How long it is open at first, and at most.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(30);

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection to the host could be made.
    Unreached,
    /// There was a connection, and it broke, or no answer came.
    Unanswered,
}

/// Leave to make one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// One of many.
    Free,
    /// The only one for now: how it goes decides. The number is of this probe.
    Probe(u64),
}

/// How calls to one host went of late.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Failures since the last answer.
    in_a_row: u32,
    window: VecDeque<Step>,
    /// How long it is open the next time.
    wait: Duration,
    last: Trouble,
    probes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Probing(u64),
}

#[derive(Debug)]
struct Step {
    began: Instant,
    answered: u32,
    failed: u32,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new() -> Self {
        let (state, last) = (State::Closed, Trouble::Unreached);
        Self { state, in_a_row: 0, window: VecDeque::new(), wait: FIRST, last, probes: 0 }
    }

    /// Leave for a call; else how long there will be none.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Leave, Duration> {
        match self.state {
            State::Closed => Ok(Leave::Free),
            State::Open { until } if now < until => Err(until - now),
            State::Open { .. } => {
                self.probes += 1;
                self.state = State::Probing(self.probes);
                Ok(Leave::Probe(self.probes))
            }
            State::Probing(_) => Err(self.wait),
        }
    }

    /// How long there will be no leave, if so.
    pub(super) fn is_open(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } => until.checked_duration_since(now).filter(|left| !left.is_zero()),
            State::Closed | State::Probing(_) => None,
        }
    }

    /// The host answered. Returns whether that closed it.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => {
                self.in_a_row = 0;
                self.step(now).answered += 1;
                false
            }
            State::Probing(_) => {
                self.close();
                true
            }
            // An answer to what was asked before says nothing of what is asked next.
            State::Open { .. } => false,
        }
    }

    /// It did not. Returns for how long that opened it, if it did.
    pub(super) fn failed(&mut self, now: Instant, trouble: Trouble) -> Option<Duration> {
        self.last = trouble;
        match self.state {
            State::Closed => {
                self.in_a_row += 1;
                self.step(now).failed += 1;
                (self.in_a_row >= IN_A_ROW || self.half_failed()).then(|| self.open(now))
            }
            State::Probing(_) => Some(self.open(now)),
            State::Open { .. } => None,
        }
    }

    /// There is a new connection, on which the host has said who it is. Where none could be made before, that closes
    /// it; where calls failed on one, it proves nothing. Returns whether it did.
    pub(super) fn reached(&mut self) -> bool {
        let closes = self.state != State::Closed && self.last == Trouble::Unreached;
        if closes {
            self.close();
        }
        closes
    }

    /// The caller of a probe has gone without an outcome: the next call may be one.
    pub(super) fn abandoned(&mut self, probe: u64, now: Instant) {
        if self.state == State::Probing(probe) {
            self.state = State::Open { until: now };
        }
    }

    fn open(&mut self, now: Instant) -> Duration {
        let wait = self.wait;
        self.state = State::Open { until: now + wait };
        self.wait = wait.saturating_mul(2).min(MOST);
        self.window.clear();
        wait
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.in_a_row = 0;
        self.wait = FIRST;
        self.window.clear();
    }

    fn half_failed(&self) -> bool {
        let (answered, failed) =
            self.window.iter().fold((0, 0), |(ok, bad), step| (ok + step.answered, bad + step.failed));
        answered + failed >= ENOUGH && failed >= answered
    }

    /// The counts of now; those that are too old are forgotten.
    fn step(&mut self, now: Instant) -> &mut Step {
        while self.window.front().is_some_and(|step| now.saturating_duration_since(step.began) >= WINDOW) {
            self.window.pop_front();
        }
        if self.window.back().is_none_or(|step| now.saturating_duration_since(step.began) >= STEP) {
            self.window.push_back(Step { began: now, answered: 0, failed: 0 });
        }
        // One was pushed where there was none.
        let place = self.window.len() - 1;
        &mut self.window[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(breaker: &mut Breaker, now: Instant, times: u32) -> Option<Duration> {
        (0..times).fold(None, |opened, _| opened.or(breaker.failed(now, Trouble::Unanswered)))
    }

    fn probe(breaker: &mut Breaker, now: Instant) -> u64 {
        let Ok(Leave::Probe(number)) = breaker.admit(now) else { panic!("{breaker:?}") };
        number
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_four_do_not() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        assert_eq!(failing(&mut breaker, now, 4), None);
        breaker.answered(now);
        assert_eq!(failing(&mut breaker, now, 4), None);
        assert_eq!(breaker.admit(now), Ok(Leave::Free));
        assert_eq!(failing(&mut breaker, now, 1), Some(FIRST));
        assert_eq!(breaker.admit(now), Err(FIRST));
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_twenty_in_ten_seconds_open_it() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..9 {
            assert_eq!(breaker.failed(now, Trouble::Unanswered), None);
            breaker.answered(now);
        }
        assert_eq!(breaker.failed(now, Trouble::Unanswered), None, "nineteen are not enough");
        breaker.answered(now);
        assert_eq!(breaker.failed(now, Trouble::Unanswered), Some(FIRST), "eleven of twenty-one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_window_counts_no_more() {
        let (mut breaker, began) = (Breaker::new(), Instant::now());
        for n in 0..100 {
            let now = began + WINDOW / 9 * n;
            assert_eq!(breaker.failed(now, Trouble::Unanswered), None, "at {:?}", now - began);
            breaker.answered(now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_after_one_second_growing_to_thirty() {
        let (mut breaker, mut now) = (Breaker::new(), Instant::now());
        failing(&mut breaker, now, 5);
        for wait in [1, 2, 4, 8, 16, 30, 30].map(Duration::from_secs) {
            assert_eq!(breaker.admit(now), Err(wait));
            assert!(breaker.admit(now + wait - Duration::from_millis(1)).is_err());
            now += wait;
            probe(&mut breaker, now);
            assert!(breaker.admit(now).is_err(), "one at a time");
            assert!(breaker.failed(now, Trouble::Unanswered).is_some());
        }
        now += MOST;
        probe(&mut breaker, now);
        assert!(breaker.answered(now));
        assert_eq!(breaker.admit(now), Ok(Leave::Free));
        assert_eq!(failing(&mut breaker, now, 5), Some(FIRST), "and all begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_whose_caller_goes_leaves_its_place_to_the_next() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        failing(&mut breaker, now, 5);
        let first = probe(&mut breaker, now + FIRST);
        breaker.abandoned(first, now + FIRST);
        let second = probe(&mut breaker, now + FIRST);
        breaker.abandoned(first, now + FIRST);
        assert!(breaker.admit(now + FIRST).is_err(), "the second is still under way");
        assert!(breaker.answered(now + FIRST) && second > first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_closes_it_only_where_none_could_be_made() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        failing(&mut breaker, now, 5);
        assert!(!breaker.reached() && breaker.is_open(now).is_some());
        breaker.failed(now, Trouble::Unreached);
        assert!(breaker.reached() && breaker.is_open(now).is_none());
        assert!(!breaker.reached(), "nothing is to be closed");
    }
}
