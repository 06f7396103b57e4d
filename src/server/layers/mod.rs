//! What every request passes, from the outside in: a span, panics, who calls, how much, how long. Each of them sees headers and
//! never waits for a body.

mod auth;
mod deadline;
mod load;
mod methods;
mod panics;
mod spans;
mod wrap;

pub(super) use auth::Auth;
pub(super) use deadline::{Deadline, Deadlines, REQUEST_ID, RequestIdSlot};
pub(super) use load::Load;
pub(super) use panics::{Panics, catching};
pub(super) use spans::Spans;
pub(super) use wrap::Wrapping;
