//! File, environment and flags become one validated configuration per role: a flag beats the environment beats the file
//! beats the default.
//!
//! What comes out needs no further check, and prints without its secrets. Nothing here starts anything, and the only
//! files that are read are the configuration and those of tokens and certificates that it names.

mod document;
mod error;
mod flags;
mod host;
mod layers;
mod limits;
mod log;
mod remote;
mod restart;
mod runtime;
mod secret;
mod serve;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod traces;

use std::path::Path;

pub use error::{ConfigError, Origin};
pub use flags::{RuntimeFlags, ServeFlags, ServerFlags};
pub(crate) use host::parse_duration;
pub use layers::{Environment, process_environment};
pub use log::{LogConfig, LogFormat};
pub use remote::{RemoteFiles, RemoteRuntimeConfig};
pub(crate) use remote::{TOKEN_IN_CLEAR, is_tls, parse_endpoint, stays_on_this_machine};
pub use restart::Fixed;
pub use runtime::RuntimeConfig;
pub use secret::{first_token, read_tokens};
pub use serve::{EMBEDDED_RUNTIME, EmbeddedConfig, ServeConfig, default_workspace};
pub use server::ServerConfig;
pub use tls::{BadFile, ClientTlsFiles, FileKind, IdentityFiles, ServerTlsFiles, server_name};
pub use traces::TracesConfig;

use document::Document;

/// The file that the flags or the environment name, if they name one.
fn document(flags: &ServerFlags, environment: Environment<'_>) -> Result<Document, ConfigError> {
    let named = flags
        .config
        .clone()
        .or_else(|| environment("WORKPLANE_CONFIG").filter(|path| !path.is_empty()).map(Into::into));
    named.as_deref().map_or_else(|| Ok(Document::none()), |path: &Path| Document::read(path))
}
