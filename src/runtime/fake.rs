//! A scripted runtime for tests: fine, slow, hanging or dead, with the workers it was given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{WorkerRuntime, diagnose};
use crate::engine::{Observation, ObserveFrom};
use crate::model::TranscriptPage;
use crate::model::{
    Activity, AnswerAck, AnswerApproval, Approval, BundlePage, BundleRef, BundleSummary, CallContext, ConfigBundle,
    CreateWorker, Created, DeleteAck, DeleteWorker, Diagnostic, Error, Host, ImplementationKind, Incarnation, InputAck,
    InterruptAck, Reason, Result, RuntimeCapabilities, RuntimeId, RuntimeInfo, RuntimeKind, RuntimeStatus, SendInput,
    StopAck, StopWorker, Worker, WorkerCounts, WorkerFilter, WorkerId, WorkerPage, WorkerState, Workspace, WorkspaceId,
};

/// What a fake does when it is asked.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// It answers.
    Fine,
    /// It answers after this long.
    Slow(Duration),
    /// It never answers.
    Hanging,
    /// It fails, with this.
    Failing(Reason),
}

/// A runtime whose answers are scripted.
pub(crate) struct FakeRuntime {
    id: RuntimeId,
    kind: RuntimeKind,
    script: Mutex<Script>,
    workers: Mutex<BTreeMap<WorkerId, Worker>>,
    incarnation: Mutex<Incarnation>,
    bundles: Mutex<BTreeMap<BundleRef, BundleSummary>>,
    remarks: Vec<Diagnostic>,
    calls: AtomicUsize,
}

impl FakeRuntime {
    /// A remote one that is fine.
    pub(crate) fn remote(id: &str) -> Self {
        Self::new(id, RuntimeKind::Remote)
    }

    /// An embedded one that is fine.
    pub(crate) fn embedded(id: &str) -> Self {
        Self::new(id, RuntimeKind::Embedded)
    }

    fn new(id: &str, kind: RuntimeKind) -> Self {
        let id = RuntimeId::new(id).unwrap();
        Self {
            id,
            kind,
            script: Mutex::new(Script::Fine),
            workers: Mutex::default(),
            bundles: Mutex::default(),
            remarks: Vec::new(),
            incarnation: Mutex::new(Incarnation::generate()),
            calls: AtomicUsize::new(0),
        }
    }

    /// The same with workers of these ids.
    pub(crate) fn with_workers(self, ids: &[&str]) -> Self {
        let workers = ids.iter().map(|id| worker(self.id.as_str(), id)).map(|it| (it.worker_id.clone(), it));
        self.workers.lock().extend(workers);
        self
    }

    /// The same, doing this.
    pub(crate) fn doing(self, script: Script) -> Self {
        self.become_(script);
        self
    }

    /// The same, saying this of itself as long as it is fine.
    pub(crate) fn saying(mut self, code: &'static str) -> Self {
        self.remarks.push(Diagnostic::info(code, "as scripted"));
        self
    }

    /// From now on it does this.
    pub(crate) fn become_(&self, script: Script) {
        *self.script.lock() = script;
    }

    /// The worker of this id is gone.
    pub(crate) fn lose(&self, worker_id: &str) {
        self.workers.lock().remove(&WorkerId::new(worker_id).unwrap());
    }

    /// It has lost all it knew, and is another incarnation.
    pub(crate) fn restart(&self) {
        *self.incarnation.lock() = Incarnation::generate();
        self.workers.lock().clear();
    }

    /// How often it was asked for anything.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    async fn answer(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let script = self.script.lock().clone();
        match script {
            Script::Fine => Ok(()),
            Script::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Script::Hanging => std::future::pending().await,
            Script::Failing(reason) => Err(Error::new(reason, "as scripted")),
        }
    }

    fn find(&self, worker_id: &WorkerId) -> Result<Worker> {
        self.workers.lock().get(worker_id).cloned().ok_or_else(|| Error::unknown_worker(&self.id, worker_id))
    }
}

