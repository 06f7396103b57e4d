//! How a worker comes to be, and comes back.
//!
//! The program is executed first and the record is committed then, with the first input in it: a program that cannot be
//! executed leaves no worker, and a record never names a process that was not there. What is executed and never recorded,
//! because the runtime was killed in between, is found by its marker at the next start (with the store on disk).
//! All of it runs in a task of its own: a caller that goes away changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::core::{Engine, Slot, answered};
use super::driver::{Exit, Link, start};
use super::frame::Frame;
use super::in_step::in_step;
use super::profile::{Profile, Protocol};
use super::receipts::{Claim, Hold, Outcome, refused};
use super::row::{ProcessRecord, WorkerOrigin, WorkerRow, is_end_not_stored};
use super::store::{Quarantined, Restored, Select, StoreFault, StoredWorker};
use super::tail::Tail;
use super::worker::{Stage, Task, TaskParts, not_landed, store_error};
use crate::failpoint::failpoint;
use crate::model::{
    Acceptance, CallContext, CreateWorker, Created, Diagnostic, Error, EventKind, MAX_PAGE_BYTES, ProfileSelector,
    Reason, RequestId, Result, StopMode, Worker, WorkerId, WorkerIntent, WorkspaceId, display_hint,
};

/// When it is worth asking a machine again that had no room for another program.
const AFTER_EXHAUSTION: Duration = Duration::from_secs(1);

impl Engine {
    /// Makes a worker. When this returns its record is durable and its program was executed.
    ///
    /// # Errors
    /// [`Reason::WorkerStartFailed`] where the program cannot be executed; what the request has wrong; a failed store.
    pub async fn create_worker(&self, ctx: &CallContext, request: CreateWorker) -> Result<Created> {
        let segments = check(&request)?;
        let worker_id = match self.0.receipts.claim(ctx, "SpawnWorker").await? {
            Claim::Repeat(Outcome::Created(worker_id)) => worker_id,
            Claim::Repeat(_) => return Err(Error::new(Reason::RequestIdReused, "request_id was used before")),
            Claim::New(hold) => self.birth_in_task(ctx, request, Some(hold)).await?,
            Claim::Anonymous => self.birth_in_task(ctx, request, None).await?,
        };
        self.created(ctx, &worker_id, segments).await
    }

    /// Lets the birth run on where its caller does not wait for it.
    async fn birth_in_task(&self, ctx: &CallContext, request: CreateWorker, hold: Option<Hold>) -> Result<WorkerId> {
        if let Err(error) = self.check_open() {
            return Err(refused(hold, error));
        }
        let (reply, answer) = oneshot::channel();
        let (engine, birth) = (self.clone(), ctx.clone());
        self.0.parts.handle.spawn(async move {
            let born = engine.birth(&birth, request, hold).await;
            // Whoever asked may have gone, and finds the worker by the request id.
            let _ = reply.send(born);
        });
        answered(ctx, answer).await?
    }

    async fn birth(&self, ctx: &CallContext, request: CreateWorker, hold: Option<Hold>) -> Result<WorkerId> {
        match self.try_birth(ctx, request, hold.as_ref()).await {
            Ok((worker_id, receipt)) => {
                if let Some((hold, receipt)) = hold.zip(receipt) {
                    hold.answered(receipt);
                }
                Ok(worker_id)
            }
            Err(error) => Err(refused(hold, error)),
        }
    }

