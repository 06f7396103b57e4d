//! The gRPC control plane for agent workers. The map of its rooms; each uses only what stands below it here:
//!
//! - [`app`]: the composition root: configurations become running servers, which end in order
//! - [`cli`]: the commands for people, written on the generated client
//! - [`server`]: the gRPC edge of both roles
//! - [`registry`]: who exists and where
//! - [`runtime`]: the port to worker runtimes, and its adapters
//! - [`engine`]: the worker runtime itself
//! - [`proto`]: the wire: generated code, and the only conversions between it and the model
//! - [`config`]: file, environment and flags become one validated configuration per role
//! - [`telemetry`]: the form of what is logged, and where what is measured can be read
//! - [`metrics`]: the names of what is measured, and what the rooms count with
//! - [`tls`]: TLS as both ends need it
//! - [`failpoint`]: places at which tests let the process panic or stall; nothing otherwise
//! - [`traces`]: spans of requests and of calls to hosts, where somebody wants them
//! - [`model`]: the nouns, and what makes one valid

pub mod app;
pub mod cli;
pub mod config;
pub mod engine;
pub mod failpoint;
pub mod metrics;
pub mod model;
pub mod proto;
pub mod registry;
pub mod runtime;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod traces;