/// A running worker.
pub(crate) fn worker(runtime_id: &str, worker_id: &str) -> Worker {
    let runtime_id = RuntimeId::new(runtime_id).unwrap();
    Worker {
        host_id: runtime_id.host_id("remote-"),
        runtime_id,
        worker_id: WorkerId::new(worker_id).unwrap(),
        workspace_id: WorkspaceId::new("local:test").unwrap(),
        label: worker_id.to_owned(),
        labels: Box::default(),
        role: None,
        profile: None,
        workspace: Workspace::RemoteRuntime,
        state: WorkerState::Running,
        activity: Activity::Idle,
        approvals: Box::default(),
        approvals_asked: 0,
        activity_detail: Box::default(),
        activity_since: None,
        run_generation: 1,
        created_at: SystemTime::UNIX_EPOCH,
        last_seen_at: None,
        seen_age: None,
        last_progress_at: None,
        stale: false,
        termination: None,
        config_bundle: None,
        implementation: ImplementationKind::RemoteWorkerRuntime,
        display_hint: "catalog".into(),
        can_accept_input: true,
        can_stop: true,
        transcript_length: 0,
        said_items: 0,
        first_sequence: 1,
        first_item_sequence: 1,
        last_event_id: 1,
        diagnostics: Vec::new(),
    }
}

#[async_trait]
impl WorkerRuntime for FakeRuntime {
    fn id(&self) -> &RuntimeId {
        &self.id
    }

    fn kind(&self) -> RuntimeKind {
        self.kind
    }

    fn incarnation(&self) -> Option<Incarnation> {
        Some(*self.incarnation.lock())
    }

    async fn describe(&self, _: &CallContext) -> RuntimeInfo {
        let failure = self.answer().await.err();
        RuntimeInfo {
            runtime_id: self.id.clone(),
            label: self.id.to_string(),
            kind: self.kind,
            status: if failure.is_none() { RuntimeStatus::Running } else { RuntimeStatus::Unavailable },
            host_ids: vec![self.id.host_id(self.kind.host_prefix())],
            capabilities: RuntimeCapabilities::remote(failure.is_none(), 0),
            version: String::new(),
            features: Vec::new(),
            incarnation: None,
            cordoned: false,
            seen_age: None,
            last_seen_at: None,
            counts: WorkerCounts::default(),
            diagnostics: match failure {
                Some(error) => vec![diagnose(self.kind, &self.id, &error)],
                None => self.remarks.clone(),
            },
        }
    }

    async fn host(&self, ctx: &CallContext) -> Host {
        let info = self.describe(ctx).await;
        Host {
            runtime_id: self.id.clone(),
            host_id: info.host_ids[0].clone(),
            label: info.label,
            kind: "fake-host",
            status: "available",
            observed_at: SystemTime::now(),
            last_seen_at: None,
            capabilities: info.capabilities,
            diagnostics: info.diagnostics,
        }
    }

    async fn create_worker(&self, _: &CallContext, _: CreateWorker) -> Result<Created> {
        self.answer().await?;
        let worker = worker(self.id.as_str(), WorkerId::generate().as_str());
        self.workers.lock().insert(worker.worker_id.clone(), worker.clone());
        Ok(Created { worker, segments: 0, diagnostics: Vec::new() })
    }

    async fn get_worker(&self, _: &CallContext, worker_id: &WorkerId) -> Result<Worker> {
        self.answer().await?;
        self.find(worker_id)
    }