    async fn try_birth(
        &self,
        ctx: &CallContext,
        request: CreateWorker,
        hold: Option<&Hold>,
    ) -> Result<(WorkerId, Option<super::receipts::Receipt>)> {
        // The semaphore is never closed.
        let _place = self.0.births.acquire().await;
        self.check_open()?;
        let _share = match &request.config_bundle {
            Some(_) => self.0.bundles.share().await,
            None => None,
        };
        self.0.bundles.check_profile(request.config_bundle.as_ref(), &request.profile)?;
        let parts = &self.0.parts;
        let permit = Arc::clone(&self.0.live).try_acquire_owned().map_err(|_| {
            Error::new(Reason::QuotaExceeded, "the runtime has as many live workers as it may have")
                .with("max_workers", &parts.limits.max_workers)
        })?;
        let profile = parts.profiles.get(&request.profile);
        let (mut row, input) = self.row(ctx, request, profile.protocol);
        let link = match profile.protocol {
            Protocol::Catalog => None,
            Protocol::Lines | Protocol::Acp => {
                failpoint!("spawn-before-exec");
                let link = start(parts.start(&profile, &row)).await;
                Some(link.map_err(|fault| start_failed(&row.origin.profile, &fault))?)
            }
        };
        failpoint!("spawn-before-record");
        row.process = link.as_ref().map(|link| link.process);
        let mut stage = self.stage(&row, &profile, 0);
        stage.birth(input, hold);
        stage.advance();
        let (draft, Some(batch)) = stage.take() else {
            return Err(Error::new(Reason::StoreError, "a birth without an event"));
        };
        let born = in_step(async {
            if let Err(fault) = parts.store.commit(batch).await {
                self.end_unrecorded(link);
                return Err(not_landed(hold, fault));
            }
            failpoint!("spawn-before-answer");
            let landed = StoredWorker { revision: 1, row: Box::new(stage.row().clone()) };
            self.start(stage, landed, &profile, link, Some(permit));
            Ok((row.worker_id().clone(), draft.receipts.into_iter().next()))
        });
        born.await
    }

    /// Ends a program whose record did not land: nothing knows of it.
    fn end_unrecorded(&self, link: Option<Link>) {
        let Some(Link { end, mut reports, .. }) = link else { return };
        self.0.parts.handle.spawn(async move {
            // The driver reads its orders until the program is gone.
            let _ = end.send(StopMode::Force).await;
            while reports.recv().await.is_some() {}
        });
    }

    /// The row of a new worker, and its first input.
    fn row(
        &self,
        ctx: &CallContext,
        request: CreateWorker,
        protocol: Protocol,
    ) -> (WorkerRow, Option<(crate::model::WorkerInput, Option<RequestId>)>) {
        let worker_id = self.new_id();
        let name = request.requested_worker_name.as_deref().map(display_hint).filter(|name| !name.trim().is_empty());
        let mut diagnostics = Vec::new();
        if request.config_bundle.is_none() {
            diagnostics
                .push(Diagnostic::info("runtime.local_default_resources", "no bundle: the host's own resources"));
        }
        if protocol == Protocol::Catalog && request.profile != ProfileSelector::RuntimeDefault {
            let message = "the profile runs nothing on this host: input is recorded, and no program answers";
            diagnostics.push(Diagnostic::warning("worker_profile_runs_nothing", message));
        }
        if request.requested_capabilities.is_empty() {
            diagnostics.push(Diagnostic::info("worker.tools_less", "no capabilities were asked for"));
        }
        let origin = WorkerOrigin {
            label: name.unwrap_or_else(|| worker_id.to_string()),
            worker_id,
            workspace_id: ctx.workspace.clone(),
            caller: ctx.caller.clone(),
            labels: request.labels.into_inner(),
            role: request.intent.role_label(),
            profile: request.profile,
            display_hint: protocol.as_str(),
            config_bundle: request.config_bundle,
            capabilities: request.requested_capabilities.into_iter().map(|capability| capability.name).collect(),
            created_at: self.0.parts.clock.now(),
            diagnostics,
        };
        let input = request.initial_input.map(|input| (input, ctx.request_id.clone()));
        (WorkerRow::new(origin), input)
    }

    /// Starts the task of a worker that has landed. It holds its share of the live workers until it has ended.
    fn start(
        &self,
        mut stage: Stage,
        landed: StoredWorker,
        profile: &Arc<Profile>,
        link: Option<Link>,
        permit: Option<tokio::sync::OwnedSemaphorePermit>,
    ) {
        let (sender, inbox) = Self::inbox();
        let tail = Arc::new(Tail::new(self.view(&landed.row)));
        let worker_id = landed.row.worker_id().clone();
        self.0
            .workers
            .write()
            .insert(worker_id.clone(), Slot { tail: Arc::clone(&tail), inbox: Some(sender), quarantined: false });
        if let Some(deliveries) = link.as_ref().and_then(|link| link.deliveries.as_ref()) {
            stage.landed(landed.row.last_sequence, None, |delivery| {
                // It is empty, and takes a whole window.
                let _ = deliveries.try_send(delivery);
            });
        }
        let engine = Arc::clone(&self.0.parts);
        let task = Task::new(TaskParts { engine, tail, inbox, profile: Arc::clone(profile), link, stage, landed });
        let inner = Arc::downgrade(&self.0);
        self.0.parts.handle.spawn(async move {
            in_step(task.run()).await;
            drop(permit);
            // An ended worker is a row: nothing of its task stays, nor what its readers needed.
            if let Some(inner) = inner.upgrade()
                && let Some(slot) = inner.workers.write().get_mut(&worker_id)
            {
                *slot = Slot { tail: Arc::new(Tail::new(slot.tail.view())), inbox: None, quarantined: false };
            }
        });
    }

