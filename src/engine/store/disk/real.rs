//! The disk of this machine.
//!
//! What it makes only its owner may read (files 0600, directories 0700). A file of ours that others may read is mended
//! when it is opened for writing, and so is a directory; one in which others could exchange our files is refused.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::{Disk, DiskFile, DiskLock, FileIdentity};

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Group and others: all that a file of ours does not grant.
const SHARED: u32 = 0o077;
/// Group and others, writing.
const SHARED_WRITE: u32 = 0o022;

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        make_dir(dir).map_err(|error| match error.kind() {
            // Said of what is there and is something else.
            io::ErrorKind::AlreadyExists => at(dir)(io::ErrorKind::NotADirectory.into()),
            _ => error,
        })?;
        let mode = dir.metadata().map_err(at(dir))?.mode();
        if mode & SHARED_WRITE != 0 {
            let why = format!(
                "others can write to this directory (its mode is {:04o}): chmod go-w, or name one below it",
                mode & 0o7777
            );
            return Err(at(dir)(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        if mode & SHARED != 0 {
            std::fs::set_permissions(dir, Permissions::from_mode(DIR_MODE)).map_err(at(dir))?;
            tracing::info!("{}: others could read this directory, and cannot any more", dir.display());
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path);
        Ok(Arc::new(RealFile(file.map_err(at(path))?)))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = open_file(path, OpenOptions::new().read(true).write(write)).map_err(at(path))?;
        if write && file.metadata().map_err(at(path))?.mode() & SHARED != 0 {
            file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(at(path))?;
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = dir.read_dir().map_err(at(dir))?;
        let files: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut files = files.map_err(at(dir))?;
        files.sort();
        Ok(files)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to).map_err(at(from))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path).map_err(at(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        // Reading is enough to lock, so that a store that may not be written can be looked at.
        let there = open_file(path, OpenOptions::new().read(true));
        let file = match there {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
            }
            there => there,
        }
        .map_err(at(path))?;
        file.try_lock().map_err(|error| at(path)(error.into()))?;
        Ok(Box::new(RealLock(file)))
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset).map_err(full)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().map_err(full)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        // What the file has already is not looked through again: on some file systems that takes as long as it is.
        let from = self.length()?;
        if from >= length {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), from, length - from) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Err(io::ErrorKind::Unsupported.into()),
                Err(error) => return Err(full(error.into())),
            }
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all().map_err(full)
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        let metadata = self.0.metadata()?;
        let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(FileIdentity {
            inode: metadata.ino(),
            born: born.as_nanos().cast_signed(),
            changed: i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()),
        })
    }
}

#[derive(Debug)]
struct RealLock(File);

impl DiskLock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing alone would leave it held by a child between its fork and its exec. Without an unlock, closing frees it.
        let _ = self.0.unlock();
    }
}

/// Makes a directory and those above it, each durable in the one that holds it.
fn make_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIR_MODE).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && dir.parent().is_some() => {
            make_dir(above(dir))?;
            DirBuilder::new().mode(DIR_MODE).create(dir).map_err(at(dir))?;
        }
        Err(error) => return Err(at(dir)(error)),
    }
    RealDisk.sync_dir(above(dir))
}

/// Opens a file, and nothing else that has its name: a pipe would hold up whoever opens it.
fn open_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

/// The directory that holds a path.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// An error that names its file. The kind stays.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What a quota refuses, there is no room for.
fn full(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::QuotaExceeded {
        return io::Error::new(io::ErrorKind::StorageFull, error);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_it_makes_only_its_owner_may_read() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/b/c");
        RealDisk.create_dir(&dir).unwrap();
        RealDisk.create_dir(&dir).unwrap();
        RealDisk.create(&dir.join("file")).unwrap();
        drop(RealDisk.lock(&dir.join("LOCK")).unwrap());
        assert_eq!(mode(&top.path().join("a")), 0o700);
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("file")), 0o600);
        assert_eq!(mode(&dir.join("LOCK")), 0o600);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused_and_left_as_it_is() {
        let top = tempfile::tempdir().unwrap();
        for wide in [0o770, 0o707, 0o1777] {
            set_mode(top.path(), wide);
            let error = RealDisk.create_dir(top.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains(&format!("{wide:04o}")), "{error}");
            assert!(error.to_string().starts_with(top.path().to_str().unwrap()), "{error}");
            assert_eq!(mode(top.path()), wide);
        }
    }

    #[test]
    fn a_directory_that_others_can_read_is_mended() {
        let top = tempfile::tempdir().unwrap();
        for wide in [0o750, 0o755, 0o2711] {
            set_mode(top.path(), wide);
            RealDisk.create_dir(top.path()).unwrap();
            assert_eq!(mode(top.path()), 0o700);
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_mended_when_it_is_opened_to_be_written() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("file");
        RealDisk.create(&path).unwrap();
        set_mode(&path, 0o644);
        RealDisk.open(&path, false).unwrap();
        assert_eq!(mode(&path), 0o644);
        RealDisk.open(&path, true).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_is_no_file_is_refused_and_holds_nobody_up() {
        let top = tempfile::tempdir().unwrap();
        let (dir, pipe) = (top.path().join("dir"), top.path().join("pipe"));
        RealDisk.create_dir(&dir).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [&dir, &pipe] {
            for error in [
                RealDisk.open(path, false).unwrap_err(),
                RealDisk.open(path, true).unwrap_err(),
                RealDisk.lock(path).unwrap_err(),
            ] {
                assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
            }
        }
        let refused = RealDisk.open(&pipe, false).unwrap_err().to_string();
        assert!(refused.ends_with("it is no regular file"), "{refused}");
    }

    #[test]
    fn errors_name_the_file() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("nothing");
        for error in [
            RealDisk.open(&path, true).unwrap_err(),
            RealDisk.list(&path).unwrap_err(),
            RealDisk.remove(&path).unwrap_err(),
            RealDisk.rename(&path, &top.path().join("b")).unwrap_err(),
            RealDisk.sync_dir(&path).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn a_store_that_may_not_be_written_can_be_locked() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("LOCK");
        drop(RealDisk.lock(&path).unwrap());
        set_mode(&path, 0o400);
        drop(RealDisk.lock(&path).unwrap());
    }

    #[test]
    fn a_child_between_fork_and_exec_does_not_keep_the_lock() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("LOCK");
        let file = File::create(&path).unwrap();
        // A duplicate shares the lock, as a child's descriptor does.
        let duplicate = file.try_clone().unwrap();
        file.try_lock().unwrap();
        drop(RealLock(file));
        RealDisk.lock(&path).unwrap();
        drop(duplicate);
    }
}
