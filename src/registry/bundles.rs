//! The configuration bundles of a runtime: given to it, checked, listed and removed. A bundle that is refused for what it is, is
//! refused here: no runtime is asked to keep it.

use std::sync::Arc;

use super::{Listing, Operation, Registry, refusal};
use crate::model::{
    BundlePage, BundleRef, BundleSummary, CallContext, ConfigBundle, Diagnostic, Error, Reason, Result, RuntimeId,
    RuntimeKind,
};
use crate::runtime::{WorkerRuntime, diagnose};

impl Registry {
    /// Gives a runtime a bundle. One that is valid in form and refused for what it says comes as that refusal, so that
    /// it is answered as the runtime would.
    ///
    /// # Errors
    /// [`Reason::UnknownRuntime`], or what the runtime answers where that is not about what was asked.
    pub async fn sync_config_bundle(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        bundle: Result<ConfigBundle>,
    ) -> Result<Operation<BundleSummary>> {
        let runtime = self.find(runtime_id)?;
        let synced = match bundle {
            Ok(bundle) => runtime.sync_config_bundle(ctx, bundle).await,
            Err(refused) => Err(refused),
        };
        answered(&runtime, synced, "config_bundle_sync_unsupported")
    }

    /// A bundle that a runtime has.
    ///
    /// # Errors
    /// As [`Registry::sync_config_bundle`].
    pub async fn check_config_bundle(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        reference: &BundleRef,
    ) -> Result<Operation<BundleSummary>> {
        let runtime = self.find(runtime_id)?;
        let checked = runtime.check_config_bundle(ctx, reference).await;
        answered(&runtime, checked, "config_bundle_check_unsupported")
    }

    /// Removes the bundle with just this digest from a runtime.
    ///
    /// # Errors
    /// As [`Registry::sync_config_bundle`].
    pub async fn remove_config_bundle(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        reference: BundleRef,
    ) -> Result<Operation<()>> {
        let runtime = self.find(runtime_id)?;
        let removed = runtime.remove_config_bundle(ctx, reference).await;
        answered(&runtime, removed, "config_bundle_remove_unsupported")
    }

    /// The bundles of a runtime after `after`. One that cannot be asked has none to show, and a diagnostic.
    ///
    /// # Errors
    /// [`Reason::UnknownRuntime`].
    pub async fn list_config_bundles(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        after: Option<&BundleRef>,
        limit: usize,
    ) -> Result<Listing<BundleSummary, BundleRef>> {
        let runtime = self.find(runtime_id)?;
        Ok(match runtime.list_config_bundles(ctx, after, limit).await {
            Ok(BundlePage { bundles, more }) => {
                let next = bundles.last().filter(|_| more).map(BundleSummary::reference);
                Listing { items: bundles, diagnostics: Vec::new(), next }
            }
            Err(error) => {
                let diagnostic = if has_none(&runtime, &error) {
                    unsupported("config_bundle_list_unsupported")
                } else {
                    diagnose(runtime.kind(), runtime.id(), &error)
                };
                Listing { items: Vec::new(), diagnostics: vec![diagnostic], next: None }
            }
        })
    }
}

/// What became of it, in-band where it was refused because of what was asked (acceptance 24, 56, 76).
fn answered<T>(
    runtime: &Arc<dyn WorkerRuntime>,
    answer: Result<T>,
    unsupported_code: &'static str,
) -> Result<Operation<T>> {
    match answer {
        Ok(value) => Ok(Operation::Accepted { value, diagnostics: Vec::new() }),
        Err(error) if has_none(runtime, &error) => Ok(Operation::Unsupported(vec![unsupported(unsupported_code)])),
        Err(error) => refusal::in_band(runtime, error.with("runtime_id", runtime.id())),
    }
}

/// Whether a runtime of this process knows no bundles at all. Of a host that is an error: another version might.
fn has_none(runtime: &Arc<dyn WorkerRuntime>, error: &Error) -> bool {
    runtime.kind() == RuntimeKind::Embedded && error.reason() == Reason::RemoteRuntimeUnsupported
}

