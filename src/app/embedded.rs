//! The engine of this process, with what it touches: an in-memory store, the wire's codec, the machine's clock.

use super::AppError;
use crate::engine::store::MemoryStore;
use crate::engine::{Engine, EngineLimits, EngineParts, Profiles};
use crate::model::RuntimeId;
use crate::runtime::LocalRuntime;

/// Opens the engine of `runtime_id` on the current runtime.
pub(super) async fn open_engine(
    runtime_id: RuntimeId,
    profiles: Profiles,
    limits: EngineLimits,
) -> Result<Engine, AppError> {
    tracing::info!(%runtime_id, "state is kept in memory, and is gone when this process ends");
    let parts = EngineParts { profiles, limits, ..LocalRuntime::parts(runtime_id, MemoryStore::new()) };
    Engine::open(parts).await.map_err(AppError::Engine)
}
