//! What a ledger knows: its entries, and its last changes for those who watch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{Change, Changes, Entry, LedgerFault, Listing};

/// How many changes are kept for those who watch.
const KEPT: usize = 1_024;

/// A ledger's state, shared by all who ask.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: RwLock<State>,
    /// The state's revision, for those who wait for the next.
    revision: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    entries: BTreeMap<String, Entry>,
    revision: u64,
    /// The changes after `forgotten`, oldest first.
    changes: VecDeque<Change>,
    forgotten: u64,
}

/// A change that is to be made.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub key: String,
    /// The key's revision, 0 where it is not to be there.
    pub expected: u64,
    /// Its new value; `None` deletes it.
    pub value: Option<Bytes>,
}

impl Shared {
    /// A state at a revision, of which no earlier change is known.
    pub(super) fn new(entries: BTreeMap<String, Entry>, revision: u64) -> Self {
        let state = State { entries, revision, changes: VecDeque::new(), forgotten: revision };
        Self(Arc::new(Inner { state: RwLock::new(state), revision: watch::Sender::new(revision) }))
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.0.state.read().entries.get(key).cloned()
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        let state = self.0.state.read();
        let entries = state.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Listing {
            entries: entries.map(|(key, entry)| (key.clone(), entry.clone())).collect(),
            revision: state.revision,
        }
    }

    /// # Errors
    /// [`LedgerFault::Conflict`].
    pub(super) fn check(&self, wish: &Wish) -> Result<(), LedgerFault> {
        self.0.state.read().check(wish)
    }

    /// Checks a wish and makes it true, at the next revision.
    pub(super) fn change(&self, wish: Wish) -> Result<u64, LedgerFault> {
        let mut state = self.0.state.write();
        state.check(&wish)?;
        let revision = state.revision + 1;
        state.apply([wish], revision);
        self.0.revision.send_replace(revision);
        Ok(revision)
    }

    /// Makes wishes true that were checked, and have landed as one at `revision`.
    pub(super) fn apply(&self, wishes: impl IntoIterator<Item = Wish>, revision: u64) {
        self.0.state.write().apply(wishes, revision);
        self.0.revision.send_replace(revision);
    }

    pub(super) fn watch(&self, prefix: &str, after: u64) -> Changes {
        let watcher = Watcher {
            shared: self.clone(),
            revision: self.0.revision.subscribe(),
            prefix: prefix.to_owned(),
            after,
            over: false,
        };
        stream::unfold(watcher, Watcher::next).flat_map(stream::iter).boxed()
    }
}

impl State {
    fn check(&self, wish: &Wish) -> Result<(), LedgerFault> {
        let revision = self.entries.get(&wish.key).map_or(0, |entry| entry.revision);
        // What is not there cannot be deleted.
        let absent = wish.value.is_none() && revision == 0;
        if revision == wish.expected && !absent { Ok(()) } else { Err(LedgerFault::Conflict(revision)) }
    }

    fn apply(&mut self, wishes: impl IntoIterator<Item = Wish>, revision: u64) {
        self.revision = revision;
        for Wish { key, expected: _, value } in wishes {
            match value.clone() {
                Some(value) => self.entries.insert(key.clone(), Entry { revision, value }),
                None => self.entries.remove(&key),
            };
            self.changes.push_back(Change { key, revision, value });
        }
        while self.changes.len() > KEPT {
            let oldest = self.changes.pop_front();
            self.forgotten = oldest.map_or(self.forgotten, |change| change.revision);
        }
    }
}

/// One who watches. It keeps no queue of its own, so that a slow one costs nothing but its place.
struct Watcher {
    shared: Shared,
    revision: watch::Receiver<u64>,
    prefix: String,
    after: u64,
    over: bool,
}

impl Watcher {
    /// The changes since it last looked, at least one; waits for them.
    async fn next(mut self) -> Option<(Vec<Result<Change, LedgerFault>>, Self)> {
        if self.over {
            return None;
        }
        loop {
            // Marks what is there now as seen, before it is looked at: what comes then wakes the wait below.
            self.revision.mark_unchanged();
            match self.look() {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => return Some((changes.into_iter().map(Ok).collect(), self)),
                Err(fault) => {
                    self.over = true;
                    return Some((vec![Err(fault)], self));
                }
            }
            // The state, which this holds, has the sender.
            self.revision.changed().await.ok()?;
        }
    }

    fn look(&mut self) -> Result<Vec<Change>, LedgerFault> {
        let state = self.shared.0.state.read();
        // A revision that has not been is of another store.
        if self.after < state.forgotten || self.after > state.revision {
            return Err(LedgerFault::Compacted);
        }
        let after = self.after;
        self.after = state.revision;
        let changes = state.changes.iter().filter(|change| change.revision > after);
        Ok(changes.filter(|change| change.key.starts_with(&self.prefix)).cloned().collect())
    }
}
