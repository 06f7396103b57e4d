//! Whom a client trusts, which name it looks for, and what it shows of itself.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{HTTP_2, Identity, Refused, provider};

/// One side of a handshake.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    certificate: Option<CertificateDer<'static>>,
    name: ServerName<'static>,
}

impl ClientTls {
    /// It asks the server for a certificate of one of `roots` that is valid for `name`, and shows `identity` where the
    /// server asks for one.
    ///
    /// # Errors
    /// When key and certificate are not each other's, or cannot be used.
    pub fn new(
        roots: RootCertStore,
        name: ServerName<'static>,
        identity: Option<Identity>,
    ) -> Result<Self, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let certificate = identity.as_ref().and_then(|(chain, _)| chain.first().cloned());
        let mut config = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        Ok(Self { config: Arc::new(config), certificate, name })
    }

    /// The name that the server must have.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.to_str().into_owned()
    }

    /// The certificate that it shows where it is asked for one.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// Shakes hands with a server. How long that may take is the caller's to bound. What it is `refused` for is noted
    /// there, whenever that comes.
    ///
    /// # Errors
    /// When the server is not who was meant, or does not speak TLS, or goes away.
    pub async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
        refused: &Arc<OnceLock<Refused>>,
    ) -> io::Result<Secured<IO>> {
        let shaken = TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), io).await;
        let io = shaken.inspect_err(|error| note(refused, error))?;
        Ok(Secured { io, refused: Arc::clone(refused) })
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls(<redacted>)")
    }
}

/// A connection that has shaken hands. A server may refuse our certificate only when we believe to be through: that comes
/// with the first read, and what stands above keeps no more of it than its text.
#[derive(Debug)]
pub struct Secured<IO> {
    io: TlsStream<IO>,
    refused: Arc<OnceLock<Refused>>,
}

impl<IO> Secured<IO> {
    /// What the server has shown of itself.
    #[must_use]
    pub fn shown(&self) -> Option<&CertificateDer<'static>> {
        self.io.get_ref().1.peer_certificates()?.first()
    }
}

fn note(refused: &OnceLock<Refused>, error: &io::Error) {
    if let Some(why) = Refused::find(error) {
        // The first one is the cause of all others.
        _ = refused.set(why);
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            note(&self.refused, error);
        }
        read
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
