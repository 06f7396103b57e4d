//! What the store on disk promises beside what every store does.

mod care;
mod limits;
mod model;
mod salvage;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::engine::receipts::{Outcome, Receipt, ReceiptKey};
use crate::engine::row::{WorkerOrigin, WorkerRow};
use crate::engine::store::disk::RealDisk;
use crate::engine::store::disk::simulated::{Chances, SimulatedDisk};
use crate::engine::store::{Forgotten, NewEvent, TableRecords, WorkerChange, event_bytes, restore_all};
use crate::model::{
    BundleContent, Caller, ConfigBundle, Fingerprint, ProfileSelector, Provenance, WorkerState, WorkspaceId,
};

struct Bed {
    dir: TempDir,
    records: Arc<TableRecords>,
}

impl Bed {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), records: Arc::default() }
    }

    fn open(&self) -> FsStore {
        let codec = Arc::clone(&self.records) as Arc<dyn RecordCodec>;
        FsStore::open(Arc::new(RealDisk), &self.log(), codec, Handle::current()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The one segment there is.
    fn segment(&self) -> PathBuf {
        let mut files: Vec<_> = fs::read_dir(self.log()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    /// Changes a byte of the first place where `bytes` stands.
    fn hit(&self, bytes: &[u8]) {
        let file = self.segment();
        let mut content = fs::read(&file).unwrap();
        let at = content.windows(bytes.len()).position(|window| window == bytes).expect("it is there");
        content[at] ^= 0x20;
        fs::write(&file, content).unwrap();
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds, 123_456_789)
}

fn row(worker_id: &WorkerId) -> WorkerRow {
    WorkerRow::new(WorkerOrigin {
        worker_id: worker_id.clone(),
        workspace_id: WorkspaceId::new("local:test").unwrap(),
        caller: Caller::anonymous(),
        label: String::new(),
        labels: BTreeMap::new(),
        role: String::new(),
        profile: ProfileSelector::RuntimeDefault,
        display_hint: "catalog",
        config_bundle: None,
        capabilities: Vec::new(),
        created_at: at(1),
        diagnostics: Vec::new(),
    })
}

/// A change that appends events with these texts: items, but for those that begin with a dash.
fn append(row: &mut WorkerRow, revision: u64, texts: &[&str]) -> WorkerChange {
    let events = texts.iter().map(|text| {
        row.last_sequence += 1;
        let item = !text.starts_with('-');
        row.transcript_length += u64::from(item);
        NewEvent {
            sequence: row.last_sequence,
            kind: if item { EventKind::ItemAppended } else { EventKind::TurnStarted },
            observed_at: at(row.last_sequence),
            body: Bytes::copy_from_slice(text.as_bytes()),
        }
    });
    let events = events.collect();
    WorkerChange { worker_id: row.worker_id().clone(), revision, events, row: Box::new(row.clone()) }
}

fn receipt(key: u8, outcome: Outcome) -> Receipt {
    Receipt { key: ReceiptKey::from_bytes([key; 32]), fingerprint: Fingerprint([key; 32]), outcome, at: at(9) }
}

fn bundle(revision: &str) -> Arc<ConfigBundle> {
    let content = BundleContent {
        id: crate::model::BundleId::new("bundle").unwrap(),
        revision: revision.to_owned(),
        workspace_id: "local:test".to_owned(),
        created_at: "2026-06-26T00:00:00Z".to_owned(),
        provenance: Provenance { source: "test".to_owned(), detail: None },
        profiles: Vec::new(),
        declarations: Vec::new(),
    };
    Arc::new(ConfigBundle::new(content, None).unwrap())
}

fn of(worker: WorkerChange) -> Batch {
    Batch { worker: Some(worker), ..Batch::default() }
}

/// A worker with these texts, in one commit with its receipt.
async fn worker(store: &FsStore, key: u8, texts: &[&str]) -> WorkerRow {
    let mut row = row(&WorkerId::generate());
    let worker = Some(append(&mut row, 0, texts));
    let receipts = vec![receipt(key, Outcome::Created(row.worker_id().clone()))];
    store.commit(Batch { worker, receipts, ..Batch::default() }).await.unwrap();
    row
}

async fn bodies(store: &impl Store, worker_id: &WorkerId, select: Select) -> Vec<String> {
    let frames = store.read(worker_id, select, 1_000, 1 << 20).await.unwrap();
    frames.into_iter().map(|frame| String::from_utf8(frame.body.to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fs_store_restores_workers_events_receipts_and_bundles_as_they_were() {
    // acceptance 129, 131, 135
    let bed = Bed::new();
    let store = bed.open();
    let mut one = worker(&store, 1, &["-a", "b", "c"]).await;
    let two = worker(&store, 2, &["-only"]).await;
    one.state = WorkerState::Running;
    let more = append(&mut one, 1, &["d", "-e"]);
    store.commit(Batch { bundles: vec![bundle("1")], ..of(more) }).await.unwrap();
    let last = receipt(3, Outcome::Bundle(bundle("1").reference()));
    let position = store.commit(Batch { receipts: vec![last], ..Batch::default() }).await.unwrap();
    let before = store.read(one.worker_id(), Select::EventsAfter(0), 9, 1 << 20).await.unwrap();
    store.close();
    drop(store);

    let store = bed.open();
    let Restored { workers, bundles, mut receipts, quarantined, warnings } = restore_all(&store).await;
    let rows: Vec<_> = workers.iter().map(|it| (it.revision, (*it.row).clone())).collect();
    assert_eq!(rows, [(2, one.clone()), (1, two.clone())]);
    assert_eq!(bundles, [bundle("1")]);
    receipts.sort_by_key(|receipt| *receipt.key.as_bytes());
    assert_eq!(receipts.iter().map(|receipt| receipt.key.as_bytes()[0]).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(quarantined.is_empty() && warnings.is_empty());
    // The same events at the same places and times, and the same rules for pages.
    assert_eq!(store.read(one.worker_id(), Select::EventsAfter(0), 9, 1 << 20).await.unwrap(), before);
    assert_eq!(before[0].observed_at, at(1));
    assert_eq!(bodies(&store, one.worker_id(), Select::EventsAfter(3)).await, ["d", "-e"]);
    assert_eq!(bodies(&store, one.worker_id(), Select::ItemsAfter(1)).await, ["c", "d"]);
    // Retention counts by the same measure as the log.
    let taken: u64 = before.iter().map(|frame| event_bytes(frame.body.len())).sum();
    assert_eq!(store.worker_bytes(one.worker_id()), taken);
    assert_eq!(store.read(one.worker_id(), Select::EventsAfter(0), 2, 1 << 20).await.unwrap().len(), 2);
    assert_eq!(store.read(one.worker_id(), Select::EventsAfter(0), 9, 1).await.unwrap().len(), 1);
    let next = store.commit(of(append(&mut one, 2, &["f"]))).await.unwrap();
    assert!(next > position);
}

#[tokio::test(flavor = "multi_thread")]
async fn fs_store_reports_corrupt_records_by_their_place_and_other_workers_go_on() {
    // acceptance 130, 132, 135
    for (hit, whole_row) in [(&b"hit this event"[..], true), (b"\xff\xfe\xfd", false)] {
        let bed = Bed::new();
        let store = bed.open();
        let sound = worker(&store, 1, &["sound"]).await;
        let mut hurt = row(&WorkerId::generate());
        let mut change = append(&mut hurt, 0, &["hit this event", "another"]);
        if !whole_row {
            change.events[1].body = Bytes::from_static(b"\xff\xfe\xfd");
        }
        store.commit(of(change)).await.unwrap();
        let behind = worker(&store, 3, &["behind"]).await;
        store.close();
        drop(store);
        bed.hit(hit);

        let store = bed.open();
        let restored = restore_all(&store).await;
        let ids: Vec<_> = restored.workers.iter().map(|it| it.row.worker_id().clone()).collect();
        assert_eq!(ids, [sound.worker_id().clone(), behind.worker_id().clone()]);
        let [quarantined] = &restored.quarantined[..] else { panic!("{:?}", restored.quarantined) };
        assert_eq!(quarantined.worker_id, *hurt.worker_id());
        assert!(quarantined.place.starts_with("log/"), "{}", quarantined.place);
        assert!(quarantined.place.contains(".seg: offset "), "{}", quarantined.place);
        assert!(matches!(store.worker(hurt.worker_id()).await, Err(StoreFault::Damaged)));
        assert_eq!(bodies(&store, sound.worker_id(), Select::EventsAfter(0)).await, ["sound"]);

        // It can be deleted, and is gone for good.
        let deleted = Some(Deletion { worker_id: hurt.worker_id().clone(), revision: None });
        store.commit(Batch { deleted, vital: true, ..Batch::default() }).await.unwrap();
        assert!(store.worker(hurt.worker_id()).await.unwrap().is_none());
        store.close();
        drop(store);
        let restored = restore_all(&bed.open()).await;
        assert_eq!((restored.workers.len(), restored.quarantined.len()), (2, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hit_while_it_is_open_is_told_by_its_place_when_it_is_read() {
    // acceptance 130
    let bed = Bed::new();
    let store = bed.open();
    let (hurt, sound) = (worker(&store, 1, &["a", "hit this event"]).await, worker(&store, 2, &["b"]).await);
    assert_eq!(store.damage(hurt.worker_id()), None);
    bed.hit(b"hit this event");
    assert_eq!(bodies(&store, hurt.worker_id(), Select::EventsAfter(0)).await, ["a"], "what can be read comes first");
    let read = store.read(hurt.worker_id(), Select::ItemsAfter(1), 9, 1 << 20).await;
    assert_eq!(read, Err(StoreFault::Damaged));
    let place = store.damage(hurt.worker_id()).unwrap();
    assert!(place.starts_with("log/0000") && place.contains(".seg: offset "), "{place}");
    assert_eq!(bodies(&store, sound.worker_id(), Select::EventsAfter(0)).await, ["b"]);
    assert_eq!(store.damage(sound.worker_id()), None);
    // Its record is as it was: it ends and goes as any other.
    assert_eq!(store.worker(hurt.worker_id()).await.unwrap().unwrap().revision, 1);
    let deleted = Some(Deletion { worker_id: hurt.worker_id().clone(), revision: Some(1) });
    store.commit(Batch { deleted, ..Batch::default() }).await.unwrap();
    store.close();
    drop(store);
    let restored = restore_all(&bed.open()).await;
    assert_eq!((restored.workers.len(), restored.quarantined.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_decode_quarantines_its_worker_and_keeps_no_one_from_starting() {
    let bed = Bed::new();
    let store = bed.open();
    let hurt = worker(&store, 1, &["a"]).await;
    store.commit(Batch { bundles: vec![bundle("1")], ..Batch::default() }).await.unwrap();
    bed.records.forget();
    let sound = worker(&store, 2, &["b"]).await;
    // Its number in the table is that of another record: as bad as none.
    let restored = restore_all(&store).await;
    assert_eq!(restored.workers.len(), 1);
    assert_eq!(restored.workers[0].row.worker_id(), sound.worker_id());
    let [quarantined] = &restored.quarantined[..] else { panic!("{:?}", restored.quarantined) };
    assert_eq!(quarantined.worker_id, *hurt.worker_id());
    assert!(quarantined.place.starts_with("log/") && quarantined.place.contains(": offset "), "{quarantined:?}");
    assert_eq!(restored.warnings.len(), 1, "the bundle: {:?}", restored.warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_outlive_their_worker_until_they_are_forgotten() {
    let bed = Bed::new();
    let store = bed.open();
    let gone = worker(&store, 1, &["a"]).await;
    let worker_id = gone.worker_id().clone();
    let deleted = Some(Deletion { worker_id: worker_id.clone(), revision: Some(1) });
    let receipts = vec![receipt(2, Outcome::Stopping(worker_id.clone()))];
    store.commit(Batch { receipts, deleted, ..Batch::default() }).await.unwrap();
    assert!(bodies(&store, &worker_id, Select::EventsAfter(0)).await.is_empty());
    let kept = |restored: Restored| {
        assert!(restored.workers.is_empty() && restored.quarantined.is_empty());
        restored.receipts.len()
    };
    assert_eq!(kept(restore_all(&store).await), 2);
    store.close();
    drop(store);
    let store = bed.open();
    assert_eq!(kept(restore_all(&store).await), 2);
    let forget = |key| Forgotten { key: ReceiptKey::from_bytes([key; 32]).short(), worker_id: Some(worker_id.clone()) };
    store.commit(Batch { forgotten: vec![forget(1), forget(2)], ..Batch::default() }).await.unwrap();
    assert_eq!(kept(restore_all(&store).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_a_disk_that_takes_nothing_says_so_until_it_does() {
    let (disk, records) = (SimulatedDisk::new(1), Arc::<TableRecords>::default());
    let store = FsStore::open(Arc::new(disk.clone()), Path::new("/log"), records, Handle::current()).unwrap();
    worker(&store, 1, &["one"]).await;
    assert_eq!(store.fault(), None);
    disk.set_chances(Chances { write: 1.0, ..Chances::default() });
    for _ in 0..2 {
        store.commit(Batch { bundles: vec![bundle("1")], ..Batch::default() }).await.unwrap_err();
    }
    assert_eq!(store.fault(), Some(StoreFault::Failed));
    disk.set_chances(Chances::default());
    store.commit(Batch { bundles: vec![bundle("1")], ..Batch::default() }).await.unwrap();
    assert_eq!(store.fault(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_says_so_until_there_is_some() {
    let (disk, records) = (SimulatedDisk::new(1), Arc::<TableRecords>::default());
    let store = FsStore::open(Arc::new(disk.clone()), Path::new("/log"), records, Handle::current()).unwrap();
    let mut row = worker(&store, 1, &["one"]).await;
    disk.set_room(disk.used() + (1 << 20));
    assert!(!store.is_full());
    let long = "x".repeat(100_000);
    let mut revision = 1;
    while store.commit(of(append(&mut row.clone(), revision, &[&long]))).await.is_ok() {
        append(&mut row, revision, &[&long]);
        revision += 1;
    }
    assert!(store.is_full());
    disk.set_room(u64::MAX);
    store.commit(of(append(&mut row, revision, &[&long]))).await.unwrap();
    assert!(!store.is_full());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_void_once_something_lands_and_before_that_is_said() {
    let (disk, records) = (SimulatedDisk::new(1), Arc::<TableRecords>::default());
    // Nothing but the commits is to find the disk failing.
    let options = LogOptions { idle_after: Duration::from_hours(1), ..LogOptions::default() };
    let open = FsStore::open_with(Arc::new(disk.clone()), Path::new("/log"), records, Handle::current(), &options);
    let store = open.unwrap();
    let mut doubts = 0;
    for number in 1.. {
        disk.set_chances(Chances { sync: 1.0, ..Chances::default() });
        let landed = store.commit(Batch { bundles: vec![bundle(&number.to_string())], ..Batch::default() }).await;
        let doubt = match landed {
            Err(StoreFault::Unknown(doubt)) => Some(doubt),
            // What the writer does behind what has landed found the disk failing first: nothing was written.
            Err(StoreFault::Failed) => None,
            other => panic!("the sync fails, and it is {other:?}"),
        };
        assert!(doubt.is_none_or(|doubt| !store.is_void(doubt)));
        disk.set_chances(Chances::default());
        worker(&store, number, &["one"]).await;
        assert!(doubt.is_none_or(|doubt| store.is_void(doubt)));
        doubts += u32::from(doubt.is_some());
        if doubts == 2 {
            break;
        }
    }
    assert_eq!(restore_all(&store).await.bundles, []);
    store.close();
    let closed = store.commit(Batch { bundles: vec![bundle("3")], ..Batch::default() }).await;
    assert_eq!(closed, Err(StoreFault::Failed), "it was never taken");
}
