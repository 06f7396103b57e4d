//! What the writer and those who read share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::RwLock;

use super::format::Seal;
use super::index::{Index, MAX_SEGMENT};
use super::types::{LogId, LogStats};
use crate::engine::store::disk::DiskFile;

/// A segment's file, which can be read for as long as this is held, whether or not it has been removed meanwhile.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
}

/// What has landed and where it lies.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) segments: BTreeMap<u32, Arc<Segment>>,
    /// How much of each segment counts.
    pub(super) ends: BTreeMap<u32, u64>,
    pub(super) groups: u64,
    pub(super) submissions: u64,
}

impl State {
    pub(super) fn stats(&self) -> LogStats {
        LogStats {
            segments: self.segments.len(),
            bytes: self.ends.values().sum(),
            live: self.index.weight_of_all().live,
            groups: self.groups,
            submissions: self.submissions,
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: LogId,
    /// Only the writer's thread changes it, and it reads or writes no file meanwhile: nobody waits long for a look.
    pub(super) state: RwLock<State>,
    /// What was to be written last failed, more than once, and not for want of room.
    pub(super) failing: AtomicBool,
    /// What was to be written last found no room.
    pub(super) full: AtomicBool,
}

impl Shared {
    pub(super) fn seal(&self, segment: u32) -> Seal {
        Seal::new(self.log, segment)
    }
}

/// The name of a segment's file.
pub(super) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:020}.seg"))
}

/// The number of a segment by the name of its file.
pub(super) fn segment_number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    (name.len() == 20).then(|| name.parse().ok()).flatten().filter(|number| (1..=MAX_SEGMENT).contains(number))
}
