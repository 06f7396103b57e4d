//! The store on disk: what a runtime keeps, as records of the log.
//!
//! A worker's events are those of the owner that its UUID is; its origin, its row and its receipts are slots of that
//! owner. What belongs to no worker, bundles above all, is the runtime's own, whose owner is all zero. So one hit in a
//! file quarantines one worker, with all that it was ever told of, and a repeated request is never done twice because
//! its receipt was lost.

mod left;
mod restore;
mod salvage;
mod slot;
mod submit;
#[cfg(test)]
mod tests;
mod verify;

pub use salvage::{Salvaged, salvage};
pub use verify::{CareError, ControlCheck, Finding, Verified, verify};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use self::restore::named;
use self::slot::{ORIGIN, ROW, RUNTIME, owner_of};
use super::disk::Disk;
use super::log::{Damage, Log, LogOptions, LogStanding, Owner, Reached, StoredEvent, UNREAD};
use super::{
    Batch, Commit, Deletion, Doubt, EachEnded, Read, RecordCodec, Restored, Select, Store, StoreFault, StoredWorker,
};
use crate::engine::frame::Frame;
use crate::engine::receipts::{Receipt, ReceiptKey};
use crate::model::{EventKind, WorkerId};

/// How many receipts of a damaged worker are kept in one submission.
const KEPT_AT_ONCE: usize = 1_000;

/// A store in a directory.
#[derive(Debug, Clone)]
pub struct FsStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Log,
    codec: Arc<dyn RecordCodec>,
    /// Where what blocks is done.
    handle: Handle,
    /// The directory from which files are named.
    above: PathBuf,
    /// What the log found when it was opened.
    damage: Mutex<Vec<Damage>>,
    /// Workers that are quarantined.
    quarantined: Mutex<BTreeSet<Owner>>,
    /// Workers of which something could not be read since, and where that was last.
    found: Mutex<BTreeMap<Owner, String>>,
}

impl FsStore {
    /// Opens the store in `dir`, which is made where it is not there. Blocks while all of it is read; what blocks later
    /// is done on the threads of `handle` that may, and what was submitted is settled by a task there.
    ///
    /// # Errors
    /// What the log says. Damage is no error: it is told by [`Store::restore`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, codec: Arc<dyn RecordCodec>, handle: Handle) -> io::Result<Self> {
        Self::open_with(disk, dir, codec, handle, &LogOptions::default())
    }

    /// As [`FsStore::open`], with a log of other sizes.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        codec: Arc<dyn RecordCodec>,
        handle: Handle,
        options: &LogOptions,
    ) -> io::Result<Self> {
        let numbered_tag = Some(codec.tag(EventKind::ItemAppended));
        let settle_on = Some(handle.clone());
        let (log, recovered) = Log::open(disk, dir, LogOptions { numbered_tag, settle_on, ..options.clone() })?;
        let above = dir.parent().unwrap_or(Path::new("")).to_owned();
        let damage = Mutex::new(recovered.damage);
        Ok(Self(Arc::new(Inner {
            log,
            codec,
            handle,
            above,
            damage,
            quarantined: Mutex::default(),
            found: Mutex::default(),
        })))
    }

    /// How far its log has come.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.0.log.reached()
    }

    /// How its log stands.
    #[must_use]
    pub fn standing(&self) -> LogStanding {
        self.0.log.standing()
    }

    /// Writes what waits and closes the log in order. Blocks. What is submitted afterwards fails.
    pub fn close(&self) {
        self.0.log.close();
    }

    /// Does what blocks where that is allowed.
    fn blocking<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreFault> + Send + 'static,
    ) -> Read<'a, T> {
        let inner = Arc::clone(&self.0);
        let done = self.0.handle.spawn_blocking(move || work(&inner));
        // It failed where it panicked, or where the runtime ends.
        Box::pin(async move { done.await.unwrap_or(Err(StoreFault::Failed)) })
    }

    /// Deletes a worker of which not all can be read, beside whoever asked.
    fn delete_damaged(&self, batch: Batch, worker_id: WorkerId) -> Commit {
        let (settle, commit) = Commit::pending();
        let store = self.clone();
        self.0.handle.spawn(async move {
            // Whoever gave up waiting finds the outcome by its request id.
            let _ = settle.send(store.erase_damaged(batch, worker_id).await);
        });
        commit
    }

    /// All that the worker has goes, what is known of the damage included, but for the receipts that can be read: these
    /// are the runtime's own from then on. They may be many, so that they are not all in one submission; the last one
    /// has the effect.
    async fn erase_damaged(&self, batch: Batch, worker_id: WorkerId) -> Result<u64, StoreFault> {
        let (owner, receipts) = self.0.receipts_of_damaged(&worker_id)?;
        for some in receipts.chunks(KEPT_AT_ONCE).map(<[_]>::to_vec) {
            if let Some(kept) = self.blocking(move |inner| Ok(inner.keep(owner, &some))).await? {
                self.0.log.commit(kept).await?;
            }
        }
        let position = self.0.log.commit(self.0.erasure(batch, owner)?).await?;
        self.0.damage.lock().retain(|damage| damage.owner != Some(owner));
        self.0.quarantined.lock().remove(&owner);
        self.0.found.lock().remove(&owner);
        Ok(position)
    }
}

