//! Looks after a host while its runtime is registered: every 5 s, and at once when its connection is gone
//! or its credential is another one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Core;
use super::link::unreachable;

/// How often a host is asked how it is.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long one probe may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long a lost connection stays lost at least, so that a host that drops each one is not hammered.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs until the runtime is dropped.
pub(super) async fn run(core: Arc<Core>) {
    let probes = async {
        loop {
            if let Err(error) = core.control.probe(Instant::now() + TIMEOUT).await {
                core.health.failed(&error);
                tracing::debug!(runtime_id = %core.runtime_id, reason = error.reason().as_str(), "probe failed");
            }
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = core.look_again.notified() => {}
                () = core.control.lost() => {
                    core.health.failed(&unreachable(&core.runtime_id));
                    sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = core.closing.cancelled() => {}
        () = probes => {}
    }
}
