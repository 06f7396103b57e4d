//! The remote runtimes of a control plane: `[[remote_runtimes]]`.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use secrecy::SecretString;

use super::document::Section;
use super::error::{ConfigError, Given};
use super::host::duration;
use super::secret::first_token;
use super::server::{is_loopback, resolve};
use crate::model::RuntimeId;

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
    /// How long a call may take.
    pub timeout: Duration,
}

impl fmt::Debug for RemoteRuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runtime_id, display_name, endpoint: _, token, timeout } = self;
        f.debug_struct("RemoteRuntimeConfig")
            .field("runtime_id", runtime_id)
            .field("display_name", display_name)
            .field("endpoint", &"<backend-private>")
            .field("token", &token.as_ref().map(|_| "<redacted>"))
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
    for key in ["ca_file", "server_name"] {
        if let Some(given) = section.text(key)? {
            return Err(given.refuse("TLS is not spoken by this version yet"));
        }
    }
    section.finish()?;
    let token = token_file.map(|given| given.parse(|_| first_token(&resolve(&given, directory)))).transpose()?;
    if token.is_some() && !allow_plaintext && !stays_on_this_machine(&uri) {
        return Err(endpoint.refuse(TOKEN_IN_CLEAR));
    }
    let timeout = match timeout {
        Some(given) => duration(&given, Duration::from_millis(100)..=Duration::from_mins(5))?,
        None => Duration::from_secs(10),
    };
    Ok((id, RemoteRuntimeConfig { runtime_id, display_name, endpoint: uri, token, timeout }))
}

/// Why a token is not shown to an endpoint.
pub(crate) const TOKEN_IN_CLEAR: &str =
    "the token would cross the network in clear: set allow_plaintext = true to allow it";

/// Reads an endpoint: `http://`, a host, and a port; nothing else.
pub(crate) fn parse_endpoint(text: &str) -> Result<Uri, &'static str> {
    // Its text is not repeated in an error: it may hold a credential.
    const FORM: &str = "must be http://HOST:PORT";
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| FORM)?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("TLS is not spoken by this version yet: use http://"),
        _ => return Err(FORM),
    }
    let plain = uri.authority().is_some_and(|authority| {
        let port = authority.port_u16().is_some_and(|port| port != 0);
        port && !authority.as_str().contains('@') && !authority.host().is_empty()
    });
    if plain && uri.path() == "/" && uri.query().is_none() { Ok(uri) } else { Err(FORM) }
}

/// Whether what is sent to an endpoint stays on this machine: a loopback address, or `localhost`.
pub(crate) fn stays_on_this_machine(endpoint: &Uri) -> bool {
    let host = endpoint.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}
