//! What is said when a configuration was read again.

use super::AppError;
use crate::config::Fixed;

/// A configuration was taken, or not. `started` is what holds until a restart, `later` the same of the new one.
pub(super) fn report(started: &Fixed, later: &Fixed, taken: &Result<(), AppError>) {
    if let Err(error) = taken {
        tracing::error!(%error, "the configuration is refused: nothing was changed");
        return;
    }
    tracing::info!("the configuration was read again");
    let waiting = started.changed(later);
    if !waiting.is_empty() {
        tracing::warn!(keys = waiting.join(", "), "these have changed and stay as they were until a restart");
    }
}
