//! What every request passes, from the outside in: a span of the log, what is counted, panics, whether it is gRPC, who
//! calls, in which trace, how much, how long, and the words of what the stack refuses. Each of them sees headers and never waits for a body.

mod auth;
mod bodies;
mod deadline;
mod held;
mod load;
mod measures;
mod methods;
mod pace;
mod panics;
mod protocol;
mod refusals;
mod return_times;
mod seen;
mod spans;
mod traces;
mod until;
mod wrap;

pub(super) use auth::Auth;
pub(super) use deadline::{Deadline, Deadlines, REQUEST_ID, RequestIdSlot, StreamEnd, deadline_exceeded};
pub(super) use load::Load;
pub(super) use measures::Measures;
pub(super) use panics::{Panics, catching};
pub(super) use protocol::Protocol;
pub(super) use refusals::Refusals;
pub(super) use spans::Spans;
pub(super) use traces::Traces;
pub(super) use wrap::Wrapping;
