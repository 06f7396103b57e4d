//! What verifying and salvaging a data directory promise.

use std::path::Path;

use super::super::slot::RUNTIME;
use super::*;
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::{Change, Reached, Reader, Slot, Submission};
use crate::engine::store::{CareError, DataDir, DirRole, RecordFault, salvage, verify};
use crate::model::{Incarnation, RuntimeId};

/// A host's data directory, and those it was salvaged into.
pub(super) struct Care {
    pub(super) disk: SimulatedDisk,
    pub(super) records: Arc<TableRecords>,
}

/// A data directory that is open, as a host has it.
pub(super) struct Opened {
    dir: DataDir,
    pub(super) store: FsStore,
}

impl Opened {
    pub(super) fn close(self) {
        self.store.close();
    }
}

pub(super) fn old() -> &'static Path {
    Path::new("/old")
}

pub(super) fn new() -> &'static Path {
    Path::new("/new")
}

/// All is well with a value of the control plane that does not say otherwise.
pub(super) fn check(_: Slot, value: &Bytes) -> Result<(), RecordFault> {
    if value == "bad" { Err(RecordFault("it says so itself".to_owned())) } else { Ok(()) }
}

impl Care {
    pub(super) fn new() -> Self {
        Self { disk: SimulatedDisk::new(1), records: Arc::default() }
    }

    pub(super) fn open(&self, dir: &Path) -> Opened {
        let dir = DataDir::open(Arc::new(self.disk.clone()), dir, DirRole::Host, None).unwrap();
        let codec = Arc::clone(&self.records) as Arc<dyn RecordCodec>;
        let store = FsStore::open(dir.disk(), &dir.log(), codec, Handle::current()).unwrap();
        Opened { dir, store }
    }

    /// Three workers with their receipts, a bundle, and the middle one's last row.
    pub(super) async fn fill(&self) -> (Vec<WorkerRow>, Option<RuntimeId>, Incarnation) {
        let opened = self.open(old());
        let store = &opened.store;
        let mut rows = vec![worker(store, 1, &["-a", "b"]).await, worker(store, 2, &["one", "-two", "three"]).await];
        store.commit(of(append(&mut rows[1], 1, &["four", "five", "-six"]))).await.unwrap();
        store.commit(Batch { bundles: vec![bundle("1")], ..Batch::default() }).await.unwrap();
        rows.push(worker(store, 3, &["-z"]).await);
        let identity = (rows, opened.dir.runtime_id().cloned(), opened.dir.incarnation());
        opened.close();
        identity
    }

