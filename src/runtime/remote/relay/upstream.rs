//! One open `ObserveWorker` call to a host.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Status, Streaming};

use super::super::Core;
use super::super::call::authorized;
use super::super::link::{Connection, too_late, unreachable};
use crate::engine::ObserveFrom;
use crate::model::{Error, Incarnation, Reason, Result, WorkerId};
use crate::proto::host_client::{malformed, request};
use crate::proto::raw::HostObserveWorkerResponse;

/// How often the host says that it is there when nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Without a word for this long, the stream is lost.
const SILENCE: Duration = Duration::from_secs(20);
/// How long the host may take to open a stream.
const OPENING: Duration = Duration::from_secs(10);

/// An open stream of frames.
pub(super) struct Upstream {
    connection: Connection,
    worker_id: WorkerId,
    /// What was shown to the host.
    authorization: Option<MetadataValue<Ascii>>,
    stream: Streaming<HostObserveWorkerResponse>,
}

impl Upstream {
    /// Opens a stream.
    pub(super) async fn open(
        core: &Core,
        worker_id: &WorkerId,
        from: ObserveFrom,
        stop_after: Option<u64>,
    ) -> Result<Self> {
        let until = Instant::now() + OPENING;
        let connection = core.observation.connection(until).await?;
        let message = request::observe(worker_id, from, stop_after, HEARTBEAT);
        let mut client = connection.client.clone();
        let (mut asked, authorization) = (core.guard.unasked(), core.observation.authorization());
        // It carries no deadline of its own: it goes on for as long as somebody reads.
        let answer = timeout_at(until, client.observe_worker(authorized(&core.observation, message))).await;
        match answer.map_err(|_| too_late(&core.runtime_id))? {
            Ok(answer) => {
                let (worker_id, stream) = (worker_id.clone(), answer.into_inner());
                Ok(Self { connection, worker_id, authorization, stream })
            }
            Err(status) => Err(core.failed(&connection, &status, Some(worker_id), &mut asked)),
        }
    }

    /// Of the host's store.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.connection.incarnation
    }

    /// The next frame, as it came; `None` when the host has ended the stream with OK. Safe to drop while it waits.
    pub(super) async fn next(&mut self, core: &Core) -> Result<Option<Bytes>> {
        let next = timeout_at(Instant::now() + SILENCE, self.stream.message()).await;
        match next.map_err(|_| unreachable(&core.runtime_id))? {
            Ok(Some(HostObserveWorkerResponse { frame })) => {
                frame.map(Some).ok_or_else(|| malformed("a response without a frame"))
            }
            Ok(None) => Ok(None),
            Err(status) => Err(self.broken(core, &status)),
        }
    }

    /// What it means that the stream broke. Where the host has let go of a credential that is not ours any more, it is
    /// lost like any other: the next one shows ours.
    fn broken(&self, core: &Core, status: &Status) -> Error {
        let error = core.failed(&self.connection, status, Some(&self.worker_id), &mut core.guard.unasked());
        let is_old =
            error.reason() == Reason::RemoteRuntimeAuthFailed && self.authorization != core.observation.authorization();
        if !is_old {
            return error;
        }
        core.health.heard();
        unreachable(&core.runtime_id)
    }
}
