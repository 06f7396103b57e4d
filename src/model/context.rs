//! Who is calling, for how long, and under which id: handed down with every call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::id::{RequestId, WorkspaceId};
use super::trace::TraceContext;

/// The name of an authenticated caller: a line of the token file, or `anonymous` where no token is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller(Arc<str>);

impl Caller {
    /// A caller by name; at most 120 bytes of it are kept.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(super::text::truncate_at_char(name, 120).into())
    }

    /// Who calls where no token is asked for.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new("anonymous")
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a request's known fields but its id: tells the same request from another one under the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint(pub [u8; 32]);

/// What every method of the port and of the registry is told first.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// Who calls.
    pub caller: Caller,
    /// The workspace on whose behalf.
    pub workspace: WorkspaceId,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// What makes a repeat the same request; set on every mutating call.
    pub request_id: Option<RequestId>,
    /// What the request was; all zero on reads.
    pub fingerprint: Fingerprint,
    /// Where the call belongs in a trace.
    pub trace: TraceContext,
}

impl CallContext {
    /// A context for work that the server does on its own account, such as probing a host.
    #[must_use]
    pub fn internal(workspace: WorkspaceId, timeout: Duration) -> Self {
        Self {
            caller: Caller::new("workplane"),
            workspace,
            deadline: Instant::now() + timeout,
            request_id: None,
            fingerprint: Fingerprint::default(),
            trace: TraceContext::default(),
        }
    }

    /// The time left until the deadline; zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// When whoever waits for something to happen answers that it has not: there is time left to say so.
    #[must_use]
    pub fn shortly_before_deadline(&self) -> Instant {
        let margin = Duration::from_millis(50).max(self.remaining() / 20);
        self.deadline.checked_sub(margin).unwrap_or(self.deadline)
    }
}
