//! The engine behind the port: the embedded runtime of a control plane, and what a host serves over gRPC.
//!
//! It adds what only an adapter can say: how the runtime and its host are shown, and the diagnostics that stand for
//! their boundary. It decides nothing about workers.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::{WorkerRuntime, diagnose};
use crate::engine::store::Store;
use crate::engine::{
    Engine, EngineLimits, EngineParts, Machine, Observation, ObserveFrom, Profiles, Protocol, SystemClock,
};
use crate::model::{
    Acceptance, AnswerAck, AnswerApproval, Approval, BundlePage, BundleRef, BundleSummary, CallContext, ConfigBundle,
    CreateWorker, Created, DeleteAck, DeleteWorker, Diagnostic, Error, Feature, Host, HostId, Incarnation, InputAck,
    InterruptAck, Reason, Result, RuntimeCapabilities, RuntimeId, RuntimeInfo, RuntimeKind, RuntimeStatus, SendInput,
    StopAck, StopWorker, TranscriptPage, Worker, WorkerFilter, WorkerId, WorkerPage, display_hint,
};
use crate::proto::{ProtoCodec, walk};

/// The name of the embedded runtime where its configuration gives none (acceptance 43).
pub const EMBEDDED_DISPLAY_NAME: &str = "Workspace backend embedded Runtime";
/// What a runtime without a name is called (acceptance 45).
const NO_NAME: &str = "Embedded backend Runtime";

/// An engine in this process.
#[derive(Clone)]
pub struct LocalRuntime {
    engine: Engine,
    label: Arc<str>,
}

impl LocalRuntime {
    /// The adapter of `engine`; a blank `display_name` is none. The engine's `host_id` must be [`LocalRuntime::host_id`]
    /// of its runtime's id, as [`LocalRuntime::parts`] has it.
    #[must_use]
    pub fn new(engine: Engine, display_name: &str) -> Self {
        let hint = display_hint(display_name);
        let label = if hint.trim().is_empty() { NO_NAME } else { hint.as_str() };
        Self { engine, label: label.into() }
    }

    /// The id of the host of a local runtime (acceptance 44).
    #[must_use]
    pub fn host_id(runtime_id: &RuntimeId) -> HostId {
        runtime_id.host_id(RuntimeKind::Embedded.host_prefix())
    }

    /// What an engine for this adapter is made of, where nothing else is said: a new incarnation, this machine's clock,
    /// nothing that runs, the default limits, and tasks on the current runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn parts(runtime_id: RuntimeId, store: Arc<dyn Store>) -> EngineParts {
        EngineParts {
            host_id: Self::host_id(&runtime_id),
            runtime_id,
            store,
            incarnation: Incarnation::generate(),
            codec: Arc::new(ProtoCodec),
            clock: Arc::new(SystemClock),
            profiles: Profiles::default(),
            limits: EngineLimits::default(),
            machine: Machine::default(),
            handle: Handle::current(),
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The runtime as it is now.
    #[must_use]
    pub fn info(&self) -> RuntimeInfo {
        let parts = self.engine.parts();
        let (running, fault) = (self.engine.is_running(), self.engine.fault());
        let fault = fault.map(|error| diagnose(RuntimeKind::Embedded, &parts.runtime_id, &error));
        let status = match (&fault, running) {
            (Some(_), _) => RuntimeStatus::Unavailable,
            (None, true) => RuntimeStatus::Running,
            (None, false) => RuntimeStatus::Stopped,
        };
        RuntimeInfo {
            runtime_id: parts.runtime_id.clone(),
            label: self.label.to_string(),
            kind: RuntimeKind::Embedded,
            status,
            host_ids: if fault.is_none() { vec![parts.host_id.clone()] } else { Vec::new() },
            capabilities: RuntimeCapabilities::embedded(status == RuntimeStatus::Running, parts.limits.max_workers),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: Feature::ALL.iter().map(|feature| feature.as_str().to_owned()).collect(),
            incarnation: Some(parts.incarnation),
            cordoned: false,
            seen_age: None,
            last_seen_at: None,
            counts: self.engine.counts(),
            diagnostics: fault.into_iter().chain(self.engine.diagnostics()).collect(),
        }
    }
}

/// A worker as this adapter shows it (acceptance 47).
fn projected(mut worker: Worker) -> Worker {
    worker
        .diagnostics
        .insert(0, Diagnostic::info("embedded_runtime_projection", "the worker runs in the runtime that answers"));
    worker
}

#[async_trait]
impl WorkerRuntime for LocalRuntime {
    fn id(&self) -> &RuntimeId {
        &self.engine.parts().runtime_id
    }

    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Embedded
    }

    fn incarnation(&self) -> Option<Incarnation> {
        Some(self.engine.parts().incarnation)
    }

