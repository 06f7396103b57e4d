//! The control plane's own small store: values by key, each changed only by whoever knows what it was. It holds what no
//! host could be asked for again: today what was asked to be spawned where ([`super::decisions`]).
//!
//! Every change has a revision, and revisions rise. A change is made against the revision of its key, so that of two who
//! want the same key one wins and the other learns of it. Who watches a prefix gets every change after a revision, in
//! order, or is told that it must list anew. One file is behind it, or memory; several control planes would share a
//! store of the same calls.

mod file;
mod memory;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use file::FileLedger;
#[cfg(test)]
pub(super) use file::kept;
pub(super) use file::unwrapped;
pub use memory::MemoryLedger;

/// A key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of its last change; never 0.
    pub revision: u64,
    /// What was put.
    pub value: Bytes,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which key.
    pub key: String,
    /// The revision of this change. Several keys may change in one.
    pub revision: u64,
    /// Its value now; `None` where it was deleted.
    pub value: Option<Bytes>,
}

/// All keys of a prefix at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// They, in order.
    pub entries: Vec<(String, Entry)>,
    /// A watch from here on misses nothing.
    pub revision: u64,
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerFault {
    /// The key has another revision: 0 where it is not there. Nothing was changed.
    #[error("the key has revision {0}")]
    Conflict(u64),
    /// Changes were forgotten, or a reader was too slow for them: list anew, and watch from there.
    #[error("changes have been forgotten: list anew")]
    Compacted,
    /// There is no room. Nothing was changed.
    #[error("there is no room")]
    Full,
    /// Too many changes wait. Nothing was changed.
    #[error("too many changes wait")]
    Overloaded,
    /// Writing failed. Nothing was changed.
    #[error("writing failed")]
    Failed,
    /// Writing failed, and a restart may find the change. Here it has not been made; another one that is made afterwards
    /// makes that sure.
    #[error("writing failed; whether it was kept is not known")]
    Unknown,
}

/// Changes as they come. It ends after a fault.
pub type Changes = BoxStream<'static, Result<Change, LedgerFault>>;

/// Values by key.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerFault>;

    /// All keys that begin with `prefix`.
    async fn list(&self, prefix: &str) -> Result<Listing, LedgerFault>;

    /// Puts a value if the key's revision is `revision`, which is 0 where the key is not to be there. It is durable, and
    /// has the revision that is returned, when this returns.
    async fn put_if(&self, key: &str, revision: u64, value: Bytes) -> Result<u64, LedgerFault>;

    /// Deletes a key if its revision is `revision`. Returns the revision of the deletion.
    async fn delete_if(&self, key: &str, revision: u64) -> Result<u64, LedgerFault>;

    /// The changes of all keys that begin with `prefix`, after `revision`: [`LedgerFault::Compacted`] comes where they
    /// are not kept any more.
    fn watch(&self, prefix: &str, revision: u64) -> Changes;

    /// What was found damaged when it was opened, as `FILE: offset N: what`.
    fn damage(&self) -> &[String] {
        &[]
    }

    /// Whether the last change found no room.
    fn is_full(&self) -> bool {
        false
    }
}
