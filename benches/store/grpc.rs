//! The binary, and calls to it over sockets.

use std::path::Path;

use futures_util::future::join_all;
use tonic::transport::Channel;
use workplane::proto::v1::worker_service_client::WorkerServiceClient;

use crate::load::{Measured, load};
use crate::plane::{Plane, connect, input, spawn};
use crate::processor::Meter;

/// Of each load.
pub(crate) const CONNECTIONS: usize = 4;

/// A control plane, and connections to it.
pub(crate) struct Driven {
    plane: Plane,
    channels: Vec<Channel>,
}

impl Driven {
    pub(crate) async fn start(data_dir: Option<&Path>) -> Self {
        let data_dir = data_dir.map(|dir| dir.to_str().unwrap());
        let arguments: Vec<_> = data_dir.into_iter().flat_map(|dir| ["--data-dir", dir]).collect();
        let plane = Plane::start(&arguments);
        let channels = connect(&plane.endpoint, CONNECTIONS).await;
        Self { plane, channels }
    }

    /// Inputs for as many workers, so many at once; and how many microseconds of processor time each took the server and
    /// the client.
    pub(crate) async fn drive(&self, waiting: usize, workers: usize) -> (Measured, [f64; 2]) {
        let workers = join_all((0..workers).map(|_| spawn(self.channels[0].clone()))).await;
        let calls: Vec<_> = (0..waiting)
            .map(|n| {
                let client = WorkerServiceClient::new(self.channels[n % CONNECTIONS].clone());
                (client, input(&workers[n % workers.len()]))
            })
            .collect();
        let meter = Meter::of(Some(self.plane.child.id()));
        let measured = load(waiting, move |n| {
            let (mut client, request) = calls[n].clone();
            async move { drop(client.send_input(request).await.unwrap()) }
        })
        .await;
        (measured, meter.each(measured.calls))
    }
}
