//! The engine of this process, with what it touches: its store, and what [`LocalRuntime::parts`] has of the rest.

use tokio::time::Instant;

use super::AppError;
use super::limits::former_descriptor_limit;
use super::storage::Storage;
use crate::engine::{Engine, EngineLimits, EngineParts, Machine, Profiles};
use crate::model::RuntimeId;
use crate::runtime::LocalRuntime;

/// Opens the engine of `runtime_id` on the current runtime, and restores what is stored.
pub(super) async fn open_engine(
    storage: &Storage,
    runtime_id: RuntimeId,
    profiles: Profiles,
    limits: EngineLimits,
) -> Result<Engine, AppError> {
    let begun = Instant::now();
    let (incarnation, machine) = (storage.incarnation(), Machine::new(former_descriptor_limit(), rand::random));
    let parts = LocalRuntime::parts(runtime_id, storage.store());
    let parts = EngineParts { incarnation, profiles, limits, machine, ..parts };
    let engine = Engine::open(parts).await.map_err(AppError::Engine)?;
    if let Some(dir) = storage.dir() {
        let (workers, ended_as_failed) = (engine.counts().total, engine.counts().failed);
        let milliseconds = begun.elapsed().as_millis();
        tracing::info!(dir = %dir.display(), workers, ended_as_failed, milliseconds, "all that is stored was read");
    }
    Ok(engine)
}
