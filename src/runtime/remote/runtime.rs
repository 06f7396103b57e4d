//! The port over a host behind gRPC.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::DropGuard;

use super::call::{IN_FLIGHT, Method, WAITING};
use super::closing::Closing;
use super::config::RemoteConfig;
use super::dial::{Dial, TcpDial};
use super::guard::Guard;
use super::health::Health;
use super::link::{Client, Line, Link, nothing_named};
use super::measures::Measures;
use super::relay::Relays;
use super::settings::RemoteSettings;
use super::{Core, probe, relay};
use crate::engine::{Observation, ObserveFrom};
use crate::model::TranscriptPage;
use crate::model::{
    AnswerAck, AnswerApproval, Approval, BundleId, BundlePage, BundleRef, BundleSummary, CallContext, ConfigBundle,
    CreateWorker, Created, DeleteAck, DeleteWorker, Diagnostic, Error, Feature, Host, Incarnation, InputAck,
    InterruptAck, Reason, Result, RuntimeId, RuntimeInfo, RuntimeKind, RuntimeStatus, SendInput, StopAck, StopWorker,
    TerminalIntent, Worker, WorkerFilter, WorkerId, WorkerPage, WorkerState,
};
use crate::proto::host_client::{self, request};
use crate::proto::runtime_v1::RemoveConfigBundleResponse;
use crate::runtime::{Reach, WorkerRuntime};
use crate::tls::{CertificateDer, Facts};

/// A runtime on another host. Its tasks end when it is dropped.
pub struct RemoteRuntime {
    pub(super) core: Arc<Core>,
    _closing: DropGuard,
}

impl RemoteRuntime {
    /// The runtime of this configuration, over TCP. It looks for the host at once, on tasks of `handle`.
    ///
    /// # Errors
    /// Names the field of the configuration that is wrong.
    pub fn new(config: &RemoteConfig, handle: &Handle) -> Result<Self> {
        Self::with_dial(config, handle, Arc::new(TcpDial))
    }

    /// The same, with connections of another make.
    ///
    /// # Errors
    /// As [`RemoteRuntime::new`].
    pub fn with_dial(config: &RemoteConfig, handle: &Handle, dial: Arc<dyn Dial>) -> Result<Self> {
        let health = Arc::new(Health::new());
        let closing = Arc::new(Closing::default());
        let settings = Arc::new(ArcSwap::from_pointee(RemoteSettings::new(config)?));
        let guard = Arc::new(Guard::new(config.runtime_id.clone()));
        let line = Arc::new(Line {
            runtime_id: config.runtime_id.clone(),
            endpoint: config.uri()?,
            dial,
            settings: Arc::clone(&settings),
            health: Arc::clone(&health),
            guard: Arc::clone(&guard),
            closing: Arc::clone(&closing),
            untrusted: Mutex::default(),
        });
        let core = Arc::new(Core {
            runtime_id: config.runtime_id.clone(),
            settings,
            look_again: Notify::new(),
            in_flight: Semaphore::new(IN_FLIGHT),
            waiting: Semaphore::new(WAITING),
            health,
            guard,
            measures: Measures::of(&config.runtime_id),
            control: Link::new(Arc::clone(&line), handle.clone()),
            observation: Link::new(line, handle.clone()),
            relays: Relays::default(),
            handle: handle.clone(),
            closing: Arc::clone(&closing),
        });
        handle.spawn(probe::run(Arc::clone(&core)));
        Ok(Self { core, _closing: closing.token().clone().drop_guard() })
    }

    /// Goes on with these settings, with its connections and observers as they are. Calls that are under way keep the
    /// old ones.
    pub fn adopt(&self, settings: RemoteSettings) {
        let core = &self.core;
        let before = core.settings.swap(Arc::new(settings));
        if before.authorization != core.settings.load().authorization {
            core.look_again.notify_one();
        }
    }

    /// The certificate that is shown to it where it asks for one.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.core.settings.load().tls.as_ref()?.certificate().cloned()
    }

    /// Another runtime takes its place, at another endpoint: who still waits for something of this one when it is
    /// dropped is told to try again, and not that there is no such runtime.
    pub fn moved(&self) {
        self.core.closing.moved();
    }
}

/// Acceptance 82: what is not found where bundles were asked for is a bundle.
fn of_bundles(error: Error) -> Error {
    if error.reason() != Reason::UnknownWorker {
        return error;
    }
    Error::new(Reason::ConfigBundleMissing, "the runtime does not have this bundle")
}

/// The same where one was asked for.
fn of_bundle(id: &BundleId) -> impl Fn(Error) -> Error {
    move |error| of_bundles(error).with("config_bundle_id", id)
}

