//! Where a remote runtime is and how it is asked.

use std::fmt;
use std::time::Duration;

use http::Uri;
use secrecy::SecretString;

use crate::model::{Error, Result, RuntimeId};
use crate::tls::ClientTls;

/// How long a call may take where the configuration does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A remote runtime, as it is configured.
#[derive(Clone)]
pub struct RemoteConfig {
    /// Its id, which the host must answer with.
    pub runtime_id: RuntimeId,
    /// For people, until the host gives a name; may be empty.
    pub display_name: String,
    /// Where it is: `http://host:port`, or `https://host:port` where `tls` says whom it must be.
    pub endpoint: String,
    /// The bearer token that every call carries, if any. Whether it may be sent in clear is its owner's to decide.
    pub token: Option<SecretString>,
    /// Whom it must be, and what is shown to it.
    pub tls: Option<ClientTls>,
    /// How long a call may take: 10 s. Lists take at most 2 s of it, spawns three times as long.
    pub timeout: Duration,
}

impl RemoteConfig {
    /// A runtime without a name and a token.
    #[must_use]
    pub fn new(runtime_id: RuntimeId, endpoint: impl Into<String>) -> Self {
        let (display_name, endpoint) = (String::new(), endpoint.into());
        Self { runtime_id, display_name, endpoint, token: None, tls: None, timeout: DEFAULT_TIMEOUT }
    }

    /// The endpoint, checked (acceptance 65).
    pub(super) fn uri(&self) -> Result<Uri> {
        let bad = |rule: &str| Error::field("endpoint", rule).with("runtime_id", &self.runtime_id);
        let form = "must be http://host:port or https://host:port";
        let uri: Uri = self.endpoint.trim_end_matches('/').parse().map_err(|_| bad(form))?;
        match (uri.scheme_str(), &self.tls) {
            (Some("http"), None) | (Some("https"), Some(_)) => {}
            (Some("http"), Some(_)) => return Err(bad("must be https://host:port, since it is said whom it must be")),
            (Some("https"), None) => return Err(bad("is https, and it is not said whom it must be")),
            _ => return Err(bad(form)),
        }
        let plain = uri.authority().is_some_and(|it| !it.as_str().contains('@') && !it.host().is_empty());
        if !plain || uri.path() != "/" || uri.query().is_some() {
            return Err(bad("must be a host and a port, without a user, a path or a query"));
        }
        Ok(uri)
    }
}

impl fmt::Debug for RemoteConfig {
    /// Tells neither endpoint nor token (acceptance 64).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteConfig")
            .field("runtime_id", &self.runtime_id)
            .field("display_name", &self.display_name)
            .field("endpoint", &"<backend-private>")
            .field("token", &self.token.as_ref().map(|_| "<redacted>"))
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> RemoteConfig {
        RemoteConfig::new(RuntimeId::new("remote:primary").unwrap(), endpoint)
    }

    #[test]
    fn debug_output_tells_neither_endpoint_nor_token() {
        // acceptance 64, 136
        let mut config = config("http://10.0.0.7:7500");
        assert!(format!("{config:?}").contains("token: None"));
        config.token = Some(SecretString::from("hunter2"));
        let shown = format!("{config:?}");
        assert!(!shown.contains("10.0.0.7") && !shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("<backend-private>") && shown.contains(r#"Some("<redacted>")"#), "{shown}");
    }

    #[test]
    fn endpoints_are_checked_and_lose_their_last_slash() {
        // acceptance 65
        for good in ["http://127.0.0.1:7500", "http://host.test:1/", "http://[::1]:7500"] {
            assert!(config(good).uri().is_ok(), "{good}");
        }
        for bad in ["", "host:1", "ftp://host:1", "http://u:p@host:1", "http://host:1/x", "http://host:1?x=1"] {
            let refused = config(bad).uri().unwrap_err();
            assert_eq!(refused.fields()[0].field, "endpoint", "{bad}");
        }
        assert!(config("https://host:1").uri().unwrap_err().message().contains("whom"));
    }
}
