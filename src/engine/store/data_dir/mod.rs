//! A data directory: whose it is, held by one process at a time.
//!
//! ```text
//! DIR/LOCK       locked while a process has it; its text is that process's id
//! DIR/identity   what the directory is
//! DIR/log/       the runtime's log
//! DIR/control/   the control plane's own
//! ```
//!
//! The incarnation is drawn when the directory is made. A copy of it gets another one when it is first opened, so that a
//! cursor of the one is never taken for a cursor of the other; that it is a copy is told by the inode of `identity`.

mod identity;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use identity::DirRole;
use identity::{Identity, Sound, Unsound, VERSION};

use super::disk::{Disk, DiskFile, DiskLock};
use crate::model::{Incarnation, RuntimeId};

/// Why a data directory is not opened. Each says which one.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{}: is in use by another process{}", dir.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// Which directory.
        dir: PathBuf,
        /// That process, where it can be told.
        pid: Option<u32>,
    },
    /// It was written by a later version of this program.
    #[error("{}: has format {version}, and this program knows up to {VERSION}: use the version that wrote it, or a later one", dir.display())]
    Newer {
        /// Which directory.
        dir: PathBuf,
        /// Its format.
        version: u32,
    },
    /// It has a format from which there is no way to this one.
    #[error("{}: has format {version}, which no version of this program can bring up to {VERSION}", dir.display())]
    Older {
        /// Which directory.
        dir: PathBuf,
        /// Its format.
        version: u32,
    },
    /// What it is cannot be read.
    #[error("{}: offset 0: {problem}; `workplane store salvage` makes a new directory of what is readable", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It was to be a copy of another one, and is not finished.
    #[error("{}: is a copy that was not finished: remove it, and make it again from the original", .0.display())]
    Unfinished(PathBuf),
    /// It belongs to the other role.
    #[error("{}: belongs to `workplane {}`, and not to `workplane {}`", dir.display(), has.as_str(), asked.as_str())]
    OtherRole {
        /// Which directory.
        dir: PathBuf,
        /// Its role.
        has: DirRole,
        /// The role that wants it.
        asked: DirRole,
    },
    /// It belongs to another runtime.
    #[error("{}: belongs to the runtime {has}, and not to {asked}: name that one, none, or another directory", dir.display())]
    OtherRuntime {
        /// Which directory.
        dir: PathBuf,
        /// Its runtime.
        has: RuntimeId,
        /// The runtime that wants it.
        asked: RuntimeId,
    },
    /// The system refused something; it says what.
    #[error("the data directory {} cannot be used: {source}", dir.display())]
    Io {
        /// Which directory.
        dir: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Stands in a directory for as long as it is being filled with a copy.
pub(super) const UNFINISHED: &str = "UNFINISHED";

/// A data directory that this process has until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    identity: Identity,
    _lock: Box<dyn DiskLock>,
}

impl DataDir {
    /// Opens a directory, or makes it. A host's that is made without a runtime's id gets one.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing was changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        role: DirRole,
        asked: Option<&RuntimeId>,
    ) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io { dir: dir.to_owned(), source };
        disk.create_dir(dir).map_err(io)?;
        let lock = Self::hold(&*disk, dir)?;
        let identity = match read(&*disk, dir)? {
            Some(found) => admit(&*disk, dir, found, role, asked)?,
            None => make(&*disk, dir, role, asked)?,
        };
        Ok(Self { dir: dir.to_owned(), disk, identity, _lock: lock })
    }

    /// Takes a directory for this process until the value is dropped.
    ///
    /// # Errors
    /// [`DataDirError::InUse`], or what the system says.
    pub fn hold(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, DataDirError> {
        let path = dir.join("LOCK");
        let lock = disk.lock(&path).map_err(|error| not_held(disk, dir, error))?;
        // For whoever comes meanwhile; without it they are told less.
        let _ = disk.open(&path, true).and_then(|file| {
            file.truncate(0)?;
            file.write_at(format!("{}\n", std::process::id()).as_bytes(), 0)
        });
        Ok(lock)
    }

    /// Takes a directory as it is, for one that only reads: nothing is written. One without a `LOCK` has had no server.
    pub(super) fn hold_to_read(disk: &dyn Disk, dir: &Path) -> Result<Option<Box<dyn DiskLock>>, DataDirError> {
        let path = dir.join("LOCK");
        match disk.open(&path, false).and_then(|_| disk.lock(&path)) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(not_held(disk, dir, error)),
        }
    }

    /// What a directory says of itself. Nothing is written, and whether it is a copy is not asked.
    pub(super) fn look(disk: &dyn Disk, dir: &Path) -> Result<Looked, DataDirError> {
        let missing = || DataDirError::Damaged { file: path(dir), problem: "it is missing" };
        let Found { identity, whole, .. } = read(disk, dir)?.ok_or_else(missing)?;
        let hit = (!whole).then(|| "identity: offset 0: one of its two blocks is damaged".to_owned());
        Ok(Looked { role: identity.role, runtime_id: identity.runtime_id, hit })
    }

    /// Makes a directory a data directory after its logs were put there: one of its own, with an incarnation of its own.
    pub(super) fn found(
        disk: &dyn Disk,
        dir: &Path,
        role: DirRole,
        runtime_id: Option<&RuntimeId>,
    ) -> Result<(), DataDirError> {
        make(disk, dir, role, runtime_id).map(drop)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Of the streams in it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.identity.incarnation
    }

    /// The runtime whose state it holds.
    #[must_use]
    pub fn runtime_id(&self) -> Option<&RuntimeId> {
        self.identity.runtime_id.as_ref()
    }

    /// What it lies on.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// Where the runtime's log lies.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Where the control plane's own log lies.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.dir.join("control")
    }
}

