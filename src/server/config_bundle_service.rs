//! `workplane.v1.ConfigBundleService`: comes with config bundles.

use tonic::{Request, Response, Status};

use super::context::bad;
use crate::model::Error;
use crate::proto::v1::config_bundle_service_server::ConfigBundleService;
use crate::proto::v1::{
    CheckConfigBundleRequest, CheckConfigBundleResponse, ListConfigBundlesRequest, ListConfigBundlesResponse,
    SyncConfigBundleRequest, SyncConfigBundleResponse,
};

/// The service.
pub(super) struct ConfigBundles;

#[tonic::async_trait]
impl ConfigBundleService for ConfigBundles {
    async fn sync_config_bundle(
        &self,
        _: Request<SyncConfigBundleRequest>,
    ) -> Result<Response<SyncConfigBundleResponse>, Status> {
        Err(bad(Error::not_yet("ConfigBundleService.SyncConfigBundle")))
    }

    async fn check_config_bundle(
        &self,
        _: Request<CheckConfigBundleRequest>,
    ) -> Result<Response<CheckConfigBundleResponse>, Status> {
        Err(bad(Error::not_yet("ConfigBundleService.CheckConfigBundle")))
    }

    async fn list_config_bundles(
        &self,
        _: Request<ListConfigBundlesRequest>,
    ) -> Result<Response<ListConfigBundlesResponse>, Status> {
        Err(bad(Error::not_yet("ConfigBundleService.ListConfigBundles")))
    }
}
