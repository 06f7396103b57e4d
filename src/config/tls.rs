//! The files that TLS is made of, on either side; they can be read again at any time.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use secrecy::ExposeSecret as _;

use super::error::{ConfigError, Given};
use super::secret::{read_public, read_secret};
use super::server::resolve;
use crate::tls::{
    BadPem, CertificateDer, ClientTls, Facts, Identity, PrivateKeyDer, RootCertStore, ServerName, ServerTls,
    certificates, private_key, roots,
};

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The chain, the own certificate first; PEM.
    pub certificate: PathBuf,
    /// The key; PEM, and nobody's but its owner's to read.
    pub key: PathBuf,
}

/// What a listener shows, and whom it lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTlsFiles {
    /// What it shows.
    pub identity: IdentityFiles,
    /// Of which authorities each client must show a certificate; none where there is no such file.
    pub client_ca: Option<PathBuf>,
}

/// Whom a client trusts, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTlsFiles {
    /// The authorities; those of this machine where there is no such file.
    pub ca: Option<PathBuf>,
    /// The name that the server must have.
    pub server_name: ServerName<'static>,
    /// What it shows where it is asked.
    pub identity: Option<IdentityFiles>,
}

/// What is in a file that may change while a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Tokens.
    Tokens,
    /// A certificate, or its key.
    Certificate,
    /// Certificates of authorities.
    Authority,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct BadFile {
    /// What is in it.
    pub kind: FileKind,
    path: PathBuf,
    /// What is wrong; names the file.
    said: String,
    /// From when on it can be used, where it is only too early.
    pub usable_from: Option<SystemTime>,
}

impl BadFile {
    fn new(kind: FileKind, path: &Path, said: String) -> Self {
        Self { kind, path: path.to_owned(), said, usable_from: None }
    }

    fn because(kind: FileKind, path: &Path, problem: &str) -> Self {
        Self::new(kind, path, format!("{} {problem}", path.display()))
    }

    /// A file of tokens.
    #[must_use]
    pub fn of_tokens(path: &Path, said: String) -> Self {
        Self::new(FileKind::Tokens, path, said)
    }

    /// The error about the value that names this file: one of `others`, else the `first`.
    pub(super) fn blame(
        &self,
        first: &Given<String>,
        others: &[Option<&Given<String>>],
        directory: &Path,
    ) -> ConfigError {
        let mut others = others.iter().flatten();
        let named = others.find(|given| resolve(given, directory) == self.path).unwrap_or(&first);
        named.refuse(self.said.clone())
    }
}

impl IdentityFiles {
    fn read(&self) -> Result<Identity, BadFile> {
        Ok((chain(&self.certificate)?, key(&self.key)?))
    }

    /// What is wrong with files that can be read one by one.
    fn refused(&self, error: &rustls::Error) -> BadFile {
        let certificate = self.certificate.display();
        match error {
            rustls::Error::InconsistentKeys(_) => {
                BadFile::because(FileKind::Certificate, &self.key, &format!("is not the key of {certificate}"))
            }
            rustls::Error::InvalidCertificate(_) => BadFile::because(
                FileKind::Certificate,
                &self.certificate,
                "has a certificate in it that cannot be used",
            ),
            _ => BadFile::because(FileKind::Certificate, &self.key, "has a key in it that cannot be used"),
        }
    }

    /// A certificate that comes in the place of another one must be one of now: it is refused where its time is over, or
    /// has not come.
    fn check_time(&self, new: Option<&CertificateDer<'_>>, old: Option<&CertificateDer<'_>>) -> Result<(), BadFile> {
        let facts = new.filter(|new| old.is_some_and(|old| *new != old)).and_then(Facts::of);
        let Some(Facts { from, until, .. }) = facts else { return Ok(()) };
        let (now, day) = (SystemTime::now(), humantime::format_rfc3339_seconds);
        let bad = |problem: &str| BadFile::because(FileKind::Certificate, &self.certificate, problem);
        if now > until {
            return Err(bad(&format!("has a certificate in it that expired at {}", day(until))));
        }
        if now < from {
            let bad = bad(&format!("has a certificate in it that is not valid before {}", day(from)));
            return Err(BadFile { usable_from: Some(from), ..bad });
        }
        Ok(())
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate, &self.key].into_iter()
    }
}

