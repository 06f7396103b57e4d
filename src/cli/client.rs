//! How commands reach a control plane: its endpoint, the token that is shown to it, and which runtime is meant.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::dial::{Line, Whom};
use super::failure::Failure;
use super::output::{Format, plain, print_diagnostics};
use crate::config::{
    ClientTlsFiles, EMBEDDED_RUNTIME, IdentityFiles, TOKEN_IN_CLEAR, first_token, is_tls, parse_duration,
    parse_endpoint, server_name, stays_on_this_machine,
};
use crate::proto::v1::config_bundle_service_client::ConfigBundleServiceClient;
use crate::proto::v1::host_service_client::HostServiceClient;
use crate::proto::v1::observation_service_client::ObservationServiceClient;
use crate::proto::v1::runtime_service_client::RuntimeServiceClient;
use crate::proto::v1::transcript_service_client::TranscriptServiceClient;
use crate::proto::v1::worker_service_client::WorkerServiceClient;
use crate::proto::v1::{Diagnostic, DiagnosticSeverity, GetWorkerRequest, ListRuntimesRequest, Runtime};
use crate::tls::ClientTls;

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7400";

/// A word as a shell takes it.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if word.chars().all(is_bare) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")).into() }
}

/// How long a call may take; gRPC's own header ends not far beyond.
fn timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text, &(Duration::from_millis(1)..=Duration::from_hours(24)))
}

/// The flags of every client command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection and output")]
pub(super) struct ClientFlags {
    /// The control plane to speak to
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "WORKPLANE_ENDPOINT",
        default_value = DEFAULT_ENDPOINT
    )]
    endpoint: String,
    /// Shows the first bearer token of this file (mode 0600)
    #[arg(long, global = true, value_name = "FILE", env = "WORKPLANE_TOKEN_FILE")]
    token_file: Option<String>,
    /// Trusts the authorities of this file (PEM) in place of this machine's; for https://
    #[arg(long, global = true, value_name = "FILE", env = "WORKPLANE_CA_FILE")]
    ca_file: Option<String>,
    /// Looks for this name in the certificate in place of the endpoint's host
    #[arg(long, global = true, value_name = "NAME", env = "WORKPLANE_SERVER_NAME")]
    server_name: Option<String>,
    /// Shows this certificate chain (PEM) to a control plane that asks for one
    #[arg(long, global = true, value_name = "FILE", env = "WORKPLANE_CLIENT_CERT")]
    client_cert: Option<String>,
    /// The private key for `--client-cert` (PEM, mode 0600)
    #[arg(long, global = true, value_name = "FILE", env = "WORKPLANE_CLIENT_KEY")]
    client_key: Option<String>,
    /// Shows the token also to an endpoint beyond this machine, in clear
    #[arg(long, global = true, env = "WORKPLANE_ALLOW_PLAINTEXT", value_parser = clap::builder::FalseyValueParser::new())]
    allow_plaintext: bool,
    /// How long a call may take; streams have no end
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = timeout)]
    timeout: Duration,
    /// What to print
    #[arg(long, short, global = true, value_name = "FORM", value_enum, default_value_t)]
    pub(super) output: Format,
}

