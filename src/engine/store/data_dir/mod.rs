//! A data directory: whose it is, held by one process at a time.
//!
//! ```text
//! DIR/LOCK       locked while a process has it; its text is that process's id
//! DIR/identity   what the directory is
//! DIR/witness    what it was like when it was last begun or ended
//! DIR/log/       the runtime's log
//! DIR/control/   the control plane's own
//! ```
//!
//! The incarnation is drawn when the directory is made. A copy of it gets another one when it is first opened, so that a
//! cursor of the one is never taken for a cursor of the other, and so does one over which a copy was put.
//!
//! ```text
//! open    takes all locks, and looks; writes nothing but a directory that is new
//!         (the logs are opened)
//! settle  writes what was found out, then the witness; only then anything is served
//! end     notes again how it is left
//! ```

#[cfg(test)]
mod copies;
mod error;
mod files;
mod held;
mod identity;
#[cfg(test)]
mod tests;
mod witness;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::DataDirError;
pub use identity::DirRole;
use identity::{Identity, Sound, Unsound, VERSION};

use self::files::{is_segment, replace, whole};
use self::held::HeldDisk;
use self::witness::{Mark, Witness, look};
use super::disk::{Disk, DiskFile, DiskLock};
use super::log::Reached;
use crate::model::{Incarnation, RuntimeId};

/// The logs that a data directory may have: the runtime's, and the control plane's own.
pub(super) const LOGS: [&str; 2] = ["log", "control"];

/// Stands in a directory for as long as it is being filled with a copy.
pub(super) const UNFINISHED: &str = "UNFINISHED";

/// A data directory that this process has until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    disk: Arc<HeldDisk>,
    identity: Identity,
    /// `identity` says something that its file does not.
    due: bool,
    /// What was noted last.
    witness: Witness,
    /// The logs' locks say who has them.
    named: bool,
    _lock: Box<dyn DiskLock>,
}

