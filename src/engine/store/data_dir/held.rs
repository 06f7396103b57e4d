//! Who has a directory: its own lock and those of its logs, all of which are held before anything in it is changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::contents;
use super::{DataDirError, LOGS};
use crate::engine::store::disk::{Disk, DiskFile, DiskLock};

const LOCK: &str = "LOCK";

/// A lock whose file says for as long which process has it.
#[derive(Debug)]
struct Named {
    /// None where it could not be written: whoever comes meanwhile is told less.
    file: Option<Arc<dyn DiskFile>>,
    _lock: Box<dyn DiskLock>,
}

impl DiskLock for Named {}

impl Drop for Named {
    fn drop(&mut self) {
        // Nobody is to end a process that has this id later.
        let _ = self.file.take().map(|file| file.truncate(0));
    }
}

/// Takes a directory for this process until the value is dropped.
pub(super) fn hold(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, DataDirError> {
    let path = dir.join(LOCK);
    let lock = disk.lock(&path).map_err(|error| not_held(disk, dir, &path, error))?;
    Ok(Box::new(Named { file: name(disk, dir).ok(), _lock: lock }))
}

/// Writes who has it into the lock of a directory that is held.
pub(super) fn name(disk: &dyn Disk, dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.open(&dir.join(LOCK), true)?;
    file.truncate(0)?;
    file.write_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
    Ok(file)
}

/// The lock of a directory as it is.
pub(super) fn named(disk: &dyn Disk, dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
    disk.open(&dir.join(LOCK), true)
}

/// The locks of the logs that are there, by their paths. Nothing is written into them yet.
pub(super) fn hold_logs(disk: &dyn Disk, dir: &Path) -> Result<Locks, DataDirError> {
    let mut locks = Locks::new();
    for log in LOGS.map(|log| dir.join(log)) {
        let there = disk.list(&log).and_then(|_| disk.create_dir(&log));
        match there {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(DataDirError::Io { dir: dir.to_owned(), source }),
        }
        let path = log.join(LOCK);
        let lock = disk.lock(&path).map_err(|error| not_held(disk, dir, &path, error))?;
        locks.insert(path, lock);
    }
    Ok(locks)
}

/// The locks that are there, for one that only reads: none is made.
pub(super) fn hold_to_read(disk: &dyn Disk, dir: &Path) -> Result<Locks, DataDirError> {
    let mut locks = Locks::new();
    for path in [dir.join(LOCK)].into_iter().chain(LOGS.map(|log| dir.join(log).join(LOCK))) {
        match disk.open(&path, false).and_then(|_| disk.lock(&path)) {
            Ok(lock) => drop(locks.insert(path, lock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(not_held(disk, dir, &path, error)),
        }
    }
    Ok(locks)
}

/// Why a directory could not be held.
fn not_held(disk: &dyn Disk, dir: &Path, lock: &Path, error: io::Error) -> DataDirError {
    let dir = dir.to_owned();
    if error.kind() != io::ErrorKind::WouldBlock {
        return DataDirError::Io { dir, source: error };
    }
    let text = contents(disk, lock).unwrap_or_default();
    let pid = str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    DataDirError::InUse { dir, pid }
}

/// Locks that are held, by their paths.
pub(super) type Locks = BTreeMap<PathBuf, Box<dyn DiskLock>>;

/// The disk of a directory that is held: each lock that was taken ahead goes to whoever asks for it first, which is the
/// log that it belongs to.
#[derive(Debug)]
pub(super) struct HeldDisk {
    disk: Arc<dyn Disk>,
    locks: Mutex<Locks>,
}

impl HeldDisk {
    pub(super) fn new(disk: Arc<dyn Disk>, locks: Locks) -> Self {
        Self { disk, locks: Mutex::new(locks) }
    }
}

impl Disk for HeldDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path, write)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let held = self.locks.lock().remove(path);
        held.map_or_else(|| self.disk.lock(path), Ok)
    }
}
