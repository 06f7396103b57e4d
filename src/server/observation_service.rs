//! `workplane.v1.ObservationService`.

use futures_util::StreamExt as _;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::context::{Incoming, bad, refuse};
use super::layers::catching;
use super::observation::frames;
use super::routes::ControlPlane;
use crate::model::Error;
use crate::proto::convert::{self, Observe};
use crate::proto::raw::ObserveWorkerResponse;
use crate::proto::v1::observation_service_server::ObservationService;
use crate::proto::v1::{ObserveWorkerRequest, ObserveWorkersRequest, ObserveWorkersResponse};

/// The service.
pub(super) struct Observations(pub ControlPlane);

#[tonic::async_trait]
impl ObservationService for Observations {
    type ObserveWorkerStream = BoxStream<ObserveWorkerResponse>;

    async fn observe_worker(
        &self,
        request: Request<ObserveWorkerRequest>,
    ) -> Result<Response<Self::ObserveWorkerStream>, Status> {
        let (incoming, message) = Incoming::of(request);
        let (until, ends) = (incoming.stream_end(), incoming.ends(&self.0.drain));
        // A cursor that was never handed out is refused here, before any host is asked.
        let (runtime_id, observe) = convert::observe(message).map_err(bad)?;
        let Observe { worker_id, from, heartbeat, stop_after } = observe;
        let ctx = incoming.read(&self.0.workspace);
        let observation = self.0.registry.observe_worker(&ctx, &runtime_id, &worker_id, from, stop_after).await;
        let observation = observation.map_err(|error| refuse(&error, &ctx))?;
        let frames = frames(observation, heartbeat, self.0.clock.clone(), ends, until);
        let answers = catching(frames).map(|frame| frame.map(|frame| ObserveWorkerResponse { frame: Some(frame) }));
        Ok(Response::new(Box::pin(answers)))
    }

    type ObserveWorkersStream = BoxStream<ObserveWorkersResponse>;

    async fn observe_workers(
        &self,
        _: Request<ObserveWorkersRequest>,
    ) -> Result<Response<Self::ObserveWorkersStream>, Status> {
        Err(bad(Error::not_yet("ObservationService.ObserveWorkers")))
    }
}
