//! One worker's words, wherever it runs: what the two streams read, so that both roles have them from one place.

use std::sync::Arc;

use async_trait::async_trait;

use crate::engine::{Observation, ObserveFrom};
use crate::model::TranscriptPage;
use crate::model::{CallContext, Result, RuntimeId, WorkerId};
use crate::registry::Registry;
use crate::runtime::WorkerRuntime;

/// Where one worker's transcript and events come from.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// A page of its transcript.
    async fn transcript(&self, ctx: &CallContext, start: u64, limit: usize) -> Result<TranscriptPage>;

    /// A reader of its stream.
    async fn observe(&self, ctx: &CallContext, from: ObserveFrom, stop_after: Option<u64>) -> Result<Observation>;
}

/// A worker of one of the registry's runtimes.
pub(super) struct OfRegistry {
    pub registry: Registry,
    pub runtime_id: RuntimeId,
    pub worker_id: WorkerId,
}

#[async_trait]
impl Source for OfRegistry {
    async fn transcript(&self, ctx: &CallContext, start: u64, limit: usize) -> Result<TranscriptPage> {
        self.registry.get_transcript(ctx, &self.runtime_id, &self.worker_id, start, limit).await
    }

    async fn observe(&self, ctx: &CallContext, from: ObserveFrom, stop_after: Option<u64>) -> Result<Observation> {
        self.registry.observe_worker(ctx, &self.runtime_id, &self.worker_id, from, stop_after).await
    }
}

/// A worker of this host's own runtime.
pub(super) struct OfRuntime {
    pub runtime: Arc<dyn WorkerRuntime>,
    pub worker_id: WorkerId,
}

#[async_trait]
impl Source for OfRuntime {
    async fn transcript(&self, ctx: &CallContext, start: u64, limit: usize) -> Result<TranscriptPage> {
        self.runtime.get_transcript(ctx, &self.worker_id, start, limit).await
    }

    async fn observe(&self, ctx: &CallContext, from: ObserveFrom, stop_after: Option<u64>) -> Result<Observation> {
        self.runtime.observe_worker(ctx, &self.worker_id, from, stop_after).await
    }
}
