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
//! One broken connection is one failure, however many calls were under way on it; so is one dial that failed. A call that
//! had a fair time and got no answer is one; those that had less are one together for each second in which they waited.
//!
//! What becomes of a call counts only in the time in which it got its leave: an answer to what was asked before the breaker
//! opened does not close it, and a failure of that kind does not open it again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::BreakerState;

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
/// No answer for this long is a failure.
const FAIR: Duration = Duration::from_secs(1);

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection to the host could be made.
    Unreached,
    /// There was a connection, and it broke, or no answer came.
    Unanswered,
}

/// Leave to make one call, and the turn of the breaker in which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// One of many.
    Free(u64),
    /// The only one for now: how it goes decides.
    Probe(u64),
}

/// How calls to one host went of late.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Rises whenever it opens, and with each probe.
    turn: u64,
    /// Failures since the last answer.
    in_a_row: u32,
    window: VecDeque<Step>,
    silence: Silence,
    /// How long it is open the next time.
    wait: Duration,
    last: Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Probing,
}

#[derive(Debug)]
struct Step {
    began: Instant,
    answered: u32,
    failed: u32,
}

/// For how long calls have waited in vain since the last answer; what several waited at once counts once.
#[derive(Debug, Default)]
struct Silence {
    lasted: Duration,
    until: Option<Instant>,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new() -> Self {
        Self {
            state: State::Closed,
            turn: 0,
            in_a_row: 0,
            window: VecDeque::new(),
            silence: Silence::default(),
            wait: FIRST,
            last: Trouble::Unreached,
        }
    }

    /// Leave for a call; else how long there will be none.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Leave, Duration> {
        match self.state {
            State::Closed => Ok(Leave::Free(self.turn)),
            State::Open { until } if now < until => Err(until - now),
            State::Open { .. } => {
                self.turn += 1;
                self.state = State::Probing;
                Ok(Leave::Probe(self.turn))
            }
            State::Probing => Err(self.wait),
        }
    }

    /// The leave of what asks for none: an observer's stream, or a look-out. It counts while this is closed.
    pub(super) fn unasked(&self) -> Leave {
        Leave::Free(self.turn)
    }

    /// Its state, for those who watch it.
    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing => BreakerState::Probing,
        }
    }

    /// How long there will be no leave, if so.
    pub(super) fn is_open(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } => until.checked_duration_since(now).filter(|left| !left.is_zero()),
            State::Closed | State::Probing => None,
        }
    }

    /// The host answered. Returns whether that closed it.
    pub(super) fn answered(&mut self, leave: Leave, now: Instant) -> bool {
        if !self.counts(leave) {
            return false;
        }
        if self.state == State::Probing {
            self.close();
            return true;
        }
        self.in_a_row = 0;
        self.silence = Silence::default();
        self.step(now).answered += 1;
        false
    }

    /// It did not. Returns for how long that opened it, if it did.
    pub(super) fn failed(&mut self, leave: Leave, now: Instant, trouble: Trouble) -> Option<Duration> {
        if !self.counts(leave) {
            return None;
        }
        self.last = trouble;
        if self.state == State::Probing { Some(self.open(now)) } else { self.count(now) }
    }

    /// It did not in the time that the call had, from `began` to now. Returns for how long that opened it, if it did.
    pub(super) fn unanswered(&mut self, leave: Leave, began: Instant, now: Instant) -> Option<Duration> {
        if !self.counts(leave) {
            return None;
        }
        if now.saturating_duration_since(began) >= FAIR {
            return self.failed(leave, now, Trouble::Unanswered);
        }
        if self.state == State::Probing {
            // Too little to tell; but who asks next is not to wait for the same.
            self.state = State::Open { until: now + self.wait };
            return None;
        }
        self.silence.more(began, now);
        if self.silence.lasted < FAIR {
            return None;
        }
        self.silence.lasted = Duration::ZERO;
        self.failed(leave, now, Trouble::Unanswered)
    }

    /// No connection could be made. Who probes and waited for it says so itself. Returns for how long that opened it, if
    /// it did.
    pub(super) fn unreached(&mut self, now: Instant) -> Option<Duration> {
        self.last = Trouble::Unreached;
        if self.state == State::Closed { self.count(now) } else { None }
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

    /// The caller has gone before anything was asked of the host: the next call may be the probe.
    pub(super) fn abandoned(&mut self, leave: Leave, now: Instant) {
        if self.state == State::Probing && self.counts(leave) {
            self.state = State::Open { until: now };
        }
    }

    /// Whether what becomes of a call says something now.
    fn counts(&self, leave: Leave) -> bool {
        match (leave, self.state) {
            (Leave::Free(turn), State::Closed) | (Leave::Probe(turn), State::Probing) => turn == self.turn,
            _ => false,
        }
    }

    /// One failure more, while it is closed.
    fn count(&mut self, now: Instant) -> Option<Duration> {
        self.in_a_row += 1;
        self.step(now).failed += 1;
        (self.in_a_row >= IN_A_ROW || self.half_failed()).then(|| self.open(now))
    }

    fn open(&mut self, now: Instant) -> Duration {
        let wait = self.wait;
        self.turn += 1;
        self.state = State::Open { until: now + wait };
        self.wait = wait.saturating_mul(2).min(MOST);
        self.window.clear();
        wait
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.in_a_row = 0;
        self.silence = Silence::default();
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

impl Silence {
    fn more(&mut self, began: Instant, now: Instant) {
        let from = self.until.map_or(began, |until| until.max(began));
        self.lasted += now.saturating_duration_since(from);
        self.until = Some(now);
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
