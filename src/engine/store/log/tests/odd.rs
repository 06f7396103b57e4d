//! A simulated disk with oddities that are not left to chance.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::disk::{Disk, DiskFile, DiskLock, FileIdentity};

/// Clones are the same disk.
#[derive(Debug, Clone)]
pub(super) struct OddDisk {
    inner: SimulatedDisk,
    odd: Arc<Odd>,
}

#[derive(Debug, Default)]
pub(super) struct Odd {
    /// It takes no room ahead.
    pub(super) plain: AtomicBool,
    /// It removes nothing.
    pub(super) keeps: AtomicBool,
    /// A sync finds no room.
    pub(super) full_at_sync: AtomicBool,
    /// Nothing can be written.
    pub(super) broken: AtomicBool,
    /// A sync panics.
    pub(super) panics: AtomicBool,
    /// How many bytes were read.
    pub(super) read: AtomicU64,
    /// Reads of these bytes of any file fail.
    pub(super) unreadable: parking_lot::Mutex<std::ops::Range<u64>>,
}

impl OddDisk {
    pub(super) fn new(inner: &SimulatedDisk) -> Self {
        Self { inner: inner.clone(), odd: Arc::default() }
    }

    pub(super) fn odd(&self) -> &Odd {
        &self.odd
    }

    fn file(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(OddFile { inner, odd: Arc::clone(&self.odd) })
    }
}

#[derive(Debug)]
struct OddFile {
    inner: Arc<dyn DiskFile>,
    odd: Arc<Odd>,
}

impl Disk for OddDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.inner.create(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.inner.open(path, write)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.odd.keeps.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }
}

impl DiskFile for OddFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let unreadable = self.odd.unreadable.lock().clone();
        if unreadable.start < offset + buffer.len() as u64 && offset < unreadable.end {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        let read = self.inner.read_at(buffer, offset)?;
        self.odd.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.odd.broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.inner.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        assert!(!self.odd.panics.load(Ordering::Relaxed), "a sync that panics");
        self.inner.sync_data()?;
        if self.odd.full_at_sync.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if self.odd.plain.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.inner.allocate(length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.inner.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.inner.identity()
    }
}
