//! The remote runtimes of a control plane: `[[remote_runtimes]]`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use secrecy::SecretString;

use super::document::Section;
use super::error::{ConfigError, Given};
use super::host::duration;
use super::secret::first_token;
use super::server::{is_loopback, resolve};
use super::tls::{BadFile, ClientTlsFiles, IdentityFiles, server_name};
use crate::model::RuntimeId;
use crate::tls::{CertificateDer, ClientTls};

/// A runtime on another host, as the control plane is told of it.
#[derive(Clone)]
pub struct RemoteRuntimeConfig {
    /// The id it must answer with.
    pub runtime_id: RuntimeId,
    /// For people; the id where none is given.
    pub display_name: String,
    /// Where it serves.
    pub endpoint: Uri,
    /// What is shown to it.
    pub token: Option<SecretString>,
    /// Whom it must be; where it is spoken to in clear, nobody.
    pub tls: Option<ClientTls>,
    /// Which files these two are of.
    pub files: RemoteFiles,
    /// How long a call may take.
    pub timeout: Duration,
}

/// The files of a remote runtime, which can be read again at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteFiles {
    /// The token that is shown to it.
    pub token: Option<PathBuf>,
    /// Whom it must be.
    pub tls: Option<ClientTlsFiles>,
}

impl RemoteFiles {
    /// Reads them.
    ///
    /// # Errors
    /// Names the file that cannot be read, or is not what it should be.
    pub fn read(&self) -> Result<(Option<SecretString>, Option<ClientTls>), BadFile> {
        let token = |path: &PathBuf| first_token(path).map_err(|said| BadFile::of_tokens(path, said));
        let token = self.token.as_ref().map(token).transpose()?;
        let tls = self.tls.as_ref().map(ClientTlsFiles::read).transpose()?;
        Ok((token, tls))
    }

    /// Whether what was read may take the place of what shows this certificate.
    ///
    /// # Errors
    /// As [`ClientTlsFiles::may_replace`].
    pub fn may_replace(&self, new: Option<&ClientTls>, old: Option<&CertificateDer<'_>>) -> Result<(), BadFile> {
        match (&self.tls, new) {
            (Some(files), Some(new)) => files.may_replace(new, old),
            _ => Ok(()),
        }
    }

    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.token.iter().chain(self.tls.iter().flat_map(ClientTlsFiles::paths))
    }
}

impl fmt::Debug for RemoteRuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runtime_id, display_name, endpoint: _, token, tls, files: _, timeout } = self;
        f.debug_struct("RemoteRuntimeConfig")
            .field("runtime_id", runtime_id)
            .field("display_name", display_name)
            .field("endpoint", &"<backend-private>")
            .field("token", &token.as_ref().map(|_| "<redacted>"))
            .field("tls", tls)
            .field("timeout", timeout)
            .finish()
    }
}

/// Reads `[[remote_runtimes]]`; ids that are `taken`, or given twice, are refused.
pub(super) fn read_remotes(
    file: &mut Section<'_>,
    directory: &Path,
    allow_plaintext: bool,
    taken: Option<&RuntimeId>,
) -> Result<Vec<RemoteRuntimeConfig>, ConfigError> {
    let mut remotes: Vec<RemoteRuntimeConfig> = Vec::new();
    for section in file.list("remote_runtimes")? {
        let (id, remote) = read_remote(section, directory, allow_plaintext)?;
        if taken == Some(&remote.runtime_id) || remotes.iter().any(|other| other.runtime_id == remote.runtime_id) {
            return Err(id.refuse("another runtime has this id"));
        }
        remotes.push(remote);
    }
    Ok(remotes)
}

