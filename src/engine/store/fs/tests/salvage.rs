//! What salvage promises of workers that cannot be served, and of a copy that cannot be finished.

use std::path::Path;

use super::care::{Care, check, new, old};
use super::*;
use crate::engine::store::disk::Disk as _;
use crate::engine::store::log::LogOptions;
use crate::engine::store::{CareError, DataDir, DataDirError, DirRole, salvage};

/// Also the second copy finds nothing more to leave.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_be_served_is_left_behind_with_all_that_can_be_read_and_is_not_in_the_copy() {
    let care = Care::new();
    let (rows, ..) = care.fill().await;
    care.hit_value(1, ORIGIN);
    let salvaged = care.salvage();
    assert_eq!((salvaged.workers, salvaged.events), (2, 3));
    let worker_id = rows[1].worker_id();
    let told: Vec<_> = salvaged.left.iter().filter(|it| it.place.contains("is not in the copy; 6 events")).collect();
    assert!(told.len() == 1 && told[0].worker_id.as_ref() == Some(worker_id), "{:?}", salvaged.left);
    let left = String::from_utf8(care.file(&new().join(format!("left-behind/{worker_id}.jsonl")))).unwrap();
    let lines: Vec<_> = left.lines().collect();
    assert_eq!((lines.len(), lines[0]), (7, "{\"row\":true}"), "{left}");
    assert!(lines[1].contains("\"one\"") && lines[6].contains("\"-six\""), "{left}");

    let restored = care.restored(new()).await;
    assert_eq!((restored.workers.len(), restored.quarantined.len(), restored.receipts.len()), (2, 0, 3));
    let verified = care.verify(new());
    assert_eq!((verified.findings, verified.workers), (vec![], 2));
    let again = salvage(&care.disk, new(), Path::new("/third"), None, &*care.records, &check).unwrap();
    assert_eq!((again.left, again.workers), (vec![], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_whose_first_segment_is_gone_are_left_behind_with_what_is_in_the_others() {
    let care = Care::new();
    let dir = care.open(old());
    dir.close();
    let codec = Arc::clone(&care.records) as Arc<dyn RecordCodec>;
    let options = LogOptions { segment_bytes: 16 << 10, allocate_step: 4 << 10, ..LogOptions::default() };
    let disk = Arc::new(care.disk.clone());
    let store = FsStore::open_with(disk, &old().join("log"), codec, Handle::current(), &options).unwrap();
    let mut rows = vec![worker(&store, 1, &["a"]).await, worker(&store, 2, &["b"]).await];
    let long = "x".repeat(1_000);
    for revision in 1..=20 {
        for row in &mut rows {
            store.commit(of(append(row, revision, &[&long]))).await.unwrap();
        }
    }
    store.close();
    drop(store);
    let segment = care.segment();
    care.disk.remove(&segment).unwrap();
    let salvaged = care.salvage();
    assert_eq!((salvaged.workers, salvaged.events), (0, 0), "{:?}", salvaged.left);
    assert!(salvaged.left.iter().all(|it| !it.place.starts_with("in the copy")), "{:?}", salvaged.left);
    for row in &rows {
        let left = care.file(&new().join(format!("left-behind/{}.jsonl", row.worker_id())));
        assert!(String::from_utf8(left).unwrap().contains("\"sequence\":21,"), "the last event is there");
    }
    assert_eq!((care.verify(new()).findings, care.verify(new()).workers), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_decode_is_not_in_the_copy_and_is_told() {
    let care = Care::new();
    care.fill().await;
    care.records.forget();
    let salvaged = care.salvage();
    assert_eq!((salvaged.workers, salvaged.records), (0, 0));
    // Three workers, their receipts, and a bundle.
    assert_eq!(salvaged.left.len(), 7, "{:?}", salvaged.left);
    assert_eq!(care.verify(new()).findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_worker_whose_receipts_are_kept_is_no_worker_any_more() {
    let care = Care::new();
    let (rows, ..) = care.fill().await;
    let opened = care.open(old());
    let deleted = Some(Deletion { worker_id: rows[0].worker_id().clone(), revision: Some(1) });
    opened.store.commit(Batch { deleted, vital: true, ..Batch::default() }).await.unwrap();
    opened.close();
    let (verified, salvaged) = (care.verify(old()), care.salvage());
    assert_eq!((verified.workers, salvaged.workers, salvaged.left), (2, 2, vec![]));
    assert_eq!(care.restored(new()).await.receipts.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_could_not_be_finished_says_where_and_is_opened_by_nobody() {
    let care = Care::new();
    care.fill().await;
    care.disk.set_room(care.disk.used() + (1 << 20));
    let failed = salvage(&care.disk, old(), new(), None, &*care.records, &check).unwrap_err();
    assert!(matches!(failed, CareError::Unfinished { .. }), "{failed}");
    assert!(failed.to_string().starts_with("/new: the copy could not be finished: "), "{failed}");
    care.disk.set_room(u64::MAX);
    let opened = DataDir::open(Arc::new(care.disk.clone()), new(), DirRole::Host, None).unwrap_err();
    assert!(matches!(opened, DataDirError::Unfinished(_)), "{opened}");
    assert!(opened.to_string().contains("make it again from the original"), "{opened}");
    let refused = salvage(&care.disk, new(), Path::new("/third"), None, &*care.records, &check).unwrap_err();
    assert!(refused.to_string().contains("make it again from the original"), "{refused}");
    assert!(care.disk.list(Path::new("/third")).is_err(), "nothing is made for nothing");
}
