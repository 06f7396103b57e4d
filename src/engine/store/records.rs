//! What is kept beside events, as bytes. The engine knows no wire format: `app` hands it the [`RecordCodec`], as it does
//! with that of the frames.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::StoredWorker;
use crate::engine::receipts::Receipt;
use crate::engine::row::WorkerOrigin;
use crate::model::{ConfigBundle, EventKind, WorkerId};

/// Why bytes are not the record that they should be: the field's path and what is wrong with it, without its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordFault(pub String);

/// What is stored of a worker, for [`RecordCodec::text`].
#[derive(Debug)]
pub enum Kept<'a> {
    /// A [`RecordCodec::origin`].
    Origin(&'a [u8]),
    /// A [`RecordCodec::row`].
    Row(&'a [u8]),
    /// An event.
    Event {
        /// Whose.
        worker_id: &'a WorkerId,
        /// Its place among the worker's events.
        sequence: u64,
        /// When it happened.
        observed_at: SystemTime,
        /// Its kind, by its number on disk.
        tag: u8,
        /// Its encoded payload.
        body: &'a [u8],
    },
}

/// Turns records into bytes and back. What was encoded once decodes for good, to what it was.
pub trait RecordCodec: fmt::Debug + Send + Sync + 'static {
    /// What never changes of a worker.
    fn origin(&self, origin: &WorkerOrigin) -> Bytes;

    /// # Errors
    /// Names the field at fault.
    fn read_origin(&self, bytes: &[u8]) -> Result<WorkerOrigin, RecordFault>;

    /// What changes of a worker: its row without the origin, and how many batches it is the outcome of.
    fn row(&self, stored: &StoredWorker) -> Bytes;

    /// # Errors
    /// Names the field at fault.
    fn read_row(&self, origin: Arc<WorkerOrigin>, bytes: &[u8]) -> Result<StoredWorker, RecordFault>;

    /// A receipt.
    fn receipt(&self, receipt: &Receipt) -> Bytes;

    /// # Errors
    /// Names the field at fault.
    fn read_receipt(&self, bytes: &[u8]) -> Result<Receipt, RecordFault>;

    /// A bundle.
    fn bundle(&self, bundle: &ConfigBundle) -> Bytes;

    /// # Errors
    /// Names the field at fault; a bundle that is not what its digest says is one too.
    fn read_bundle(&self, bytes: &[u8]) -> Result<ConfigBundle, RecordFault>;

    /// What something says, for people: a JSON object in one line. `None` where it does not decode.
    fn text(&self, kept: &Kept<'_>) -> Option<String>;

    /// The number that stands for a kind of event on disk, for good.
    fn tag(&self, kind: EventKind) -> u8;

    /// The kind that a number on disk stands for.
    fn kind(&self, tag: u8) -> Option<EventKind>;
}
