//! One verified connection to a host at a time.
//!
//! A channel of tonic is made here over exactly one connection: it never redials by itself. When the connection ends,
//! whoever asks next gets a new one, which many wait for and one makes, and which is used by nobody before the host has
//! said on it which runtime it is. So no call ever reaches a host that took over another one's address.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::breaker::Trouble;
use super::closing::Closing;
use super::dial::{Dial, Io, Watched};
use super::guard::Guard;
use super::health::Health;
use super::settings::Current;
use crate::model::{Error, Fault, Incarnation, Reason, Result, RuntimeId};
use crate::proto::host_client::{Hello, hello};
use crate::proto::runtime_v1::GetRuntimeRequest;
use crate::proto::runtime_v1::worker_runtime_service_client::WorkerRuntimeServiceClient;
use crate::proto::status::{Marking, from_status};
use crate::tls::{ClientTls, Plain, Refused, in_clear};

/// How long a connection may take to come to be (robustness.md).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a host may take to say who it is.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an idle connection is tried, and how long the answer may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// The largest message of a host: what hosts encode at most, and its frame around it.
const MAX_MESSAGE: usize = 1024 * 1024 + 64 * 1024;

/// The generated client.
pub(super) type Client = WorkerRuntimeServiceClient<Marking<Channel>>;
/// A connection that is being made.
type Dialling = Shared<BoxFuture<'static, Result<Connection>>>;

/// A connection on which the host has said who it is.
#[derive(Clone)]
pub(super) struct Connection {
    /// Calls the host.
    pub client: Client,
    /// Of the host's store.
    pub incarnation: Incarnation,
    /// The optional parts of the protocol that the host has.
    pub features: Arc<[String]>,
    gone: CancellationToken,
    broke: Arc<AtomicBool>,
}

impl Connection {
    /// Nobody is to use it any more. Returns whether this is the first to say so.
    pub(super) fn give_up(&self) -> bool {
        self.gone.cancel();
        !self.broke.swap(true, Ordering::Relaxed)
    }

    fn is_up(&self) -> bool {
        !self.gone.is_cancelled()
    }
}

fn is_up(made: &Result<Connection>) -> bool {
    made.as_ref().is_ok_and(Connection::is_up)
}

/// The connection to one host for one kind of traffic.
pub(super) struct Link {
    line: Arc<Line>,
    state: Arc<Mutex<State>>,
    handle: Handle,
}

/// How connections of a link are made.
pub(super) struct Line {
    pub runtime_id: RuntimeId,
    pub endpoint: Uri,
    pub dial: Arc<dyn Dial>,
    pub settings: Arc<Current>,
    pub health: Arc<Health>,
    pub guard: Arc<Guard>,
    pub closing: Arc<Closing>,
    /// Why TLS failed last: it is said once.
    pub untrusted: Mutex<Option<Refused>>,
}

enum State {
    Down,
    Dialling(Dialling),
    Up(Connection),
}

impl Link {
    pub(super) fn new(line: Arc<Line>, handle: Handle) -> Self {
        Self { line, state: Arc::new(Mutex::new(State::Down)), handle }
    }

    /// What every call carries.
    pub(super) fn authorization(&self) -> Option<MetadataValue<Ascii>> {
        self.line.settings.load().authorization.clone()
    }

    /// The connection, made anew where there is none.
    ///
    /// # Errors
    /// The host cannot be reached, is another runtime, or took until `until`.
    pub(super) async fn connection(&self, until: Instant) -> Result<Connection> {
        let dialling = {
            let mut state = self.state.lock();
            match &*state {
                State::Up(connection) if connection.is_up() => return Ok(connection.clone()),
                State::Dialling(dialling) if dialling.peek().is_none_or(is_up) => dialling.clone(),
                _ => {
                    let dialling = self.dial();
                    *state = State::Dialling(dialling.clone());
                    dialling
                }
            }
        };
        timeout_at(until, dialling).await.map_err(|_| too_late(&self.line.runtime_id))?
    }

    /// Makes a connection in a task of its own, so that it goes on, and is known, when those who wait for it do not.
    /// There is one such task at a time.
    fn dial(&self) -> Dialling {
        let (line, state) = (Arc::clone(&self.line), Arc::clone(&self.state));
        let task = self.handle.spawn(async move {
            let made = tokio::select! {
                made = line.connect() => made,
                () = line.closing.cancelled() => Err(line.closing.error(&line.runtime_id)),
            };
            match &made {
                Ok(_) => line.guard.reached(),
                Err(error) => line.failed(error),
            }
            *state.lock() = made.as_ref().map_or(State::Down, |made| State::Up(made.clone()));
            made
        });
        let runtime_id = self.line.runtime_id.clone();
        async move { task.await.unwrap_or_else(|_| Err(unreachable(&runtime_id))) }.boxed().shared()
    }
}

impl Line {
    async fn connect(&self) -> Result<Connection> {
        let refused = Arc::default();
        let dialled = timeout(CONNECT_TIMEOUT, self.dialled(&refused)).await;
        let io = dialled.map_err(|_| unreachable(&self.runtime_id))??;
        let gone = CancellationToken::new();
        let channel = channel(&self.endpoint, io, gone.clone()).await.map_err(|_| unreachable(&self.runtime_id))?;
        let client = WorkerRuntimeServiceClient::new(Marking(channel)).max_decoding_message_size(MAX_MESSAGE);
        let greeted = self.greet(client.clone(), Instant::now() + GREETING_TIMEOUT).await;
        // A host that does not trust us, or speaks TLS where we do not, may say so only now.
        let hello = greeted.map_err(|error| refused.get().map_or(error, |why| self.untrusted(*why)))?;
        *self.untrusted.lock() = None;
        let features = hello.features.into();
        Ok(Connection { client, incarnation: hello.incarnation, features, gone, broke: Arc::default() })
    }

