//! The gRPC edge of both roles. A request passes the layers (a span, panics, who calls, how much, how long, refusals of the stack), is checked and
//! converted by `proto`, goes to the registry or to the runtime, and its answer is converted back. Nothing here decides
//! anything about workers.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `edge`, `listen`, `tls` | limits, the accepting of connections, handshakes, serving |
//! | `connection` | one that was accepted: who, since when, what of it is in flight, whether it must end |
//! | `callers`, `ends` | who is let in, and what ends the streams of those who are let in no more |
//! | `layers` | what every request passes |
//! | `context` | from a request to the context of a call |
//! | `*_service` | one for each service: convert, call, convert back |
//! | `observation`, `transcript` | the two streams, for both roles |
//! | `routes`, `health` | which services a role serves |
//! | `seldom` | what may happen very often and is said now and then |

mod callers;
mod chatter;
mod connection;
mod context;
mod drain;
mod edge;
mod ends;
mod gather;
mod health;
mod host_service;
mod layers;
mod listen;
mod observation;
mod observation_service;
mod page;
mod routes;
mod runtime_service;
mod seldom;
mod source;
mod tally;
mod tls;
mod transcript;
mod transcript_service;
mod worker_runtime_service;
mod worker_service;

mod config_bundle_service;

#[cfg(test)]
mod tests;

pub use callers::Callers;
pub use connection::{Connection, Connections};
pub use drain::Drain;
pub use edge::{Edge, serve, service};
pub use health::Health;
pub use listen::{Accepted, Io, accept};
pub use routes::{Served, control_plane, worker_runtime};
