//! What an engine is made of, and how much of everything it allows.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::clock::Clock;
use super::driver::Start;
use super::frame::{Envelope, FrameCodec, Published};
use super::process::{CgroupRoot, Machine, Run};
use super::profile::{Profile, Profiles, Restart};
use super::restarts::Restarts;
use super::retention::Retention;
use super::row::WorkerRow;
use super::store::Store;
use super::worker::StageContext;
use crate::model::{Cursor, EventKind, HostId, Incarnation, RuntimeId, WorkerId};

/// What an engine is made of: everything it touches is handed in.
#[derive(Clone)]
pub struct EngineParts {
    /// Its runtime's id.
    pub runtime_id: RuntimeId,
    /// The id of its host.
    pub host_id: HostId,
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// Of that store.
    pub incarnation: Incarnation,
    /// Turns events into bytes.
    pub codec: Arc<dyn FrameCodec>,
    /// Stamps.
    pub clock: Arc<dyn Clock>,
    /// What this host runs.
    pub profiles: Profiles,
    /// How much of everything.
    pub limits: EngineLimits,
    /// What its programs are run with.
    pub machine: Machine,
    /// Where its tasks run.
    pub handle: tokio::runtime::Handle,
}

impl EngineParts {
    /// A frame ready for the wire.
    pub(super) fn published(
        &self,
        worker_id: &WorkerId,
        sequence: u64,
        kind: EventKind,
        observed_at: SystemTime,
        body: &[u8],
    ) -> Published {
        let cursor = Cursor::new(self.incarnation, worker_id, sequence);
        let envelope = Envelope { runtime_id: &self.runtime_id, worker_id, cursor, observed_at, kind };
        Published { sequence, kind, wire: self.codec.frame(&envelope, body) }
    }

    /// What the run of a worker that its row is at is started with.
    pub(super) fn start<'a>(&'a self, profile: &'a Profile, row: &WorkerRow) -> Start<'a> {
        let (incarnation, worker_id) = (self.incarnation, row.worker_id().clone());
        let run = Run { incarnation, worker_id, generation: row.run_generation };
        let (state, asked, grace) = (row.driver.clone(), row.approvals_asked, self.limits.stop_grace);
        Start { profile, run, machine: &self.machine, state, asked, grace, handle: &self.handle }
    }

    pub(super) fn stage_context(&self, profile: &Profile) -> StageContext {
        StageContext {
            codec: Arc::clone(&self.codec),
            protocol: profile.protocol,
            input_queue: self.limits.input_queue,
            approval_timeout: profile.approval_timeout,
            restarts: (profile.restart == Restart::OnFailure).then_some(self.limits.restarts),
        }
    }
}

/// How much of everything an engine allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineLimits {
    /// Live workers.
    pub max_workers: u32,
    /// Inputs that one worker has accepted and not picked up.
    pub input_queue: usize,
    /// How long a program that was asked to end may take before it is killed.
    pub stop_grace: Duration,
    /// What is kept of workers, and how long.
    pub retention: Retention,
    /// Below which control group those that limit the workers are made.
    pub cgroup: CgroupRoot,
    /// How often and how soon programs that failed are started anew, where their profiles say so.
    pub restarts: Restarts,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            max_workers: 1_000,
            input_queue: 1_024,
            stop_grace: Duration::from_secs(10),
            retention: Retention::default(),
            cgroup: CgroupRoot::Detect,
            restarts: Restarts::default(),
        }
    }
}
