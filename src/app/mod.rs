//! The composition root: a validated configuration becomes a running server, and a running server ends in order.
//!
//! It owns the order of things and no decision about workers. Listener and control are handed in, so that a test runs the
//! real server on a port of its own and steers it by hand.

mod control;
mod demo;
mod doctor;
mod door;
mod embedded;
mod ending;
mod expiry;
mod host;
mod limits;
mod observed;
mod plane;
mod reload;
mod remotes;
mod standing;
mod storage;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use control::Control;
pub use demo::demo;
pub use doctor::doctor;
pub use host::WorkerHost;
pub use limits::set_limits;
pub use plane::ControlPlane;
pub use store::store;

use std::io;

use crate::cli::Failure;

/// Why a server did not come up, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The worker runtime did not open.
    #[error("the worker runtime did not open: {0}")]
    Engine(#[source] crate::model::Error),
    /// The data directory is not opened.
    #[error("{0}")]
    DataDir(#[from] crate::engine::store::DataDirError),
    /// What is in the data directory cannot be read.
    #[error("the store did not open: {0}")]
    Store(#[source] io::Error),
    /// A remote runtime could not be made of its configuration.
    #[error("remote runtime {0}: {1}")]
    Remote(crate::model::RuntimeId, #[source] crate::model::Error),
    /// A certificate cannot take the place of the one in force.
    #[error(transparent)]
    Certificate(#[from] crate::config::BadFile),
    /// The address for metrics cannot be had.
    #[error("cannot listen for metrics on {0}: {1}")]
    Metrics(std::net::SocketAddr, #[source] io::Error),
    /// Traces cannot be sent.
    #[error("traces cannot be sent: {0}")]
    Traces(String),
    /// Two runtimes have one id.
    #[error(transparent)]
    Duplicate(#[from] crate::registry::DuplicateRuntime),
    /// The descriptors that reflection serves cannot be read.
    #[error("reflection cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The listener failed.
    #[error("serving failed: {0}")]
    Serving(#[source] tonic::transport::Error),
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::Other(error.to_string())
    }
}