impl DataDir {
    /// Takes a directory and looks whether it is the one that was asked for, or makes it. A host's that is made without a
    /// runtime's id gets one. What is found out is written by [`DataDir::settle`].
    ///
    /// # Errors
    /// [`DataDirError`]; nothing that is stored was changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        role: DirRole,
        asked: Option<&RuntimeId>,
    ) -> Result<Self, DataDirError> {
        disk.create_dir(dir).map_err(|source| DataDirError::Io { dir: dir.to_owned(), source })?;
        let lock = held::hold(&*disk, dir)?;
        let (locks, witness, identity, due) = match read(&*disk, dir)? {
            Some(found) => {
                let locks = held::hold_logs(&*disk, dir)?;
                let (identity, due) = admit(&*disk, dir, &found, role, asked)?;
                (locks, found.witness, identity, due)
            }
            None => (held::Locks::new(), Witness::default(), make(&*disk, dir, role, asked)?, false),
        };
        let disk = Arc::new(HeldDisk::new(disk, locks));
        Ok(Self { dir: dir.to_owned(), disk, identity, due, witness, named: false, _lock: lock })
    }

    /// Writes down what the directory is, and what it is like, once its logs are open and before anything is served.
    ///
    /// # Errors
    /// What the system says, where it is to say something new of itself.
    pub fn settle(&mut self, logs: &[(&str, Reached)]) -> Result<(), DataDirError> {
        let fell =
            logs.iter().find(|(log, reached)| self.witness.reached.get(*log).is_some_and(|it| reached.position < *it));
        if let Some((log, Reached { position, .. })) = fell {
            let why = format!("{log} ends at position {position}, and had come further");
            draw_anew(&self.dir, &mut self.identity, &why);
            self.due = true;
        }
        self.tighten();
        match self.note(logs) {
            Err(source) if self.due => Err(DataDirError::Io { dir: self.dir.clone(), source }),
            Err(error) => {
                tracing::warn!(%error, "what the data directory is like could not be noted: a copy may pass for it");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Files that came from elsewhere may be such that others can read them.
    fn tighten(&self) {
        let files = LOGS.iter().filter_map(|log| self.disk.list(&self.dir.join(log)).ok()).flatten();
        for file in files.filter(|file| is_segment(file)) {
            // Opened to be written, it is mended.
            if let Err(error) = self.disk.open(&file, true) {
                tracing::warn!("it stays as it is, whoever may read it: {error}");
            }
        }
    }

    /// Notes how the directory is left, after its logs were closed.
    pub fn end(&mut self, logs: &[(&str, Reached)]) {
        if let Err(error) = self.note(logs) {
            tracing::warn!(%error, "how the data directory was left could not be noted: a copy may pass for it");
        }
    }

    /// Makes `identity` anew, by which what was noted before says nothing of what is touched from here on; then the
    /// witness.
    fn note(&mut self, logs: &[(&str, Reached)]) -> io::Result<()> {
        let identity = write(&*self.disk, &self.dir, &mut self.identity)?;
        self.due = false;
        let mut witness = Witness { untouched: [].into(), ..self.witness.clone() };
        for log in LOGS {
            let lock = self.lock_of(log)?;
            witness.untouched.extend(lock.map(|lock| (format!("{log}/LOCK"), lock)));
        }
        self.named = true;
        for (log, Reached { position, segment }) in logs {
            witness.reached.insert((*log).to_owned(), *position);
            witness.kept.retain(|file, _| !file.starts_with(&format!("{log}/")));
            let name = segment.as_ref().and_then(|file| Some(format!("{log}/{}", file.file_name()?.to_str()?)));
            if let Some(name) = name
                && let Some(file) = look(&*self.disk, &self.dir, &name)?
            {
                witness.kept.insert(name, Mark::born(file));
            }
        }
        // Its own time of change counts, which the rename was the last to set.
        identity.sync_all()?;
        witness.untouched.insert("identity".to_owned(), Mark::changed(identity.identity()?));
        witness.write(&*self.disk, &self.dir)?;
        self.witness = witness;
        Ok(())
    }

    /// The lock of a log, which says who has it from the first time on.
    fn lock_of(&self, log: &str) -> io::Result<Option<Mark>> {
        let dir = self.dir.join(log);
        let file = if self.named { held::named(&*self.disk, &dir) } else { held::name(&*self.disk, &dir) };
        match file.and_then(|file| file.sync_all().and_then(|()| file.identity())) {
            Ok(identity) => Ok(Some(Mark::changed(identity))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a directory for this process until the value is dropped.
    ///
    /// # Errors
    /// [`DataDirError::InUse`], or what the system says.
    pub fn hold(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, DataDirError> {
        held::hold(disk, dir)
    }

    /// Takes a directory as it is, for one that only reads: nothing is written. One without a `LOCK` has had no server.
    pub(super) fn hold_to_read(disk: &dyn Disk, dir: &Path) -> Result<Vec<Box<dyn DiskLock>>, DataDirError> {
        Ok(held::hold_to_read(disk, dir)?.into_values().collect())
    }

    /// Whose a directory is, asked without taking it; `None` where it is new. Nothing is written.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] while a process has it, and whatever would keep one from opening it, but for whose it is.
    pub fn owner(disk: &dyn Disk, dir: &Path) -> Result<Option<(DirRole, Option<RuntimeId>)>, DataDirError> {
        let _held = held::hold_to_read(disk, dir)?;
        let Some(Found { identity, witness, .. }) = read(disk, dir)? else { return Ok(None) };
        let lost = witness.lost(disk, dir).map_err(|source| DataDirError::Io { dir: dir.to_owned(), source })?;
        match lost {
            Some(log) => Err(DataDirError::LogLost { log: dir.join(log) }),
            None => Ok(Some((identity.role, identity.runtime_id))),
        }
    }

    /// What a directory says of itself. Nothing is written, and whether it is a copy is not asked.
    pub(super) fn look(disk: &dyn Disk, dir: &Path) -> Result<Looked, DataDirError> {
        let missing = || DataDirError::Damaged { file: path(dir), problem: "it is missing" };
        let Found { identity, whole, witness, .. } = read(disk, dir)?.ok_or_else(missing)?;
        let hit = (!whole).then(|| "identity: offset 0: one of its two blocks is damaged".to_owned());
        Ok(Looked { role: identity.role, runtime_id: identity.runtime_id, hit, reached: witness.reached })
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
        Arc::<HeldDisk>::clone(&self.disk)
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
    /// The last position that each log that was made is known to have had.
    pub(super) reached: BTreeMap<String, u64>,
}

/// An identity, and whether its file is as it was written.
struct Found {
    identity: Identity,
    /// The inode that the file really has.
    inode: u64,
    whole: bool,
    witness: Witness,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("identity")
}

/// Reads the identity; `None` where the directory is new.
fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Found>, DataDirError> {
    let io = |source| DataDirError::Io { dir: dir.to_owned(), source };
    let file = path(dir);
    let damaged = |problem| DataDirError::Damaged { file: file.clone(), problem };
    let (bytes, inode) = match disk.open(&file, false).and_then(|file| Ok((whole(&*file)?, file.identity()?.inode))) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if disk.open(&dir.join(UNFINISHED), false).is_ok() {
                return Err(DataDirError::Unfinished(dir.to_owned()));
            }
            // It is made before anything else is: without it, what is there has lost it.
            let log = |log: &&str| disk.list(&dir.join(log)).is_ok_and(|files| !files.is_empty());
            return if LOGS.iter().any(log) { Err(damaged("it is missing, though there is a log")) } else { Ok(None) };
        }
        Err(source) => return Err(io(source)),
    };
    match Identity::decode(&bytes) {
        Ok(Sound { identity, damaged_at }) => {
            if let Some(offset) = damaged_at {
                let file = file.display();
                tracing::warn!("{file}: offset {offset}: a checksum does not match; it is mended from its twin");
            }
            let witness = Witness::read(disk, dir).map_err(io)?.unwrap_or_default();
            Ok(Some(Found { identity, inode, whole: damaged_at.is_none(), witness }))
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

/// Looks whether a directory is the one that was asked for. Returns what it is from now on, and whether that is new.
fn admit(
    disk: &dyn Disk,
    dir: &Path,
    found: &Found,
    role: DirRole,
    asked: Option<&RuntimeId>,
) -> Result<(Identity, bool), DataDirError> {
    let Found { identity, inode, whole, witness } = found;
    let (mut identity, mut due) = (identity.clone(), !whole);
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
            due = true;
        }
        _ => {}
    }
    let io = |source| DataDirError::Io { dir: dir.to_owned(), source };
    if let Some(log) = witness.lost(disk, dir).map_err(io)? {
        return Err(DataDirError::LogLost { log: dir.join(log) });
    }
    let contradicted = witness.contradicted(disk, dir, identity.inode).map_err(io)?;
    let other = if identity.inode == *inode { contradicted } else { Some("identity") };
    if let Some(file) = other {
        draw_anew(dir, &mut identity, &format!("{file} is another file, or was touched since"));
        due = true;
    }
    Ok((identity, due))
}

fn draw_anew(dir: &Path, identity: &mut Identity, why: &str) {
    let before = std::mem::replace(&mut identity.incarnation, Incarnation::generate());
    tracing::warn!(
        dir = %dir.display(), %before, incarnation = %identity.incarnation, why,
        "the data directory was copied or restored: it is another one now, and cursors of the one before have expired"
    );
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

/// Puts an identity in place of what is there; notes the inode that its file has then.
fn write(disk: &dyn Disk, dir: &Path, identity: &mut Identity) -> io::Result<Arc<dyn DiskFile>> {
    replace(disk, dir, "identity", |inode| {
        identity.inode = inode;
        identity.encode()
    })
}