    /// Takes in what the store has. What was live has lost its program.
    pub(super) async fn restore(&self) -> Result<()> {
        let engine = self.clone();
        let mut workspaces = BTreeSet::new();
        let ended = Box::new(move |stored: StoredWorker| engine.restore_ended(&stored.row, &mut workspaces));
        let Restored { workers, bundles, receipts, quarantined, warnings } =
            self.0.parts.store.restore(ended).await.map_err(store_error)?;
        // One that has ended has no process.
        let readable = workers.iter().map(|it| &it.row).chain(quarantined.iter().filter_map(|it| it.row.as_ref()));
        self.clear_left_behind(readable.filter_map(|row| row.process).collect()).await;
        self.restore_damaged(quarantined, &warnings);
        self.0.bundles.restore(bundles);
        self.0.receipts.restore(receipts);
        let mut lost = BTreeMap::new();
        for stored in workers {
            failpoint!("restore-half-way");
            lost.insert(stored.row.worker_id().clone(), stored.row.run_generation);
            self.restore_live(stored).await;
        }
        self.recorded(lost).await;
        Ok(())
    }

    /// Takes in a worker that has ended: its row is all in its view. Those of one workspace share its name.
    fn restore_ended(&self, row: &WorkerRow, workspaces: &mut BTreeSet<WorkspaceId>) {
        let mut view = row.view(&self.0.parts.runtime_id, &self.0.parts.host_id);
        match workspaces.get(&view.workspace_id) {
            Some(known) => view.workspace_id = known.clone(),
            None => _ = workspaces.insert(view.workspace_id.clone()),
        }
        let tail = Arc::new(Tail::new(Arc::new(view)));
        self.0.workers.write().insert(row.worker_id().clone(), Slot { tail, inbox: None, quarantined: false });
    }

    /// Waits until it is recorded of workers with these run generations that those are over. Where the store does not take
    /// that, they say so, and are not waited for: only with a runtime that is there can room be made.
    async fn recorded(&self, lost: BTreeMap<WorkerId, u64>) {
        let mut not_stored = 0;
        for (worker_id, generation) in lost {
            // One that is quarantined has ended.
            let Ok(slot) = self.slot(&worker_id) else { continue };
            let recorded = |worker: &Worker| worker.state.is_final() || worker.run_generation > generation;
            let now = slot.tail.wait_for(|worker| recorded(worker) || is_end_not_stored(worker)).await;
            not_stored += usize::from(!recorded(&now));
        }
        if not_stored > 0 {
            tracing::error!(not_stored, "workers have lost their programs, and the store does not take that yet");
        }
    }

    /// Takes in a worker that was live. One whose inputs cannot be read is quarantined, and costs no other its start.
    async fn restore_live(&self, stored: StoredWorker) {
        let profile = self.profile_of(&stored.row);
        let mut stage = self.stage(&stored.row, &profile, stored.revision);
        if let Err(fault) = self.restore_inputs(&mut stage, &stored.row).await {
            let worker_id = stored.row.worker_id().clone();
            let place = self.0.parts.store.damage(&worker_id).unwrap_or_else(|| match fault {
                StoreFault::Failed => "the disk does not read them, and a restart tries again".to_owned(),
                fault => fault.to_string(),
            });
            self.quarantine(Quarantined { worker_id, row: Some(stored.row), place });
            return;
        }
        stage.exited(Exit { lost: true, ..Exit::default() });
        // Those that have another run keep their places, also where there are fewer now.
        let permit = Arc::clone(&self.0.live).try_acquire_owned().ok();
        self.start(stage, stored, &profile, None, permit);
    }

    /// Ends what a runtime before this one left running, before anything else starts.
    async fn clear_left_behind(&self, recorded: Vec<ProcessRecord>) {
        let parts = &self.0.parts;
        let (machine, incarnation, root) = (parts.machine.clone(), parts.incarnation, parts.limits.cgroup.clone());
        if parts.handle.spawn_blocking(move || machine.clear(incarnation, recorded, &root)).await.is_err() {
            tracing::error!("it is not known whether a runtime before this one left anything running");
        }
    }

