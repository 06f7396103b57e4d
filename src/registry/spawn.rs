//! Spawning a worker: what is refused before any runtime is asked, and on what evidence a spawn counts as accepted.

use std::sync::Arc;

use super::{Evidence, Operation, Registry, Spawned, bounded, refusal};
use crate::model::{
    Acceptance, CallContext, Created, Diagnostic, Error, ErrorClass, Reason, Result, RuntimeKind, SpawnWorker,
};
use crate::runtime::WorkerRuntime;

impl Registry {
    /// Spawns, and for a host notes that before it is asked.
    pub(super) async fn decide(
        &self,
        ctx: &CallContext,
        runtime: &Arc<dyn WorkerRuntime>,
        request: SpawnWorker,
    ) -> Result<Operation<Spawned>> {
        let noted = match runtime.kind() {
            RuntimeKind::Embedded => None,
            RuntimeKind::Remote => self.0.decisions.note(ctx, runtime.id(), self.0.clock.now()).await?,
        };
        let spawned = spawn(ctx, runtime, request).await;
        let nothing_happened = match &spawned {
            Ok(Operation::Accepted { .. }) => false,
            Ok(Operation::Rejected(_) | Operation::Unsupported(_)) => true,
            Err(error) => error.reason().class() != ErrorClass::Unknown,
        };
        if let Some(noted) = noted.filter(|_| nothing_happened) {
            self.0.decisions.take_back(noted).await;
        }
        spawned
    }
}

/// Spawns on a runtime that is known.
async fn spawn(
    ctx: &CallContext,
    runtime: &Arc<dyn WorkerRuntime>,
    request: SpawnWorker,
) -> Result<Operation<Spawned>> {
    let kind = runtime.kind();
    let Acceptance::RunAccepted { expected_segments } = request.acceptance else {
        return Ok(Operation::Rejected(vec![no_socket(kind)]));
    };
    let mut diagnostics = Vec::new();
    if request.requested_worker_name.is_some() {
        diagnostics.push(name_is_a_label(kind));
    }
    let lacking = refusal::Lacking::Spawn(request.intent.label());
    let request = request.into_create();
    let (profile, bundle) = (request.profile.label().to_owned(), request.config_bundle.clone());
    let asked = |error: Error| {
        if error.reason() != Reason::InvalidProfileSelector {
            return error;
        }
        let error = error.with(refusal::PROFILE, &profile);
        bundle.iter().fold(error, |error, bundle| error.with(refusal::BUNDLE, &bundle.id))
    };
    match runtime.create_worker(ctx, request).await.map_err(asked) {
        Ok(created) => Ok(accepted(kind, created, expected_segments, diagnostics)),
        Err(error) => lacking.in_band(runtime, error).map(|refused| refused.after(diagnostics)),
    }
}

/// Acceptance 55, 75.
fn accepted(
    kind: RuntimeKind,
    created: Created,
    expected_segments: u32,
    mut diagnostics: Vec<Diagnostic>,
) -> Operation<Spawned> {
    let id = &created.worker.worker_id;
    let mut evidence = match kind {
        RuntimeKind::Embedded => vec![
            Evidence::new("embedded_runtime_worker_created", format!("worker {id} was created")),
            Evidence::new(
                "embedded_runtime_backend_internal_projection",
                "the worker is shown as one of the backend's own".to_owned(),
            ),
        ],
        RuntimeKind::Remote => {
            vec![Evidence::new("remote_runtime_worker_created", format!("worker {id} was created on its host"))]
        }
    };
    if expected_segments > 0 {
        let detail = format!("{} of {expected_segments} transcript items came from it", created.segments);
        evidence.push(Evidence::new("run_segments", detail));
    }
    if kind == RuntimeKind::Remote {
        diagnostics
            .push(Diagnostic::info("remote_runtime_backend_proxy", "the worker is reached through its host's runtime"));
    }
    diagnostics.extend(created.diagnostics);
    Operation::Accepted { value: Spawned { worker: created.worker, evidence }, diagnostics: bounded(diagnostics) }
}

/// Acceptance 50, 74: no runtime offers a socket, so that none is asked.
fn no_socket(kind: RuntimeKind) -> Diagnostic {
    let code = match kind {
        RuntimeKind::Embedded => "embedded_runtime_no_socket",
        RuntimeKind::Remote => "remote_runtime_no_socket_ready_acceptance",
    };
    Diagnostic::warning(code, "no worker has a socket of its own: ask for run_accepted")
}

/// Acceptance 51, 75.
fn name_is_a_label(kind: RuntimeKind) -> Diagnostic {
    let code = match kind {
        RuntimeKind::Embedded => "embedded_worker_name_ignored",
        RuntimeKind::Remote => "remote_worker_name_ignored",
    };
    Diagnostic::info(code, "the requested name is at most a label, never an identity")
}
