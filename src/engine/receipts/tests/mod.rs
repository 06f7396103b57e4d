//! What a request id is worth.

use super::*;
use crate::engine::store::{Batch, Forgotten, MemoryStore, StoreFault, Unsteadiness, UnsteadyStore};
use crate::model::{RequestId, WorkspaceId};

fn ctx() -> CallContext {
    let internal = CallContext::internal(WorkspaceId::new("local:test").unwrap(), Duration::from_secs(30));
    CallContext { request_id: Some(RequestId::new("r").unwrap()), ..internal }
}

async fn held(receipts: &Receipts) -> Hold {
    match receipts.claim(&ctx(), "SendInput").await.unwrap() {
        Claim::New(hold) => hold,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_waits_for_a_request_that_was_given_up_before_anything_was_submitted_does_it() {
    let receipts = Receipts::new(MemoryStore::new());
    let first = held(&receipts).await;
    let (again, ()) = tokio::join!(held(&receipts), async { drop(first) });
    again.refused(Error::new(Reason::Overloaded, "no"));
}

#[test]
fn what_a_worker_was_asked_is_answered_for_a_day_after_it_is_gone_also_after_a_restart() {
    let (worker_id, asked) = (WorkerId::generate(), SystemTime::UNIX_EPOCH);
    let key = ReceiptKey::of(&ctx(), "StopWorker").unwrap();
    let fingerprint = ctx().fingerprint;
    let receipts = Receipts::new(MemoryStore::new());
    receipts.restore([Receipt { key, fingerprint, outcome: Outcome::Stopping(worker_id.clone()), at: asked }]);
    let outdated = |age, is_gone| {
        receipts.ripen(asked + age, |_| is_gone);
        let outdated = receipts.outdated(9, |_| is_gone).unwrap_or_default();
        receipts.remember(outdated.clone());
        outdated
    };
    let forgotten = [Forgotten { key: key.short(), worker_id: Some(worker_id) }];
    assert_eq!(outdated(Duration::from_hours(24) - Duration::from_millis(1), true), []);
    assert_eq!(outdated(Duration::from_hours(24 * 365), false), [], "as long as it is there");
    assert_eq!(outdated(Duration::from_hours(25), true), forgotten);
    receipts.forget(&forgotten);
    assert_eq!(outdated(Duration::from_hours(25), true), []);
}

#[tokio::test]
async fn a_request_that_was_given_up_when_its_effect_may_have_landed_is_unknown_to_all() {
    let receipts = Receipts::new(MemoryStore::new());
    let first = held(&receipts).await;
    let worker_id = WorkerId::generate();
    let receipt = first.receipt(Outcome::Stopping(worker_id), SystemTime::UNIX_EPOCH);
    let ctx = ctx();
    let (waiting, ()) = tokio::join!(receipts.claim(&ctx, "SendInput"), async { drop(first) });
    for unknown in [waiting, receipts.claim(&ctx, "SendInput").await] {
        assert_eq!(unknown.unwrap_err().reason().class(), ErrorClass::Unknown);
    }
    receipts.restore([receipt]);
    assert!(matches!(receipts.claim(&ctx, "SendInput").await, Ok(Claim::Repeat(_))));
}

/// What a store says of a commit that a restart may find.
async fn doubt(store: &UnsteadyStore) -> Doubt {
    store.leave_in_doubt(true);
    store.fail(1.0);
    match store.commit(Batch::default()).await {
        Err(StoreFault::Unknown(doubt)) => doubt,
        other => panic!("{other:?}"),
    }
}

/// Something lands behind what is in doubt.
async fn land(store: &UnsteadyStore) {
    store.fail(0.0);
    store.commit(Batch::default()).await.unwrap();
}

fn unsteady() -> Arc<UnsteadyStore> {
    let steady = Unsteadiness { seed: 1, delay: Duration::ZERO, failure: 0.0 };
    UnsteadyStore::new(steady, &tokio::runtime::Handle::current())
}

/// Gives a request up that failed so.
fn doubted(hold: Hold, doubt: Doubt) {
    let _ = hold.receipt(Outcome::Stopping(WorkerId::generate()), SystemTime::UNIX_EPOCH);
    hold.doubted(doubt);
    drop(hold);
}

#[tokio::test]
async fn a_request_in_doubt_is_unknown_until_that_is_void_and_is_then_free_for_any_other() {
    let store = unsteady();
    let receipts = Receipts::new(store.clone());
    let (first, doubt) = (held(&receipts).await, doubt(&store).await);
    let ctx = ctx();
    let other = CallContext { fingerprint: Fingerprint([7; 32]), ..ctx.clone() };
    let (waiting, ()) = tokio::join!(receipts.claim(&ctx, "SendInput"), async { doubted(first, doubt) });
    for unknown in [waiting, receipts.claim(&ctx, "SendInput").await] {
        let error = unknown.unwrap_err();
        assert_eq!(error.reason().class(), ErrorClass::Unknown);
        assert!(error.retry_delay().is_some());
    }
    receipts.forget_void();
    assert_eq!(receipts.claim(&other, "SendInput").await.unwrap_err().reason(), Reason::RequestIdReused);
    land(&store).await;
    assert!(matches!(receipts.claim(&other, "SendInput").await, Ok(Claim::New(_))));
}

#[tokio::test]
async fn a_doubt_that_is_void_before_it_is_noted_keeps_nobody_waiting() {
    let store = unsteady();
    let receipts = Receipts::new(store.clone());
    let (first, doubt) = (held(&receipts).await, doubt(&store).await);
    land(&store).await;
    let ((), again) = tokio::join!(async { doubted(first, doubt) }, held(&receipts));
    // Another doubt is another one.
    let later = self::doubt(&store).await;
    doubted(again, later);
    assert!(receipts.claim(&ctx(), "SendInput").await.is_err());
    land(&store).await;
    receipts.forget_void();
    assert!(receipts.book.lock().entries.is_empty());
}

#[tokio::test]
async fn what_was_given_up_without_a_doubt_of_the_store_stays_unknown() {
    let store = unsteady();
    let receipts = Receipts::new(store.clone());
    let (first, _) = (held(&receipts).await, doubt(&store).await);
    let _ = first.receipt(Outcome::Stopping(WorkerId::generate()), SystemTime::UNIX_EPOCH);
    drop(first);
    land(&store).await;
    receipts.forget_void();
    assert_eq!(receipts.claim(&ctx(), "SendInput").await.unwrap_err().reason().class(), ErrorClass::Unknown);
}

#[tokio::test]
async fn an_input_that_was_answered_is_answered_again_from_the_store_and_never_done_twice() {
    let store = MemoryStore::new();
    let receipts = Receipts::new(store.clone());
    let (first, worker_id) = (held(&receipts).await, WorkerId::generate());
    let outcome = Outcome::Input { worker_id: worker_id.clone(), transcript_sequence: 3, event_id: 7 };
    let receipt = first.receipt(outcome.clone(), SystemTime::UNIX_EPOCH);
    store.commit(Batch { receipts: vec![receipt.clone()], ..Batch::default() }).await.unwrap();
    first.answered(receipt.clone());
    assert_eq!((receipts.count(), receipts.book.lock().entries.is_empty()), (1, true));
    let asked = ctx();
    let other = CallContext { fingerprint: Fingerprint([7; 32]), ..asked.clone() };
    let refused = async |ctx: &CallContext| receipts.claim(ctx, "SendInput").await.unwrap_err().reason();
    match receipts.claim(&asked, "SendInput").await.unwrap() {
        Claim::Repeat(again) => assert_eq!(again, outcome),
        claim => panic!("{claim:?}"),
    }
    assert_eq!(refused(&other).await, Reason::RequestIdReused);
    store.spoil(&worker_id, "log: offset 1: a flipped bit");
    assert_eq!(refused(&asked).await, Reason::StoreError, "what cannot be read is not done again");
    let forgotten = Forgotten { key: receipt.key.short(), worker_id: Some(worker_id) };
    receipts.forget(&[forgotten]);
    assert!(matches!(receipts.claim(&asked, "SendInput").await, Ok(Claim::New(_))));
}