/// All else of an answer was looked at before it was sent: what a host finds wrong is the decision.
fn of_decision(error: Error) -> Error {
    if error.reason() == Reason::InvalidRequest { AnswerApproval::not_offered() } else { error }
}

/// Acceptance 77.
fn lifecycle_accepted(state: WorkerState) -> Diagnostic {
    let words = match state {
        WorkerState::Starting => "the worker is starting",
        WorkerState::Running => "the worker is running",
        WorkerState::Stopping => "the worker is stopping",
        WorkerState::Stopped => "the worker is stopped",
        WorkerState::Cancelled => "the worker is cancelled",
        WorkerState::Failed => "the worker has failed",
    };
    Diagnostic::info("remote_runtime_lifecycle_accepted", words)
}

#[async_trait]
impl WorkerRuntime for RemoteRuntime {
    fn id(&self) -> &RuntimeId {
        &self.core.runtime_id
    }

    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Remote
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.core.health.known().hello.map(|hello| hello.incarnation)
    }

    fn reach(&self) -> Option<Reach> {
        let known = self.core.health.known();
        let (breaker, retry_tokens) = self.core.guard.standing();
        Some(Reach {
            is_reachable: known.hello.is_some() && known.failure.is_none(),
            seen_age: known.seen.map(|(seen, _)| seen.elapsed()),
            breaker,
            retry_tokens,
            in_flight: IN_FLIGHT - self.core.in_flight.available_permits(),
            waiting: WAITING - self.core.waiting.available_permits(),
            certificate_until: self.certificate().and_then(|it| Facts::of(&it)).map(|facts| facts.until),
        })
    }

    async fn describe(&self, ctx: &CallContext) -> RuntimeInfo {
        let known = self.known(ctx).await;
        self.info(&known)
    }

    /// Acceptance 69, 70.
    async fn host(&self, ctx: &CallContext) -> Host {
        let known = self.known(ctx).await;
        let info = self.info(&known);
        let mut diagnostics = info.diagnostics;
        if let Some(skew) = known.skew {
            let words = format!("the host's clock is {} s off", skew.as_secs());
            diagnostics.push(Diagnostic::warning("host_clock_skew", words));
        }
        Host {
            runtime_id: info.runtime_id,
            host_id: self.core.runtime_id.host_id(RuntimeKind::Remote.host_prefix()),
            label: info.label,
            kind: "remote-worker-runtime-host",
            status: match info.status {
                RuntimeStatus::Running => "available",
                RuntimeStatus::Stopped | RuntimeStatus::Unavailable => "unavailable",
                RuntimeStatus::Configured => "configured",
            },
            observed_at: SystemTime::now(),
            last_seen_at: info.last_seen_at,
            capabilities: info.capabilities,
            diagnostics,
        }
    }

    async fn create_worker(&self, ctx: &CallContext, create: CreateWorker) -> Result<Created> {
        let method = match create.config_bundle {
            Some(_) => Method::SPAWN.needing(Feature::ConfigBundles),
            None => Method::SPAWN,
        };
        let message = request::create(ctx, create);
        let send = |mut client: Client, message| async move { client.create_worker(message).await };
        let answer = self.core.call(ctx, method, message, send).await;
        host_client::created(answer.map_err(nothing_named)?, &self.core.runtime_id)
    }

    async fn get_worker(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<Worker> {
        self.core.get_worker(ctx, worker_id).await
    }

    async fn list_workers(
        &self,
        ctx: &CallContext,
        filter: &WorkerFilter,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<WorkerPage> {
        let message = request::list(filter, after, limit);
        let send = |mut client: Client, message| async move { client.list_workers(message).await };
        let answer = self.core.call(ctx, Method::LIST, message, send).await?;
        host_client::worker_page(answer, &self.core.runtime_id, filter, after, limit)
    }

    async fn send_input(&self, ctx: &CallContext, input: SendInput) -> Result<InputAck> {
        let message = request::send(ctx, input);
        let send = |mut client: Client, message| async move { client.send_input(message).await };
        host_client::input_ack(self.core.call(ctx, Method::CHANGE, message, send).await?)
    }

    async fn stop_worker(&self, ctx: &CallContext, stop: StopWorker) -> Result<StopAck> {
        let mut ack = match stop.intent {
            TerminalIntent::Stop => {
                let message = request::stop(ctx, stop);
                let send = |mut client: Client, message| async move { client.stop_worker(message).await };
                let answer = self.core.call(ctx, Method::END, message, send).await?;
                host_client::stop_ack(answer.event_id, answer.worker_state, &answer.diagnostics)?
            }
            TerminalIntent::Cancel => {
                let message = request::cancel(ctx, stop);
                let send = |mut client: Client, message| async move { client.cancel_worker(message).await };
                let answer = self.core.call(ctx, Method::END, message, send).await?;
                host_client::stop_ack(answer.event_id, answer.worker_state, &answer.diagnostics)?
            }
        };
        ack.diagnostics.insert(0, lifecycle_accepted(ack.state));
        Ok(ack)
    }

    async fn list_approvals(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<Vec<Arc<Approval>>> {
        let message = request::approvals(worker_id);
        let send = |mut client: Client, message| async move { client.list_approvals(message).await };
        host_client::approvals(self.core.call(ctx, Method::READ.needing(Feature::Approvals), message, send).await?)
    }

    async fn answer_approval(&self, ctx: &CallContext, answer: AnswerApproval) -> Result<AnswerAck> {
        let message = request::answer(ctx, answer);
        let send = |mut client: Client, message| async move { client.answer_approval(message).await };
        let answer = self.core.call(ctx, Method::CHANGE.needing(Feature::Approvals), message, send).await;
        host_client::answer_ack(&answer.map_err(of_decision)?)
    }

    async fn interrupt_worker(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<InterruptAck> {
        let message = request::interrupt(ctx, worker_id);
        let send = |mut client: Client, message| async move { client.interrupt_worker(message).await };
        let answer = self.core.call(ctx, Method::END.needing(Feature::Interruption), message, send).await?;
        Ok(host_client::interrupted(&answer))
    }

    async fn delete_worker(&self, ctx: &CallContext, delete: DeleteWorker) -> Result<DeleteAck> {
        let message = request::delete(ctx, &delete);
        let send = |mut client: Client, message| async move { client.delete_worker(message).await };
        Ok(host_client::deleted(&self.core.call(ctx, Method::END, message, send).await?))
    }

    async fn get_transcript(
        &self,
        ctx: &CallContext,
        worker_id: &WorkerId,
        start: u64,
        limit: usize,
    ) -> Result<TranscriptPage> {
        let message = request::transcript(worker_id, start, limit);
        let send = |mut client: Client, message| async move { client.get_transcript(message).await };
        let answer = self.core.call(ctx, Method::READ, message, send).await?;
        let host_client::Items { total_items, next_start, items } =
            host_client::transcript_page(answer, worker_id, start, limit)?;
        Ok(TranscriptPage { total_items, next_start, items })
    }

    fn can_observe(&self) -> bool {
        true
    }

    async fn observe_worker(
        &self,
        ctx: &CallContext,
        worker_id: &WorkerId,
        from: ObserveFrom,
        stop_after: Option<u64>,
    ) -> Result<Observation> {
        relay::observe(&self.core, ctx, worker_id, from, stop_after).await
    }

    async fn sync_config_bundle(&self, ctx: &CallContext, bundle: ConfigBundle) -> Result<BundleSummary> {
        let message = request::sync(ctx, &bundle);
        let send = |mut client: Client, message| async move { client.sync_config_bundle(message).await };
        let answer = self.core.call(ctx, Method::CHANGE.needing(Feature::ConfigBundles), message, send).await;
        host_client::synced(answer.map_err(of_bundle(&bundle.reference().id))?, &bundle)
    }

    async fn check_config_bundle(&self, ctx: &CallContext, reference: &BundleRef) -> Result<BundleSummary> {
        let message = request::check(reference);
        let send = |mut client: Client, message| async move { client.check_config_bundle(message).await };
        let answer = self.core.call(ctx, Method::READ.needing(Feature::ConfigBundles), message, send).await;
        host_client::checked(answer.map_err(of_bundle(&reference.id))?, reference)
    }

    async fn remove_config_bundle(&self, ctx: &CallContext, reference: BundleRef) -> Result<()> {
        let message = request::remove(ctx, &reference);
        let send = |mut client: Client, message| async move { client.remove_config_bundle(message).await };
        let method = Method::CHANGE.needing(Feature::ConfigBundleRemoval);
        let RemoveConfigBundleResponse { diagnostics: _ } =
            self.core.call(ctx, method, message, send).await.map_err(of_bundle(&reference.id))?;
        Ok(())
    }

    async fn list_config_bundles(
        &self,
        ctx: &CallContext,
        after: Option<&BundleRef>,
        limit: usize,
    ) -> Result<BundlePage> {
        let message = request::bundles(after, limit);
        let send = |mut client: Client, message| async move { client.list_config_bundles(message).await };
        let answer = self.core.call(ctx, Method::READ.needing(Feature::ConfigBundles), message, send).await;
        host_client::bundle_page(answer.map_err(of_bundles)?, after, limit)
    }
}

impl Core {
    /// A worker as its host has it now.
    pub(super) async fn get_worker(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<Worker> {
        let message = request::get(worker_id);
        let send = |mut client: Client, message| async move { client.get_worker(message).await };
        host_client::one_worker(self.call(ctx, Method::READ, message, send).await?, &self.runtime_id, worker_id)
    }
}