impl Store for FsStore {
    fn commit(&self, batch: Batch) -> Commit {
        if let Some(Deletion { worker_id, revision: None }) = &batch.deleted {
            let worker_id = worker_id.clone();
            return self.delete_damaged(batch, worker_id);
        }
        match self.0.submission(batch) {
            Ok(submission) => self.0.log.commit(submission),
            Err(fault) => {
                let (settle, commit) = Commit::pending();
                // The other end is in the very commit.
                let _ = settle.send(Err(fault));
                commit
            }
        }
    }

    fn read<'a>(
        &'a self,
        worker_id: &'a WorkerId,
        select: Select,
        max_count: usize,
        max_bytes: usize,
    ) -> Read<'a, Vec<Frame>> {
        let Some(owner) = owner_of(worker_id) else { return Box::pin(async { Ok(Vec::new()) }) };
        self.blocking(move |inner| inner.read(owner, select, max_count, max_bytes))
    }

    fn worker<'a>(&'a self, worker_id: &'a WorkerId) -> Read<'a, Option<StoredWorker>> {
        let Some(owner) = owner_of(worker_id) else { return Box::pin(async { Ok(None) }) };
        self.blocking(move |inner| inner.worker(owner))
    }

    fn receipt<'a>(&'a self, key: &'a ReceiptKey, worker_id: &'a WorkerId) -> Read<'a, Option<Receipt>> {
        let (key, owner) = (*key, owner_of(worker_id).unwrap_or(RUNTIME));
        self.blocking(move |inner| inner.receipt(owner, &key))
    }

    fn revision(&self, worker_id: &WorkerId) -> Option<u64> {
        let known = self.0.log.reader().owner(owner_of(worker_id)?)?;
        known.slots.contains(&ROW).then_some(known.revision)
    }

    fn restore(&self, ended: EachEnded) -> Read<'_, Restored> {
        self.blocking(|inner| Ok(inner.restore(ended)))
    }

    fn worker_bytes(&self, worker_id: &WorkerId) -> u64 {
        owner_of(worker_id).map_or(0, |owner| self.0.log.reader().event_bytes(owner))
    }

    fn damage(&self, worker_id: &WorkerId) -> Option<String> {
        self.0.found.lock().get(&owner_of(worker_id)?).cloned()
    }

    fn is_void(&self, doubt: Doubt) -> bool {
        self.0.log.reader().is_void(doubt)
    }

    fn backend(&self) -> &'static str {
        "fs_store"
    }

    fn is_full(&self) -> bool {
        self.0.log.reader().is_full()
    }

    /// That there is no room is told otherwise, and commit by commit.
    fn fault(&self) -> Option<StoreFault> {
        self.0.log.reader().is_failing().then_some(StoreFault::Failed)
    }
}

