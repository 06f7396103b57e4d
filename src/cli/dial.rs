//! How a server is reached, in clear or over TLS, and what is said where the two sides do not mean the same.

use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::failure::Failure;
use crate::tls::{ClientTls, Plain, Refused, Secured, in_clear};

/// How long a connection may take to come to be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel to a server. Where a call fails since the two sides do not mean the same by TLS, which may be known only then,
/// its failure says so.
#[derive(Clone)]
pub(super) struct Line {
    channel: Channel,
    trust: Arc<Trust>,
}

/// What is known of how a server is spoken to.
#[derive(Debug, Default)]
struct Trust {
    /// Its host and port.
    place: String,
    /// Whom it must be, where it is spoken to over TLS.
    name: String,
    /// Why one side refused the other, if it did.
    refused: Arc<OnceLock<Refused>>,
}

/// One side refused the other, in words, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Mismatch(pub(super) String);

impl Line {
    /// One that is there.
    pub(super) fn open(channel: Channel) -> Self {
        Self { channel, trust: Arc::default() }
    }

    /// One to an endpoint; `whom` is who is meant, and what would run there.
    pub(super) async fn dial(uri: Uri, tls: Option<ClientTls>, whom: Whom) -> Result<Self, Failure> {
        let trust = Arc::new(Trust {
            place: uri.authority().map(ToString::to_string).unwrap_or_default(),
            name: tls.as_ref().map(ClientTls::name).unwrap_or_default(),
            refused: Arc::default(),
        });
        let endpoint = Endpoint::from(in_clear(&uri))
            .origin(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10));
        let connected = match tls {
            None => endpoint.connect_with_connector(plain(&trust.refused)).await,
            Some(tls) => endpoint.connect_with_connector(secured(tls, &trust.refused)).await,
        };
        let channel = connected.map_err(|error| {
            if let Some(Mismatch(words)) = trust.mismatch() {
                return Failure::Other(words);
            }
            let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
            let (who, runs) = whom.words();
            Failure::Other(format!("no {who} answers at {}{cause}: is {runs} running there?", trust.place))
        })?;
        Ok(Self { channel, trust })
    }
}

/// Who is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// A control plane.
    ControlPlane,
    /// A server of either role.
    Any,
}

impl Whom {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::ControlPlane => ("control plane", "`workplane serve`"),
            Self::Any => ("server", "`workplane serve` or `workplane runtime`"),
        }
    }
}

impl Trust {
    /// Why one side refused the other, if it did.
    fn mismatch(&self) -> Option<Mismatch> {
        let (why, place) = (*self.refused.get()?, &self.place);
        let advice = match why {
            Refused::Secured => format!(
                "use --endpoint https://{place}, and --ca-file where this machine does not trust the authority of its certificate"
            ),
            Refused::InClear => {
                format!("use --endpoint http://{place}, or start the server with --tls-cert and --tls-key")
            }
            Refused::OtherName => "use an endpoint or a --server-name that it is valid for".to_owned(),
            Refused::Certificate(_) => "is --ca-file the authority that signed it, and is the server's tls_cert one \
                                        for servers, and of today?"
                .to_owned(),
            Refused::Asked => "show one with --client-cert and --client-key".to_owned(),
            Refused::Ours => {
                "is --client-cert one for clients, of today, and of an authority of its tls_client_ca?".to_owned()
            }
            Refused::NoCertificate | Refused::Because(_) => "is it a server of workplane?".to_owned(),
        };
        Some(Mismatch(format!("{place}: {}: {advice}", why.told(&self.name))))
    }
}

impl Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (answer, trust) = (self.channel.call(request), Arc::clone(&self.trust));
        Box::pin(async move {
            answer.await.map_err(|error| match trust.mismatch() {
                Some(mismatch) => {
                    let mut status = Status::unavailable(mismatch.to_string());
                    status.set_source(Arc::new(mismatch));
                    status.into()
                }
                None => error.into(),
            })
        })
    }
}

fn secured(
    tls: ClientTls,
    refused: &Arc<OnceLock<Refused>>,
) -> impl Service<Uri, Response = TokioIo<Secured<TcpStream>>, Error = io::Error, Future: Send> + Send + use<> {
    let refused = Arc::clone(refused);
    tower::service_fn(move |uri: Uri| {
        let (tls, refused) = (tls.clone(), Arc::clone(&refused));
        async move { Ok(TokioIo::new(tls.connect(reached(&uri).await?, &refused).await?)) }
    })
}

fn plain(
    refused: &Arc<OnceLock<Refused>>,
) -> impl Service<Uri, Response = TokioIo<Plain<TcpStream>>, Error = io::Error, Future: Send> + Send + use<> {
    let refused = Arc::clone(refused);
    tower::service_fn(move |uri: Uri| {
        let refused = Arc::clone(&refused);
        async move { Ok(TokioIo::new(Plain::new(reached(&uri).await?, &refused))) }
    })
}

async fn reached(uri: &Uri) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    // An endpoint has a port.
    let io = TcpStream::connect((host, uri.port_u16().unwrap_or_default())).await?;
    io.set_nodelay(true)?;
    Ok(io)
}
