//! What a ledger promises, of each that there is.

use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};

use tokio::runtime::Handle;

use super::*;
use crate::engine::store::disk::RealDisk;
use crate::model::CallContext;
use crate::registry::Registry;

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn next(changes: &mut Changes) -> Result<Change, LedgerFault> {
    changes.next().await.expect("there is one more")
}

/// A change in short: the key and the new value.
fn short(change: &Change) -> (&str, Option<&str>) {
    (&change.key, change.value.as_ref().map(|value| str::from_utf8(value).unwrap()))
}

#[tokio::test]
async fn of_two_who_want_a_key_one_wins_and_the_other_learns_of_it() {
    for (ledger, _keep) in ledgers() {
        assert_eq!(ledger.get("a").await.unwrap(), None);
        let first = ledger.put_if("a", 0, value("1")).await.unwrap();
        assert_eq!(ledger.put_if("a", 0, value("2")).await, Err(LedgerFault::Conflict(first)));
        assert_eq!(ledger.get("a").await.unwrap(), Some(Entry { revision: first, value: value("1") }));
        let second = ledger.put_if("a", first, value("2")).await.unwrap();
        assert!(second > first);
        assert_eq!(ledger.delete_if("a", first).await, Err(LedgerFault::Conflict(second)));
        let gone = ledger.delete_if("a", second).await.unwrap();
        assert!(gone > second);
        assert_eq!(ledger.delete_if("a", 0).await, Err(LedgerFault::Conflict(0)));
        assert_eq!(ledger.get("a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn many_at_once_win_each_key_once() {
    for (ledger, _keep) in ledgers() {
        let wishes = (0..200).map(|n| {
            let ledger = Arc::clone(&ledger);
            async move { ledger.put_if(&format!("k/{}", n % 50), 0, value("x")).await }
        });
        let outcomes = futures_util::future::join_all(wishes).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 50);
        let listing = ledger.list("k/").await.unwrap();
        assert_eq!(listing.entries.len(), 50);
        assert!(listing.entries.is_sorted_by(|a, b| a.0 < b.0));
        // Every loser was told the revision of the winner.
        for conflict in outcomes.into_iter().filter_map(Result::err) {
            let LedgerFault::Conflict(revision) = conflict else { panic!("{conflict}") };
            assert!(listing.entries.iter().any(|(_, entry)| entry.revision == revision));
        }
    }
}

#[tokio::test]
async fn a_watch_gives_what_comes_after_a_list_in_order_and_nothing_else() {
    for (ledger, _keep) in ledgers() {
        let before = ledger.put_if("in/a", 0, value("1")).await.unwrap();
        let listing = ledger.list("in/").await.unwrap();
        assert_eq!(listing.revision, before);
        let mut changes = ledger.watch("in/", listing.revision);
        assert!(next(&mut changes).now_or_never().is_none());
        ledger.put_if("out/b", 0, value("2")).await.unwrap();
        let a = ledger.put_if("in/a", before, value("3")).await.unwrap();
        ledger.delete_if("in/a", a).await.unwrap();
        ledger.put_if("in/c", 0, value("4")).await.unwrap();
        let mut last = before;
        for expected in [("in/a", Some("3")), ("in/a", None), ("in/c", Some("4"))] {
            let change = next(&mut changes).await.unwrap();
            assert_eq!(short(&change), expected);
            assert!(change.revision > last);
            last = change.revision;
        }
        // From the beginning: nothing was forgotten yet.
        assert_eq!(short(&next(&mut ledger.watch("in/", 0)).await.unwrap()), ("in/a", Some("1")));
    }
}

#[tokio::test]
async fn a_watcher_that_is_too_slow_or_comes_too_late_is_told_to_list_anew() {
    for (ledger, _keep) in ledgers() {
        let mut slow = ledger.watch("", 0);
        let first = ledger.put_if("k", 0, value("x")).await.unwrap();
        let mut revision = first;
        for _ in 0..1_100 {
            revision = ledger.put_if("k", revision, value("x")).await.unwrap();
        }
        assert_eq!(next(&mut slow).await, Err(LedgerFault::Compacted));
        assert!(slow.next().await.is_none(), "it ends with that");
        assert_eq!(next(&mut ledger.watch("", first)).await, Err(LedgerFault::Compacted));
        assert_eq!(next(&mut ledger.watch("", revision - 1)).await.unwrap().revision, revision);
        assert_eq!(next(&mut ledger.watch("", revision + 1)).await, Err(LedgerFault::Compacted), "of another store");
    }
}

/// Each ledger that there is, with what must be kept for it.
fn ledgers() -> Vec<(Arc<dyn Ledger>, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let file: Arc<dyn Ledger> = Arc::new(open(&dir));
    vec![(Arc::new(MemoryLedger::default()), None), (file, Some(dir))]
}

fn open(dir: &tempfile::TempDir) -> FileLedger {
    FileLedger::open(Arc::new(RealDisk), &dir.path().join("control"), &Handle::current()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_in_a_file_is_there_again_after_a_restart_and_its_revisions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir);
    let a = first.put_if("a", 0, value("1")).await.unwrap();
    let b = first.put_if("b", 0, value("2")).await.unwrap();
    let gone = first.delete_if("b", b).await.unwrap();
    first.close();
    assert_eq!(first.put_if("c", 0, value("3")).await, Err(LedgerFault::Failed));
    drop(first);

    let again = open(&dir);
    let listing = again.list("").await.unwrap();
    assert_eq!(
        listing,
        Listing { entries: vec![("a".to_owned(), Entry { revision: a, value: value("1") })], revision: gone }
    );
    // What was before is not known any more; from the list on all is.
    assert_eq!(next(&mut again.watch("", a)).await, Err(LedgerFault::Compacted));
    let mut changes = again.watch("", listing.revision);
    let later = again.put_if("a", a, value("4")).await.unwrap();
    assert!(later > gone);
    assert_eq!(next(&mut changes).await.unwrap().revision, later);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_none_is_told_with_its_file_and_offset_and_the_others_are_there() {
    use crate::engine::store::log::{Log, LogOptions, Owner, Slot, Submission};
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("control");
    let ledger = FileLedger::open(Arc::new(RealDisk), &dir, &Handle::current()).unwrap();
    ledger.put_if("a", 0, value("sound")).await.unwrap();
    ledger.close();
    let (log, _) = Log::open(Arc::new(RealDisk), &dir, LogOptions::default()).unwrap();
    let mut elsewhere = vec![1, 0, 0, 0];
    elsewhere.extend_from_slice(b"akey of another slot");
    let puts = vec![(Slot([1; 16]), Bytes::from_static(b"no")), (Slot([2; 16]), elsewhere.into())];
    let change = crate::engine::store::log::Change { owner: Owner([0; 16]), puts, ..Default::default() };
    log.commit(Submission { changes: vec![change], vital: false }).await.unwrap();
    let (entries, problems) = file::read(log.reader());
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(problems.len(), 2);
    let start = format!("{}: offset ", dir.join("00000000000000000001.seg").display());
    for (problem, what) in problems.iter().zip(["a value has no key", "a value is not that of its key"]) {
        assert!(problem.starts_with(&start) && problem.ends_with(what), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_the_control_planes_own_store_is_told_with_its_runtimes() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("control");
    let open = || FileLedger::open(Arc::new(RealDisk), &dir, &Handle::current()).unwrap();
    let ledger = open();
    ledger.put_if("a", 0, value("the value")).await.unwrap();
    assert!(ledger.damage().is_empty() && !ledger.is_full());
    ledger.close();
    drop(ledger);
    let segment = dir.join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(9).position(|window| window == b"the value").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let registry = Registry::on(Arc::new(open()), Arc::new(crate::engine::SystemClock));
    let ctx =
        CallContext::internal(crate::model::WorkspaceId::new("local:test").unwrap(), std::time::Duration::from_secs(9));
    let told = registry.list_runtimes(&ctx, None, 9).await.diagnostics;
    let place = "damaged: control/00000000000000000001.seg: offset ";
    assert!(!told.is_empty(), "it is told");
    assert!(told.iter().all(|it| it.code == "store_damaged" && it.message.contains(place)), "{told:?}");
}