impl ServerTlsFiles {
    /// Reads them.
    ///
    /// # Errors
    /// Names the file that cannot be read, is not what it should be, or belongs to another one.
    pub fn read(&self) -> Result<ServerTls, BadFile> {
        let clients = self.client_ca.as_deref().map(authorities).transpose()?;
        ServerTls::new(self.identity.read()?, clients).map_err(|error| self.identity.refused(&error))
    }

    /// Whether what was read may take the place of what is in force.
    ///
    /// # Errors
    /// It shows another certificate, whose time is over or has not come.
    pub fn may_replace(&self, new: &ServerTls, old: &ServerTls) -> Result<(), BadFile> {
        self.identity.check_time(new.certificate(), old.certificate())
    }

    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.identity.paths().chain(&self.client_ca)
    }
}

impl ClientTlsFiles {
    /// Reads them.
    ///
    /// # Errors
    /// As [`ServerTlsFiles::read`]; and where this machine has no authorities of its own.
    pub fn read(&self) -> Result<ClientTls, BadFile> {
        let roots = match &self.ca {
            Some(path) => authorities(path)?,
            None => those_of_this_machine()?,
        };
        let identity = self.identity.as_ref().map(IdentityFiles::read).transpose()?;
        ClientTls::new(roots, self.server_name.clone(), identity).map_err(|error| match &self.identity {
            Some(files) => files.refused(&error),
            None => BadFile::new(FileKind::Authority, Path::new(""), "TLS cannot be spoken".to_owned()),
        })
    }

    /// As [`ServerTlsFiles::may_replace`], for the certificate that is shown where it is asked for.
    ///
    /// # Errors
    /// The same.
    pub fn may_replace(&self, new: &ClientTls, old: Option<&CertificateDer<'_>>) -> Result<(), BadFile> {
        self.identity.as_ref().map_or(Ok(()), |files| files.check_time(new.certificate(), old))
    }

    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.ca.iter().chain(self.identity.iter().flat_map(IdentityFiles::paths))
    }
}

/// The name that a server at `host` has, where nothing else is said: a name or an address.
///
/// # Errors
/// When it is neither.
pub fn server_name(host: &str) -> Result<ServerName<'static>, &'static str> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| "must be a DNS name or an IP address")
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    parse_public(FileKind::Certificate, path, certificates)
}

fn authorities(path: &Path) -> Result<RootCertStore, BadFile> {
    parse_public(FileKind::Authority, path, roots)
}

fn parse_public<T>(kind: FileKind, path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, BadPem>) -> Result<T, BadFile> {
    let text = read_public(path).map_err(|said| BadFile::new(kind, path, said))?;
    parse(text.as_bytes()).map_err(|bad| BadFile::because(kind, path, &bad.to_string()))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, BadFile> {
    const KIND: FileKind = FileKind::Certificate;
    let text = read_secret(path).map_err(|said| BadFile::new(KIND, path, said))?;
    private_key(text.expose_secret().as_bytes()).map_err(|bad| BadFile::because(KIND, path, &bad.to_string()))
}

/// What the system trusts, and not a list that was built in: it has the company's own authorities, and is kept up to date
/// without us. Single ones that cannot be read are left out, as everywhere.
fn those_of_this_machine() -> Result<RootCertStore, BadFile> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let said = "this machine has no certificates of authorities: name a file of those that are trusted";
        return Err(BadFile::new(FileKind::Authority, Path::new(""), said.to_owned()));
    }
    Ok(roots)
}
