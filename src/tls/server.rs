//! What a listener shows, and what it asks of its clients.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{CertificateDer, HTTP_2, Identity, provider};

/// One side of a handshake. Another certificate is another one of these, with sessions of its own: nobody resumes what
/// was begun under a certificate or an authority that is gone.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificate: Option<CertificateDer<'static>>,
}

impl ServerTls {
    /// It shows this identity. Where `clients` are said, each must show a certificate of one of them.
    ///
    /// # Errors
    /// When key and certificate are not each other's, or cannot be used.
    pub fn new((chain, key): Identity, clients: Option<RootCertStore>) -> Result<Self, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match clients {
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| rustls::Error::General(error.to_string()))?)
            }
            None => builder.with_no_client_auth(),
        };
        let certificate = chain.first().cloned();
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// The certificate that it shows.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// Shakes hands with a client. How long that may take is the caller's to bound.
    ///
    /// # Errors
    /// When the client does not speak TLS, shows no certificate that it must, or goes away. The connection comes back: it
    /// was told so, and may not have read it yet.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> Result<TlsStream<IO>, (io::Error, IO)> {
        TlsAcceptor::from(Arc::clone(&self.config)).accept(io).into_fallible().await
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls(<redacted>)")
    }
}
