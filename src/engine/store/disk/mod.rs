//! Every file operation of the store, behind one trait, so that a simulation can tear, lose and refuse each of them.
//!
//! All of it blocks: it is called on the store's own threads and on the runtime's threads that may block, never on one
//! that serves.

mod real;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use real::RealDisk;

/// A disk, or what stands for one.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a directory that only its owner may enter (0700), and those above it, durable at once. One that is there
    /// is made one that only its owner may enter.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] where others can write to one that is there, or what the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a file that only its owner may read and write (0600).
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or what the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there, to read only or to write as well. To write, it is first made one that only its
    /// owner may read.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// What is in a directory, files and directories, by their paths, in order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Gives a file another name in place of what had it. Durable once the directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable once the directory is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes what was created, renamed and removed in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes a file for this process alone until the value is dropped; makes it where it is not there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// A file. Offsets are absolute: it has no place of its own, and many may read beside one who writes.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads into `buffer` from `offset` on; returns how much, which is less than asked for only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` from `offset` on. After an error any part of it may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable, with as much of the file's own state as reading it back needs.
    fn sync_data(&self) -> io::Result<()>;

    /// Takes room for the file up to `length`, which is zeros until it is written. Never shortens it.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where there is no room; [`io::ErrorKind::Unsupported`] where the file system
    /// cannot do it.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Cuts the file to `length`.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// How long it is, in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Makes all of it durable, also what reading it back does not need, as when it was changed last.
    fn sync_all(&self) -> io::Result<()>;

    /// What tells this file from a copy of it.
    fn identity(&self) -> io::Result<FileIdentity>;
}

/// What tells a file from a copy of it, also from one that was written over it: the system alone sets all of it. Times
/// are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileIdentity {
    /// Its inode. One that was given back is given to another file.
    pub inode: u64,
    /// When it was made; 0 where the file system does not say.
    pub born: i128,
    /// When anything of it was changed last: what is in it, its name, its mode.
    pub changed: i128,
}

/// A file held for one process; dropped, it is free.
pub trait DiskLock: fmt::Debug + Send + Sync {}
