//! Which services each role serves, with the sizes of their messages, health and reflection.

use std::sync::Arc;

use tonic::service::{Routes, RoutesBuilder};

use super::config_bundle_service::ConfigBundles;
use super::drain::Drain;
use super::health::Health;
use super::host_service::Hosts;
use super::observation_service::Observations;
use super::runtime_service::Runtimes;
use super::transcript_service::Transcripts;
use super::worker_runtime_service::HostRuntime;
use super::worker_service::Workers;
use crate::engine::Clock;
use crate::model::WorkspaceId;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::runtime_v1::worker_runtime_service_server::{
    SERVICE_NAME as HOST_RUNTIME, WorkerRuntimeServiceServer,
};
use crate::proto::v1::config_bundle_service_server::{ConfigBundleServiceServer, SERVICE_NAME as CONFIG_BUNDLES};
use crate::proto::v1::host_service_server::{HostServiceServer, SERVICE_NAME as HOSTS};
use crate::proto::v1::observation_service_server::{ObservationServiceServer, SERVICE_NAME as OBSERVATIONS};
use crate::proto::v1::runtime_service_server::{RuntimeServiceServer, SERVICE_NAME as RUNTIMES};
use crate::proto::v1::transcript_service_server::{SERVICE_NAME as TRANSCRIPTS, TranscriptServiceServer};
use crate::proto::v1::worker_service_server::{SERVICE_NAME as WORKERS, WorkerServiceServer};
use crate::registry::Registry;
use crate::runtime::WorkerRuntime;

/// More than any request may be made to be. What each method takes is a limit of the edge, kept by a layer.
const MAX_REQUEST: usize = 64 * 1024 * 1024;
/// The largest answer: a page of 256 KiB, or one item or frame that is larger by itself.
const MAX_ANSWER: usize = 1024 * 1024;

const CONTROL_PLANE: [&str; 6] = [RUNTIMES, HOSTS, WORKERS, TRANSCRIPTS, OBSERVATIONS, CONFIG_BUNDLES];
const HOST: [&str; 1] = [HOST_RUNTIME];

/// What a role serves.
pub struct Served {
    /// Its services, health and reflection included.
    pub routes: Routes,
    /// What health checks are told: not serving, until it is said.
    pub health: Health,
}

/// The services of the control plane. `workspace` is the server's own: that of requests that name none.
///
/// # Errors
/// When the descriptors that the build made cannot be read.
pub async fn control_plane(
    registry: Registry,
    workspace: WorkspaceId,
    clock: Arc<dyn Clock>,
    drain: Drain,
) -> Result<Served, tonic_reflection::server::Error> {
    let plane = ControlPlane { registry, workspace, clock, drain };
    let (mut routes, health) = beside(&CONTROL_PLANE).await?;
    /// The same sizes for all.
    macro_rules! sized {
        ($server:ident, $service:expr) => {
            $server::new($service).max_decoding_message_size(MAX_REQUEST).max_encoding_message_size(MAX_ANSWER)
        };
    }
    routes
        .add_service(sized!(RuntimeServiceServer, Runtimes(plane.clone())))
        .add_service(sized!(HostServiceServer, Hosts(plane.clone())))
        .add_service(sized!(WorkerServiceServer, Workers(plane.clone())))
        .add_service(sized!(TranscriptServiceServer, Transcripts(plane.clone())))
        .add_service(sized!(ObservationServiceServer, Observations(plane.clone())))
        .add_service(sized!(ConfigBundleServiceServer, ConfigBundles(plane)));
    Ok(Served { routes: routes.routes(), health })
}

/// The service of a host. `workspace` is that of reads, which say none; `store_backend` is the store's kind, as it is
/// told to the control plane.
///
/// # Errors
/// When the descriptors that the build made cannot be read.
pub async fn worker_runtime(
    runtime: Arc<dyn WorkerRuntime>,
    store_backend: &'static str,
    workspace: WorkspaceId,
    clock: Arc<dyn Clock>,
    drain: Drain,
) -> Result<Served, tonic_reflection::server::Error> {
    let (mut routes, health) = beside(&HOST).await?;
    let service = HostRuntime { runtime, store_backend, workspace, clock, drain };
    let service = WorkerRuntimeServiceServer::new(service)
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER);
    routes.add_service(service);
    Ok(Served { routes: routes.routes(), health })
}

/// What every role serves beside its own services.
async fn beside(services: &'static [&'static str]) -> Result<(RoutesBuilder, Health), tonic_reflection::server::Error> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = RoutesBuilder::default();
    routes.add_service(health_service).add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?);
    Ok((routes, Health::new(reporter, services).await))
}

/// What the services of the control plane share.
#[derive(Clone)]
pub(super) struct ControlPlane {
    pub registry: Registry,
    pub workspace: WorkspaceId,
    pub clock: Arc<dyn Clock>,
    pub drain: Drain,
}
