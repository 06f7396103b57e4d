//! A ledger that is gone with the process.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use super::state::{Shared, Wish};
use super::{Changes, Entry, Ledger, LedgerFault, Listing};

/// A ledger in memory.
#[derive(Debug, Clone)]
pub struct MemoryLedger(Shared);

impl Default for MemoryLedger {
    fn default() -> Self {
        Self(Shared::new(BTreeMap::new(), 0))
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerFault> {
        Ok(self.0.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, LedgerFault> {
        Ok(self.0.list(prefix))
    }

    async fn put_if(&self, key: &str, revision: u64, value: Bytes) -> Result<u64, LedgerFault> {
        self.0.change(Wish { key: key.to_owned(), expected: revision, value: Some(value) })
    }

    async fn delete_if(&self, key: &str, revision: u64) -> Result<u64, LedgerFault> {
        self.0.change(Wish { key: key.to_owned(), expected: revision, value: None })
    }

    fn watch(&self, prefix: &str, revision: u64) -> Changes {
        self.0.watch(prefix, revision)
    }
}
