//! What was asked to be spawned where: noted before a host is called, so that it is known after a lost reply, and after a
//! restart, that the request may have been done.
//!
//! A host answers a repeat from its own receipt, which knows the request as the control plane put it to the host. The note
//! knows it as the caller put it: another request under the same id is refused here, also where both would be the same to
//! the host. A spawn that was refused leaves no note, since it is judged anew; any other is kept for a day. The embedded
//! runtime needs none: its receipts are in this process.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::ledger::{Ledger, LedgerFault, unwrapped};
use crate::engine::store::RecordFault;
use crate::engine::store::log::Slot;
use crate::model::{CallContext, Diagnostic, Error, Fingerprint, Reason, RequestId, Result, RuntimeId};

const PREFIX: &str = "spawn/";
const KEPT_FOR: Duration = Duration::from_hours(24);
/// More than a day's worth is not kept: the oldest go first. About 30 MB.
const KEPT: usize = 100_000;
/// How many are dropped at once, which share a write.
const AT_ONCE: usize = 256;
const VERSION: u8 = 1;
/// How many places of damage are told; the log has all of them.
const MAX_TOLD: usize = 15;

/// The notes of a control plane.
#[derive(Debug, Clone)]
pub(super) struct Decisions(Arc<dyn Ledger>);

/// A note of a request that is being done.
#[derive(Debug)]
pub(super) struct Noted {
    key: String,
    /// Of the note, where this very call made it.
    revision: Option<u64>,
}

/// What is noted of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    fingerprint: Fingerprint,
    at: SystemTime,
}

impl Decisions {
    pub(super) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(ledger)
    }

    /// What is to be said of where the notes are kept.
    pub(super) fn diagnostics(&self) -> Vec<Diagnostic> {
        let damaged = |place: &String| {
            Diagnostic::warning("store_damaged", format!("the control plane's own store was damaged: {place}"))
        };
        let words = "the control plane's own store has no room: spawns on hosts are refused until there is some";
        let full = self.0.is_full().then(|| Diagnostic::warning("store_full", words));
        full.into_iter().chain(self.0.damage().iter().take(MAX_TOLD).map(damaged)).collect()
    }

    /// Notes that a spawn is going to be asked of a runtime. It is durable when this returns.
    ///
    /// # Errors
    /// [`Reason::RequestIdReused`] where the id was used for another request; a failed store: the host is not called then.
    pub(super) async fn note(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        now: SystemTime,
    ) -> Result<Option<Noted>> {
        let Some(request_id) = &ctx.request_id else { return Ok(None) };
        let key = key(ctx, runtime_id, request_id);
        let note = Note { fingerprint: ctx.fingerprint, at: now };
        let revision = match self.0.put_if(&key, 0, note.encode()).await {
            Ok(revision) => Some(revision),
            Err(LedgerFault::Conflict(_)) => {
                let earlier = self.0.get(&key).await.map_err(store_error)?;
                // What is not there any more was taken back: the host judges this one anew, as it did that.
                let earlier = earlier.and_then(|entry| Note::decode(&entry.value));
                if earlier.is_some_and(|earlier| earlier.fingerprint != ctx.fingerprint) {
                    let error = Error::new(Reason::RequestIdReused, "request_id was used for another request");
                    return Err(error.with("request_id", request_id));
                }
                None
            }
            Err(fault) => return Err(store_error(fault)),
        };
        Ok(Some(Noted { key, revision }))
    }

    /// Nothing was done: the same id may be used for another request. A note of an earlier call stays, since that one may
    /// still be on its way.
    pub(super) async fn take_back(&self, noted: Noted) {
        let Noted { key, revision: Some(revision) } = noted else { return };
        if let Err(fault) = self.0.delete_if(&key, revision).await {
            tracing::warn!(%fault, "the note of a spawn that was refused stays for a day");
        }
    }

    /// Drops what is older than a day, and of the rest what is too much.
    pub(super) async fn drop_old(&self, now: SystemTime) {
        let listing = match self.0.list(PREFIX).await {
            Ok(listing) => listing,
            Err(fault) => return tracing::warn!(%fault, "old notes of spawns cannot be looked at"),
        };
        let mut notes: Vec<_> = (listing.entries.into_iter())
            // What cannot be read is of no use to anybody.
            .map(|(key, entry)| (Note::decode(&entry.value).map_or(UNIX_EPOCH, |note| note.at), key, entry.revision))
            .collect();
        notes.sort_unstable();
        let too_many = notes.len().saturating_sub(KEPT);
        // A clock that stepped back makes nothing older.
        let old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age >= KEPT_FOR);
        let dropped = notes.into_iter().enumerate().filter(|(nth, (at, ..))| *nth < too_many || old(*at));
        let drop_one = |(_, (_, key, revision)): (usize, (SystemTime, String, u64))| async move {
            if let Err(fault) = self.0.delete_if(&key, revision).await {
                tracing::warn!(%fault, "an old note of a spawn could not be dropped yet");
            }
        };
        stream::iter(dropped).for_each_concurrent(AT_ONCE, drop_one).await;
    }
}

