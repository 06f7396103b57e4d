//! `workplane.v1.HostService`.

use tonic::{Request, Response, Status};

use super::context::{Incoming, bad, refuse};
use super::page::cut;
use super::routes::ControlPlane;
use crate::model::{Error, HostId};
use crate::proto::convert;
use crate::proto::v1::host_service_server::HostService;
use crate::proto::v1::{GetHostRequest, GetHostResponse, ListHostsRequest, ListHostsResponse};

/// The service.
pub(super) struct Hosts(pub ControlPlane);

#[tonic::async_trait]
impl HostService for Hosts {
    async fn list_hosts(&self, request: Request<ListHostsRequest>) -> Result<Response<ListHostsResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let page = convert::list_hosts(message).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        let listing = self.0.registry.list_hosts(&ctx, page.after.as_ref(), page.limit).await;
        let ids: Vec<_> = listing.items.iter().map(|host| host.runtime_id.clone()).collect();
        let mut hosts: Vec<_> = listing.items.into_iter().map(convert::host).collect();
        let next = if cut(&mut hosts) { ids.get(hosts.len() - 1).cloned() } else { listing.next };
        Ok(Response::new(ListHostsResponse {
            hosts,
            diagnostics: convert::diagnostics(listing.diagnostics),
            next_page_token: next.map(|key| page.token(&key)).unwrap_or_default(),
        }))
    }

    async fn get_host(&self, request: Request<GetHostRequest>) -> Result<Response<GetHostResponse>, Status> {
        let (incoming, GetHostRequest { host_id }) = Incoming::of(request);
        let host_id = HostId::new(&host_id).map_err(|invalid| bad(Error::from(invalid)))?;
        let ctx = incoming.read(&self.0.workspace);
        let host = self.0.registry.get_host(&ctx, &host_id).await.map_err(|error| refuse(&error, &ctx))?;
        Ok(Response::new(GetHostResponse { host: Some(convert::host(host)) }))
    }
}
