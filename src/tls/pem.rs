//! What a PEM text holds. What is wrong with one is said in words of ours: those of a parser may quote it.

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a text is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    /// It cannot be read as PEM.
    #[error("is not PEM")]
    Form,
    /// There is no certificate in it.
    #[error("has no certificate in it")]
    NoCertificate,
    /// A certificate in it is none.
    #[error("has a certificate in it that cannot be read")]
    Certificate,
    /// There is no private key in it, or only one in a form that needs a password.
    #[error("has no private key in it that could be read without a password")]
    NoKey,
}

/// The certificates of a text, of which there is one at least.
///
/// # Errors
/// When there is none, or the text is not PEM.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| BadPem::Form)?;
    if all.is_empty() { Err(BadPem::NoCertificate) } else { Ok(all) }
}

/// The first private key of a text.
///
/// # Errors
/// When there is none, or the text is not PEM.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, BadPem> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        Error::NoItemsFound => BadPem::NoKey,
        _ => BadPem::Form,
    })
}

/// The authorities of a text, each of which must be one.
///
/// # Errors
/// When there is none, or what is there cannot be read.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, BadPem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|_| BadPem::Certificate)?;
    }
    Ok(roots)
}
