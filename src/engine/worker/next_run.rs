//! Another run of a worker's program, on its way: it waits for its pause, then it is executed.

use std::future::pending;
use std::io;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::task::{Task, TaskParts};
use crate::engine::driver::{Link, StartFault, start};
use crate::engine::parts::EngineParts;
use crate::engine::profile::Profile;
use crate::engine::row::WorkerRow;
use crate::failpoint::failpoint;
use crate::metrics::WORKER_RESTARTS;
use crate::model::WorkerState;

/// Another run on its way.
pub(super) enum NextRun {
    /// It waits for its pause.
    Due(Instant),
    /// Its program is being executed.
    Executing(JoinHandle<Result<Link, StartFault>>),
}

impl NextRun {
    /// Executes the program of the run that `row` has reserved on disk. It is executed whoever waits for it.
    pub(super) fn execute(engine: &Arc<EngineParts>, profile: &Arc<Profile>, row: WorkerRow) -> Self {
        let (engine, profile, handle) = (Arc::clone(engine), Arc::clone(profile), engine.handle.clone());
        Self::Executing(handle.spawn(async move { start(engine.start(&profile, &row)).await }))
    }

    /// What comes next of it: `None` when it is due, or how its program was executed. Never, where there is none.
    pub(super) async fn progress(next: &mut Option<Self>) -> Option<Result<Link, StartFault>> {
        match next {
            Some(Self::Due(at)) => {
                sleep_until(*at).await;
                None
            }
            Some(Self::Executing(executing)) => {
                let gone = |_| Err(io::Error::other("the runtime is shutting down").into());
                Some(executing.await.unwrap_or_else(gone))
            }
            None => pending().await,
        }
    }
}

impl Task {
    /// The run that is reserved on disk is due.
    pub(super) fn execute(&mut self) {
        failpoint!("restart-before-exec");
        WORKER_RESTARTS.increment(1);
        self.parts.stage.executing();
        let TaskParts { engine, profile, landed, .. } = &self.parts;
        self.next_run = Some(NextRun::execute(engine, profile, (*landed.row).clone()));
    }

    /// The program was executed anew, or could not be.
    pub(super) fn executed(&mut self, executed: Result<Link, StartFault>) {
        self.next_run = None;
        self.now();
        match executed {
            Ok(link) => {
                failpoint!("restart-before-record");
                self.parts.stage.executed(link.process);
                self.parts.link = Some(link);
            }
            Err(fault) => {
                let worker_id = self.parts.landed.row.worker_id();
                tracing::warn!(%worker_id, %fault, "a worker's program could not be executed anew");
                self.parts.stage.refused();
            }
        }
        self.advance(Vec::new());
        if self.parts.landed.row.state == WorkerState::Stopping {
            self.order_end(self.parts.stage.stop_mode());
        }
    }

    /// Another run waits for its pause; one that is not wanted any more is forgotten.
    pub(super) fn plan(&mut self) {
        match (self.parts.stage.due(), &self.next_run) {
            (Some((restarts, count)), None) => {
                let pause = restarts.pause(count, self.parts.engine.machine.chance());
                self.next_run = Some(NextRun::Due(Instant::now() + pause));
            }
            (None, Some(NextRun::Due(_))) => self.next_run = None,
            _ => {}
        }
    }
}
