//! What of a remote runtime's configuration may change while it goes on: all but its id and where it is.

use std::fmt;
use std::time::Duration;

use arc_swap::ArcSwap;
use tonic::metadata::{Ascii, MetadataValue};

use super::config::RemoteConfig;
use super::link::authorization;
use crate::model::{Result, display_hint};
use crate::tls::ClientTls;

/// The settings that are in force.
pub(super) type Current = ArcSwap<RemoteSettings>;

/// A name, credentials and a time, checked.
#[derive(Clone)]
pub struct RemoteSettings {
    /// For people, until the host gives a name; may be empty.
    pub(super) display_name: String,
    /// What every call carries.
    pub(super) authorization: Option<MetadataValue<Ascii>>,
    /// Whom a new connection must lead to, and what is shown on it; it is in clear where there is none.
    pub(super) tls: Option<ClientTls>,
    /// How long a call may take.
    pub(super) timeout: Duration,
}

impl RemoteSettings {
    /// Those of a configuration.
    ///
    /// # Errors
    /// The token has characters that a header cannot carry.
    pub fn new(config: &RemoteConfig) -> Result<Self> {
        Ok(Self {
            display_name: display_hint(&config.display_name),
            authorization: config.token.as_ref().map(authorization).transpose()?,
            tls: config.tls.clone(),
            timeout: config.timeout,
        })
    }
}

impl fmt::Debug for RemoteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSettings")
            .field("display_name", &self.display_name)
            .field("authorization", &self.authorization.as_ref().map(|_| "<redacted>"))
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .finish()
    }
}
