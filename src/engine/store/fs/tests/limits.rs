//! What is gone: because it was removed, and although it was not.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_gone_after_a_restart_and_reading_begins_where_it_ended() {
    let bed = Bed::new();
    let store = bed.open();
    let mut row = worker(&store, 1, &["a", "-b", "c", "-d", "e"]).await;
    let worker_id = row.worker_id().clone();
    (row.first_sequence, row.removed_items) = (4, 2);
    store.commit(of(append(&mut row, 1, &["f"]))).await.unwrap();
    store.close();
    drop(store);
    let store = bed.open();
    assert!(restore_all(&store).await.quarantined.is_empty());
    let read = async |select| bodies(&store, &worker_id, select).await;
    assert_eq!(read(Select::EventsAfter(0)).await, ["-d", "e", "f"]);
    assert_eq!(read(Select::ItemsAfter(2)).await, ["e", "f"]);
    assert_eq!(read(Select::ItemsAfter(3)).await, ["f"]);
    for none in [Select::ItemsAfter(0), Select::ItemsAfter(1), Select::ItemsAfter(4), Select::EventsAfter(6)] {
        assert!(read(none).await.is_empty(), "{none:?}");
    }
}

/// A group's marker: see docs/store-format.md.
const GROUP: &[u8] = b"\x93group\xC5\n";

