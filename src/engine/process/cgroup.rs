//! A control group (v2) of each worker's own, below one of its runtime's, where the kernel lets us have them: so that a
//! worker's end reaches all of it at once, and a worker's appetite is bounded. cgroups(7), and the kernel's
//! Documentation/admin-guide/cgroup-v2.rst.
//!
//! ```text
//! ROOT/                           delegated to us: by a configuration, or the one this process was started in
//!   workplane-<incarnation>/      one runtime's
//!     <worker id>.<generation>/   one run of one worker: pids.max, memory.max, cgroup.kill
//! ```
//! Where there is none, process groups and markers do without it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::Incarnation;

/// How many processes and threads a worker may have.
const MAX_TASKS: &str = "256";
/// How much memory a worker may use: 2 GiB.
const MAX_MEMORY: &str = "2147483648";
/// The name of the group into which this process withdraws: one with groups below it can limit them only while it has
/// no process of its own.
const OWN_LEAF: &str = "workplane-runtime";

/// Below which control group those of the workers are made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CgroupRoot {
    /// Below the one that this process was started in, if that was delegated to it.
    #[default]
    Detect,
    /// Nowhere.
    Off,
    /// Below this one, given by its directory.
    At(PathBuf),
}

/// The control groups of one runtime's workers.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Cgroups {
    directory: PathBuf,
}

/// Below which directory control groups would be made; `None` where there can be none. Makes nothing.
#[must_use]
pub fn root_of(root: &CgroupRoot) -> Option<PathBuf> {
    match root {
        CgroupRoot::Off => None,
        CgroupRoot::At(root) => Some(root.clone()),
        CgroupRoot::Detect => Some(without_own_leaf(detect()?)),
    }
}

impl Cgroups {
    /// Where those of `incarnation` are, or were left by a runtime before; `None` where there can be none. Makes nothing.
    pub(in crate::engine) fn find(root: &CgroupRoot, incarnation: Incarnation) -> Option<Self> {
        Some(Self { directory: root_of(root)?.join(format!("workplane-{incarnation}")) })
    }

    pub(in crate::engine) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the runtime's own group, and says whether what is below it can be limited.
    ///
    /// # Errors
    /// When it may not be made: then there are none.
    pub(in crate::engine) fn make(&self) -> io::Result<bool> {
        make(&self.directory)?;
        let root = self.directory.parent().unwrap_or(&self.directory);
        let limits = enable(root).or_else(|_| withdraw(root).and_then(|()| enable(root)));
        Ok(limits.and_then(|()| enable(&self.directory)).is_ok())
    }

    /// Makes the group of one run of a worker, with its limits where they can be set, and puts a process into it.
    ///
    /// # Errors
    /// When the system refuses either.
    pub(in crate::engine) fn admit(&self, name: &str, pid: i32) -> io::Result<PathBuf> {
        let directory = self.directory.join(name);
        make(&directory)?;
        for (file, value) in [("pids.max", MAX_TASKS), ("memory.max", MAX_MEMORY), ("memory.oom.group", "1")] {
            // Without its controller the file is not there: told once, when the runtime's group was made.
            let _ = write(&directory.join(file), value);
        }
        write(&directory.join("cgroup.procs"), &pid.to_string())?;
        Ok(directory)
    }
}

/// Kills all that is in a group and below it, at once.
pub(super) fn kill(group: &Path) {
    // A kernel before 5.14 has no such file: what is in the group is killed one by one then.
    let _ = write(&group.join("cgroup.kill"), "1");
}

/// The processes in a group and below it.
pub(super) fn members(group: &Path) -> Vec<i32> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut members: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    members.extend(below(group).iter().flat_map(|group| self::members(group)));
    members
}

/// Removes a group and those below it; one that is not empty stays.
pub(super) fn remove(group: &Path) {
    for group in below(group) {
        remove(&group);
    }
    let _ = fs::remove_dir(group);
}

fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Writes to a file that is there: none is made.
fn write(file: &Path, value: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(file)?, value.as_bytes())
}

/// Lets groups below one be limited.
fn enable(group: &Path) -> io::Result<()> {
    write(&group.join("cgroup.subtree_control"), "+pids +memory")
}

/// Leaves a group for one below it, where this process is the only one in it.
fn withdraw(group: &Path) -> io::Result<()> {
    let own = std::process::id().to_string();
    if fs::read_to_string(group.join("cgroup.procs"))?.trim() != own {
        return Err(io::Error::other("others are in this control group, too"));
    }
    let leaf = group.join(OWN_LEAF);
    make(&leaf)?;
    write(&leaf.join("cgroup.procs"), &own)
}

/// A process that has withdrawn is in a group below the one it was given.
fn without_own_leaf(group: PathBuf) -> PathBuf {
    match group.parent() {
        Some(parent) if group.ends_with(OWN_LEAF) => parent.to_owned(),
        _ => group,
    }
}

/// The directory of the group that this process is in; `None` where there is no such hierarchy, or it is the root of the
/// whole, which nobody delegates.
fn detect() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let group = locate(&own, &mounts)?;
    group.join("cgroup.events").exists().then_some(group)
}

/// Finds a process's group, cgroups(7), where it is mounted, proc(5).
fn locate(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_where_its_hierarchy_is_mounted() {
        let hybrid = "35 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      36 25 0:31 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/a\n0::/system.slice/workplane.service\n";
        let found = locate(own, hybrid).unwrap();
        assert_eq!(found, Path::new("/sys/fs/cgroup/unified/system.slice/workplane.service"));
        // A bind mount of a part of it, as in a container.
        let part = "36 25 0:31 /system.slice /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(locate(own, part).unwrap(), Path::new("/sys/fs/cgroup/workplane.service"));
        assert_eq!(locate("4:memory:/a\n", hybrid), None);
        assert_eq!(locate(own, "35 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"), None);
    }

    #[test]
    fn a_process_that_has_withdrawn_finds_the_group_that_it_was_given() {
        let given = PathBuf::from("/sys/fs/cgroup/workplane.service");
        assert_eq!(without_own_leaf(given.join(OWN_LEAF)), given);
        assert_eq!(without_own_leaf(given.clone()), given);
    }

    #[test]
    fn a_workers_group_gets_its_limits() {
        // Plain files stand in for the kernel's: which controllers it lends differs from machine to machine.
        let root = tempfile::tempdir().unwrap();
        let cgroups = Cgroups { directory: root.path().to_owned() };
        let group = root.path().join("worker.1");
        fs::create_dir(&group).unwrap();
        for file in ["pids.max", "memory.max", "cgroup.procs"] {
            fs::write(group.join(file), "").unwrap();
        }
        assert_eq!(cgroups.admit("worker.1", 12).unwrap(), group);
        let read = |file| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!((read("pids.max").as_str(), read("memory.max").as_str()), ("256", "2147483648"));
        assert_eq!(members(root.path()), [12]);
    }
}
