//! Clients of the API as a program would have them: generated, with a token.

use std::collections::HashMap;
use std::net::SocketAddr;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use workplane::proto::runtime_v1::worker_runtime_service_client::WorkerRuntimeServiceClient;
use workplane::proto::v1;

type Transport = InterceptedService<Channel, Token>;

/// Shows a token with each call.
#[derive(Debug, Clone)]
pub(crate) struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// One connection, and what it shows.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
    token: Token,
}

impl Client {
    /// A client of what listens at `address`. It connects with the first call, and again when it has to.
    pub(crate) fn new(address: SocketAddr, token: Option<&str>) -> Self {
        Self::over(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy(), token)
    }

    /// A client on a channel of another make.
    pub(crate) fn over(channel: Channel, token: Option<&str>) -> Self {
        let token = Token(token.map(|token| format!("Bearer {token}").parse().unwrap()));
        Self { channel, token }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The connection and the token, for services that have no method here.
    pub(crate) fn transport(&self) -> Transport {
        InterceptedService::new(self.channel.clone(), self.token.clone())
    }

    pub(crate) fn runtimes(&self) -> v1::runtime_service_client::RuntimeServiceClient<Transport> {
        v1::runtime_service_client::RuntimeServiceClient::new(self.transport())
    }

    pub(crate) fn hosts(&self) -> v1::host_service_client::HostServiceClient<Transport> {
        v1::host_service_client::HostServiceClient::new(self.transport())
    }

    pub(crate) fn workers(&self) -> v1::worker_service_client::WorkerServiceClient<Transport> {
        v1::worker_service_client::WorkerServiceClient::new(self.transport())
    }

    pub(crate) fn transcripts(&self) -> v1::transcript_service_client::TranscriptServiceClient<Transport> {
        v1::transcript_service_client::TranscriptServiceClient::new(self.transport())
    }

    pub(crate) fn observations(&self) -> v1::observation_service_client::ObservationServiceClient<Transport> {
        v1::observation_service_client::ObservationServiceClient::new(self.transport())
    }

    pub(crate) fn bundles(&self) -> v1::config_bundle_service_client::ConfigBundleServiceClient<Transport> {
        v1::config_bundle_service_client::ConfigBundleServiceClient::new(self.transport())
    }

    /// What a host serves to its control plane.
    pub(crate) fn worker_runtime(&self) -> WorkerRuntimeServiceClient<Transport> {
        WorkerRuntimeServiceClient::new(self.transport())
    }
}

/// What an error status says to a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) metadata: HashMap<String, String>,
    /// The paths of the bad fields.
    pub(crate) fields: Vec<String>,
}

impl Refusal {
    /// What most tests look at.
    pub(crate) fn is(&self) -> (Code, &str) {
        (self.code, self.reason.as_str())
    }
}

/// Reads the details that every error status of ours carries.
pub(crate) fn refusal(status: &Status) -> Refusal {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else { panic!("a status without ErrorInfo: {status:?}") };
    assert_eq!(info.domain, "workplane");
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    Refusal {
        code: status.code(),
        reason: info.reason.clone(),
        metadata: info.metadata.clone(),
        fields: violations.iter().map(|violation| violation.field.clone()).collect(),
    }
}