fn read_remote(
    mut section: Section<'_>,
    directory: &Path,
    allow_plaintext: bool,
) -> Result<(Given<String>, RemoteRuntimeConfig), ConfigError> {
    let id = section.text("runtime_id")?.ok_or_else(|| section.missing("runtime_id"))?;
    let runtime_id = id.parse(|text| RuntimeId::new(text).map_err(|error| error.rule()))?;
    let display_name = section.text("display_name")?.map_or_else(|| runtime_id.to_string(), |given| given.value);
    let endpoint = section.text("endpoint")?.ok_or_else(|| section.missing("endpoint"))?;
    let uri = endpoint.parse(|text| parse_endpoint(text))?;
    let token_file = section.text("token_file")?;
    let timeout = section.text("timeout")?;
    let tls = read_tls(&mut section, &endpoint, &uri, directory)?;
    section.finish()?;
    let token =
        token_file.as_ref().map(|given| given.parse(|_| first_token(&resolve(given, directory)))).transpose()?;
    if token.is_some() && tls.is_none() && !allow_plaintext && !stays_on_this_machine(&uri) {
        return Err(endpoint.refuse(TOKEN_IN_CLEAR));
    }
    let timeout = match timeout {
        Some(given) => duration(&given, Duration::from_millis(100)..=Duration::from_mins(5))?,
        None => Duration::from_secs(10),
    };
    let (tls_files, tls) = tls.unzip();
    let files = RemoteFiles { token: token_file.map(|given| resolve(&given, directory)), tls: tls_files };
    Ok((id, RemoteRuntimeConfig { runtime_id, display_name, endpoint: uri, token, tls, files, timeout }))
}

/// What is said of TLS; nothing, and that is all there may be, where the endpoint is spoken to in clear.
fn read_tls(
    section: &mut Section<'_>,
    endpoint: &Given<String>,
    uri: &Uri,
    directory: &Path,
) -> Result<Option<(ClientTlsFiles, ClientTls)>, ConfigError> {
    let [ca, name, certificate, key] = [
        section.text("ca_file")?,
        section.text("server_name")?,
        section.text("client_cert")?,
        section.text("client_key")?,
    ];
    if !is_tls(uri) {
        let said = [ca, name, certificate, key].into_iter().flatten().next();
        return said.map_or(Ok(None), |given| Err(given.refuse("is of TLS: the endpoint must be https://HOST:PORT")));
    }
    let path = |given: &Given<String>| resolve(given, directory);
    let server_name = match &name {
        Some(given) => given.parse(|name| server_name(name))?,
        None => endpoint.parse(|_| server_name(uri.host().unwrap_or_default()))?,
    };
    let identity = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Some(IdentityFiles { certificate: path(certificate), key: path(key) }),
        (Some(alone), None) => return Err(alone.refuse("needs client_key beside it")),
        (None, Some(alone)) => return Err(alone.refuse("needs client_cert beside it")),
        (None, None) => None,
    };
    let files = ClientTlsFiles { ca: ca.as_ref().map(path), server_name, identity };
    let given = [ca.as_ref(), certificate.as_ref(), key.as_ref()];
    let tls = files.read().map_err(|bad| bad.blame(endpoint, &given, directory))?;
    Ok(Some((files, tls)))
}

/// Why a token is not shown to an endpoint.
pub(crate) const TOKEN_IN_CLEAR: &str =
    "the token would cross the network in clear: use https://, or set allow_plaintext = true to allow it";

/// Reads an endpoint: `http://` or `https://`, a host, and a port; nothing else.
pub(crate) fn parse_endpoint(text: &str) -> Result<Uri, &'static str> {
    // Its text is not repeated in an error: it may hold a credential.
    const FORM: &str = "must be http://HOST:PORT or https://HOST:PORT";
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| FORM)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(FORM);
    }
    let plain = uri.authority().is_some_and(|authority| {
        let port = authority.port_u16().is_some_and(|port| port != 0);
        port && !authority.as_str().contains('@') && !authority.host().is_empty()
    });
    if plain && uri.path() == "/" && uri.query().is_none() { Ok(uri) } else { Err(FORM) }
}

/// Whether an endpoint is spoken to over TLS.
pub(crate) fn is_tls(endpoint: &Uri) -> bool {
    endpoint.scheme_str() == Some("https")
}

/// Whether what is sent to an endpoint stays on this machine: a loopback address, or `localhost`.
pub(crate) fn stays_on_this_machine(endpoint: &Uri) -> bool {
    let host = endpoint.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}