impl ClientFlags {
    /// Connects to a control plane.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        self.connect_to(Whom::ControlPlane).await
    }

    /// Connects.
    pub(super) async fn connect_to(&self, whom: Whom) -> Result<Client, Failure> {
        let uri = parse_endpoint(&self.endpoint).map_err(|problem| Failure::Usage(format!("--endpoint: {problem}")))?;
        let (credential, tls) = (self.credential()?, self.tls(&uri)?);
        if credential.0.is_some() && tls.is_none() && !self.allow_plaintext && !stays_on_this_machine(&uri) {
            return Err(Failure::Usage(format!("--endpoint: {TOKEN_IN_CLEAR}")));
        }
        let line = Line::dial(uri, tls, whom).await?;
        Ok(Client { line, credential, timeout: self.timeout, remarks: Mutex::default() })
    }

    /// How the endpoint is spoken to over TLS, where it is.
    fn tls(&self, endpoint: &Uri) -> Result<Option<ClientTls>, Failure> {
        // An empty variable is none.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if !is_tls(endpoint) {
            return Ok(None);
        }
        let wrong = |flag: &str, problem: &str| Failure::Usage(format!("{flag}: {problem}"));
        let identity = match (given(&self.client_cert), given(&self.client_key)) {
            (Some(certificate), Some(key)) => Some(IdentityFiles { certificate: certificate.into(), key: key.into() }),
            (Some(_), None) => return Err(wrong("--client-cert", "needs --client-key beside it")),
            (None, Some(_)) => return Err(wrong("--client-key", "needs --client-cert beside it")),
            (None, None) => None,
        };
        let (flag, name) = match given(&self.server_name) {
            Some(name) => ("--server-name", name),
            None => ("--endpoint", endpoint.host().unwrap_or_default().to_owned()),
        };
        let server_name = server_name(&name).map_err(|problem| wrong(flag, problem))?;
        let files = ClientTlsFiles { ca: given(&self.ca_file).map(Into::into), server_name, identity };
        files.read().map(Some).map_err(|bad| Failure::Usage(bad.to_string()))
    }

    fn credential(&self) -> Result<Credential, Failure> {
        // An empty variable is none.
        let Some(file) = self.token_file.as_deref().filter(|file| !file.is_empty()) else {
            return Ok(Credential(None));
        };
        let wrong = |problem: String| Failure::Usage(format!("--token-file: {problem}"));
        let token = first_token(Path::new(file)).map_err(wrong)?;
        let mut header: MetadataValue<Ascii> = format!("Bearer {}", token.expose_secret())
            .parse()
            .map_err(|_| wrong("the token cannot stand in a header".to_owned()))?;
        header.set_sensitive(true);
        Ok(Credential(Some(header)))
    }

    /// The flags that lead to the same control plane, as they would be typed behind another command.
    pub(super) fn as_typed(&self) -> String {
        let endpoint = Some(&self.endpoint).filter(|endpoint| *endpoint != DEFAULT_ENDPOINT);
        let flags = [
            ("endpoint", endpoint),
            ("token-file", self.token_file.as_ref()),
            ("ca-file", self.ca_file.as_ref()),
            ("server-name", self.server_name.as_ref()),
            ("client-cert", self.client_cert.as_ref()),
            ("client-key", self.client_key.as_ref()),
        ];
        let mut typed = String::new();
        for (name, value) in flags {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                typed.extend([" --", name, " ", &quoted(value)]);
            }
        }
        if self.allow_plaintext {
            typed.push_str(" --allow-plaintext");
        }
        typed
    }

    /// Whether JSON is wanted.
    pub(super) fn json(&self) -> bool {
        self.output == Format::Json
    }
}

/// Puts the token on every call.
#[derive(Clone)]
pub(super) struct Credential(Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// A channel that shows the token.
pub(super) type Authorised = InterceptedService<Line, Credential>;

/// A connection to a control plane: hands out a typed client of each service.
pub(super) struct Client {
    line: Line,
    credential: Credential,
    timeout: Duration,
    /// What is to be said on standard error when all else has been: it is not what was asked for.
    remarks: Mutex<Vec<Diagnostic>>,
}

impl Client {
    /// A client without a credential on a channel that is there.
    pub(super) fn open(channel: Channel, timeout: Duration) -> Self {
        Self { line: Line::open(channel), credential: Credential(None), timeout, remarks: Mutex::default() }
    }

    pub(super) fn runtimes(&self) -> RuntimeServiceClient<Authorised> {
        RuntimeServiceClient::with_interceptor(self.line.clone(), self.credential.clone())
    }

    pub(super) fn hosts(&self) -> HostServiceClient<Authorised> {
        HostServiceClient::with_interceptor(self.line.clone(), self.credential.clone())
    }

    pub(super) fn workers(&self) -> WorkerServiceClient<Authorised> {
        WorkerServiceClient::with_interceptor(self.line.clone(), self.credential.clone())
    }

    pub(super) fn transcripts(&self) -> TranscriptServiceClient<Authorised> {
        TranscriptServiceClient::with_interceptor(self.line.clone(), self.credential.clone())
    }

    pub(super) fn observations(&self) -> ObservationServiceClient<Authorised> {
        ObservationServiceClient::with_interceptor(self.line.clone(), self.credential.clone())
    }

    pub(super) fn bundles(&self) -> ConfigBundleServiceClient<Authorised> {
        ConfigBundleServiceClient::with_interceptor(self.line.clone(), self.credential.clone())
    }

    /// The connection, for services that everybody may call.
    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    /// A call that may take as long as was asked for.
    pub(super) fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Keeps what a list says of runtimes that are not well, to be told behind the result.
    pub(super) fn remark(&self, diagnostics: Vec<Diagnostic>) {
        let mut remarks = self.remarks.lock();
        for diagnostic in diagnostics {
            if diagnostic.severity() != DiagnosticSeverity::Info && !remarks.contains(&diagnostic) {
                remarks.push(diagnostic);
            }
        }
    }

    /// All runtimes; what is not well with them is a remark.
    pub(super) async fn all_runtimes(&self) -> Result<Vec<Runtime>, Failure> {
        let mut runtimes = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = self.call(ListRuntimesRequest { page_size: 1_000, page_token });
            let page = self.runtimes().list_runtimes(request).await?.into_inner();
            self.remark(page.diagnostics);
            runtimes.extend(page.runtimes);
            if page.next_page_token.is_empty() {
                return Ok(runtimes);
            }
            page_token = page.next_page_token;
        }
    }

    /// The runtime that is meant: the named one, else the only one, else the embedded one.
    pub(super) async fn runtime(&self, named: Option<String>) -> Result<String, Failure> {
        if let Some(id) = named {
            return Ok(id);
        }
        let mut ids: Vec<_> = self.all_runtimes().await?.into_iter().map(|runtime| runtime.runtime_id).collect();
        match ids.iter().position(|id| id == EMBEDDED_RUNTIME) {
            _ if ids.len() == 1 => Ok(ids.remove(0)),
            Some(embedded) => Ok(ids.swap_remove(embedded)),
            None if ids.is_empty() => Err(Failure::Other("the control plane knows no runtime".to_owned())),
            None => Err(Failure::Usage(format!("--runtime: there are several, name one: {}", ids.join(", ")))),
        }
    }
}

