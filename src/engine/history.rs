//! A worker's stored events, made into frames for readers that are behind.

use std::sync::Arc;

use async_trait::async_trait;

use super::frame::{Frame, Published};
use super::observe::History;
use super::parts::EngineParts;
use super::quarantine::found_damaged;
use super::store::{Select, StoreFault};
use super::tail::Tail;
use super::worker::store_error;
use crate::model::{Error, Event, GapReason, Reason, Result, WorkerId};

/// The most frames that are read at once.
const PAGE_FRAMES: usize = 256;
/// The most payload that is read at once, in bytes.
const PAGE_BYTES: usize = 256 * 1024;

/// The history of one worker in the store. What is not there any more is told as a gap.
pub(super) struct StoreHistory {
    parts: Arc<EngineParts>,
    worker_id: WorkerId,
    tail: Arc<Tail>,
}

impl StoreHistory {
    pub(super) fn new(parts: Arc<EngineParts>, worker_id: WorkerId, tail: Arc<Tail>) -> Self {
        Self { parts, worker_id, tail }
    }

    fn stored(&self, frame: &Frame) -> Published {
        self.parts.published(&self.worker_id, frame.sequence, frame.kind, frame.observed_at, &frame.body)
    }

    fn fault(&self, fault: StoreFault) -> Error {
        if fault == StoreFault::Damaged {
            found_damaged(&self.tail, self.parts.store.damage(&self.worker_id).as_deref());
        }
        store_error(fault)
    }

    /// An event that is not in the store, or not any more.
    fn made(&self, sequence: u64, event: &Event) -> Published {
        let body = self.parts.codec.payload(event);
        self.parts.published(&self.worker_id, sequence, event.kind(), self.parts.clock.now(), &body)
    }

    fn gap(&self, from: u64, to: u64, reason: GapReason) -> Option<Published> {
        (from <= to).then(|| self.made(to, &Event::Gap { from, to, reason }))
    }

    /// What a reader of a worker is told that was deleted while it was behind: that, and how the worker had ended.
    async fn deleted(&self, after: u64) -> Result<Vec<Published>> {
        let there = self.parts.store.worker(&self.worker_id).await.map_err(|fault| self.fault(fault))?.is_some();
        match &self.tail.view().termination {
            Some(end) if !there => {
                let gap = self.gap(after + 1, end.last_sequence.saturating_sub(1), GapReason::Deleted);
                Ok(gap.into_iter().chain([self.made(end.last_sequence, &Event::End(end.clone()))]).collect())
            }
            _ => Err(Error::new(Reason::StoreError, "events that were told of cannot be read")),
        }
    }
}

#[async_trait]
impl History for StoreHistory {
    async fn read(&self, after: u64, until: u64) -> Result<Vec<Published>> {
        if until <= after {
            return Ok(Vec::new());
        }
        let count = usize::try_from(until - after).unwrap_or(usize::MAX).min(PAGE_FRAMES);
        let read = self.parts.store.read(&self.worker_id, Select::EventsAfter(after), count, PAGE_BYTES);
        let frames = read.await.map_err(|fault| self.fault(fault))?;
        let Some(first) = frames.first() else { return self.deleted(after).await };
        let gap = self.gap(after + 1, first.sequence - 1, GapReason::Retention);
        Ok(gap.into_iter().chain(frames.iter().map(|frame| self.stored(frame))).collect())
    }
}
