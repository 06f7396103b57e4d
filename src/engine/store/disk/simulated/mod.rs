//! A disk in memory that does by seed what disks do at their worst.
//!
//! - What was written and not synced survives a **power cut** in part: any 512-byte sectors of it, as they were at any
//!   time since. So does what was created, renamed and removed in a directory that was not synced: in order, up to any
//!   point.
//! - A **write that fails** has written a part. A **sync that fails** has landed some sectors and forgets the others: a
//!   later sync says yes and does not write them, as Linux does.
//! - **No room** is a number of bytes that can be raised later.
//!
//! What one process does is one *boot*: [`SimulatedDisk::restart`] hands out the disk for the next one, and all that the
//! one before still holds is dead. Not simulated: short reads, sectors that lie, more than one disk.

mod contents;
mod state;
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;

use self::state::{State, missing};
use super::{Disk, DiskFile, DiskLock, FileIdentity};

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A write: a part of it is written.
    Write,
    /// A sync of a file: a part lands, the rest is forgotten.
    Sync,
    /// A sync of a directory: nothing is known.
    SyncDir,
    /// A read.
    Read,
    /// Cutting a file.
    Truncate,
}

/// How likely operations are to fail by themselves, from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chances {
    pub(crate) write: f64,
    pub(crate) sync: f64,
    pub(crate) sync_dir: f64,
}

/// The disk, as one process has it. Clones are the same disk and the same process.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    boot: u64,
}

impl SimulatedDisk {
    /// An empty disk; all that it does follows from the seed and from the order of what is asked of it.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))), boot: 0 }
    }

    /// How many operations that change something it was asked for. The next one has the number after this.
    pub(crate) fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// How many syncs of files it was asked for.
    pub(crate) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Cuts the power at the operation of this number: it may have happened, in part or whole, and its caller does not
    /// learn it.
    pub(crate) fn cut_power_at(&self, operation: u64) {
        self.state.lock().cut_at = Some(operation);
    }

    /// The power stays after all; returns when it would have gone.
    pub(crate) fn keep_power(&self) -> Option<u64> {
        self.state.lock().cut_at.take()
    }

    /// Cuts the power now.
    pub(crate) fn cut_power(&self) {
        self.state.lock().cut();
    }

    /// Whether this process can do nothing with it any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.state.lock().alive(self.boot).is_err()
    }

    /// The disk for the next process. Without a power cut before it, the one before was killed and nothing is lost.
    pub(crate) fn restart(&self) -> Self {
        let mut state = self.state.lock();
        state.boot += 1;
        state.powered = true;
        state.due.clear();
        state.locks.clear();
        state.opened.clear();
        Self { state: Arc::clone(&self.state), boot: state.boot }
    }

    pub(crate) fn set_chances(&self, chances: Chances) {
        self.state.lock().chances = chances;
    }

    /// The next operation of that sort fails.
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.state.lock().due.push(fault);
    }

    /// How many bytes all files may have together.
    pub(crate) fn set_room(&self, bytes: u64) {
        self.state.lock().room = bytes;
    }

    /// How many bytes all files have together.
    pub(crate) fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Inverts bits of a byte that is stored.
    pub(crate) fn flip(&self, path: &Path, offset: u64, mask: u8) {
        let mut state = self.state.lock();
        let file = state.find(path).unwrap();
        state.file(file).flip(offset, mask);
    }

    /// An operation that changes something, at which the power may go.
    fn change<T>(&self, apply: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        state.alive(self.boot)?;
        state.operations += 1;
        let last = state.cut_at.is_some_and(|at| state.operations >= at);
        if last && state.chance.random() {
            state.cut();
            return Err(dead());
        }
        let outcome = apply(&mut state);
        if last {
            state.cut();
        }
        // What was opened is closed with the state at hand.
        drop(state);
        if last { Err(dead()) } else { outcome }
    }

    fn opened(&self, state: &mut State, file: u64, write: bool) -> Arc<dyn DiskFile> {
        *state.opened.entry(file).or_default() += 1;
        Arc::new(SimulatedFile { disk: self.clone(), file, write })
    }
}

impl State {
    fn alive(&self, boot: u64) -> io::Result<()> {
        if self.powered && self.boot == boot { Ok(()) } else { Err(dead()) }
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| {
            state.dirs.extend(dir.ancestors().map(Path::to_owned));
            Ok(())
        })
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.change(|state| {
            let file = state.make(path)?;
            Ok(self.opened(state, file, true))
        })
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.alive(self.boot)?;
        let file = state.find(path)?;
        Ok(self.opened(&mut state, file, write))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state.lock();
        state.alive(self.boot)?;
        if !state.dirs.contains(dir) {
            return Err(missing(dir));
        }
        let within: BTreeSet<_> =
            state.names.keys().chain(&state.dirs).filter(|path| path.parent() == Some(dir)).collect();
        Ok(within.into_iter().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| state.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|state| state.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|state| if state.fails(Fault::SyncDir) { Err(input_output()) } else { state.sync_dir(dir) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.change(|state| {
            if state.find(path).is_err() {
                state.make(path)?;
            }
            if !state.locks.insert(path.to_owned()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned() }) as Box<dyn DiskLock>)
        })
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: u64,
    write: bool,
}

impl SimulatedFile {
    fn change<T>(&self, apply: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        if !self.write {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk.change(apply)
    }

    fn look<T>(&self, at: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        state.alive(self.disk.boot)?;
        Ok(at(&mut state))
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.look(|state| {
            if state.fails(Fault::Read) { Err(input_output()) } else { Ok(state.file(self.file).read(buffer, offset)) }
        })?
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|state| {
            let mut outcome = Ok(());
            let mut count = bytes.len();
            let end = offset + bytes.len() as u64;
            let now = state.file(self.file).length();
            let reached = if end > now { state.growth(now, end) } else { end };
            if reached < end {
                count = usize::try_from(reached.saturating_sub(offset)).unwrap();
                outcome = Err(io::ErrorKind::StorageFull.into());
            }
            if state.fails(Fault::Write) {
                count = state.chance.random_range(0..=count);
                outcome = Err(input_output());
            }
            if count > 0 {
                // The file lies in the state: its chances are drawn from a generator of their own.
                let mut chance = state.draw();
                state.file(self.file).write(&bytes[..count], offset, &mut chance);
            }
            outcome
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|state| {
            state.syncs += 1;
            if state.fails(Fault::Sync) {
                let mut chance = state.draw();
                state.file(self.file).sync_badly(&mut chance);
                return Err(input_output());
            }
            state.file(self.file).sync();
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.change(|state| {
            let now = state.file(self.file).length();
            if length > now && state.growth(now, length) < length {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.file(self.file).grow(length);
            Ok(())
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change(|state| {
            if state.fails(Fault::Truncate) {
                return Err(input_output());
            }
            let mut chance = state.draw();
            state.file(self.file).truncate(length, &mut chance);
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.look(|state| state.file(self.file).length())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.look(|_| FileIdentity { inode: self.file, ..FileIdentity::default() })
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.boot == self.disk.boot
            && let Some(count) = state.opened.get_mut(&self.file)
        {
            *count -= 1;
        }
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.boot == self.disk.boot {
            state.locks.remove(&self.path);
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the power is gone, or the process")
}

fn input_output() -> io::Error {
    io::Error::other("simulated EIO")
}
