//! The engine's reads: what has landed, and nothing else.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::core::Engine;
use super::frame::Frame;
use super::history::StoreHistory;
use super::observe::{Observation, ObserveFrom};
use super::store::Select;
use crate::model::{
    Cursor, Error, Incarnation, MAX_PAGE_BYTES, Reason, Result, Worker, WorkerFilter, WorkerId, WorkerPage,
};

/// Stored transcript items, read back.
#[derive(Debug, Clone)]
pub struct TranscriptRead {
    /// Items in the whole transcript.
    pub total_items: u64,
    /// Where the next page starts, if there is more.
    pub next_start: Option<u64>,
    /// The events that appended the items.
    pub frames: Vec<Frame>,
}

impl Engine {
    /// A worker as it landed last.
    ///
    /// # Errors
    /// [`Reason::UnknownWorker`].
    pub fn get_worker(&self, worker_id: &WorkerId) -> Result<Arc<Worker>> {
        Ok(self.slot(worker_id)?.tail.view())
    }

    /// Workers with ids after `after` that `filter` lets through, at most `limit`.
    #[must_use]
    pub fn list_workers(&self, filter: &WorkerFilter, after: Option<&WorkerId>, limit: usize) -> WorkerPage {
        if limit == 0 {
            return WorkerPage::default();
        }
        let workers = self.0.workers.read();
        let from = after.map_or(Unbounded, Excluded);
        let mut matching = workers
            .range::<WorkerId, _>((from, Unbounded))
            .map(|(_, slot)| slot.tail.view())
            .filter(|worker| filter.matches(worker));
        let page = matching.by_ref().take(limit).map(|worker| (*worker).clone()).collect();
        WorkerPage { workers: page, more: matching.next().is_some() }
    }

    /// Reads transcript items from the one after `start` on, at most `limit` and 256 KiB, at least one.
    ///
    /// # Errors
    /// Unknown workers; [`Reason::CursorExpired`] below the first kept item; a failed store.
    pub async fn read_transcript(&self, worker_id: &WorkerId, start: u64, limit: usize) -> Result<TranscriptRead> {
        let view = self.sound(worker_id)?.tail.view();
        let (total_items, first) = (view.transcript_length, view.first_item_sequence);
        let oldest = first.saturating_sub(1);
        if start < oldest {
            return Err(removed(worker_id, oldest));
        }
        let limit = limit.min(usize::try_from(total_items.saturating_sub(start)).unwrap_or(usize::MAX));
        let frames = if limit == 0 {
            Vec::new()
        } else {
            let read = self.0.parts.store.read(worker_id, Select::ItemsAfter(start), limit, MAX_PAGE_BYTES).await;
            let frames = read.map_err(|fault| self.read_fault(worker_id, fault))?;
            if frames.is_empty() {
                return Err(self.gone(worker_id, start).await);
            }
            frames
        };
        let next = start.saturating_add(frames.len() as u64);
        let next_start = (next < total_items && !frames.is_empty()).then_some(next);
        Ok(TranscriptRead { total_items, next_start, frames })
    }

    /// Why items that were there a moment ago cannot be read.
    async fn gone(&self, worker_id: &WorkerId, start: u64) -> Error {
        match self.0.parts.store.worker(worker_id).await {
            Ok(None) => Error::unknown_worker(&self.0.parts.runtime_id, worker_id),
            Ok(Some(stored)) if start < stored.row.removed_items => removed(worker_id, stored.row.removed_items),
            Ok(Some(_)) => Error::new(Reason::StoreError, "items that were told of cannot be read"),
            Err(fault) => self.read_fault(worker_id, fault),
        }
    }

    /// Opens a reader of a worker's stream. With `stop_after` it only replays, and ends after that sequence.
    ///
    /// # Errors
    /// Unknown workers; [`Reason::CursorExpired`] where the cursor is of another incarnation or of the future.
    pub fn observe_worker(
        &self,
        worker_id: &WorkerId,
        from: ObserveFrom,
        stop_after: Option<u64>,
    ) -> Result<Observation> {
        let tail = match (self.sound(worker_id), from) {
            (Ok(slot), _) => slot.tail,
            // The worker is as gone as what the cursor counted: the cursor says which of the two is news.
            (Err(unknown), ObserveFrom::After(cursor))
                if unknown.reason() == Reason::UnknownWorker && cursor.incarnation != self.0.parts.incarnation =>
            {
                return Err(Error::new(Reason::CursorExpired, "the cursor is of a store that is gone")
                    .with("worker_id", worker_id)
                    .with("recovery", &"list the workers: this one is not there any more"));
            }
            (Err(unknown), _) => return Err(unknown),
        };
        let parts = &self.0.parts;
        let view = tail.view();
        let after = match from {
            ObserveFrom::Now => None,
            ObserveFrom::Beginning => Some(view.first_sequence.saturating_sub(1)),
            ObserveFrom::After(cursor) => Some(usable(cursor, parts.incarnation, &view)?),
        };
        let history = StoreHistory::new(Arc::clone(parts), worker_id.clone(), Arc::clone(&tail));
        Ok(Observation::open(parts.incarnation, tail, Arc::new(history), after, stop_after))
    }
}

/// A start before the first item that is kept.
fn removed(worker_id: &WorkerId, oldest_start: u64) -> Error {
    Error::new(Reason::CursorExpired, "start is before the first item that is kept")
        .with("worker_id", worker_id)
        .with("oldest_start", &oldest_start)
        .with("recovery", &"read from oldest_start")
}

/// The sequence that a cursor stands at, if this store can go on from it.
fn usable(cursor: Cursor, incarnation: Incarnation, view: &Worker) -> Result<u64> {
    let expired = |message: &'static str| {
        let oldest = Cursor::new(incarnation, &view.worker_id, view.first_sequence.saturating_sub(1));
        Error::new(Reason::CursorExpired, message)
            .with("worker_id", &view.worker_id)
            .with("oldest_cursor", &oldest.encode())
            .with("recovery", &"observe again without a cursor, or from oldest_cursor")
    };
    if cursor.incarnation != incarnation {
        return Err(expired("the cursor is of a store that is gone"));
    }
    if cursor.sequence > view.last_event_id {
        return Err(expired("the cursor is of the future"));
    }
    if cursor.sequence + 1 < view.first_sequence {
        return Err(expired("the cursor is before the first event that is kept"));
    }
    Ok(cursor.sequence)
}
