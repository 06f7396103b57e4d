//! A ledger in a directory, over the same log as a runtime's store. One task decides and writes: what waits while it
//! writes goes into the next write together, in order, and each change is visible once it is durable.
//!
//! A key is the slot that the first 16 bytes of its SHA-256 are; the value begins with the key's length and the key. The
//! revision is the position in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::state::{Shared, Wish};
use super::{Changes, Entry, Ledger, LedgerFault, Listing};
use crate::engine::store::disk::Disk;
use crate::engine::store::log::{
    Change, Damage, Log, LogOptions, LogStanding, Owner, Reached, Reader, Slot, Submission,
};
use crate::engine::store::{RecordFault, StoreFault};

/// How many changes may wait.
const QUEUE: usize = 4_096;
/// How many are written at once.
const AT_ONCE: usize = 1_024;
/// All of it is the control plane's own.
const OWNER: Owner = Owner([0; 16]);

/// A ledger in a directory.
#[derive(Debug)]
pub struct FileLedger {
    shared: Shared,
    submit: mpsc::Sender<Waiting>,
    log: Arc<Log>,
    damage: Vec<String>,
}

#[derive(Debug)]
struct Waiting {
    wish: Wish,
    reply: oneshot::Sender<Result<u64, LedgerFault>>,
}

impl FileLedger {
    /// Opens the ledger in `dir`, which is made where it is not there. Blocks while all of it is read; its task runs on
    /// `handle`.
    ///
    /// # Errors
    /// What the log says. What is damaged is told, with its place, by the log of this process, and is not there.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, handle: &Handle) -> io::Result<Self> {
        let (log, recovered) = Log::open(disk, dir, LogOptions { name: "control", ..LogOptions::default() })?;
        let (entries, problems) = read(log.reader());
        let problems: Vec<_> = recovered.damage.iter().map(Damage::to_string).chain(problems).collect();
        for problem in &problems {
            tracing::error!("{problem}; it is in the control plane's store");
        }
        let shared = Shared::new(entries, recovered.last_position);
        let (submit, waiting) = mpsc::channel(QUEUE);
        let log = Arc::new(log);
        handle.spawn(write(shared.clone(), waiting, Arc::clone(&log)));
        // Callers are told files from the data directory on.
        let above = format!("{}/", dir.parent().unwrap_or(dir).display());
        let told = |problem: String| problem.strip_prefix(&above).map(str::to_owned).unwrap_or(problem);
        let damage = problems.into_iter().map(told).collect();
        Ok(Self { shared, submit, log, damage })
    }

    /// How far its log has come.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.log.reached()
    }

    /// How its log stands.
    #[must_use]
    pub fn standing(&self) -> LogStanding {
        self.log.standing()
    }

    /// Writes what was handed over and closes the log in order. Blocks. What is changed afterwards fails.
    pub fn close(&self) {
        self.log.close();
    }

    async fn change(&self, wish: Wish) -> Result<u64, LedgerFault> {
        let (reply, answer) = oneshot::channel();
        self.submit.try_send(Waiting { wish, reply }).map_err(|_| LedgerFault::Overloaded)?;
        // Its task ends without an answer only with the process.
        answer.await.unwrap_or(Err(LedgerFault::Unknown))
    }
}