impl Bed {
    /// Makes zeros of the group in which `bytes` stands, as of pages that were never written.
    fn erase_group_of(&self, bytes: &[u8]) {
        let file = self.segment();
        let mut content = fs::read(&file).unwrap();
        let groups: Vec<_> = (0..content.len()).filter(|at| content[*at..].starts_with(GROUP)).collect();
        let at = content.windows(bytes.len()).position(|window| window == bytes).expect("it is there");
        let next = groups.partition_point(|group| *group < at);
        content[groups[next - 1]..groups[next]].fill(0);
        fs::write(&file, content).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_gone_without_a_trace_are_laid_to_their_worker_where_it_has_later_ones_and_else_told_of_all() {
    for has_later_ones in [true, false] {
        let bed = Bed::new();
        let store = bed.open();
        let first = worker(&store, 1, &["a", "b"]).await;
        let mut hurt = worker(&store, 2, &["c"]).await;
        store.commit(of(append(&mut hurt, 1, &["lost without a trace"]))).await.unwrap();
        if has_later_ones {
            store.commit(of(append(&mut hurt, 2, &["e"]))).await.unwrap();
        }
        let last = worker(&store, 3, &["d"]).await;
        store.close();
        drop(store);
        bed.erase_group_of(b"lost without a trace");

        // It is told again at every start.
        for _ in 0..2 {
            let store = bed.open();
            let restored = restore_all(&store).await;
            let ids: Vec<_> = restored.workers.iter().map(|it| it.row.worker_id()).collect();
            assert!(ids.contains(&first.worker_id()) && ids.contains(&last.worker_id()), "{restored:?}");
            assert_eq!(ids.contains(&hurt.worker_id()), !has_later_ones);
            let hit: Vec<_> = restored.quarantined.iter().map(|it| (&it.worker_id, &it.place)).collect();
            match (&hit[..], &restored.warnings[..]) {
                ([(worker_id, place)], []) if has_later_ones => {
                    assert_eq!(*worker_id, hurt.worker_id());
                    assert!(place.starts_with("log/") && place.contains("missing"), "{place}");
                }
                ([], [place]) if !has_later_ones => {
                    assert!(place.starts_with("log/") && place.contains("missing"), "{place}");
                }
                other => panic!("{other:?}"),
            }
            store.close();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_receipts_of_a_damaged_worker_outlive_it_and_no_submission_holds_all_of_them() {
    const RECEIPTS: u32 = 2_500;
    let bed = Bed::new();
    let store = bed.open();
    let hurt = worker(&store, 1, &["hit this event"]).await;
    let worker_id = hurt.worker_id().clone();
    let key = |n: u32| ReceiptKey::from_bytes(std::array::from_fn(|at| n.to_be_bytes()[at % 4]));
    let asked = |n| Receipt { key: key(n), ..receipt(0, Outcome::Stopping(worker_id.clone())) };
    let receipts: Vec<_> = (1..RECEIPTS).map(asked).collect();
    store.commit(Batch { receipts, ..Batch::default() }).await.unwrap();
    store.close();
    drop(store);
    bed.hit(b"hit this event");
    let store = bed.open();
    assert_eq!(restore_all(&store).await.quarantined.len(), 1);
    let before = store.0.log.reader().stats().submissions;
    let deleted = Some(Deletion { worker_id: worker_id.clone(), revision: None });
    let receipts = vec![receipt(9, Outcome::Deleted { worker_id: worker_id.clone(), last: None })];
    store.commit(Batch { deleted, receipts, vital: true, ..Batch::default() }).await.unwrap();
    assert_eq!(store.0.log.reader().stats().submissions - before, 4);
    store.close();
    drop(store);
    let store = bed.open();
    let restored = restore_all(&store).await;
    assert!(restored.quarantined.is_empty() && restored.warnings.is_empty() && restored.workers.is_empty());
    let keys: std::collections::HashSet<_> = restored.receipts.iter().map(|receipt| receipt.key).collect();
    assert_eq!((keys.len(), restored.receipts.len()), (RECEIPTS as usize + 1, RECEIPTS as usize + 1));
    // They are forgotten as any other.
    let forgotten =
        keys.into_iter().map(|key| Forgotten { key: key.short(), worker_id: Some(worker_id.clone()) }).collect();
    store.commit(Batch { forgotten, ..Batch::default() }).await.unwrap();
    assert_eq!(restore_all(&store).await.receipts, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_worker_keeps_no_room_from_being_made_and_is_quarantined_for_the_same_until_it_is_deleted() {
    // acceptance 132
    let bed = Bed::new();
    let open = || {
        let codec = Arc::clone(&bed.records) as Arc<dyn RecordCodec>;
        let options = LogOptions { segment_bytes: 16 << 10, ..LogOptions::default() };
        FsStore::open_with(Arc::new(RealDisk), &bed.log(), codec, Handle::current(), &options).unwrap()
    };
    let store = open();
    let (hurt, sound) = (worker(&store, 1, &["hit this event"]).await, worker(&store, 2, &["sound"]).await);
    store.close();
    drop(store);
    let first = bed.segment();
    bed.hit(b"hit this event");
    let mut places = Vec::new();
    for _ in 0..3 {
        let store = open();
        let restored = restore_all(&store).await;
        assert!(restored.warnings.is_empty() && restored.workers.len() == 1, "{restored:?}");
        assert!(restored.receipts.iter().any(|receipt| receipt.outcome == Outcome::Created(hurt.worker_id().clone())));
        places.extend(restored.quarantined.iter().map(|it| (it.worker_id.clone(), it.place.clone())));
        for _ in 0..1_000 {
            store
                .commit(Batch {
                    receipts: vec![receipt(9, Outcome::Bundle(bundle("1").reference()))],
                    ..Batch::default()
                })
                .await
                .unwrap();
        }
        while store.0.log.reader().stats().segments > 4 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bodies(&store, sound.worker_id(), Select::EventsAfter(0)).await, ["sound"]);
        store.close();
    }
    assert!(places.len() == 3 && places.iter().all(|place| *place == places[0]), "{places:?}");
    assert!(first.exists(), "the evidence stays");

    let store = open();
    restore_all(&store).await;
    let deleted = Some(Deletion { worker_id: hurt.worker_id().clone(), revision: None });
    store.commit(Batch { deleted, vital: true, ..Batch::default() }).await.unwrap();
    store.close();
    drop(store);
    let restored = restore_all(&open()).await;
    assert!(restored.quarantined.is_empty() && restored.warnings.is_empty(), "{restored:?}");
    assert!(!first.exists(), "nothing is left to be looked at");
}
