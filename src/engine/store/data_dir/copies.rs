//! That a copy is told from the original, wherever it was put, and the original from a copy, whenever it was killed.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::engine::store::disk::{FileIdentity, RealDisk};

const SEGMENT: &str = "log/00000000000000000001.seg";

/// A host's directory that was opened with a log, which had come to a position.
fn begun(disk: Arc<dyn Disk>, dir: &Path, position: u64) -> Result<DataDir, DataDirError> {
    let mut data = DataDir::open(disk, dir, DirRole::Host, None)?;
    let log = Log::open(&data, position).map_err(|source| DataDirError::Io { dir: dir.to_owned(), source })?;
    data.settle(&[("log", log.0)])?;
    Ok(data)
}

fn begin(dir: &Path, position: u64) -> DataDir {
    begun(Arc::new(RealDisk), dir, position).unwrap()
}

/// What stands for a log, and does what one does.
struct Log(Reached, #[expect(dead_code, reason = "it is held")] Box<dyn DiskLock>);

impl Log {
    fn open(data: &DataDir, position: u64) -> io::Result<Self> {
        let (disk, dir) = (data.disk(), data.path());
        disk.create_dir(&data.log())?;
        let lock = disk.lock(&data.log().join("LOCK"))?;
        let path = dir.join(SEGMENT);
        let segment = disk.open(&path, true).or_else(|_| disk.create(&path))?;
        segment.write_at(&position.to_le_bytes(), 0)?;
        segment.sync_data()?;
        Ok(Self(Reached { position, segment: Some(path) }, lock))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() { copy(&entry.path(), &target) } else { over(&entry.path(), &target) }
    }
}

/// As `cp -a` copies a file: over the one that is there, and with its time.
fn over(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    let modified = from.metadata().unwrap().modified().unwrap();
    fs::File::options().write(true).open(to).unwrap().set_modified(modified).unwrap();
}

/// As `rsync -a` copies a directory: what has the same time and size is left, all else is made anew.
fn synced(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            synced(&source, &target);
            continue;
        }
        let looks = |path: &Path| path.metadata().map(|it| (it.len(), it.modified().unwrap())).ok();
        if looks(&source) != looks(&target) {
            over(&source, &to.join("new"));
            fs::rename(to.join("new"), target).unwrap();
        }
    }
}

/// A directory of which there is a backup, and that went on since.
struct Scene {
    top: tempfile::TempDir,
    incarnation: Incarnation,
}

impl Scene {
    /// Between backup and restore it is stopped as often; at the last time it is killed.
    fn new(stops: usize) -> Self {
        let top = tempfile::tempdir().unwrap();
        let (dir, backup) = (top.path().join("data"), top.path().join("backup"));
        let mut data = begin(&dir, 7);
        copy(&dir, &backup);
        for _ in 0..stops {
            data.end(&[("log", Reached { position: 8, segment: Some(dir.join(SEGMENT)) })]);
            drop(data);
            data = begin(&dir, 8);
        }
        // What a log does until it is killed.
        fs::write(dir.join(SEGMENT), "longer than it was").unwrap();
        let incarnation = data.incarnation();
        drop(data);
        // Times of change come in steps, and a restore is never in the same one.
        let changed = |file: &Path| RealDisk.open(file, false).unwrap().identity().unwrap().changed;
        let probe = top.path().join("probe");
        while fs::write(&probe, "").is_ok() && changed(&probe) == changed(&dir.join("identity")) {}
        Self { top, incarnation }
    }

    fn dir(&self) -> PathBuf {
        self.top.path().join("data")
    }

    fn backup(&self) -> PathBuf {
        self.top.path().join("backup")
    }

    /// It is another one from its first start on, and stays that.
    #[track_caller]
    fn assert_is_another(&self, position: u64) {
        let first = begin(&self.dir(), position).incarnation();
        assert_ne!(first, self.incarnation);
        assert_eq!(begin(&self.dir(), position).incarnation(), first);
    }
}

#[test]
fn a_backup_in_the_place_of_the_directory_is_another_incarnation() {
    for stops in 0..3 {
        let scene = Scene::new(stops);
        fs::remove_dir_all(scene.dir()).unwrap();
        copy(&scene.backup(), &scene.dir());
        scene.assert_is_another(7);
    }
}

/// Each file has its inode as before: so it may also be where all was removed first.
#[test]
fn a_backup_copied_over_the_directory_is_another_incarnation() {
    for stops in 0..3 {
        let scene = Scene::new(stops);
        copy(&scene.backup(), &scene.dir());
        scene.assert_is_another(7);
    }
}

#[test]
fn a_backup_synchronised_over_the_directory_is_another_incarnation() {
    for stops in 0..3 {
        let scene = Scene::new(stops);
        synced(&scene.backup(), &scene.dir());
        scene.assert_is_another(7);
    }
}