/// Acceptance 39.
fn unsupported(code: &'static str) -> Diagnostic {
    Diagnostic::info(code, "this runtime has no configuration bundles")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{BundleContent, BundleId, Provenance, WorkspaceId};
    use crate::runtime::fake::{FakeRuntime, Script};

    fn ctx() -> CallContext {
        CallContext::internal(WorkspaceId::new("local:test").unwrap(), Duration::from_secs(30))
    }

    fn rid(id: &str) -> RuntimeId {
        RuntimeId::new(id).unwrap()
    }

    fn bundle(id: &str) -> ConfigBundle {
        let content = BundleContent {
            id: BundleId::new(id).unwrap(),
            revision: "1".to_owned(),
            workspace_id: "local:test".to_owned(),
            created_at: "2026-06-26T00:00:00Z".to_owned(),
            provenance: Provenance { source: "test".to_owned(), detail: None },
            profiles: Vec::new(),
            declarations: Vec::new(),
        };
        ConfigBundle::new(content, None).unwrap()
    }

    fn registry(runtime: FakeRuntime) -> (Registry, Arc<FakeRuntime>) {
        let (registry, runtime) = (Registry::new(), Arc::new(runtime));
        registry.replace(vec![runtime.clone()]).unwrap();
        (registry, runtime)
    }

    fn codes(diagnostics: &[Diagnostic]) -> Vec<&str> {
        diagnostics.iter().map(|it| it.code.as_ref()).collect()
    }

    #[tokio::test]
    async fn a_bundle_is_given_to_its_runtime_checked_listed_and_removed() {
        // acceptance 56, 76
        for runtime in [FakeRuntime::embedded("a"), FakeRuntime::remote("a")] {
            let (registry, _) = registry(runtime);
            for id in ["one", "two"] {
                let it = bundle(id);
                let done = Operation::Accepted { value: it.summary(), diagnostics: Vec::new() };
                let reference = it.reference();
                assert_eq!(registry.sync_config_bundle(&ctx(), &rid("a"), Ok(it)).await.unwrap(), done);
                assert_eq!(registry.check_config_bundle(&ctx(), &rid("a"), &reference).await.unwrap(), done);
            }
            let first = registry.list_config_bundles(&ctx(), &rid("a"), None, 1).await.unwrap();
            assert_eq!((first.items.len(), &first.next), (1, &Some(bundle("one").reference())));
            let rest = registry.list_config_bundles(&ctx(), &rid("a"), first.next.as_ref(), 1).await.unwrap();
            assert_eq!((rest.items, rest.next), (vec![bundle("two").summary()], None));
            let gone = bundle("one").reference();
            let removed = registry.remove_config_bundle(&ctx(), &rid("a"), gone.clone()).await.unwrap();
            assert_eq!(removed, Operation::Accepted { value: (), diagnostics: Vec::new() });
            let again = registry.remove_config_bundle(&ctx(), &rid("a"), gone).await.unwrap();
            let Operation::Rejected(diagnostics) = again else { panic!("{again:?}") };
            assert_eq!(codes(&diagnostics)[1], "config_bundle_missing");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_bundle_is_in_band_and_asks_nobody_but_an_unknown_runtime_is_an_error() {
        // acceptance 24, 60, 104
        let (registry, runtime) = registry(FakeRuntime::remote("a"));
        let digests = [("expected", "0".repeat(64)), ("actual", "1".repeat(64))];
        let refused = digests
            .iter()
            .fold(Error::new(Reason::ConfigBundleDigestMismatch, "see /run/x.sock"), |error, (key, digest)| {
                error.with(key, digest)
            });
        let answer = registry.sync_config_bundle(&ctx(), &rid("a"), Err(refused.clone())).await.unwrap();
        let Operation::Rejected(diagnostics) = answer else { panic!("{answer:?}") };
        assert_eq!(codes(&diagnostics), ["remote_runtime_http_rejected", "config_bundle_digest_mismatch"]);
        assert!(digests.iter().all(|(_, digest)| diagnostics[1].message.contains(digest)), "{diagnostics:?}");
        assert!(!format!("{diagnostics:?}").contains(".sock"));
        assert_eq!(runtime.calls(), 0);
        let unknown = registry.sync_config_bundle(&ctx(), &rid("b"), Err(refused)).await.unwrap_err();
        assert_eq!(unknown.reason(), Reason::UnknownRuntime);
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_had_is_empty_with_a_diagnostic_and_a_change_is_an_error() {
        // acceptance 24, 56, 76
        let failing = FakeRuntime::remote("a").doing(Script::Failing(Reason::RemoteRuntimeNetworkError));
        let (registry, _) = registry(failing);
        let listed = registry.list_config_bundles(&ctx(), &rid("a"), None, 10).await.unwrap();
        assert_eq!((listed.items.len(), codes(&listed.diagnostics)), (0, vec!["remote_runtime_network_error"]));
        let lost = registry.sync_config_bundle(&ctx(), &rid("a"), Ok(bundle("one"))).await.unwrap_err();
        assert_eq!(lost.reason(), Reason::RemoteRuntimeNetworkError);
    }

    #[tokio::test]
    async fn a_runtime_without_bundles_says_so() {
        // acceptance 39
        let without = FakeRuntime::embedded("a").doing(Script::Failing(Reason::RemoteRuntimeUnsupported));
        let (registry, _) = registry(without);
        let synced = registry.sync_config_bundle(&ctx(), &rid("a"), Ok(bundle("one"))).await.unwrap();
        let checked = registry.check_config_bundle(&ctx(), &rid("a"), &bundle("one").reference()).await.unwrap();
        let removed = registry.remove_config_bundle(&ctx(), &rid("a"), bundle("one").reference()).await.unwrap();
        let Operation::Unsupported(diagnostics) = removed else { panic!("{removed:?}") };
        assert_eq!(codes(&diagnostics), ["config_bundle_remove_unsupported"]);
        for (answer, code) in [(synced, "config_bundle_sync_unsupported"), (checked, "config_bundle_check_unsupported")]
        {
            let Operation::Unsupported(diagnostics) = answer else { panic!("{answer:?}") };
            assert_eq!(codes(&diagnostics), [code]);
        }
        let listed = registry.list_config_bundles(&ctx(), &rid("a"), None, 10).await.unwrap();
        assert_eq!((listed.items.len(), codes(&listed.diagnostics)), (0, vec!["config_bundle_list_unsupported"]));
    }
}