    async fn list_workers(
        &self,
        _: &CallContext,
        filter: &WorkerFilter,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<WorkerPage> {
        self.answer().await?;
        let workers = self.workers.lock();
        let mut rest = workers.values().filter(|it| filter.matches(it) && after.is_none_or(|id| it.worker_id > *id));
        Ok(WorkerPage { workers: rest.by_ref().take(limit).cloned().collect(), more: rest.next().is_some() })
    }

    async fn send_input(&self, _: &CallContext, request: SendInput) -> Result<InputAck> {
        self.answer().await?;
        self.find(&request.worker_id)?;
        Ok(InputAck { transcript_sequence: 1, event_id: 2, diagnostics: Vec::new() })
    }

    async fn stop_worker(&self, _: &CallContext, request: StopWorker) -> Result<StopAck> {
        self.answer().await?;
        self.find(&request.worker_id)?;
        Ok(StopAck { event_id: Some(3), state: WorkerState::Stopped, diagnostics: Vec::new() })
    }

    async fn list_approvals(&self, _: &CallContext, worker_id: &WorkerId) -> Result<Vec<Arc<Approval>>> {
        self.answer().await?;
        Ok(self.find(worker_id)?.approvals.to_vec())
    }

    async fn answer_approval(&self, _: &CallContext, request: AnswerApproval) -> Result<AnswerAck> {
        self.answer().await?;
        self.find(&request.worker_id)?;
        Ok(AnswerAck { event_id: 4, diagnostics: Vec::new() })
    }

    async fn interrupt_worker(&self, _: &CallContext, worker_id: &WorkerId) -> Result<InterruptAck> {
        self.answer().await?;
        self.find(worker_id)?;
        Ok(InterruptAck { event_id: Some(5), diagnostics: Vec::new() })
    }

    async fn delete_worker(&self, _: &CallContext, request: DeleteWorker) -> Result<DeleteAck> {
        self.answer().await?;
        let worker = self.find(&request.worker_id)?;
        if !worker.state.is_final() && !request.force {
            return Err(Error::new(Reason::WorkerRunning, "it runs"));
        }
        self.workers.lock().remove(&request.worker_id);
        Ok(DeleteAck::default())
    }

    async fn get_transcript(&self, _: &CallContext, worker_id: &WorkerId, _: u64, _: usize) -> Result<TranscriptPage> {
        self.answer().await?;
        self.find(worker_id)?;
        Ok(TranscriptPage { total_items: 0, next_start: None, items: Vec::new() })
    }

    fn can_observe(&self) -> bool {
        true
    }

    async fn observe_worker(
        &self,
        _: &CallContext,
        worker_id: &WorkerId,
        _: ObserveFrom,
        _: Option<u64>,
    ) -> Result<Observation> {
        self.answer().await?;
        self.find(worker_id)?;
        Err(Error::not_yet("FakeRuntime.observe_worker"))
    }

    async fn sync_config_bundle(&self, _: &CallContext, bundle: ConfigBundle) -> Result<BundleSummary> {
        self.answer().await?;
        self.bundles.lock().insert(bundle.reference(), bundle.summary());
        Ok(bundle.summary())
    }

    async fn check_config_bundle(&self, _: &CallContext, reference: &BundleRef) -> Result<BundleSummary> {
        self.answer().await?;
        let bundle = self.bundles.lock().get(reference).cloned();
        bundle.ok_or_else(|| Error::new(Reason::ConfigBundleMissing, "no such bundle"))
    }

    async fn remove_config_bundle(&self, _: &CallContext, reference: BundleRef) -> Result<()> {
        self.answer().await?;
        let removed = self.bundles.lock().remove(&reference);
        removed.map(drop).ok_or_else(|| Error::new(Reason::ConfigBundleMissing, "no such bundle"))
    }

    async fn list_config_bundles(
        &self,
        _: &CallContext,
        after: Option<&BundleRef>,
        limit: usize,
    ) -> Result<BundlePage> {
        self.answer().await?;
        let bundles = self.bundles.lock();
        let mut rest = bundles.iter().filter(|(it, _)| after.is_none_or(|after| *it > after)).map(|(_, it)| it);
        Ok(BundlePage { bundles: rest.by_ref().take(limit).cloned().collect(), more: rest.next().is_some() })
    }
}
