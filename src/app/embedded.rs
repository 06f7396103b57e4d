//! The engine of this process, with what it touches: an in-memory store, the wire's codec, the machine's clock.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::AppError;
use crate::engine::store::MemoryStore;
use crate::engine::{Engine, EngineLimits, EngineParts, Profiles, SystemClock};
use crate::model::{Incarnation, RuntimeId};
use crate::proto::ProtoCodec;
use crate::runtime::LocalRuntime;

/// Opens the engine of `runtime_id` on the current runtime.
pub(super) async fn open_engine(
    runtime_id: RuntimeId,
    profiles: Profiles,
    limits: EngineLimits,
) -> Result<Engine, AppError> {
    tracing::info!(%runtime_id, "state is kept in memory, and is gone when this process ends");
    let parts = EngineParts {
        host_id: LocalRuntime::host_id(&runtime_id),
        runtime_id,
        store: MemoryStore::new(),
        incarnation: Incarnation::generate(),
        codec: Arc::new(ProtoCodec),
        clock: Arc::new(SystemClock),
        profiles,
        limits,
        handle: Handle::current(),
    };
    Engine::open(parts).await.map_err(AppError::Engine)
}
