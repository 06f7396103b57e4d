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
