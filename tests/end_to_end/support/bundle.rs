//! Configuration bundles, and a control plane that is asked about them.

use tonic::Status;
use workplane::proto::v1;
use workplane::proto::v1::{DeclarationKind, OperationState};

use super::{Plane, Refusal, Worker, refusal, within};

/// The digest of [`bundle`].
pub(crate) const DIGEST: &str = "593afc87d7904886f71f8c7e1a3752ff15f09c527b33a6e56b44aa2413651238";
pub(crate) fn declaration(kind: DeclarationKind, name: &str, reference: &str) -> v1::Declaration {
    v1::Declaration { kind: kind.into(), name: name.to_owned(), reference: reference.to_owned() }
}

pub(crate) fn selector(kind: v1::profile_selector::Kind) -> v1::ProfileSelector {
    v1::ProfileSelector { kind: Some(kind) }
}

pub(crate) fn builtin(name: &str) -> v1::ProfileSelector {
    selector(v1::profile_selector::Kind::Builtin(name.to_owned()))
}

/// The bundle whose digest other programs have computed as well.
pub(crate) fn bundle() -> v1::ConfigBundle {
    v1::ConfigBundle {
        metadata: Some(v1::ConfigBundleMetadata {
            id: "bundle-1".to_owned(),
            digest: String::new(),
            revision: "rev-1".to_owned(),
            workspace_id: "local:test".to_owned(),
            created_at: "2026-06-26T00:00:00Z".to_owned(),
            provenance: Some(v1::Provenance { source: "workspace-server-test".to_owned(), detail: None }),
        }),
        profiles: vec![v1::ProfileDescriptor {
            selector: Some(builtin("builtin:coder")),
            label: Some("Coder".to_owned()),
        }],
        declarations: vec![declaration(DeclarationKind::CapabilityGrant, "read", "capability:read")],
    }
}

/// The same with one thing changed.
pub(crate) fn changed(change: impl FnOnce(&mut v1::ConfigBundle)) -> v1::ConfigBundle {
    let mut bundle = bundle();
    change(&mut bundle);
    bundle
}

pub(crate) fn metadata(bundle: &mut v1::ConfigBundle) -> &mut v1::ConfigBundleMetadata {
    bundle.metadata.as_mut().unwrap()
}

pub(crate) fn reference(id: &str, digest: &str) -> v1::ConfigBundleRef {
    v1::ConfigBundleRef { id: id.to_owned(), digest: digest.to_owned() }
}

/// What a test asks of a control plane.
#[derive(Debug)]
pub(crate) struct Asking(pub(crate) Plane);

impl Asking {
    pub(crate) async fn try_sync(
        &self,
        runtime_id: &str,
        bundle: v1::ConfigBundle,
        request_id: &str,
    ) -> Result<v1::SyncConfigBundleResponse, Status> {
        let (runtime_id, request_id) = (runtime_id.to_owned(), request_id.to_owned());
        let request = v1::SyncConfigBundleRequest { runtime_id, bundle: Some(bundle), request_id };
        Ok(within("a sync", self.0.client().bundles().sync_config_bundle(request)).await?.into_inner())
    }

    pub(crate) async fn sync(&self, runtime_id: &str, bundle: v1::ConfigBundle) -> v1::SyncConfigBundleResponse {
        self.try_sync(runtime_id, bundle, "").await.unwrap()
    }

    /// Gives a runtime a bundle, which it must take; what a spawn names it by.
    pub(crate) async fn synced(&self, runtime_id: &str, bundle: v1::ConfigBundle) -> v1::ConfigBundleRef {
        let response = self.sync(runtime_id, bundle).await;
        assert_eq!((response.state(), response.diagnostics.len()), (OperationState::Accepted, 0), "{response:?}");
        response.availability.unwrap().reference.unwrap()
    }

    pub(crate) async fn refused(&self, runtime_id: &str, bundle: v1::ConfigBundle) -> Refusal {
        refusal(&self.try_sync(runtime_id, bundle, "").await.unwrap_err())
    }

    pub(crate) async fn try_check(
        &self,
        runtime_id: &str,
        reference: v1::ConfigBundleRef,
    ) -> Result<v1::CheckConfigBundleResponse, Status> {
        let request = v1::CheckConfigBundleRequest { runtime_id: runtime_id.to_owned(), reference: Some(reference) };
        Ok(within("a check", self.0.client().bundles().check_config_bundle(request)).await?.into_inner())
    }

    pub(crate) async fn check(
        &self,
        runtime_id: &str,
        reference: v1::ConfigBundleRef,
    ) -> v1::CheckConfigBundleResponse {
        self.try_check(runtime_id, reference).await.unwrap()
    }

    pub(crate) async fn try_remove(
        &self,
        runtime_id: &str,
        reference: v1::ConfigBundleRef,
        request_id: &str,
    ) -> Result<v1::RemoveConfigBundleResponse, Status> {
        let (runtime_id, request_id) = (runtime_id.to_owned(), request_id.to_owned());
        let request = v1::RemoveConfigBundleRequest { runtime_id, reference: Some(reference), request_id };
        Ok(within("a removal", self.0.client().bundles().remove_config_bundle(request)).await?.into_inner())
    }

    pub(crate) async fn remove(
        &self,
        runtime_id: &str,
        reference: v1::ConfigBundleRef,
    ) -> v1::RemoveConfigBundleResponse {
        self.try_remove(runtime_id, reference, "").await.unwrap()
    }

    pub(crate) async fn try_list(
        &self,
        runtime_id: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<v1::ListConfigBundlesResponse, Status> {
        let (runtime_id, page_token) = (runtime_id.to_owned(), page_token.to_owned());
        let request = v1::ListConfigBundlesRequest { runtime_id, page_size, page_token };
        Ok(within("a list", self.0.client().bundles().list_config_bundles(request)).await?.into_inner())
    }

    /// Spawns a worker with a bundle; or nothing where that is refused.
    pub(crate) async fn spawn(
        &self,
        runtime_id: &str,
        profile: v1::ProfileSelector,
        config_bundle: Option<v1::ConfigBundleRef>,
    ) -> v1::SpawnWorkerResponse {
        let profile = Some(profile);
        let request = v1::SpawnWorkerRequest { profile, config_bundle, ..Worker::request(runtime_id, "") };
        within("a spawn", self.0.client().workers().spawn_worker(request)).await.unwrap().into_inner()
    }
}