    /// A connection that has shaken hands, where it is one of TLS. What it is `refused` for is noted there.
    async fn dialled(&self, refused: &Arc<OnceLock<Refused>>) -> Result<Box<dyn Io>> {
        let tls = self.settings.load().tls.clone();
        if tls.is_none() && self.endpoint.scheme_str() != Some("http") {
            return Err(unreachable(&self.runtime_id));
        }
        let io = self.dial.dial(&self.endpoint).await.map_err(|_| unreachable(&self.runtime_id))?;
        let Some(tls) = tls else { return Ok(Box::new(Plain::new(io, refused))) };
        match tls.connect(io, refused).await {
            Ok(io) => Ok(Box::new(io)),
            Err(_) => Err(refused.get().map_or_else(|| unreachable(&self.runtime_id), |why| self.untrusted(*why))),
        }
    }

    /// One of the two does not trust the other; said in the log where it is news.
    fn untrusted(&self, why: Refused) -> Error {
        if self.untrusted.lock().replace(why) != Some(why) {
            let name = self.settings.load().tls.as_ref().map(ClientTls::name).unwrap_or_default();
            tracing::warn!(runtime_id = %self.runtime_id, why = why.told(&name), "TLS with a host failed");
        }
        match why {
            Refused::OtherName => {
                let words = "the host's certificate is not valid for the host that is registered";
                Error::new(Reason::RemoteRuntimeWrongIdentity, words).with("runtime_id", &self.runtime_id)
            }
            _ => unreachable(&self.runtime_id).because(Fault::Untrusted),
        }
    }

    /// No connection came to be. A host that answered, though not as it should, was reached.
    fn failed(&self, error: &Error) {
        self.health.failed(error);
        if matches!(error.reason(), Reason::RemoteRuntimeNetworkError | Reason::RemoteRuntimeTimeout) {
            self.guard.unreached();
        }
    }

    /// Asks the host who it is, and notes it.
    async fn greet(&self, mut client: Client, until: Instant) -> Result<Hello> {
        let mut request = tonic::Request::new(GetRuntimeRequest {});
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        if let Some(authorization) = self.settings.load().authorization.clone() {
            request.metadata_mut().insert("authorization", authorization);
        }
        let answer = timeout_at(until, client.get_runtime(request)).await.map_err(|_| too_late(&self.runtime_id))?;
        let answer = answer.map_err(|status| nothing_named(from_status(&status, &self.runtime_id, None)))?;
        let hello = hello(answer.into_inner(), &self.runtime_id).map_err(|e| e.with("runtime_id", &self.runtime_id))?;
        self.health.greeted(hello.clone());
        Ok(hello)
    }
}

impl Link {
    /// Asks the host once more who it is: the probe.
    ///
    /// # Errors
    /// As [`Link::connection`]; a host that has become another one loses its connection.
    pub(super) async fn probe(&self, until: Instant) -> Result<()> {
        let connection = self.connection(until).await?;
        let mut greeted = self.line.greet(connection.client.clone(), until).await;
        if greeted.as_ref().is_err_and(|error| error.fault() == Some(Fault::BrokenOff)) {
            // One answer may break off without saying anything of the host.
            greeted = self.line.greet(connection.client.clone(), until).await;
        }
        if let Err(error) = &greeted {
            self.line.health.failed(error);
            if connection.give_up() {
                self.line.guard.unasked().failed(Trouble::Unanswered);
            }
        }
        greeted.map(|_| ())
    }

    /// Waits until the connection there is now is gone; for ever where there is none.
    pub(super) async fn lost(&self) {
        let gone = match &*self.state.lock() {
            State::Up(connection) => Some(connection.gone.clone()),
            State::Down | State::Dialling(_) => None,
        };
        match gone {
            Some(gone) => gone.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// A channel over this one connection. Its connector has nothing more to give once that has ended.
async fn channel(endpoint: &Uri, io: Box<dyn Io>, gone: CancellationToken) -> Result<Channel, tonic::transport::Error> {
    let only = Arc::new(Mutex::new(Some(Watched::new(io, gone))));
    let connector = tower::service_fn(move |_: Uri| {
        let io = only.lock().take();
        async move { io.map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    Endpoint::from(in_clear(endpoint))
        .origin(endpoint.clone())
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
}

/// The header of every call; marked so that nothing prints it.
///
/// # Errors
/// The token has characters that a header cannot carry.
pub(super) fn authorization(token: &SecretString) -> Result<MetadataValue<Ascii>> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.expose_secret())
        .parse()
        .map_err(|_| Error::field("token", "must be visible ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// No worker was named, so that none is unknown: a host that says so refuses for no reason.
pub(super) fn nothing_named(error: Error) -> Error {
    if error.reason() != Reason::UnknownWorker {
        return error;
    }
    let words = "the host refused the request, and gave no reason that fits it";
    Error::new(Reason::RemoteRuntimeMalformedResponse, words).because(Fault::Refused)
}

/// The host was not reached.
pub(super) fn unreachable(runtime_id: &RuntimeId) -> Error {
    Error::new(Reason::RemoteRuntimeNetworkError, "the host cannot be reached, or the connection broke")
        .with("runtime_id", runtime_id)
}

/// The host did not answer in time.
pub(super) fn too_late(runtime_id: &RuntimeId) -> Error {
    Error::new(Reason::RemoteRuntimeTimeout, "the host did not answer in time").with("runtime_id", runtime_id)
}
