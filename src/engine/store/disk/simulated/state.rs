//! The whole of a simulated disk: its names, as programs see them and as the power leaves them, and its files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::contents::{Contents, SECTOR};
use super::{Chances, Fault};

/// What happened to a directory and is not durable yet.
#[derive(Debug)]
enum Renaming {
    Made(PathBuf, u64),
    Moved(PathBuf, PathBuf),
    Removed(PathBuf),
}

type Names = BTreeMap<PathBuf, u64>;

impl Renaming {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Made(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Moved(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Removed(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) chance: StdRng,
    /// Which process this is the disk of: what those before it hold is dead.
    pub(super) boot: u64,
    pub(super) powered: bool,
    pub(super) operations: u64,
    pub(super) syncs: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) chances: Chances,
    pub(super) due: Vec<Fault>,
    pub(super) room: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) names: Names,
    durable_names: Names,
    /// By directory, in order.
    renamings: BTreeMap<PathBuf, Vec<Renaming>>,
    files: BTreeMap<u64, Contents>,
    /// How many have a file open.
    pub(super) opened: BTreeMap<u64, usize>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            chance: StdRng::seed_from_u64(seed),
            boot: 0,
            powered: true,
            operations: 0,
            syncs: 0,
            cut_at: None,
            chances: Chances::default(),
            due: Vec::new(),
            room: u64::MAX,
            locks: BTreeSet::new(),
            dirs: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamings: BTreeMap::new(),
            files: BTreeMap::new(),
            opened: BTreeMap::new(),
        }
    }

    /// Whether this fault comes now: because it is due, or by chance.
    pub(super) fn fails(&mut self, fault: Fault) -> bool {
        if let Some(at) = self.due.iter().position(|due| *due == fault) {
            self.due.remove(at);
            return true;
        }
        let share = match fault {
            Fault::Write => self.chances.write,
            Fault::Sync => self.chances.sync,
            Fault::SyncDir => self.chances.sync_dir,
            Fault::Read | Fault::Truncate => 0.0,
        };
        share > 0.0 && self.chance.random_bool(share)
    }

    /// A generator for one operation on a file.
    pub(super) fn draw(&mut self) -> StdRng {
        StdRng::seed_from_u64(self.chance.random())
    }

    pub(super) fn file(&mut self, file: u64) -> &mut Contents {
        self.files.get_mut(&file).expect("a file is kept as long as it has a name or is open")
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| missing(path))
    }

    pub(super) fn make(&mut self, path: &Path) -> io::Result<u64> {
        let dir = self.dir_of(path)?;
        if self.names.contains_key(path) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, path.display().to_string()));
        }
        let file = self.files.last_key_value().map_or(1, |(last, _)| last + 1);
        self.files.insert(file, Contents::default());
        self.happen(dir, Renaming::Made(path.to_owned(), file));
        Ok(file)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.find(from)?;
        let dir = self.dir_of(to)?;
        // Between two directories it would be durable by halves: nobody needs that.
        assert_eq!(from.parent(), to.parent(), "a rename stays in its directory");
        self.happen(dir, Renaming::Moved(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        let dir = self.dir_of(path)?;
        self.happen(dir, Renaming::Removed(path.to_owned()));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        if !self.dirs.contains(dir) {
            return Err(missing(dir));
        }
        for renaming in self.renamings.remove(dir).unwrap_or_default() {
            renaming.apply(&mut self.durable_names);
        }
        Ok(())
    }

    fn dir_of(&self, path: &Path) -> io::Result<PathBuf> {
        let dir = path.parent().unwrap_or(Path::new(""));
        if self.dirs.contains(dir) { Ok(dir.to_owned()) } else { Err(missing(path)) }
    }

    fn happen(&mut self, dir: PathBuf, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.entry(dir).or_default().push(renaming);
    }

    /// How far a file of this length may grow, up to `length`.
    pub(super) fn growth(&self, now: u64, length: u64) -> u64 {
        let free = self.room.saturating_sub(self.used());
        length.min(rounded(now).saturating_add(free).max(now))
    }

    /// What the files take that have a name or are open.
    pub(super) fn used(&self) -> u64 {
        let open = self.opened.iter().filter(|(_, count)| **count > 0).map(|(file, _)| file);
        let taken: BTreeSet<&u64> = self.names.values().chain(open).collect();
        taken.iter().filter_map(|file| self.files.get(file)).map(|file| rounded(file.length())).sum()
    }

    /// The power goes. In each directory what happened last may not have happened.
    pub(super) fn cut(&mut self) {
        self.powered = false;
        self.cut_at = None;
        for renamings in std::mem::take(&mut self.renamings).into_values() {
            let kept = self.chance.random_range(0..=renamings.len());
            for renaming in &renamings[..kept] {
                renaming.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
        for contents in self.files.values_mut() {
            contents.cut(&mut self.chance);
        }
    }
}

fn rounded(length: u64) -> u64 {
    length.next_multiple_of(SECTOR)
}

pub(super) fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}
