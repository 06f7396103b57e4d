//! `workplane.v1.ConfigBundleService`.

use tonic::{Request, Response, Status};

use super::context::{Incoming, bad, refuse};
use super::page::cut;
use super::routes::ControlPlane;
use super::worker_service::outcome;
use crate::model::BundleSummary;
use crate::proto::convert;
use crate::proto::v1::config_bundle_service_server::ConfigBundleService;
use crate::proto::v1::{
    CheckConfigBundleRequest, CheckConfigBundleResponse, ListConfigBundlesRequest, ListConfigBundlesResponse,
    RemoveConfigBundleRequest, RemoveConfigBundleResponse, SyncConfigBundleRequest, SyncConfigBundleResponse,
};

/// The service.
pub(super) struct ConfigBundles(pub ControlPlane);

#[tonic::async_trait]
impl ConfigBundleService for ConfigBundles {
    async fn sync_config_bundle(
        &self,
        request: Request<SyncConfigBundleRequest>,
    ) -> Result<Response<SyncConfigBundleResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        // What is wrong with the runtime's id is said first; then with the rest, the request's own id last.
        let (runtime_id, bundle) = convert::sync_config_bundle(message).map_err(bad)?;
        let ctx = ctx.map_err(bad)?;
        let synced = self.0.registry.sync_config_bundle(&ctx, &runtime_id, bundle).await;
        let (state, summary, diagnostics) = outcome(synced.map_err(|error| refuse(&error, &ctx))?);
        let availability = summary.map(convert::availability);
        Ok(Response::new(SyncConfigBundleResponse { state: state.into(), availability, diagnostics }))
    }

    async fn check_config_bundle(
        &self,
        request: Request<CheckConfigBundleRequest>,
    ) -> Result<Response<CheckConfigBundleResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let (runtime_id, reference) = convert::check_config_bundle(message).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        let checked = self.0.registry.check_config_bundle(&ctx, &runtime_id, &reference).await;
        let (state, summary, diagnostics) = outcome(checked.map_err(|error| refuse(&error, &ctx))?);
        let availability = summary.map(convert::availability);
        Ok(Response::new(CheckConfigBundleResponse { state: state.into(), availability, diagnostics }))
    }

    async fn remove_config_bundle(
        &self,
        request: Request<RemoveConfigBundleRequest>,
    ) -> Result<Response<RemoveConfigBundleResponse>, Status> {
        let (incoming, mut message) = Incoming::of(request);
        let ctx = incoming.change(&self.0.workspace, &mut message);
        let (runtime_id, reference) = convert::remove_config_bundle(message).map_err(bad)?;
        let ctx = ctx.map_err(bad)?;
        let removed = self.0.registry.remove_config_bundle(&ctx, &runtime_id, reference).await;
        let (state, _, diagnostics) = outcome(removed.map_err(|error| refuse(&error, &ctx))?);
        Ok(Response::new(RemoveConfigBundleResponse { state: state.into(), diagnostics }))
    }

    async fn list_config_bundles(
        &self,
        request: Request<ListConfigBundlesRequest>,
    ) -> Result<Response<ListConfigBundlesResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let (runtime_id, page) = convert::list_config_bundles(message).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        let listing = self.0.registry.list_config_bundles(&ctx, &runtime_id, page.after.as_ref(), page.limit).await;
        let listing = listing.map_err(|error| refuse(&error, &ctx))?;
        let keys: Vec<_> = listing.items.iter().map(BundleSummary::reference).collect();
        let mut bundles: Vec<_> = listing.items.into_iter().map(convert::bundle_summary).collect();
        let next = if cut(&mut bundles) { keys.get(bundles.len() - 1).cloned() } else { listing.next };
        Ok(Response::new(ListConfigBundlesResponse {
            bundles,
            diagnostics: convert::diagnostics(listing.diagnostics),
            next_page_token: next.map(|key| page.token(&key)).unwrap_or_default(),
        }))
    }
}
