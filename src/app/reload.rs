//! What is said when a configuration was read again.

use super::AppError;
use super::remotes::Changes;
use crate::config::Fixed;

/// A configuration was taken, or not. `started` is what holds until a restart, `later` the same of the new one.
pub(super) fn report(started: &Fixed, later: &Fixed, taken: &Result<Changes, AppError>) {
    match taken {
        Err(error) => {
            tracing::error!(%error, "the configuration is refused: nothing was changed");
            return;
        }
        Ok(changes) if *changes == Changes::default() => tracing::info!("the configuration was read again"),
        Ok(Changes { added, removed, moved }) => {
            tracing::info!(added, removed, moved, "the configuration was read again: the runtimes have changed");
        }
    }
    let waiting = started.changed(later);
    if !waiting.is_empty() {
        tracing::warn!(keys = waiting.join(", "), "these have changed and stay as they were until a restart");
    }
}