#[test]
fn a_log_alone_from_a_backup_makes_another_incarnation() {
    for stops in 0..3 {
        let scene = Scene::new(stops);
        copy(&scene.backup().join("log"), &scene.dir().join("log"));
        scene.assert_is_another(7);

        let scene = Scene::new(stops);
        fs::remove_dir_all(scene.dir().join("log")).unwrap();
        copy(&scene.backup().join("log"), &scene.dir().join("log"));
        scene.assert_is_another(7);
    }
    // Also where the files themselves tell nothing.
    let scene = Scene::new(1);
    scene.assert_is_another(7);
}

#[test]
fn a_directory_that_lost_its_log_is_refused_with_what_to_do() {
    let lose: [fn(&Path); 2] =
        [|log| fs::remove_dir_all(log).unwrap(), |log| fs::remove_file(log.join("00000000000000000001.seg")).unwrap()];
    for lose in lose {
        let scene = Scene::new(1);
        let before = fs::read(scene.dir().join("identity")).unwrap();
        lose(&scene.dir().join("log"));
        for _ in 0..2 {
            let refused = DataDir::open(Arc::new(RealDisk), &scene.dir(), DirRole::Host, None).unwrap_err();
            assert!(matches!(&refused, DataDirError::LogLost { log } if *log == scene.dir().join("log")), "{refused}");
            assert!(refused.to_string().contains("/log: is gone") && refused.to_string().contains("restore a backup"));
        }
        assert_eq!(fs::read(scene.dir().join("identity")).unwrap(), before);
    }
}

#[test]
fn a_directory_from_before_the_witness_stays_what_it_is() {
    let scene = Scene::new(1);
    fs::remove_file(scene.dir().join("witness")).unwrap();
    assert_eq!(begin(&scene.dir(), 8).incarnation(), scene.incarnation);
    assert!(scene.dir().join("witness").exists());
}

#[test]
fn a_directory_that_others_may_read_is_no_copy_once_that_is_mended() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new(1);
    fs::set_permissions(scene.dir().join(SEGMENT), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(scene.dir().join("log"), fs::Permissions::from_mode(0o750)).unwrap();
    let mode = |file: &str| fs::metadata(scene.dir().join(file)).unwrap().permissions().mode() & 0o7777;
    // No log has it open to be written.
    fs::copy(scene.dir().join(SEGMENT), scene.dir().join("log/0.seg")).unwrap();
    fs::set_permissions(scene.dir().join("log/0.seg"), fs::Permissions::from_mode(0o666)).unwrap();
    for _ in 0..2 {
        assert_eq!(begin(&scene.dir(), 8).incarnation(), scene.incarnation);
        assert_eq!((mode("log"), mode(SEGMENT), mode("log/0.seg")), (0o700, 0o600, 0o600));
    }
}

/// A real disk whose process is killed before one of its changes.
#[derive(Debug)]
struct Dying(Arc<AtomicUsize>);

#[derive(Debug)]
struct DyingFile(Arc<dyn DiskFile>, Arc<AtomicUsize>);

fn live(left: &AtomicUsize) -> io::Result<()> {
    let left = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1)));
    if left == Ok(0) { Err(io::Error::other("killed")) } else { Ok(()) }
}

impl Disk for Dying {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        live(&self.0).and_then(|()| RealDisk.create_dir(dir))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        live(&self.0)?;
        Ok(Arc::new(DyingFile(RealDisk.create(path)?, Arc::clone(&self.0))))
    }
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(DyingFile(RealDisk.open(path, write)?, Arc::clone(&self.0))))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        live(&self.0).and_then(|()| RealDisk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        live(&self.0).and_then(|()| RealDisk.remove(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        live(&self.0).and_then(|()| RealDisk.sync_dir(dir))
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        live(&self.0).and_then(|()| RealDisk.lock(path))
    }
}

impl DiskFile for DyingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        live(&self.1).and_then(|()| self.0.write_at(bytes, offset))
    }
    fn sync_data(&self) -> io::Result<()> {
        live(&self.1).and_then(|()| self.0.sync_data())
    }
    fn sync_all(&self) -> io::Result<()> {
        live(&self.1).and_then(|()| self.0.sync_all())
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        live(&self.1).and_then(|()| self.0.allocate(length))
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        live(&self.1).and_then(|()| self.0.truncate(length))
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn identity(&self) -> io::Result<FileIdentity> {
        self.0.identity()
    }
}

#[test]
fn whenever_it_is_killed_it_is_the_same_afterwards() {
    let top = tempfile::tempdir().unwrap();
    let incarnation = begin(top.path(), 1).incarnation();
    for survived in 0.. {
        let left = Arc::new(AtomicUsize::new(survived));
        let begun = begun(Arc::new(Dying(Arc::clone(&left))), top.path(), 1);
        if let Ok(mut data) = begun {
            data.end(&[("log", Reached { position: 1, segment: Some(top.path().join(SEGMENT)) })]);
        }
        assert_eq!(begin(top.path(), 1).incarnation(), incarnation, "killed after {survived} changes");
        if left.load(Ordering::Relaxed) > 0 {
            assert!(survived > 30, "only {survived} changes: it was not killed in all that it does");
            break;
        }
    }
}