    /// What a stored worker runs: nothing, where the host's file says another protocol by now.
    fn profile_of(&self, row: &WorkerRow) -> Arc<Profile> {
        let profile = self.0.parts.profiles.get(&row.origin.profile);
        if profile.protocol.as_str() == row.origin.display_hint { profile } else { Arc::new(Profile::catalog()) }
    }

    /// Finds the inputs of the run before whose turns did not end: however much was said behind the last of them.
    async fn restore_inputs(&self, stage: &mut Stage, row: &WorkerRow) -> Result<(), StoreFault> {
        if row.origin.display_hint == Protocol::Catalog.as_str() {
            return Ok(());
        }
        let codec = &self.0.parts.codec;
        let mut after = row.turns_ended;
        let last = row.last_accepted.unwrap_or(row.last_sequence);
        let mut accepted: Option<Frame> = None;
        // Its item stands behind it.
        while after < last || accepted.is_some() {
            let read = self.0.parts.store.read(row.worker_id(), Select::EventsAfter(after), 1_000, MAX_PAGE_BYTES);
            let frames = read.await?;
            let Some(newest) = frames.last() else { return Ok(()) };
            after = newest.sequence;
            for frame in frames {
                // The item of an input is in the same commit, and adjacent to it.
                if let Some(accepted) = accepted.take() {
                    stage.restore_input(accepted.sequence, codec.input(&accepted.body, &frame.body));
                }
                accepted = (frame.kind == EventKind::InputAccepted).then_some(frame);
            }
        }
        Ok(())
    }

    /// The answer to a spawn: at once, or when so many items have come from the worker, or a little before the deadline.
    async fn created(&self, ctx: &CallContext, worker_id: &WorkerId, segments: u64) -> Result<Created> {
        let slot = match (self.slot(worker_id), self.0.receipts.deleted(worker_id)) {
            (Ok(slot), _) => slot,
            (Err(_), Some(last)) => {
                let worker = (*self.view(&last)).clone();
                return Ok(Created { segments: worker.said_items, worker, diagnostics: Vec::new() });
            }
            (Err(unknown), None) => return Err(unknown),
        };
        let catalog = slot.tail.view().display_hint == Protocol::Catalog.as_str();
        let mut diagnostics = Vec::new();
        if segments > 0 && !catalog {
            let came = slot.tail.wait_for(|worker| worker.said_items >= segments || worker.state.is_final());
            let came = tokio::time::timeout_at(ctx.shortly_before_deadline(), came).await;
            if came.is_err() || slot.tail.view().said_items < segments {
                let message = "fewer items have come from the worker than were waited for";
                diagnostics.push(Diagnostic::warning("worker_segments_pending", message));
            }
        }
        let worker = (*slot.tail.view()).clone();
        Ok(Created { segments: worker.said_items, worker, diagnostics })
    }
}

/// What makes a request impossible, whoever asks; returns how many items are to be waited for.
fn check(request: &CreateWorker) -> Result<u64> {
    if let WorkerIntent::Task { objective } = &request.intent
        && objective.trim().is_empty()
    {
        return Err(Error::field("intent.task.objective", "must not be blank"));
    }
    if request.requested_capabilities.iter().any(|capability| capability.name.trim().is_empty()) {
        return Err(Error::field("requested_capabilities", "a name must not be blank"));
    }
    match request.acceptance {
        Acceptance::RunAccepted { expected_segments } => Ok(expected_segments.into()),
        Acceptance::SocketReady => Err(Error::field("acceptance", "this runtime has no sockets to offer")),
    }
}

fn start_failed(profile: &ProfileSelector, fault: &super::driver::StartFault) -> Error {
    // The cause may name a path: it is the operator's to see.
    if fault.is_exhaustion() {
        tracing::warn!(%fault, "the machine has no room for another program");
        return Error::new(Reason::Overloaded, "the host has no room for another program now")
            .retry_after(AFTER_EXHAUSTION);
    }
    tracing::warn!(profile = profile.label(), %fault, "a worker's program could not be executed");
    Error::new(Reason::WorkerStartFailed, "the profile's program could not be executed on this host")
        .with("profile", &profile.label())
}
