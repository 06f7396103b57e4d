//! How a control plane is reached, in clear or over TLS.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::failure::Failure;
use crate::tls::{ClientTls, Refused, Secured, in_clear};

/// How long a connection may take to come to be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel to an endpoint. Why it was refused over TLS is noted, whenever that comes.
pub(super) async fn dial(
    uri: Uri,
    tls: Option<ClientTls>,
    refused: &Arc<OnceLock<Refused>>,
) -> Result<Channel, Failure> {
    let place = uri.authority().map(ToString::to_string).unwrap_or_default();
    let name = tls.as_ref().map(ClientTls::name).unwrap_or_default();
    let endpoint = Endpoint::from(in_clear(&uri))
        .origin(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true);
    let connected = match tls {
        None => endpoint.connect().await,
        Some(tls) => endpoint.connect_with_connector(connector(tls, refused)).await,
    };
    connected.map_err(|error| {
        if let Some(why) = refused.get() {
            return Failure::Other(format!("{place}: {}", why.told(&name)));
        }
        let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
        Failure::Other(format!("no control plane answers at {place}{cause}: is `workplane serve` running there?"))
    })
}

fn connector(
    tls: ClientTls,
    refused: &Arc<OnceLock<Refused>>,
) -> impl Service<Uri, Response = TokioIo<Secured<TcpStream>>, Error = io::Error, Future: Send> + Send + use<> {
    let refused = Arc::clone(refused);
    tower::service_fn(move |uri: Uri| {
        let (tls, refused) = (tls.clone(), Arc::clone(&refused));
        async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            // An endpoint has a port.
            let io = TcpStream::connect((host, uri.port_u16().unwrap_or_default())).await?;
            io.set_nodelay(true)?;
            Ok(TokioIo::new(tls.connect(io, &refused).await?))
        }
    })
}