/// Whether a value of the control plane's own store can be read, where it stands.
///
/// # Errors
/// What is wrong with it.
pub fn check_kept(slot: Slot, value: &Bytes) -> std::result::Result<(), RecordFault> {
    let (key, value) = unwrapped(slot, value)?;
    if key.starts_with(PREFIX) && Note::decode(&value).is_none() {
        return Err(RecordFault("the note of a spawn does not decode".to_owned()));
    }
    Ok(())
}

impl Note {
    fn encode(self) -> Bytes {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.fingerprint.0);
        let since = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        bytes.extend_from_slice(&since.as_secs().to_be_bytes());
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (fingerprint, at) = rest.split_first_chunk()?;
        let at = Duration::from_secs(u64::from_be_bytes(at.try_into().ok()?));
        let at = UNIX_EPOCH.checked_add(at)?;
        (*version == VERSION).then_some(Self { fingerprint: Fingerprint(*fingerprint), at })
    }
}

/// The scope of a request id (api.md, 3). None of the first three has a slash in it.
fn key(ctx: &CallContext, runtime_id: &RuntimeId, request_id: &RequestId) -> String {
    format!("{PREFIX}{runtime_id}/{}/{request_id}/{}", ctx.workspace, ctx.caller)
}

/// Nothing was asked of a host.
fn store_error(fault: LedgerFault) -> Error {
    match fault {
        LedgerFault::Full => Error::new(Reason::StoreFull, "the control plane's store has no room"),
        LedgerFault::Overloaded => Error::new(Reason::Overloaded, "too many spawns wait for the control plane's store")
            .retry_after(Duration::from_millis(100)),
        // Another request under this id may be refused after a restart.
        LedgerFault::Unknown => Error::new(Reason::RemoteRuntimeNetworkError, "the control plane's store failed")
            .retry_after(Duration::from_secs(1)),
        LedgerFault::Failed | LedgerFault::Conflict(_) | LedgerFault::Compacted => {
            Error::new(Reason::StoreError, "the control plane's store failed")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::runtime::Handle;

    use super::*;
    use crate::engine::store::disk::simulated::{Chances, SimulatedDisk};
    use crate::model::{Caller, ErrorClass, TraceContext, WorkspaceId};
    use crate::registry::ledger::{FileLedger, MemoryLedger};

    fn ctx(caller: &str, fingerprint: u8) -> CallContext {
        CallContext {
            caller: Caller::new(caller),
            workspace: WorkspaceId::new("local:test").unwrap(),
            deadline: tokio::time::Instant::now() + Duration::from_secs(30),
            request_id: Some(RequestId::new("r-1").unwrap()),
            fingerprint: Fingerprint([fingerprint; 32]),
            trace: TraceContext::default(),
        }
    }

    fn at(hours: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(1_000 + hours)
    }

    #[tokio::test]
    async fn another_request_under_the_same_id_is_refused_and_a_repeat_is_not() {
        let decisions = Decisions::new(Arc::new(MemoryLedger::default()));
        let (here, there) = (RuntimeId::new("here").unwrap(), RuntimeId::new("there").unwrap());
        let noted = decisions.note(&ctx("a", 1), &here, at(0)).await.unwrap().unwrap();
        let repeat = decisions.note(&ctx("a", 1), &here, at(0)).await.unwrap().unwrap();
        let refused = decisions.note(&ctx("a", 2), &here, at(0)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::RequestIdReused);
        // Another runtime, or another caller, is another scope.
        assert!(decisions.note(&ctx("a", 2), &there, at(0)).await.is_ok());
        assert!(decisions.note(&ctx("b", 2), &here, at(0)).await.is_ok());
        // A repeat that was refused takes back nothing: the first may be on its way.
        decisions.take_back(repeat).await;
        assert!(decisions.note(&ctx("a", 2), &here, at(0)).await.is_err());
        decisions.take_back(noted).await;
        assert!(decisions.note(&ctx("a", 2), &here, at(0)).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_note_that_a_restart_may_find_is_told_as_unknown_until_something_lands() {
        let here = RuntimeId::new("here").unwrap();
        for restarted in [false, true] {
            let disk = SimulatedDisk::new(1);
            let open = |disk: &SimulatedDisk| {
                let ledger = FileLedger::open(Arc::new(disk.clone()), Path::new("/control"), &Handle::current());
                Decisions::new(Arc::new(ledger.unwrap()))
            };
            let decisions = open(&disk);
            disk.set_chances(Chances { sync: 1.0, ..Chances::default() });
            let unknown = decisions.note(&ctx("a", 1), &here, at(0)).await.unwrap_err();
            assert_eq!(unknown.reason().class(), ErrorClass::Unknown);
            assert!(unknown.retry_delay().is_some());
            disk.set_chances(Chances::default());
            // Here nothing was noted; there it may have been. What was told holds for both.
            let decisions = if restarted { open(&disk.restart()) } else { decisions };
            if restarted {
                assert!(decisions.note(&ctx("a", 1), &here, at(0)).await.is_ok());
            } else {
                assert!(decisions.note(&ctx("a", 2), &here, at(0)).await.unwrap().unwrap().revision.is_some());
            }
        }
    }

    #[tokio::test]
    async fn notes_are_kept_for_a_day() {
        let ledger = Arc::new(MemoryLedger::default());
        let decisions = Decisions::new(ledger.clone());
        let here = RuntimeId::new("here").unwrap();
        decisions.note(&ctx("old", 1), &here, at(0)).await.unwrap();
        decisions.note(&ctx("new", 1), &here, at(1)).await.unwrap();
        ledger.put_if("spawn/unreadable", 0, Bytes::from_static(b"?")).await.unwrap();
        ledger.put_if("other", 0, Bytes::from_static(b"?")).await.unwrap();
        decisions.drop_old(at(24)).await;
        let left: Vec<_> = ledger.list("").await.unwrap().entries.into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, ["other", "spawn/here/local:test/r-1/new"]);
    }

    #[test]
    fn a_note_that_does_not_decode_is_no_sound_value() {
        use crate::registry::ledger::kept;
        let note = Note { fingerprint: Fingerprint([1; 32]), at: at(1) };
        let check = |key: &str, value: Bytes| {
            let (slot, value) = kept(key, &value);
            check_kept(slot, &value)
        };
        assert_eq!(check("spawn/a", note.encode()), Ok(()));
        assert_eq!(check("of another kind", Bytes::from_static(b"x")), Ok(()));
        assert!(check("spawn/a", Bytes::from_static(b"x")).is_err());
    }
}
