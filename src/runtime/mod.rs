//! The port to worker runtimes, and its adapters: the embedded engine, a host behind gRPC, and a fake for tests.
//! Nothing above this trait knows a local worker from a remote one.

pub(crate) mod budget;
mod diagnose;
#[cfg(test)]
pub(crate) mod fake;
mod local;
mod reach;
pub mod remote;

use std::sync::Arc;

use async_trait::async_trait;

pub use diagnose::diagnose;
pub use local::{EMBEDDED_DISPLAY_NAME, LocalRuntime};
pub use reach::{BreakerState, Reach};

use crate::engine::{Observation, ObserveFrom};
use crate::model::{
    AnswerAck, AnswerApproval, Approval, BundlePage, BundleRef, BundleSummary, CallContext, ConfigBundle, CreateWorker,
    Created, DeleteAck, DeleteWorker, Error, Host, Incarnation, InputAck, InterruptAck, Reason, Result, RuntimeId,
    RuntimeInfo, RuntimeKind, SendInput, StopAck, StopWorker, TranscriptPage, Worker, WorkerFilter, WorkerId,
    WorkerPage,
};

/// Where workers run. Every failure is an [`Error`](crate::model::Error) whose reason says what kind of refusal it is;
/// one that leaves the outcome unknown may be followed by the same call with the same request id.
///
/// An adapter need not have every call: what it lacks is refused as [`Reason::RemoteRuntimeUnsupported`].
#[async_trait]
pub trait WorkerRuntime: Send + Sync + 'static {
    /// Its id.
    fn id(&self) -> &RuntimeId;

    /// Where it runs.
    fn kind(&self) -> RuntimeKind;

    /// Of its store, as far as that is known without asking: the workers of another one are gone.
    fn incarnation(&self) -> Option<Incarnation>;

    /// The runtime as it is known now. It never fails: what cannot be reached is told as it was last seen.
    async fn describe(&self, ctx: &CallContext) -> RuntimeInfo;

    /// Its one host, from what [`WorkerRuntime::describe`] tells.
    async fn host(&self, ctx: &CallContext) -> Host;

    /// How it is reached; `None` where it is in this process.
    fn reach(&self) -> Option<Reach> {
        None
    }

    /// Makes a worker. Done once the record is durable and the program was executed.
    async fn create_worker(&self, _ctx: &CallContext, _request: CreateWorker) -> Result<Created> {
        Err(unsupported())
    }

    /// A worker as it is.
    async fn get_worker(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<Worker>;

    /// Workers with ids after `after`, at most `limit`.
    async fn list_workers(
        &self,
        ctx: &CallContext,
        filter: &WorkerFilter,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<WorkerPage>;

    /// Gives a worker an input. Done once it is durable.
    async fn send_input(&self, _ctx: &CallContext, _request: SendInput) -> Result<InputAck> {
        Err(unsupported())
    }

    /// Ends a worker. Answers when the end is durable, or a little before the deadline.
    async fn stop_worker(&self, _ctx: &CallContext, _request: StopWorker) -> Result<StopAck> {
        Err(unsupported())
    }

    /// What a worker asks that waits for an answer, oldest first.
    async fn list_approvals(&self, _ctx: &CallContext, _worker_id: &WorkerId) -> Result<Vec<Arc<Approval>>> {
        Err(unsupported())
    }

    /// Answers what a worker asks; the first answer counts. Done once it is durable.
    async fn answer_approval(&self, _ctx: &CallContext, _request: AnswerApproval) -> Result<AnswerAck> {
        Err(unsupported())
    }

    /// Breaks off the turn that a worker is in. Answers when the turn's end is durable, or a little before the deadline.
    async fn interrupt_worker(&self, _ctx: &CallContext, _worker_id: &WorkerId) -> Result<InterruptAck> {
        Err(unsupported())
    }

    /// Removes a worker's record. Done once that is durable; one that is live is ended first where that is asked for.
    async fn delete_worker(&self, _ctx: &CallContext, _request: DeleteWorker) -> Result<DeleteAck> {
        Err(unsupported())
    }

    /// Items of a transcript from the one after `start` on, at most `limit`.
    async fn get_transcript(
        &self,
        _ctx: &CallContext,
        _worker_id: &WorkerId,
        _start: u64,
        _limit: usize,
    ) -> Result<TranscriptPage> {
        Err(unsupported())
    }

    /// Whether workers can be observed.
    fn can_observe(&self) -> bool {
        false
    }

    /// Opens a reader of a worker's stream. With `stop_after` it only replays, and ends after that sequence. The
    /// context's deadline is for the opening alone.
    async fn observe_worker(
        &self,
        _ctx: &CallContext,
        _worker_id: &WorkerId,
        _from: ObserveFrom,
        _stop_after: Option<u64>,
    ) -> Result<Observation> {
        Err(unsupported())
    }

    /// Gives it a bundle. Done once that is durable; one that it has already is left as it is.
    async fn sync_config_bundle(&self, _ctx: &CallContext, _bundle: ConfigBundle) -> Result<BundleSummary> {
        Err(unsupported())
    }

    /// A bundle that it has: of this id, and with this digest.
    async fn check_config_bundle(&self, _ctx: &CallContext, _reference: &BundleRef) -> Result<BundleSummary> {
        Err(unsupported())
    }

    /// Removes the bundle with just this digest. Done once that is durable.
    async fn remove_config_bundle(&self, _ctx: &CallContext, _reference: BundleRef) -> Result<()> {
        Err(unsupported())
    }

    /// Bundles after `after`, by id and digest, at most `limit`.
    async fn list_config_bundles(
        &self,
        _ctx: &CallContext,
        _after: Option<&BundleRef>,
        _limit: usize,
    ) -> Result<BundlePage> {
        Err(unsupported())
    }
}

/// What a call is answered with that an adapter does not have.
fn unsupported() -> Error {
    Error::new(Reason::RemoteRuntimeUnsupported, "this runtime cannot do that")
}
