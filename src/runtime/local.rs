//! The engine behind the port: the embedded runtime of a control plane, and what a host serves over gRPC.
//!
//! It adds what only an adapter can say: how the runtime and its host are shown, and the diagnostics that stand for
//! their boundary. It decides nothing about workers.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::WorkerRuntime;
use crate::engine::{Engine, Observation, ObserveFrom, Protocol};
use crate::model::TranscriptPage;
use crate::model::{
    Acceptance, BundlePage, BundleRef, BundleSummary, CallContext, ConfigBundle, CreateWorker, Created, Diagnostic,
    Error, Feature, Host, HostId, Incarnation, InputAck, Reason, Result, RuntimeCapabilities, RuntimeId, RuntimeInfo,
    RuntimeKind, RuntimeStatus, SendInput, StopAck, StopWorker, Worker, WorkerFilter, WorkerId, WorkerPage,
    display_hint,
};
use crate::proto::walk;

/// The id of the embedded runtime where its configuration gives none (acceptance 43).
pub const EMBEDDED_RUNTIME_ID: &str = "embedded-worker-runtime";
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
    /// of its runtime's id.
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

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The runtime as it is now.
    #[must_use]
    pub fn info(&self) -> RuntimeInfo {
        let running = self.engine.is_running();
        let parts = self.engine.parts();
        RuntimeInfo {
            runtime_id: parts.runtime_id.clone(),
            label: self.label.to_string(),
            kind: RuntimeKind::Embedded,
            status: if running { RuntimeStatus::Running } else { RuntimeStatus::Stopped },
            host_ids: vec![parts.host_id.clone()],
            capabilities: RuntimeCapabilities::embedded(running, parts.limits.max_workers),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: Feature::ALL.iter().map(|feature| feature.as_str().to_owned()).collect(),
            incarnation: Some(parts.incarnation),
            cordoned: false,
            seen_age: None,
            last_seen_at: None,
            counts: self.engine.counts(),
            diagnostics: Vec::new(),
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
            diagnostics: vec![Diagnostic::info("embedded_runtime_host_boundary", words)],
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::store::MemoryStore;
    use crate::engine::{EngineLimits, EngineParts, Profiles, SystemClock};
    use crate::model::{
        InputDelivery, InputKind, Labels, ProfileSelector, RequestId, WorkerInput, WorkerIntent, WorkspaceId,
    };
    use crate::proto::ProtoCodec;

    async fn local(display_name: &str) -> LocalRuntime {
        let runtime_id = RuntimeId::new("local:test").unwrap();
        let parts = EngineParts {
            host_id: LocalRuntime::host_id(&runtime_id),
            runtime_id,
            store: MemoryStore::new(),
            incarnation: Incarnation::generate(),
            codec: Arc::new(ProtoCodec),
            clock: Arc::new(SystemClock),
            profiles: Profiles::default(),
            limits: EngineLimits { max_workers: 7, ..EngineLimits::default() },
            handle: tokio::runtime::Handle::current(),
        };
        LocalRuntime::new(Engine::open(parts).await.unwrap(), display_name)
    }

    fn ctx() -> CallContext {
        let mut ctx = CallContext::internal(WorkspaceId::new("local:test").unwrap(), Duration::from_secs(30));
        ctx.request_id = Some(RequestId::generate());
        ctx
    }

    fn create(name: Option<&str>, expected_segments: u32) -> CreateWorker {
        CreateWorker {
            intent: WorkerIntent::Task { objective: "a/b".to_owned() },
            profile: ProfileSelector::RuntimeDefault,
            config_bundle: None,
            requested_capabilities: Vec::new(),
            workspace_refs: Vec::new(),
            mount_refs: Vec::new(),
            requested_worker_name: name.map(str::to_owned),
            initial_input: None,
            acceptance: Acceptance::RunAccepted { expected_segments },
            labels: Labels::default(),
        }
    }

    fn codes(diagnostics: &[Diagnostic]) -> Vec<&str> {
        diagnostics.iter().map(|it| it.code.as_ref()).collect()
    }

    #[tokio::test]
    async fn the_runtime_and_its_one_host_are_told_as_they_are() {
        // acceptance 43, 44, 45, 46
        let runtime = local(" ").await;
        let info = runtime.describe(&ctx()).await;
        assert_eq!((info.label.as_str(), info.status), ("Embedded backend Runtime", RuntimeStatus::Running));
        assert_eq!(info.host_ids[0].as_str(), "embedded-local-test-a2fa388634a6e2ed");
        let can = &info.capabilities;
        assert!(can.supports_backend_internal_tools && can.can_stop_worker && !can.has_shell && !can.has_git);
        assert_eq!(
            (can.workspace_scope.as_str(), can.max_workers, can.os.as_str()),
            ("backend_internal", 7, std::env::consts::OS)
        );
        let host = runtime.host(&ctx()).await;
        assert_eq!(
            (host.host_id, host.kind, host.status),
            (info.host_ids[0].clone(), "embedded-worker-runtime-host", "available")
        );
        assert_eq!((host.last_seen_at, codes(&host.diagnostics)), (None, vec!["embedded_runtime_host_boundary"]));
        runtime.engine().shutdown().await;
        let stopped = runtime.describe(&ctx()).await;
        assert_eq!((stopped.status, stopped.capabilities.can_spawn_worker), (RuntimeStatus::Stopped, false));
        assert_eq!(local("A\nname").await.info().label, "Aname");
    }

    #[tokio::test]
    async fn workers_are_shown_as_the_backends_own() {
        // acceptance 47, 48, 51, 58
        let runtime = local("").await;
        let created = runtime.create_worker(&ctx(), create(None, 2)).await.unwrap();
        assert_eq!(codes(&created.diagnostics), ["embedded_runtime_tools_less"]);
        let worker = created.worker;
        assert_eq!((worker.label.as_str(), worker.role.as_deref()), (worker.worker_id.as_str(), Some("ab")));
        assert_eq!(worker.profile.as_deref(), Some("runtime_default"));
        assert_eq!(codes(&worker.diagnostics)[0], "embedded_runtime_projection");
        assert!(worker.can_accept_input && worker.can_stop);
        assert_eq!(runtime.get_worker(&ctx(), &worker.worker_id).await.unwrap().diagnostics, worker.diagnostics);
        let named = runtime.create_worker(&ctx(), create(Some("My name"), 0)).await.unwrap();
        assert_eq!((named.worker.label.as_str(), named.diagnostics.len()), ("My name", 0));
        let page = runtime.list_workers(&ctx(), &WorkerFilter::default(), None, 1).await.unwrap();
        assert!(page.more && codes(&page.workers[0].diagnostics)[0] == "embedded_runtime_projection");
    }

    #[tokio::test]
    async fn transcript_items_are_the_stored_bytes() {
        // acceptance 57, 61
        let runtime = local("").await;
        let worker_id = runtime.create_worker(&ctx(), create(None, 0)).await.unwrap().worker.worker_id;
        let input = WorkerInput::new(InputKind::User, "hello".to_owned()).unwrap();
        let send = SendInput { worker_id: worker_id.clone(), input, delivery: InputDelivery::Queue };
        let ack = runtime.send_input(&ctx(), send).await.unwrap();
        let page = runtime.get_transcript(&ctx(), &worker_id, 0, 256).await.unwrap();
        assert_eq!(walk::item_sequence(&page.items[0]), Some(ack.transcript_sequence));
        assert!(page.items[0].windows(5).any(|bytes| bytes == b"hello"));
        let nobody = WorkerId::new("nobody").unwrap();
        let refused = runtime.observe_worker(&ctx(), &nobody, ObserveFrom::Now, None).await.err().unwrap();
        assert_eq!(refused.reason(), Reason::UnknownWorker);
    }
}
