//! How a runtime on another host is reached, for those who watch it.

use std::time::{Duration, SystemTime};

/// What stands between this process and a host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// It was reached last, and is the one it should be.
    pub is_reachable: bool,
    /// How long ago it was last heard of; `None` until it was.
    pub seen_age: Option<Duration>,
    /// Whether it is asked anything.
    pub breaker: BreakerState,
    /// What is left of the budget of retries, of 10.
    pub retry_tokens: f64,
    /// Attempts under way that are answered at once.
    pub in_flight: usize,
    /// Attempts under way that wait for something to happen on the host.
    pub waiting: usize,
    /// Until when the certificate that is shown to it is valid, if one is.
    pub certificate_until: Option<SystemTime>,
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// The host is asked.
    Closed,
    /// It is asked nothing for a while.
    Open,
    /// One call tries.
    Probing,
}

impl BreakerState {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Closed, "closed"), (Self::Open, "open"), (Self::Probing, "probing")];
}
