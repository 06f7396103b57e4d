//! `workplane.v1.RuntimeService`.

use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::context::{Incoming, bad, refuse};
use super::page::cut;
use super::routes::ControlPlane;
use crate::model::Error;
use crate::proto::convert;
use crate::proto::v1::runtime_service_server::RuntimeService;
use crate::proto::v1::{
    GetRuntimeRequest, GetRuntimeResponse, ListRuntimesRequest, ListRuntimesResponse, RegisterRuntimeRequest,
    RegisterRuntimeResponse, RemoveRuntimeRequest, RemoveRuntimeResponse, SetRuntimeCordonRequest,
    SetRuntimeCordonResponse, UpdateRuntimeRequest, UpdateRuntimeResponse, WatchRuntimesRequest, WatchRuntimesResponse,
};

/// The service.
pub(super) struct Runtimes(pub ControlPlane);

#[tonic::async_trait]
impl RuntimeService for Runtimes {
    async fn list_runtimes(
        &self,
        request: Request<ListRuntimesRequest>,
    ) -> Result<Response<ListRuntimesResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let page = convert::list_runtimes(message).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        let listing = self.0.registry.list_runtimes(&ctx, page.after.as_ref(), page.limit).await;
        let ids: Vec<_> = listing.items.iter().map(|runtime| runtime.runtime_id.clone()).collect();
        let mut runtimes: Vec<_> = listing.items.into_iter().map(convert::runtime).collect();
        let next = if cut(&mut runtimes) { ids.get(runtimes.len() - 1).cloned() } else { listing.next };
        Ok(Response::new(ListRuntimesResponse {
            runtimes,
            diagnostics: convert::diagnostics(listing.diagnostics),
            next_page_token: next.map(|key| page.token(&key)).unwrap_or_default(),
        }))
    }

    async fn get_runtime(&self, request: Request<GetRuntimeRequest>) -> Result<Response<GetRuntimeResponse>, Status> {
        let (incoming, GetRuntimeRequest { runtime_id }) = Incoming::of(request);
        let runtime_id = convert::runtime_id(&runtime_id).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        let runtime = self.0.registry.get_runtime(&ctx, &runtime_id).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(GetRuntimeResponse { runtime: Some(convert::runtime(runtime)) }))
    }

    async fn register_runtime(
        &self,
        _: Request<RegisterRuntimeRequest>,
    ) -> Result<Response<RegisterRuntimeResponse>, Status> {
        Err(bad(Error::not_yet("RuntimeService.RegisterRuntime")))
    }

    async fn update_runtime(
        &self,
        _: Request<UpdateRuntimeRequest>,
    ) -> Result<Response<UpdateRuntimeResponse>, Status> {
        Err(bad(Error::not_yet("RuntimeService.UpdateRuntime")))
    }

    async fn remove_runtime(
        &self,
        _: Request<RemoveRuntimeRequest>,
    ) -> Result<Response<RemoveRuntimeResponse>, Status> {
        Err(bad(Error::not_yet("RuntimeService.RemoveRuntime")))
    }

    async fn set_runtime_cordon(
        &self,
        _: Request<SetRuntimeCordonRequest>,
    ) -> Result<Response<SetRuntimeCordonResponse>, Status> {
        Err(bad(Error::not_yet("RuntimeService.SetRuntimeCordon")))
    }

    type WatchRuntimesStream = BoxStream<WatchRuntimesResponse>;

    async fn watch_runtimes(
        &self,
        _: Request<WatchRuntimesRequest>,
    ) -> Result<Response<Self::WatchRuntimesStream>, Status> {
        Err(bad(Error::not_yet("RuntimeService.WatchRuntimes")))
    }
}
