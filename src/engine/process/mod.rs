//! The processes of workers on this machine: how they are known again, and how nothing of them is left.
//!
//! - [`table`]: what `/proc` tells of all processes at one moment.
//! - [`sweep`]: which of them belong to a worker, and their end.
//! - [`cgroup`]: a control group of each worker's own, where the kernel offers one.
//!
//! Every program that is run bears a marker in its environment, which whatever it starts inherits:
//! `WORKPLANE_WORKER=<incarnation>/<worker id>/<run generation>`. The incarnation is that of the runtime's store, so that
//! two runtimes on one machine never touch each other's. Nothing here knows what a worker is beyond its id.

mod cgroup;
mod machine;
mod sweep;
mod table;

pub use cgroup::CgroupRoot;
pub use cgroup::root_of as control_group_root;
pub use machine::{Chance, Machine};

pub(super) use machine::Belongings;
pub(super) use table::{boot, start_time};

use std::path::PathBuf;

use super::row::ProcessRecord;
use crate::model::{Incarnation, WorkerId};

/// The variable that a worker's processes are known by.
const MARKER: &str = "WORKPLANE_WORKER";

/// One run of a worker's program.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Of its runtime's store.
    pub incarnation: Incarnation,
    pub worker_id: WorkerId,
    pub generation: u64,
}

impl Run {
    /// The environment variable that its processes are known by.
    pub(super) fn marker(&self) -> (&'static str, String) {
        let Self { incarnation, worker_id, generation } = self;
        (MARKER, format!("{incarnation}/{worker_id}/{generation}"))
    }

    /// The name of its control group.
    fn name(&self) -> String {
        format!("{}.{}", self.worker_id, self.generation)
    }
}

/// Whose processes are meant.
#[derive(Debug, Clone)]
struct Target {
    /// What the value of their marker begins with.
    marker: String,
    /// What is recorded of them: the processes that come from these are meant, too.
    recorded: Vec<ProcessRecord>,
    /// None of them was started before this, in clock ticks since boot.
    since: u64,
    /// All that is in this control group is meant, too.
    cgroup: Option<PathBuf>,
}

impl Target {
    /// All processes of a worker, of whichever run.
    fn worker(Run { incarnation, worker_id, .. }: &Run, process: ProcessRecord) -> Self {
        Self {
            marker: format!("{incarnation}/{worker_id}/"),
            recorded: vec![process],
            since: process.start_time,
            cgroup: None,
        }
    }

    /// All processes of all workers of a runtime.
    fn runtime(incarnation: Incarnation, recorded: Vec<ProcessRecord>) -> Self {
        Self { marker: format!("{incarnation}/"), recorded, since: 0, cgroup: None }
    }

    /// With what is in a control group.
    fn and_cgroup(mut self, cgroup: Option<PathBuf>) -> Self {
        self.cgroup = cgroup;
        self
    }
}