    pub(super) fn file(&self, path: &Path) -> Vec<u8> {
        let file = self.disk.open(path, false).unwrap();
        let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    pub(super) fn segment(&self) -> PathBuf {
        let mut files = self.disk.list(&old().join("log")).unwrap();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
        files.remove(0)
    }

    /// Changes a byte of the last place where `bytes` stands.
    fn hit(&self, bytes: &[u8]) -> usize {
        let segment = self.segment();
        let at = self.file(&segment).windows(bytes.len()).rposition(|window| window == bytes).expect("it is there");
        self.disk.flip(&segment, at as u64, 0x20);
        at
    }

    /// Changes a byte of a value that the worker of this number has.
    pub(super) fn hit_value(&self, worker: usize, slot: Slot) {
        let (reader, _) = Reader::open(&self.disk, &old().join("log"), None).unwrap();
        let owner = reader.states().filter(|state| state.owner != RUNTIME).nth(worker).unwrap().owner;
        let (file, offset) = reader.place(owner, slot).unwrap();
        self.disk.flip(&file, offset + 88, 0x20);
    }

    pub(super) fn verify(&self, dir: &Path) -> Verified {
        verify(&self.disk, dir, &*self.records, &check).unwrap()
    }

    pub(super) fn salvage(&self) -> Salvaged {
        salvage(&self.disk, old(), new(), None, &*self.records, &check).unwrap()
    }

    pub(super) async fn restored(&self, dir: &Path) -> Restored {
        let opened = self.open(dir);
        let restored = restore_all(&opened.store).await;
        opened.close();
        restored
    }
}

fn workers(restored: &Restored) -> Vec<(u64, WorkerRow)> {
    restored.workers.iter().map(|it| (it.revision, (*it.row).clone())).collect()
}

async fn all_events(store: &FsStore, of: &WorkerRow) -> Vec<Frame> {
    store.read(of.worker_id(), Select::EventsAfter(0), 1_000, 1 << 20).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_directory_is_said_to_be_sound_and_nothing_in_it_changes() {
    let bed = Bed::new();
    let dir = bed.dir.path();
    let hold = || DataDir::open(Arc::new(RealDisk), dir, DirRole::Host, None);
    drop(hold().unwrap());
    let store = bed.open();
    worker(&store, 1, &["a", "b"]).await;
    store.close();
    drop(store);
    let all = || {
        let files = [dir.to_owned(), bed.log()].into_iter().flat_map(|dir| fs::read_dir(dir).unwrap());
        let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        files.sort();
        let state = |path: &PathBuf| (fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap());
        files.iter().map(|path| (path.clone(), state(path))).collect::<Vec<_>>()
    };
    let before = all();
    let verified = verify(&RealDisk, dir, &*bed.records, &check).unwrap();
    assert_eq!((verified.workers, verified.events, verified.records), (1, 2, 3), "{verified:?}");
    assert_eq!((verified.findings, verified.notes, verified.segments), (vec![], vec![], 1));
    assert_eq!(all(), before);

    let server = hold().unwrap();
    let refused = verify(&RealDisk, dir, &*bed.records, &check).unwrap_err().to_string();
    assert!(refused.contains("is in use by another process (pid "), "{refused}");
    drop(server);
    assert!(matches!(verify(&RealDisk, &bed.log(), &*bed.records, &check), Err(CareError::NoStore(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_it_had_come_is_told() {
    // acceptance 132
    let care = Care::new();
    care.fill().await;
    let mut opened = care.open(old());
    let Reached { position, segment } = opened.store.reached();
    opened.dir.settle(&[("log", Reached { position, segment })]).unwrap();
    assert_eq!(findings_after(&care, opened), Vec::<String>::new());
    let mut opened = care.open(old());
    opened.dir.settle(&[("log", Reached { position: position + 1, segment: None })]).unwrap();
    let place = format!("log: offset 0: its last position is {position}, and had been {}", position + 1);
    assert_eq!(findings_after(&care, opened), [place]);
}

fn findings_after(care: &Care, opened: Opened) -> Vec<String> {
    opened.close();
    care.verify(old()).findings.into_iter().map(|finding| finding.place).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_named_with_its_place_and_its_worker_as_a_server_says_it() {
    // acceptance 132
    let care = Care::new();
    let (rows, ..) = care.fill().await;
    care.hit(b"four");
    let found = care.verify(old()).findings;
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!(finding.worker_id.as_ref(), Some(rows[1].worker_id()));
    let restored = care.restored(old()).await;
    let [quarantined] = &restored.quarantined[..] else { panic!("{:?}", restored.quarantined) };
    assert_eq!(quarantined.place, finding.place);
    assert!(finding.place.starts_with("log/00000000000000000001.seg: offset "), "{}", finding.place);

    // What is sound as bytes and does not decode is damage too.
    let care = Care::new();
    care.fill().await;
    care.records.forget();
    let found = care.verify(old()).findings;
    assert_eq!(found.iter().filter(|finding| finding.worker_id.is_some()).count(), 3, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_control_plane_that_does_not_decode_is_named_with_its_place() {
    let care = Care::new();
    care.fill().await;
    let control = old().join("control");
    care.disk.create_dir(&control).unwrap();
    let (log, _) = Log::open(Arc::new(care.disk.clone()), &control, LogOptions::default()).unwrap();
    let puts = [(Slot([1; 16]), "good"), (Slot([2; 16]), "bad")].map(|(slot, value)| (slot, Bytes::from(value)));
    let change = Change { puts: puts.to_vec(), ..Change::default() };
    log.commit(Submission { changes: vec![change], vital: false }).await.unwrap();
    log.close();
    let verified = care.verify(old());
    let [finding] = &verified.findings[..] else { panic!("{:?}", verified.findings) };
    let (start, end) = ("control/00000000000000000001.seg: offset ", ": it says so itself");
    assert!(finding.place.starts_with(start) && finding.place.ends_with(end), "{finding:?}");
    assert_eq!(finding.worker_id, None);
    // It is not copied, and that is told.
    let salvaged = care.salvage();
    assert!(salvaged.left.len() == 1 && salvaged.left[0].place.ends_with("is not in the copy"), "{:?}", salvaged.left);
    assert_eq!(care.verify(new()).findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_its_identity_is_damaged_and_becomes_one_of_the_runtime_that_is_named() {
    let care = Care::new();
    care.fill().await;
    care.disk.remove(&old().join("identity")).unwrap();
    let found = care.verify(old()).findings;
    assert!(found.len() == 1 && found[0].place.starts_with("identity: offset 0: "), "{found:?}");
    let id = RuntimeId::new("host-a").unwrap();
    let salvaged = salvage(&care.disk, old(), new(), Some(&id), &*care.records, &check).unwrap();
    assert_eq!(salvaged.left, found);
    assert_eq!(care.open(new()).dir.runtime_id(), Some(&id));
    let nameless = salvage(&care.disk, old(), Path::new("/third"), None, &*care.records, &check).unwrap();
    assert!(nameless.left[0].place.contains("another runtime id, unless `--runtime-id`"), "{nameless:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_directory_is_copied_whole_and_the_copy_is_another_one() {
    let care = Care::new();
    let (rows, runtime_id, incarnation) = care.fill().await;
    let opened = care.open(old());
    let mut before = Vec::new();
    for row in &rows {
        before.push(all_events(&opened.store, row).await);
    }
    opened.close();
    let salvaged = care.salvage();
    assert_eq!(salvaged.left, []);
    assert_eq!((salvaged.workers, salvaged.events), (3, 9));
    let verified = care.verify(new());
    assert_eq!((verified.findings, verified.notes), (vec![], vec![]));
    assert_eq!((verified.workers, verified.events, verified.records), (3, 9, salvaged.records));

    let (theirs, ours) = (care.restored(new()).await, care.restored(old()).await);
    assert_eq!(workers(&theirs), workers(&ours));
    assert_eq!((theirs.bundles, theirs.receipts.len()), (ours.bundles, ours.receipts.len()));
    let opened = care.open(new());
    for (row, events) in rows.iter().zip(&before) {
        assert_eq!(all_events(&opened.store, row).await, *events);
    }
    assert_eq!(opened.dir.runtime_id().cloned(), runtime_id);
    assert_ne!(opened.dir.incarnation(), incarnation);
    // It goes on where the old one was: no position is given twice.
    let mut row = rows[1].clone();
    let position = opened.store.commit(of(append(&mut row, 2, &["more"]))).await.unwrap();
    assert!(before.iter().flatten().all(|event| event.position < position));
    assert_eq!(bodies(&opened.store, row.worker_id(), Select::ItemsAfter(3)).await, ["five", "more"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_damaged_event_goes_on_behind_it_and_what_was_before_is_left_in_a_file() {
    let care = Care::new();
    let (rows, ..) = care.fill().await;
    care.hit(b"four");
    let salvaged = care.salvage();
    let told: Vec<_> = salvaged.left.iter().map(|it| (it.place.as_str(), it.worker_id.as_ref())).collect();
    let worker_id = Some(rows[1].worker_id());
    assert_eq!(told.iter().map(|(_, worker_id)| *worker_id).collect::<Vec<_>>(), [worker_id, worker_id]);
    assert!(told[1].0.contains("events 1 to 4, of which 1 cannot be read"), "{told:?}");
    assert_eq!(care.verify(new()).findings, []);

    let left = care.file(&new().join(format!("left-behind/{}.jsonl", rows[1].worker_id())));
    let left = String::from_utf8(left).unwrap();
    let lines: Vec<_> = left.lines().collect();
    assert!(lines.len() == 3 && lines[1] == "{\"sequence\":2,\"body\":\"-two\"}", "{left}");

    let restored = care.restored(new()).await;
    assert!(restored.quarantined.is_empty() && restored.warnings.is_empty());
    let row = (*restored.workers[1].row).clone();
    assert_eq!((row.first_sequence, row.removed_items), (5, 3));
    assert_eq!(row, WorkerRow { first_sequence: 5, removed_items: 3, ..rows[1].clone() });
    let opened = care.open(new());
    assert_eq!(bodies(&opened.store, row.worker_id(), Select::ItemsAfter(3)).await, ["five"]);
    opened.store.commit(of(append(&mut row.clone(), 2, &["more"]))).await.unwrap();
    assert_eq!(bodies(&opened.store, row.worker_id(), Select::EventsAfter(4)).await, ["five", "-six", "more"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_last_event_is_damaged_keeps_its_row_and_its_count() {
    let care = Care::new();
    let (rows, ..) = care.fill().await;
    care.hit(b"-six");
    assert_eq!(care.salvage().left.len(), 2);
    assert_eq!(care.verify(new()).findings, []);
    let opened = care.open(new());
    let restored = restore_all(&opened.store).await;
    let mut row = (*restored.workers[1].row).clone();
    assert_eq!((row.first_sequence, row.last_sequence, row.removed_items), (7, 6, 4));
    opened.store.commit(of(append(&mut row, 2, &["more"]))).await.unwrap();
    let events = all_events(&opened.store, &rows[1]).await;
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [7]);
    assert_eq!(bodies(&opened.store, row.worker_id(), Select::ItemsAfter(4)).await, ["more"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_into_an_empty_directory_only() {
    let care = Care::new();
    care.fill().await;
    care.disk.create_dir(&new().join("log")).unwrap();
    let refused = salvage(&care.disk, old(), new(), None, &*care.records, &check);
    assert!(matches!(refused, Err(CareError::NotEmpty(_))), "{refused:?}");
    let held = care.open(old());
    let refused = salvage(&care.disk, old(), Path::new("/third"), None, &*care.records, &check).unwrap_err();
    assert!(refused.to_string().contains("is in use"), "{refused}");
    held.close();
}

/// Wherever one bit is wrong: the copy is made, it is sound but for what was said to be left behind, and whoever is not
/// named there has all that it had.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_bit_costs_nobody_but_whom_it_hit() {
    let care = Care::new();
    care.fill().await;
    let (segment, before) = (care.segment(), care.restored(old()).await);
    let length = care.file(&segment).len() as u64;
    let mut told = 0;
    for offset in (0..length).step_by(61) {
        let new = PathBuf::from(format!("/new-{offset}"));
        care.disk.flip(&segment, offset, 1 << (offset % 8));
        let salvaged = salvage(&care.disk, old(), &new, None, &*care.records, &check).unwrap();
        care.disk.flip(&segment, offset, 1 << (offset % 8));
        let hit = |worker_id: &WorkerId| salvaged.left.iter().any(|left| left.worker_id.as_ref() == Some(worker_id));
        let restored = care.restored(&new).await;
        assert!(restored.quarantined.iter().all(|it| hit(&it.worker_id)), "{offset}: {:?}", restored.quarantined);
        for (revision, row) in workers(&before).into_iter().filter(|(_, row)| !hit(row.worker_id())) {
            let same = restored.workers.iter().any(|it| (it.revision, &*it.row) == (revision, &row));
            let known = salvaged.left.iter().any(|left| left.worker_id.is_none());
            assert!(same || known, "{offset}: {} is missing and nobody said so", row.worker_id());
        }
        told += usize::from(!salvaged.left.is_empty());
    }
    assert!(told > 20, "only {told} hits were told");
}
