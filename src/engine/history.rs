//! A worker's stored events, made into frames for readers that are behind.

use std::sync::Arc;

use async_trait::async_trait;

use super::core::EngineParts;
use super::frame::Published;
use super::observe::History;
use super::store::Select;
use super::worker::store_error;
use crate::model::{Result, WorkerId};

/// The most frames that are read at once.
const PAGE_FRAMES: usize = 256;
/// The most payload that is read at once, in bytes.
const PAGE_BYTES: usize = 256 * 1024;

/// The history of one worker in the store.
pub(super) struct StoreHistory {
    parts: Arc<EngineParts>,
    worker_id: WorkerId,
}

impl StoreHistory {
    pub(super) fn new(parts: Arc<EngineParts>, worker_id: WorkerId) -> Self {
        Self { parts, worker_id }
    }
}

#[async_trait]
impl History for StoreHistory {
    async fn read(&self, after: u64, until: u64) -> Result<Vec<Published>> {
        let count = usize::try_from(until.saturating_sub(after)).unwrap_or(usize::MAX).min(PAGE_FRAMES);
        let read = self.parts.store.read(&self.worker_id, Select::EventsAfter(after), count, PAGE_BYTES);
        let frames = read.await.map_err(store_error)?;
        let publish = |frame: super::frame::Frame| {
            self.parts.published(&self.worker_id, frame.sequence, frame.kind, frame.observed_at, &frame.body)
        };
        Ok(frames.into_iter().map(publish).collect())
    }
}
