//! Something that is turned on once, and that all streams look at for each frame: a look takes no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Off, until it is on for good. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Switch {
    on: Arc<AtomicBool>,
    told: CancellationToken,
}

impl Switch {
    pub(super) fn turn_on(&self) {
        self.on.store(true, Ordering::Release);
        self.told.cancel();
    }

    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Waits until it is on.
    pub(super) async fn on(&self) {
        self.told.cancelled().await;
    }
}
