//! What an engine uses of this machine to run programs, and the end of what it ran.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Resource, getrlimit, prlimit};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::cgroup::{self, CgroupRoot, Cgroups};
use super::sweep::{Swept, sweep};
use super::{Run, Target, table};
use crate::engine::row::ProcessRecord;
use crate::model::Incarnation;

/// How long processes that were killed may take to go: then it is told, and goes on without them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Draws a number from 0 to 1: handed in, so that simulations draw theirs.
pub type Chance = fn() -> f64;

/// What an engine uses of this machine to run programs. Cheap to clone; clones share their sweeps.
#[derive(Clone)]
pub struct Machine {
    descriptors: Option<u64>,
    chance: Chance,
    sweeps: Arc<Sweeps>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new(None, rand::random)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("descriptors", &self.descriptors).finish_non_exhaustive()
    }
}

/// Sweeps that are asked for while one runs are done together: `/proc` is read once for all of them.
#[derive(Debug, Default)]
struct Sweeps {
    waiting: Mutex<Vec<(Target, oneshot::Sender<()>)>>,
    turn: tokio::sync::Mutex<()>,
    /// The control groups of this runtime's workers, once they could be made.
    cgroups: Mutex<Option<Cgroups>>,
}

impl Machine {
    /// A machine where programs get `descriptors` as their soft limit on open descriptors, or ours where there is none,
    /// and where `chance` spreads what would happen at one moment otherwise.
    #[must_use]
    pub fn new(descriptors: Option<u64>, chance: Chance) -> Self {
        Self { descriptors, chance, sweeps: Arc::default() }
    }

    /// Ends all that workers of this incarnation left on this machine, and makes ready for more. Blocks.
    pub(in crate::engine) fn clear(
        &self,
        incarnation: Incarnation,
        mut recorded: Vec<ProcessRecord>,
        root: &CgroupRoot,
    ) {
        // Where the store is a copy, what it has recorded may be the original's, which goes on beside it.
        recorded.retain(|process| !is_of_another(incarnation, process.pid));
        let cgroups = Cgroups::find(root, incarnation);
        let left = cgroups.as_ref().map(|cgroups| cgroups.directory().to_owned());
        let swept = sweep(&[Target::runtime(incarnation, recorded).and_cgroup(left.clone())], PATIENCE);
        for pid in &swept.ended {
            tracing::warn!(pid, "a process that a runtime before this one left behind was killed");
        }
        for pid in &swept.doubtful {
            tracing::warn!(pid, "this process may have been left behind: it bears no marker, and is left alone");
        }
        tell_left(&swept);
        if let Some(group) = left {
            cgroup::remove(&group);
        }
        if cgroups.is_none() && *root != CgroupRoot::Off {
            tracing::info!("this machine lends no control groups: process groups and markers do without them");
        }
        *self.sweeps.cgroups.lock() = cgroups.filter(is_usable);
    }

    /// Kills all processes of this incarnation's workers and does not wait for it: for a runtime that goes at once.
    pub(in crate::engine) fn abandon(&self, incarnation: Incarnation) {
        let group = self.sweeps.cgroups.lock().as_ref().map(|cgroups| cgroups.directory().to_owned());
        let _ = sweep(&[Target::runtime(incarnation, Vec::new()).and_cgroup(group)], Duration::ZERO);
    }

    /// A number from 0 to 1.
    pub(in crate::engine) fn chance(&self) -> f64 {
        (self.chance)()
    }

    /// Takes in the process that was started for a run of a worker.
    pub(in crate::engine) fn admit(&self, run: &Run, process: ProcessRecord) -> Belongings {
        self.limit(process.pid);
        let group = self.group(run, process.pid);
        let target = Target::worker(run, process).and_cgroup(group);
        Belongings { sweeps: Arc::clone(&self.sweeps), target }
    }

    fn group(&self, run: &Run, pid: i32) -> Option<PathBuf> {
        let cgroups = self.sweeps.cgroups.lock().clone()?;
        match cgroups.admit(&run.name(), pid) {
            Ok(group) => Some(group),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::warn!(%error, "no process may be moved into a control group: workers go on without");
                *self.sweeps.cgroups.lock() = None;
                None
            }
            // The program has ended already, or the kernel is out of groups.
            Err(error) => {
                tracing::debug!(%error, "a worker has no control group of its own");
                None
            }
        }
    }

    /// Gives a program the limit on descriptors that it would have without us.
    fn limit(&self, pid: i32) {
        let Some((pid, descriptors)) = Pid::from_raw(pid).zip(self.descriptors) else { return };
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(descriptors);
        // One that has ended needs none.
        let _ = prlimit(Some(pid), Resource::Nofile, limit);
    }
}

fn is_of_another(incarnation: Incarnation, pid: i32) -> bool {
    table::marker_of(pid).is_some_and(|marker| !marker.starts_with(&format!("{incarnation}/")))
}

fn is_usable(cgroups: &Cgroups) -> bool {
    match cgroups.make() {
        Ok(limits) => {
            tracing::info!(directory = %cgroups.directory().display(), limits, "each worker has a control group");
            true
        }
        Err(error) => {
            tracing::info!(%error, "workers have no control groups: process groups and markers do without them");
            false
        }
    }
}

fn tell_left(swept: &Swept) {
    for pid in &swept.left {
        tracing::error!(pid, "a worker's process was killed and does not go");
    }
}

/// What belongs to one run of a worker on this machine.
#[derive(Debug)]
pub(in crate::engine) struct Belongings {
    sweeps: Arc<Sweeps>,
    target: Target,
}

impl Belongings {
    /// Ends all of it, what left its process group or session included. It is gone when this returns, or told.
    pub(in crate::engine) async fn end(&self, handle: &Handle) {
        let (done, mut ended) = oneshot::channel();
        self.sweeps.waiting.lock().push((self.target.clone(), done));
        let _turn = self.sweeps.turn.lock().await;
        // Whoever had the turn before may have done this one, too.
        if ended.try_recv().is_ok() {
            return;
        }
        let (targets, waiting): (Vec<_>, Vec<_>) = self.sweeps.waiting.lock().drain(..).unzip();
        let swept = handle.spawn_blocking(move || {
            let swept = sweep(&targets, PATIENCE);
            targets.iter().filter_map(|target| target.cgroup.as_deref()).for_each(cgroup::remove);
            swept
        });
        if let Ok(swept) = swept.await {
            tell_left(&swept);
        }
        for done in waiting {
            // One that does not wait any more wanted no more than this.
            let _ = done.send(());
        }
    }
}