impl Drop for Client {
    /// The command is over: what is left to say comes behind its result, whichever way it went.
    fn drop(&mut self) {
        // Where standard error is gone there is nobody to tell.
        let _ = print_diagnostics(&self.remarks.lock());
    }
}

/// A worker as a command line names it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WorkerName {
    /// The worker: its id, or `RUNTIME/ID`
    #[arg(value_name = "WORKER")]
    worker: String,
    /// The runtime it is in; without it the worker is looked for in all of them
    #[arg(long, value_name = "ID", env = "WORKPLANE_RUNTIME")]
    runtime: Option<String>,
}

fn is_unknown(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "UNKNOWN_WORKER")
}

impl WorkerName {
    /// As if it stood alone on a command line.
    pub(super) fn new(worker: &str, runtime: Option<&str>) -> Self {
        Self { worker: worker.to_owned(), runtime: runtime.map(ToOwned::to_owned) }
    }

    /// Its runtime's id and its own.
    pub(super) async fn resolve(&self, client: &Client) -> Result<(String, String), Failure> {
        // Neither id can have a slash in it.
        if let Some((runtime_id, worker_id)) = self.worker.split_once('/') {
            return Ok((runtime_id.to_owned(), worker_id.to_owned()));
        }
        let worker_id = self.worker.clone();
        if let Some(runtime_id) = &self.runtime {
            return Ok((runtime_id.clone(), worker_id));
        }
        let mut runtimes = client.all_runtimes().await?;
        if let [only] = &mut runtimes[..] {
            return Ok((std::mem::take(&mut only.runtime_id), worker_id));
        }
        let ids: Vec<_> = runtimes.iter().map(|runtime| runtime.runtime_id.clone()).collect();
        let mut unasked = None;
        for runtime_id in runtimes.into_iter().map(|runtime| runtime.runtime_id) {
            let request = GetWorkerRequest { runtime_id: runtime_id.clone(), worker_id: worker_id.clone() };
            match client.workers().get_worker(client.call(request)).await {
                Ok(_) => return Ok((runtime_id, worker_id)),
                Err(status) if is_unknown(&status) => {}
                // One that could not be asked may have it.
                Err(status) => unasked = Some(status),
            }
        }
        Err(match unasked {
            Some(status) => status.into(),
            None if ids.is_empty() => Failure::Other("the control plane knows no runtime".to_owned()),
            None => Failure::Other(format!(
                "UNKNOWN_WORKER: no runtime has a worker {}; asked were {}",
                plain(&worker_id),
                ids.iter().map(|id| plain(id)).collect::<Vec<_>>().join(", ")
            )),
        })
    }
}
