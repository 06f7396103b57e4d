//! What is known of a host's runtime, as it is shown.

use tokio::time::{Duration, Instant};

use super::health::Known;
use super::runtime::RemoteRuntime;
use crate::model::{CallContext, Diagnostic, RuntimeCapabilities, RuntimeInfo, RuntimeKind};
use crate::runtime::budget::budget;
use crate::runtime::diagnose;

/// How long a description waits for the first attempt to reach the host.
const FIRST_LOOK: Duration = Duration::from_secs(1);

impl RemoteRuntime {
    /// Acceptance 67, 68: what is known, without asking the host.
    pub(super) fn info(&self, known: &Known) -> RuntimeInfo {
        let core = &self.core;
        let hello = known.hello.as_deref();
        let id = core.runtime_id.as_str();
        // A host that was given no name says its id, which is no better than the name that is configured here.
        let its_own = hello.map(|it| it.display_name.as_str()).filter(|name| *name != id);
        let settings = core.settings.load();
        let named = [its_own, Some(settings.display_name.as_str()), Some(id)];
        let diagnostic = match &known.failure {
            Some(failure) => diagnose(RuntimeKind::Remote, &core.runtime_id, failure),
            None => proxy(),
        };
        RuntimeInfo {
            runtime_id: core.runtime_id.clone(),
            label: named.into_iter().flatten().find(|name| !name.trim().is_empty()).unwrap_or_default().to_owned(),
            kind: RuntimeKind::Remote,
            status: known.status(),
            host_ids: vec![core.runtime_id.host_id(RuntimeKind::Remote.host_prefix())],
            capabilities: hello
                .map_or_else(|| RuntimeCapabilities::remote(false, 0), |hello| hello.capabilities.clone()),
            version: hello.map(|it| it.version.clone()).unwrap_or_default(),
            features: hello.map(|it| it.features.clone()).unwrap_or_default(),
            incarnation: hello.map(|it| it.incarnation),
            cordoned: false,
            seen_age: known.seen.map(|(seen, _)| seen.elapsed()),
            last_seen_at: known.seen.map(|(_, at)| at),
            counts: hello.map(|it| it.counts).unwrap_or_default(),
            diagnostics: [diagnostic]
                .into_iter()
                .chain(hello.into_iter().flat_map(|it| it.diagnostics.clone()))
                .collect(),
        }
    }

    /// What is known, once the first attempt to reach the host is over or would take too long.
    pub(super) async fn known(&self, ctx: &CallContext) -> Known {
        let until = budget(ctx, FIRST_LOOK).unwrap_or_else(|_| Instant::now());
        self.core.health.tried(until).await;
        self.core.health.known()
    }
}

fn proxy() -> Diagnostic {
    Diagnostic::info("remote_runtime_backend_proxy", "the control plane reaches this runtime for its callers")
}
