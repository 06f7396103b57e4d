//! TLS as both ends need it: what PEM texts hold, what rustls makes of it, and what its refusals mean in plain words.
//!
//! It reads no file and opens no connection: the configuration reads, `server` accepts, and `runtime::remote` and `cli`
//! dial. HTTP/2 is all that is spoken, over TLS 1.3 or 1.2.

mod client;
mod der;
mod facts;
mod pem;
mod plain;
mod server;
mod words;

pub use client::{ClientTls, Secured};
pub use facts::{Facts, Purpose, is_valid_for};
pub use pem::{BadPem, certificates, private_key, roots};
pub use plain::Plain;
pub use server::ServerTls;
pub use words::Refused;

pub use rustls::RootCertStore;
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use rustls::crypto::CryptoProvider;

/// A chain of certificates, the own one first, and the key of that.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What is spoken inside.
const HTTP_2: &[u8] = b"h2";

/// An endpoint as those see it who speak HTTP above TLS, and know nothing of that.
#[must_use]
pub fn in_clear(endpoint: &Uri) -> Uri {
    let mut parts = endpoint.clone().into_parts();
    parts.scheme = parts.scheme.map(|_| Scheme::HTTP);
    // It was one before.
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

/// The one that is used, named, so that no other crate of this process decides it.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
pub(crate) mod test_certificates;
#[cfg(test)]
mod tests;
