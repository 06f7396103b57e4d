//! Who exists and where: the runtimes, their hosts and their workers, behind one door. It finds the runtime that a call
//! is about, asks all of them where a list is about all, turns refusals because of what was asked into in-band ones, and
//! remembers what was last known of remote workers. It knows no wire and keeps nothing it could not ask for again.

mod approvals;
mod bundles;
mod catalogue;
mod decisions;
mod fan_out;
mod interrupt;
pub mod ledger;
mod lists;
mod refusal;
mod set;
mod spawn;

#[cfg(test)]
mod test_diagnostics;
#[cfg(test)]
mod test_lacking;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

pub use decisions::check_kept;
pub use set::DuplicateRuntime;

use crate::engine::{Clock, Observation, ObserveFrom, SystemClock};
use crate::model::TranscriptPage;
use crate::model::{
    CallContext, DeleteAck, DeleteWorker, Diagnostic, Error, Host, HostId, InputAck, Reason, Result, RuntimeId,
    RuntimeInfo, RuntimeKind, SendInput, SpawnWorker, StopAck, StopWorker, Worker, WorkerId,
};
use crate::runtime::WorkerRuntime;
use catalogue::Catalogue;
use decisions::Decisions;
use ledger::{Ledger, MemoryLedger};
use refusal::Lacking;
use set::RuntimeSet;

/// Diagnostics of one answer that do not stand for missing runtimes (api.md, sizes).
const MAX_DIAGNOSTICS: usize = 16;
/// How often what is kept of old spawns is dropped.
const TEND_EVERY: Duration = Duration::from_mins(10);

/// An operation on a worker: what was refused because of what was asked is in-band.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation<T> {
    /// It was done, and is durable where the runtime has a store.
    Accepted {
        /// What came of it.
        value: T,
        /// What else there is to say.
        diagnostics: Vec<Diagnostic>,
    },
    /// It was refused, and nothing happened.
    Rejected(Vec<Diagnostic>),
    /// This runtime cannot do that.
    Unsupported(Vec<Diagnostic>),
}

impl<T> Operation<T> {
    /// The same, with `earlier` in front of its diagnostics.
    fn after(mut self, mut earlier: Vec<Diagnostic>) -> Self {
        let (Self::Accepted { diagnostics, .. } | Self::Rejected(diagnostics) | Self::Unsupported(diagnostics)) =
            &mut self;
        earlier.append(diagnostics);
        *diagnostics = bounded(earlier);
        self
    }
}

/// A worker that was spawned.
#[derive(Debug, Clone, PartialEq)]
pub struct Spawned {
    /// It, as it is.
    pub worker: Worker,
    /// On what it counts as accepted.
    pub evidence: Vec<Evidence>,
}

/// One fact on which a spawn was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// A stable word.
    pub kind: &'static str,
    /// For people.
    pub detail: String,
}

impl Evidence {
    fn new(kind: &'static str, detail: String) -> Self {
        Self { kind, detail }
    }
}

/// A page over many runtimes.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<T, K> {
    /// The items.
    pub items: Vec<T>,
    /// One for each runtime that is missing.
    pub diagnostics: Vec<Diagnostic>,
    /// The key of the last item, where there is more after it.
    pub next: Option<K>,
}

/// A worker's place in a list over many runtimes.
pub type WorkerKey = (RuntimeId, WorkerId);

