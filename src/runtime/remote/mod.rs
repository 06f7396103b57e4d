//! A runtime on another host, reached over gRPC.
//!
//! One verified connection at a time for each kind of traffic (`link`), one place where calls are made (`call`), a probe
//! that keeps what is known of the host fresh (`probe`, `health`), and one upstream for each observed worker (`relay`).
//! What a host says is read by `proto::host_client` and believed only as far as that.
//!
//! Everything a runtime does in the background ends when it is dropped.

mod call;
mod config;
mod dial;
mod health;
mod link;
mod probe;
mod relay;
mod runtime;

#[cfg(test)]
mod test_host;
#[cfg(test)]
mod test_wire;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use config::{DEFAULT_TIMEOUT, RemoteConfig};
pub use dial::{Dial, Io, TcpDial};
pub use runtime::RemoteRuntime;

use crate::model::RuntimeId;
use health::Health;
use link::Link;
use relay::Relays;

/// What the parts of one remote runtime share.
struct Core {
    runtime_id: RuntimeId,
    display_name: String,
    timeout: Duration,
    /// Calls that may be under way at once.
    in_flight: Semaphore,
    health: Arc<Health>,
    control: Link,
    observation: Link,
    relays: Relays,
    handle: Handle,
    /// Cancelled when the runtime is dropped: all its tasks end.
    closing: CancellationToken,
}