/// What a directory says of itself.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) role: DirRole,
    pub(super) runtime_id: Option<RuntimeId>,
    /// That, and where, one of the two places that say it is damaged.
    pub(super) hit: Option<String>,
}

/// Why a directory could not be held.
fn not_held(disk: &dyn Disk, dir: &Path, error: io::Error) -> DataDirError {
    let dir = dir.to_owned();
    if error.kind() != io::ErrorKind::WouldBlock {
        return DataDirError::Io { dir, source: error };
    }
    let text = contents(disk, &dir.join("LOCK")).unwrap_or_default();
    let pid = str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    DataDirError::InUse { dir, pid }
}

/// An identity, and whether its file is as it was written.
struct Found {
    identity: Identity,
    /// The inode that the file really has.
    inode: u64,
    whole: bool,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("identity")
}

/// Reads the identity; `None` where the directory is new.
fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Found>, DataDirError> {
    let io = |source| DataDirError::Io { dir: dir.to_owned(), source };
    let file = path(dir);
    let damaged = |problem| DataDirError::Damaged { file: file.clone(), problem };
    let (bytes, inode) = match disk.open(&file, false).and_then(|file| Ok((whole(&*file)?, file.identity()?))) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if disk.open(&dir.join(UNFINISHED), false).is_ok() {
                return Err(DataDirError::Unfinished(dir.to_owned()));
            }
            // It is made before anything else is: without it, what is there has lost it.
            let logs = ["log", "control"].map(|log| disk.list(&dir.join(log)).is_ok_and(|files| !files.is_empty()));
            return if logs.contains(&true) { Err(damaged("it is missing, though there is a log")) } else { Ok(None) };
        }
        Err(source) => return Err(io(source)),
    };
    match Identity::decode(&bytes) {
        Ok(Sound { identity, damaged_at }) => {
            if let Some(offset) = damaged_at {
                let file = file.display();
                tracing::warn!("{file}: offset {offset}: a checksum does not match; it is mended from its twin");
            }
            Ok(Some(Found { identity, inode, whole: damaged_at.is_none() }))
        }
        Err(Unsound::Version(version)) if version > VERSION => {
            Err(DataDirError::Newer { dir: dir.to_owned(), version })
        }
        Err(Unsound::Version(version)) => migrate(dir, version),
        Err(Unsound::Damaged) => Err(damaged("it is damaged: neither of its checksums matches")),
    }
}

/// Brings a directory of an earlier format up to this one. There was none before the first.
fn migrate(dir: &Path, version: u32) -> Result<Option<Found>, DataDirError> {
    Err(DataDirError::Older { dir: dir.to_owned(), version })
}

/// Looks whether a directory is the one that was asked for, and brings its identity up to date.
fn admit(
    disk: &dyn Disk,
    dir: &Path,
    found: Found,
    role: DirRole,
    asked: Option<&RuntimeId>,
) -> Result<Identity, DataDirError> {
    let Found { mut identity, inode, mut whole } = found;
    if identity.role != role {
        return Err(DataDirError::OtherRole { dir: dir.to_owned(), has: identity.role, asked: role });
    }
    match (&identity.runtime_id, asked) {
        (Some(has), Some(asked)) if has != asked => {
            let (has, asked) = (has.clone(), asked.clone());
            return Err(DataDirError::OtherRuntime { dir: dir.to_owned(), has, asked });
        }
        (None, Some(asked)) => {
            identity.runtime_id = Some(asked.clone());
            whole = false;
        }
        _ => {}
    }
    if identity.inode != inode {
        let before = identity.incarnation;
        identity.incarnation = Incarnation::generate();
        tracing::warn!(
            dir = %dir.display(), %before, incarnation = %identity.incarnation,
            "the data directory was copied or restored: it is another one now, and cursors of the one before have expired"
        );
        whole = false;
    }
    if !whole {
        write(disk, dir, &mut identity).map_err(|source| DataDirError::Io { dir: dir.to_owned(), source })?;
    }
    Ok(identity)
}

fn make(disk: &dyn Disk, dir: &Path, role: DirRole, asked: Option<&RuntimeId>) -> Result<Identity, DataDirError> {
    let runtime_id = match role {
        DirRole::Host => Some(asked.cloned().unwrap_or_else(RuntimeId::generate)),
        DirRole::ControlPlane => asked.cloned(),
    };
    let mut identity = Identity { role, incarnation: Incarnation::generate(), runtime_id, inode: 0 };
    write(disk, dir, &mut identity).map_err(|source| DataDirError::Io { dir: dir.to_owned(), source })?;
    tracing::info!(dir = %dir.display(), incarnation = %identity.incarnation, "a data directory was made");
    Ok(identity)
}

/// Puts an identity in place of what is there, whole or not at all; notes the inode that its file has then.
fn write(disk: &dyn Disk, dir: &Path, identity: &mut Identity) -> io::Result<()> {
    let temporary = dir.join("identity.new");
    match disk.remove(&temporary) {
        // Left by one that was killed.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = disk.create(&temporary)?;
    identity.inode = file.identity()?;
    file.write_at(&identity.encode(), 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &path(dir))?;
    disk.sync_dir(dir)
}

fn contents(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    whole(&*disk.open(path, false)?)
}

/// A small file, whole.
fn whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    const LARGEST: u64 = 4_096;
    let mut bytes = vec![0; usize::try_from(file.length()?.min(LARGEST)).unwrap_or_default()];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
