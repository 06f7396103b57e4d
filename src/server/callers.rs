//! Who is let in, as the token file has it now. A token that is taken out of it opens nothing any more, and the streams
//! that it has opened end; calls that have begun are finished. A stream whose reader does not even read that takes its
//! connection with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::connection::Connection;
use super::switch::Switch;
use crate::model::{Caller, Error, Reason, TokenDigest, TokenTable};

/// How long a stream may take to tell its reader that it ends: with the time until the file was looked at, 5 s at most.
const GRACE: Duration = Duration::from_secs(3);

/// Those who are let in; their owner may exchange them at any time.
#[derive(Debug)]
pub struct Callers(ArcSwap<Table>);

#[derive(Debug)]
struct Table {
    tokens: TokenTable,
    /// What each of the tokens gives, in their order.
    passes: Vec<Arc<Pass>>,
}

/// What a token gives for as long as it is in the file.
#[derive(Debug)]
pub(super) struct Pass {
    caller: Caller,
    digest: TokenDigest,
    revoked: Switch,
    open: Mutex<Open>,
}

/// The streams that are open under a pass, with the number of the next.
#[derive(Debug, Default)]
struct Open {
    streams: BTreeMap<u64, Connection>,
    next: u64,
}

/// A stream that is open under a pass until this is dropped.
pub(super) struct Opened {
    pass: Arc<Pass>,
    number: u64,
}

impl Callers {
    /// Those of a token file.
    #[must_use]
    pub fn new(tokens: TokenTable) -> Self {
        Self(ArcSwap::from_pointee(Table::new(tokens, &[])))
    }

    /// From now on those of another one, on a runtime. Returns how many tokens are new, and how many are gone.
    pub fn exchange(&self, tokens: TokenTable) -> (usize, usize) {
        let before = self.0.load_full();
        let now = Arc::new(Table::new(tokens, &before.passes));
        let lacks = |table: &Table, pass: &Arc<Pass>| !table.passes.iter().any(|it| Arc::ptr_eq(it, pass));
        let new = now.passes.iter().filter(|pass| lacks(&before, pass)).count();
        self.0.store(Arc::clone(&now));
        // After the store: who still reads the former table finds its pass revoked.
        let gone: Vec<_> = before.passes.iter().filter(|pass| lacks(&now, pass)).collect();
        for pass in &gone {
            pass.revoke();
        }
        (new, gone.len())
    }

    /// What a token gives, if anything.
    pub(super) fn pass(&self, token: &[u8]) -> Option<Arc<Pass>> {
        let table = self.0.load();
        table.passes.get(table.tokens.find(token)?).cloned()
    }
}

impl Table {
    /// A token that was there `before`, and whose it was, goes on with the pass that it had.
    fn new(tokens: TokenTable, before: &[Arc<Pass>]) -> Self {
        let pass = |(caller, digest): (&Caller, &TokenDigest)| {
            let same = before.iter().find(|pass| pass.digest == *digest && pass.caller == *caller).cloned();
            same.unwrap_or_else(|| {
                let (caller, digest) = (caller.clone(), *digest);
                Arc::new(Pass { caller, digest, revoked: Switch::default(), open: Mutex::default() })
            })
        };
        let passes = tokens.entries().map(pass).collect();
        Self { tokens, passes }
    }
}

impl Pass {
    /// Whose it is.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// A stream on this connection, from now on.
    pub(super) fn open(self: &Arc<Self>, connection: &Connection) -> Opened {
        let Open { streams, next } = &mut *self.open.lock();
        let number = *next;
        streams.insert(number, connection.clone());
        *next += 1;
        Opened { pass: Arc::clone(self), number }
    }

    fn revoke(self: &Arc<Self>) {
        self.revoked.turn_on();
        let pass = Arc::clone(self);
        tokio::spawn(async move {
            sleep(GRACE).await;
            let stalled: Vec<_> = pass.open.lock().streams.values().cloned().collect();
            for connection in stalled {
                connection.end("a stream on it is of a token that is gone, and its reader does not read that");
            }
        });
    }

    /// Whether its token is gone.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.is_on()
    }

    /// Waits until its token is gone.
    pub(super) async fn revoked(&self) {
        self.revoked.on().await;
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.pass.open.lock().streams.remove(&self.number);
    }
}

/// Nobody calls, as far as we know.
pub(super) fn unauthenticated() -> Error {
    Error::new(Reason::Unauthenticated, "a valid bearer token is required")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> TokenTable {
        TokenTable::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_token_that_stays_keeps_its_pass_and_one_that_goes_loses_it() {
        let callers = Callers::new(table("alice one\nbob two\ncarol three"));
        let passes = [&b"one"[..], b"two", b"three"].map(|token| callers.pass(token).unwrap());
        // Bob has another token, Carol's is somebody else's now.
        assert_eq!(callers.exchange(table("dan three\nbob four\nalice one")), (2, 2));
        assert_eq!(passes.map(|pass| pass.is_revoked()), [false, true, true]);
        assert!(callers.pass(b"two").is_none());
        for (token, caller) in [(&b"one"[..], "alice"), (b"three", "dan"), (b"four", "bob")] {
            let pass = callers.pass(token).unwrap();
            assert_eq!((pass.caller().as_str(), pass.is_revoked()), (caller, false));
        }
    }

    #[tokio::test]
    async fn what_is_read_again_and_is_the_same_changes_nothing() {
        let callers = Callers::new(table("alice one"));
        let pass = callers.pass(b"one").unwrap();
        assert_eq!(callers.exchange(table("# the same\nalice one")), (0, 0));
        assert!(Arc::ptr_eq(&pass, &callers.pass(b"one").unwrap()) && !pass.is_revoked());
    }
}