/// The runtimes and what is known of them. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    set: ArcSwap<RuntimeSet>,
    catalogue: Catalogue,
    decisions: Decisions,
    clock: Arc<dyn Clock>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// One without runtimes, which is gone with the process.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Arc::new(MemoryLedger::default()), Arc::new(SystemClock))
    }

    /// One without runtimes, that keeps in `ledger` what it could not ask for again.
    #[must_use]
    pub fn on(ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> Self {
        let (set, catalogue, decisions) = (ArcSwap::default(), Catalogue::default(), Decisions::new(ledger));
        Self(Arc::new(Inner { set, catalogue, decisions, clock }))
    }

    /// Drops what is kept of old spawns, now and then, for as long as it is polled.
    pub async fn tend(&self) -> Infallible {
        loop {
            self.0.decisions.drop_old(self.0.clock.now()).await;
            tokio::time::sleep(TEND_EVERY).await;
        }
    }

    /// Swaps the set of runtimes whole. Those that stay are handed in again and keep their tasks; one that goes ends
    /// its tasks once its last call is over.
    ///
    /// # Errors
    /// [`DuplicateRuntime`] names an id that is there twice; the set stays as it was.
    pub fn replace(&self, runtimes: Vec<Arc<dyn WorkerRuntime>>) -> Result<(), DuplicateRuntime> {
        let set = RuntimeSet::new(runtimes)?;
        self.0.catalogue.retain(|id| set.get(id).is_some());
        self.0.set.store(Arc::new(set));
        Ok(())
    }

    /// The runtimes, in the order in which they were registered.
    #[must_use]
    pub fn runtimes(&self) -> Vec<Arc<dyn WorkerRuntime>> {
        self.0.set.load().all().to_vec()
    }

    /// One runtime as it is known now.
    ///
    /// # Errors
    /// [`Reason::UnknownRuntime`].
    pub async fn get_runtime(&self, ctx: &CallContext, runtime_id: &RuntimeId) -> Result<RuntimeInfo> {
        Ok(self.find(runtime_id)?.describe(ctx).await)
    }

    /// One host as it is known now.
    ///
    /// # Errors
    /// [`Reason::UnknownHost`].
    pub async fn get_host(&self, ctx: &CallContext, host_id: &HostId) -> Result<Host> {
        let runtime = self.0.set.load().by_host(host_id).cloned().ok_or_else(|| unknown_host(host_id))?;
        Ok(runtime.host(ctx).await)
    }

    /// One worker. Where its host cannot be reached and the worker is known: as it was last heard of, `stale`.
    ///
    /// # Errors
    /// [`Reason::UnknownRuntime`], [`Reason::UnknownWorker`], or what the runtime answers.
    pub async fn get_worker(&self, ctx: &CallContext, runtime_id: &RuntimeId, worker_id: &WorkerId) -> Result<Worker> {
        let runtime = self.find(runtime_id)?;
        match self.told(&runtime, worker_id, runtime.get_worker(ctx, worker_id).await) {
            Ok(worker) => {
                self.note(&runtime, [&worker]);
                Ok(worker)
            }
            Err(error) if is_unreachable(&error) => self.seen(&runtime).stale(runtime_id, worker_id).ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Spawns a worker.
    ///
    /// # Errors
    /// [`Reason::UnknownRuntime`], or what the runtime answers where that is not about what was asked.
    pub async fn spawn_worker(&self, ctx: &CallContext, request: SpawnWorker) -> Result<Operation<Spawned>> {
        let runtime = self.find(&request.runtime_id)?;
        let spawned = self.decide(ctx, &runtime, request).await.map_err(|error| error.with("runtime_id", runtime.id()));
        if let Ok(Operation::Accepted { value, .. }) = &spawned {
            self.note(&runtime, [&value.worker]);
        }
        spawned
    }

    /// Gives a worker an input.
    ///
    /// # Errors
    /// As [`Registry::get_worker`], without the stale answer.
    pub async fn send_input(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        request: SendInput,
    ) -> Result<Operation<InputAck>> {
        let runtime = self.find(runtime_id)?;
        let worker_id = request.worker_id.clone();
        match self.told(&runtime, &worker_id, runtime.send_input(ctx, request).await) {
            Ok(mut ack) => {
                let diagnostics = bounded(std::mem::take(&mut ack.diagnostics));
                Ok(Operation::Accepted { value: ack, diagnostics })
            }
            Err(error) => Lacking::Input.in_band(&runtime, error),
        }
    }

    /// Stops or cancels a worker.
    ///
    /// # Errors
    /// As [`Registry::send_input`].
    pub async fn stop_worker(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        request: StopWorker,
    ) -> Result<Operation<StopAck>> {
        let runtime = self.find(runtime_id)?;
        let (worker_id, intent) = (request.worker_id.clone(), request.intent);
        match self.told(&runtime, &worker_id, runtime.stop_worker(ctx, request).await) {
            Ok(mut ack) => {
                let diagnostics = bounded(std::mem::take(&mut ack.diagnostics));
                Ok(Operation::Accepted { value: ack, diagnostics })
            }
            Err(error) => Lacking::Stop(intent).in_band(&runtime, error),
        }
    }

    /// Deletes a worker's record.
    ///
    /// # Errors
    /// As [`Registry::send_input`].
    pub async fn delete_worker(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        request: DeleteWorker,
    ) -> Result<Operation<DeleteAck>> {
        let runtime = self.find(runtime_id)?;
        let worker_id = request.worker_id.clone();
        match self.told(&runtime, &worker_id, runtime.delete_worker(ctx, request).await) {
            Ok(mut ack) => {
                self.0.catalogue.forget(runtime_id, &worker_id);
                let diagnostics = bounded(std::mem::take(&mut ack.diagnostics));
                Ok(Operation::Accepted { value: ack, diagnostics })
            }
            Err(error) => Lacking::Delete.in_band(&runtime, error),
        }
    }

    /// One page of a transcript.
    ///
    /// # Errors
    /// As [`Registry::send_input`], and what is refused is an error too.
    pub async fn get_transcript(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        worker_id: &WorkerId,
        start: u64,
        limit: usize,
    ) -> Result<TranscriptPage> {
        let runtime = self.find(runtime_id)?;
        let page = runtime.get_transcript(ctx, worker_id, start, limit).await;
        self.told(&runtime, worker_id, page)
    }

    /// One page of a transcript, and in-band where the runtime has none.
    ///
    /// # Errors
    /// As [`Registry::send_input`].
    pub async fn transcript_page(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        worker_id: &WorkerId,
        start: u64,
        limit: usize,
    ) -> Result<Operation<TranscriptPage>> {
        match self.get_transcript(ctx, runtime_id, worker_id, start, limit).await {
            Ok(value) => Ok(Operation::Accepted { value, diagnostics: Vec::new() }),
            Err(error) => Lacking::Transcript.in_band(&self.find(runtime_id)?, error),
        }
    }

    /// Whether the workers of a runtime can be observed.
    ///
    /// # Errors
    /// [`Reason::UnknownRuntime`].
    pub fn can_observe(&self, runtime_id: &RuntimeId) -> Result<bool> {
        Ok(self.find(runtime_id)?.can_observe())
    }

    /// Opens a reader of a worker's stream; the context's deadline is for the opening alone.
    ///
    /// # Errors
    /// As [`Registry::get_transcript`], and [`Reason::CursorExpired`].
    pub async fn observe_worker(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        worker_id: &WorkerId,
        from: ObserveFrom,
        stop_after: Option<u64>,
    ) -> Result<Observation> {
        let runtime = self.find(runtime_id)?;
        let observation = runtime.observe_worker(ctx, worker_id, from, stop_after).await;
        self.told(&runtime, worker_id, observation)
    }

    fn find(&self, runtime_id: &RuntimeId) -> Result<Arc<dyn WorkerRuntime>> {
        let set = self.0.set.load();
        set.get(runtime_id).cloned().ok_or_else(|| set.unknown(runtime_id))
    }

    /// What a runtime told of a worker: its errors get the ids they are about, and a worker it does not know is
    /// forgotten here as well.
    fn told<T>(&self, runtime: &Arc<dyn WorkerRuntime>, worker_id: &WorkerId, answer: Result<T>) -> Result<T> {
        answer.map_err(|error| {
            if error.reason() == Reason::UnknownWorker {
                self.0.catalogue.forget(runtime.id(), worker_id);
            }
            error.with("runtime_id", runtime.id()).with("worker_id", worker_id)
        })
    }

    /// Remembers workers of a remote runtime.
    fn note<'a>(&self, runtime: &Arc<dyn WorkerRuntime>, workers: impl IntoIterator<Item = &'a Worker>) {
        if runtime.kind() == RuntimeKind::Remote {
            self.seen(runtime).note(workers);
        }
    }

    /// What was seen of a runtime, without what went with an earlier incarnation of it.
    fn seen(&self, runtime: &Arc<dyn WorkerRuntime>) -> &Catalogue {
        self.0.catalogue.follow(runtime.id(), runtime.incarnation());
        &self.0.catalogue
    }
}

/// Whether an error says that a host was not reached, rather than what it answered.
fn is_unreachable(error: &Error) -> bool {
    matches!(error.reason(), Reason::RemoteRuntimeNetworkError | Reason::RemoteRuntimeTimeout | Reason::Draining)
}

fn unknown_host(host_id: &HostId) -> Error {
    Error::new(Reason::UnknownHost, "no such host").with("host_id", host_id)
}

fn bounded(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.truncate(MAX_DIAGNOSTICS);
    diagnostics
}
