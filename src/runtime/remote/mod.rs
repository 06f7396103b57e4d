//! A runtime on another host, reached over gRPC.
//!
//! One verified connection at a time for each kind of traffic (`link`), one place where calls are made and made again
//! (`call`, `recover`), a guard that spares a host in trouble (`guard`, `breaker`), a probe that keeps what is known of the
//! host fresh (`probe`, `health`), and one upstream for each observed worker (`relay`).
//! What a host says is read by `proto::host_client` and believed only as far as that.
//!
//! Everything a runtime does in the background ends when it is dropped.

mod breaker;
mod call;
mod closing;
mod config;
mod dial;
mod guard;
mod health;
mod known;
mod link;
mod measures;
mod probe;
mod recover;
mod relay;
mod runtime;
mod settings;
mod span;

#[cfg(test)]
mod resilience_tests;
#[cfg(test)]
mod test_faults;
#[cfg(test)]
mod test_host;
#[cfg(test)]
mod test_wire;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bundles;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

pub use config::{DEFAULT_TIMEOUT, RemoteConfig};
pub use dial::{Dial, Io, TcpDial};
pub use runtime::RemoteRuntime;
pub use settings::RemoteSettings;

use crate::model::RuntimeId;
use closing::Closing;
use guard::Guard;
use health::Health;
use link::Link;
use measures::Measures;
use relay::Relays;
use settings::Current;

/// What the parts of one remote runtime share.
struct Core {
    runtime_id: RuntimeId,
    /// What may change while it goes on.
    settings: Arc<Current>,
    /// The host is to be asked how it is at once.
    look_again: Notify,
    /// Calls that may be under way at once.
    in_flight: Semaphore,
    /// Calls that may wait on the host at once.
    waiting: Semaphore,
    health: Arc<Health>,
    guard: Arc<Guard>,
    measures: Measures,
    control: Link,
    observation: Link,
    relays: Relays,
    handle: Handle,
    /// When the runtime is dropped, all its tasks end.
    closing: Arc<Closing>,
}

impl Core {
    /// How long a call may take now.
    fn timeout(&self) -> Duration {
        self.settings.load().timeout
    }
}