impl Inner {
    fn worker(&self, owner: Owner) -> Result<Option<StoredWorker>, StoreFault> {
        if self.quarantined.lock().contains(&owner) {
            return Err(StoreFault::Damaged);
        }
        let reader = self.log.reader();
        let (Some(row), Some(origin)) = (reader.get(owner, ROW)?, reader.get(owner, ORIGIN)?) else { return Ok(None) };
        let origin = self.codec.read_origin(&origin.value);
        let stored = origin.and_then(|origin| self.codec.read_row(Arc::new(origin), &row.value));
        stored.map(Some).map_err(|fault| {
            tracing::error!(worker_id = %owner, %fault, "a worker's records do not decode");
            StoreFault::Damaged
        })
    }

    /// That of a worker that was deleted for its damage is the runtime's own.
    fn receipt(&self, owner: Owner, key: &ReceiptKey) -> Result<Option<Receipt>, StoreFault> {
        let (reader, slot) = (self.log.reader(), slot::receipt(&key.short()));
        let Some(stored) = reader.get(owner, slot)?.map_or_else(|| reader.get(RUNTIME, slot), |it| Ok(Some(it)))?
        else {
            return Ok(None);
        };
        let receipt = self.codec.read_receipt(&stored.value).map_err(|fault| {
            tracing::error!(worker_id = %owner, %fault, "a receipt does not decode");
            StoreFault::Damaged
        })?;
        Ok(Some(receipt).filter(|receipt| receipt.key == *key))
    }

    fn read(&self, owner: Owner, select: Select, max_count: usize, max_bytes: usize) -> Result<Vec<Frame>, StoreFault> {
        let reader = self.log.reader();
        let events = reader.read(owner, select, max_count, max_bytes);
        let frames = events.and_then(|events| events.into_iter().map(|event| self.frame(event)).collect());
        let what = match &frames {
            Err(StoreFault::Damaged) => "an event is not what was written",
            Err(StoreFault::Failed) => UNREAD,
            _ => return frames,
        };
        // What can be read comes first: it is the very next one that cannot.
        let place = reader.event_place(owner, select).map(|(file, offset)| named(&self.above, &file, offset, what));
        let place = place.unwrap_or_else(|| "log: an event is missing".to_owned());
        self.found.lock().insert(owner, place);
        frames
    }

    fn frame(&self, event: StoredEvent) -> Result<Frame, StoreFault> {
        let StoredEvent { sequence, number: _, position, tag, payload } = event;
        let read = || {
            let (observed_at, body) = unstamped(&payload)?;
            Some(Frame { sequence, position, observed_at, kind: self.codec.kind(tag)?, body })
        };
        read().ok_or_else(|| {
            tracing::error!(sequence, position, tag, "an event is of no kind that this version knows");
            StoreFault::Damaged
        })
    }
}

/// How many bytes stand in front of an event's body: seconds and nanoseconds since 1970, little-endian.
const STAMP: usize = 12;

/// An event's body with the time in front.
fn stamped(observed_at: SystemTime, body: &[u8]) -> Bytes {
    // A clock that is before 1970 is wrong, and by how much is of no use.
    let since = observed_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(STAMP + body.len());
    bytes.put_u64_le(since.as_secs());
    bytes.put_u32_le(since.subsec_nanos());
    bytes.put_slice(body);
    bytes.freeze()
}

fn unstamped(payload: &Bytes) -> Option<(SystemTime, Bytes)> {
    let (seconds, rest) = payload.split_first_chunk()?;
    let (nanos, _) = rest.split_first_chunk()?;
    let nanos = Some(u32::from_le_bytes(*nanos)).filter(|nanos| *nanos < 1_000_000_000)?;
    let at = UNIX_EPOCH.checked_add(Duration::new(u64::from_le_bytes(*seconds), nanos))?;
    Some((at, payload.slice(STAMP..)))
}