    async fn describe(&self, _: &CallContext) -> RuntimeInfo {
        self.info()
    }

    /// Acceptance 44.
    async fn host(&self, _: &CallContext) -> Host {
        let info = self.info();
        let words = "this host is the process that answers, not a machine of its own";
        Host {
            runtime_id: info.runtime_id,
            host_id: self.engine.parts().host_id.clone(),
            label: info.label,
            kind: "embedded-worker-runtime-host",
            status: if info.status == RuntimeStatus::Running { "available" } else { "unavailable" },
            observed_at: SystemTime::now(),
            last_seen_at: None,
            capabilities: info.capabilities,
            diagnostics: [vec![Diagnostic::info("embedded_runtime_host_boundary", words)], info.diagnostics].concat(),
        }
    }

    async fn create_worker(&self, ctx: &CallContext, request: CreateWorker) -> Result<Created> {
        let waits =
            matches!(request.acceptance, Acceptance::RunAccepted { expected_segments } if expected_segments > 0);
        let runs_nothing = self.engine.parts().profiles.get(&request.profile).protocol == Protocol::Catalog;
        let mut created = self.engine.create_worker(ctx, request).await?;
        if waits && runs_nothing {
            // Acceptance 51.
            let words = "no execution is connected to this worker: no items come from it";
            created.diagnostics.insert(0, Diagnostic::info("embedded_runtime_tools_less", words));
        }
        created.worker = projected(created.worker);
        Ok(created)
    }

    async fn get_worker(&self, _: &CallContext, worker_id: &WorkerId) -> Result<Worker> {
        Ok(projected((*self.engine.get_worker(worker_id)?).clone()))
    }

    async fn list_workers(
        &self,
        _: &CallContext,
        filter: &WorkerFilter,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<WorkerPage> {
        let WorkerPage { workers, more } = self.engine.list_workers(filter, after, limit);
        Ok(WorkerPage { workers: workers.into_iter().map(projected).collect(), more })
    }

    async fn send_input(&self, ctx: &CallContext, request: SendInput) -> Result<InputAck> {
        self.engine.send_input(ctx, request).await
    }

    async fn stop_worker(&self, ctx: &CallContext, request: StopWorker) -> Result<StopAck> {
        self.engine.stop_worker(ctx, request).await
    }

    async fn list_approvals(&self, _: &CallContext, worker_id: &WorkerId) -> Result<Vec<Arc<Approval>>> {
        self.engine.list_approvals(worker_id)
    }

    async fn answer_approval(&self, ctx: &CallContext, request: AnswerApproval) -> Result<AnswerAck> {
        self.engine.answer_approval(ctx, request).await
    }

    async fn interrupt_worker(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<InterruptAck> {
        self.engine.interrupt_worker(ctx, worker_id).await
    }

    async fn delete_worker(&self, ctx: &CallContext, request: DeleteWorker) -> Result<DeleteAck> {
        self.engine.delete_worker(ctx, request).await
    }

    async fn get_transcript(
        &self,
        _: &CallContext,
        worker_id: &WorkerId,
        start: u64,
        limit: usize,
    ) -> Result<TranscriptPage> {
        let read = self.engine.read_transcript(worker_id, start, limit).await?;
        // What the store has was encoded here: anything else in it is damage.
        let damaged = || Error::new(Reason::StoreError, "a stored transcript item cannot be read");
        let items = read.frames.iter().map(|frame| walk::item_of(&frame.body).ok_or_else(damaged));
        Ok(TranscriptPage {
            items: items.collect::<Result<_>>()?,
            total_items: read.total_items,
            next_start: read.next_start,
        })
    }

    fn can_observe(&self) -> bool {
        true
    }

    async fn observe_worker(
        &self,
        _: &CallContext,
        worker_id: &WorkerId,
        from: ObserveFrom,
        stop_after: Option<u64>,
    ) -> Result<Observation> {
        self.engine.observe_worker(worker_id, from, stop_after)
    }

    async fn sync_config_bundle(&self, ctx: &CallContext, bundle: ConfigBundle) -> Result<BundleSummary> {
        self.engine.sync_bundle(ctx, bundle).await
    }

    async fn check_config_bundle(&self, _: &CallContext, reference: &BundleRef) -> Result<BundleSummary> {
        self.engine.check_bundle(reference)
    }

    async fn remove_config_bundle(&self, ctx: &CallContext, reference: BundleRef) -> Result<()> {
        self.engine.remove_bundle(ctx, reference).await
    }

    async fn list_config_bundles(
        &self,
        _: &CallContext,
        after: Option<&BundleRef>,
        limit: usize,
    ) -> Result<BundlePage> {
        Ok(self.engine.list_bundles(after, limit))
    }
}

#[cfg(test)]
mod tests;