#[async_trait]
impl Ledger for FileLedger {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerFault> {
        Ok(self.shared.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, LedgerFault> {
        Ok(self.shared.list(prefix))
    }

    async fn put_if(&self, key: &str, revision: u64, value: Bytes) -> Result<u64, LedgerFault> {
        self.change(Wish { key: key.to_owned(), expected: revision, value: Some(value) }).await
    }

    async fn delete_if(&self, key: &str, revision: u64) -> Result<u64, LedgerFault> {
        self.change(Wish { key: key.to_owned(), expected: revision, value: None }).await
    }

    fn watch(&self, prefix: &str, revision: u64) -> Changes {
        self.shared.watch(prefix, revision)
    }

    fn damage(&self) -> &[String] {
        &self.damage
    }

    fn is_full(&self) -> bool {
        self.log.reader().is_full()
    }
}

/// The values there are, and as `FILE: offset N: what` those that are none.
pub(super) fn read(reader: &Reader) -> (BTreeMap<String, Entry>, Vec<String>) {
    let (mut entries, mut problems) = (BTreeMap::new(), Vec::new());
    reader.each_value(&reader.owners(), |owner, slot, value| {
        let read = value.map_err(|fault| RecordFault(fault.to_string()));
        match read.and_then(|it| Ok((it.position, unwrapped(slot, &it.value)?))) {
            Ok((revision, (key, value))) => _ = entries.insert(key, Entry { revision, value }),
            Err(fault) => {
                let (file, offset) = reader.place(owner, slot).unwrap_or_default();
                problems.push(format!("{}: offset {offset}: {fault}", file.display()));
            }
        }
    });
    (entries, problems)
}

/// Decides on what waits and writes it, until there is nobody left to ask.
async fn write(shared: Shared, mut waiting: mpsc::Receiver<Waiting>, log: Arc<Log>) {
    let mut group: Vec<Waiting> = Vec::new();
    loop {
        // What wants a key that was in the last write is decided now.
        if group.is_empty() && waiting.recv_many(&mut group, AT_ONCE).await == 0 {
            return;
        }
        let mut keys = BTreeSet::new();
        let (now, later) = std::mem::take(&mut group).into_iter().partition(|it| keys.insert(it.wish.key.clone()));
        group = later;
        write_group(&shared, now, &log).await;
    }
}

/// Writes changes of different keys as one.
async fn write_group(shared: &Shared, group: Vec<Waiting>, log: &Log) {
    let mut change = Change { owner: OWNER, ..Change::default() };
    let (mut wishes, mut replies) = (Vec::new(), Vec::new());
    for Waiting { wish, reply } in group {
        if let Err(fault) = shared.check(&wish) {
            // Whoever asked may have gone; so below.
            let _ = reply.send(Err(fault));
            continue;
        }
        match &wish.value {
            Some(value) => change.puts.push((slot(&wish.key), wrapped(&wish.key, value))),
            None => change.deletes.push(slot(&wish.key)),
        }
        wishes.push(wish);
        replies.push(reply);
    }
    if wishes.is_empty() {
        return;
    }
    // Deletions make room.
    let vital = change.puts.is_empty();
    let outcome = log.commit(Submission { changes: vec![change], vital }).await.map_err(fault_of);
    if let Ok(revision) = outcome {
        shared.apply(wishes, revision);
    }
    for reply in replies {
        let _ = reply.send(outcome);
    }
}

fn fault_of(fault: StoreFault) -> LedgerFault {
    match fault {
        StoreFault::Full => LedgerFault::Full,
        StoreFault::Overloaded => LedgerFault::Overloaded,
        StoreFault::Unknown(_) => LedgerFault::Unknown,
        StoreFault::Failed | StoreFault::OutOfOrder | StoreFault::Damaged => LedgerFault::Failed,
    }
}

fn slot(key: &str) -> Slot {
    let mut slot = [0; 16];
    slot.copy_from_slice(&Sha256::digest(key.as_bytes())[..16]);
    Slot(slot)
}

fn wrapped(key: &str, value: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(4 + key.len() + value.len());
    // Keys are of this program's making, and short.
    bytes.put_u32_le(u32::try_from(key.len()).unwrap_or(u32::MAX));
    bytes.put_slice(key.as_bytes());
    bytes.put_slice(value);
    bytes.freeze()
}

/// A value as it is kept, and where.
#[cfg(test)]
pub(in crate::registry) fn kept(key: &str, value: &[u8]) -> (Slot, Bytes) {
    (slot(key), wrapped(key, value))
}

/// The key and the value that stand in a slot.
///
/// # Errors
/// What is wrong with them.
pub(in crate::registry) fn unwrapped(at: Slot, bytes: &Bytes) -> Result<(String, Bytes), RecordFault> {
    let read = || {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let key = str::from_utf8(rest.get(..length)?).ok()?;
        Some((key.to_owned(), bytes.slice(4 + length..)))
    };
    match read() {
        None => Err(RecordFault("a value has no key".to_owned())),
        Some((key, _)) if slot(&key) != at => Err(RecordFault("a value is not that of its key".to_owned())),
        Some(read) => Ok(read),
    }
}
