//! The flags of the two roles, as clap reads them. What they mean is said by the configurations made of them.
//!
//! The environment is not clap's here: it is a layer of its own, so that an error can tell a flag from a variable.
#![allow(clippy::doc_markdown, reason = "clap prints these comments as they stand")]

use std::path::PathBuf;

/// The flags that both roles take.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerFlags {
    /// Reads the configuration from this TOML file; a flag beats the environment beats the file
    /// [env: WORKPLANE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listens on this address; port 0 picks a free one [env: WORKPLANE_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Asks for a bearer token out of this file: one a line, `name token` or only `token`, mode 0600. Without it only
    /// loopback addresses are served [env: WORKPLANE_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// Accepts and sends tokens in clear beyond loopback: only inside a network that is trusted, or behind a proxy that
    /// ends TLS [env: WORKPLANE_ALLOW_PLAINTEXT]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_plaintext: Option<bool>,
    /// Serves TLS, and nothing else, with this certificate chain (PEM) [env: WORKPLANE_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// The private key for `--tls-cert` (PEM, mode 0600) [env: WORKPLANE_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Lets in only clients that show a certificate of one of these authorities (PEM), beside their token
    /// [env: WORKPLANE_TLS_CLIENT_CA]
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<String>,
    /// Keeps all state in this directory, which is made where it is not there, for one process at a time. Without it
    /// state is in memory, and gone when the process ends [env: WORKPLANE_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Serves metrics for Prometheus at `/metrics` of this address, to everybody who reaches it: no token is asked for
    /// there [env: WORKPLANE_METRICS_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<String>,
    /// Writes logs, to standard error, as `text` or `json` [default: text] [env: WORKPLANE_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Writes logs from this level on: error, warn, info, debug, trace or off; `RUST_LOG` wins [default: info]
    /// [env: WORKPLANE_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// The flags of `workplane serve`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeFlags {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the group's help")]
    pub server: ServerFlags,
    /// The workspace of requests that name none [default: local:default] [env: WORKPLANE_WORKSPACE_ID]
    #[arg(long, value_name = "ID")]
    pub workspace_id: Option<String>,
}

/// The flags of `workplane runtime`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RuntimeFlags {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would become the group's help")]
    pub server: ServerFlags,
    /// The id that the control plane knows this runtime by; one is made up without it [env: WORKPLANE_RUNTIME_ID]
    #[arg(long, value_name = "ID")]
    pub runtime_id: Option<String>,
    /// Its name for people; the id without it [env: WORKPLANE_DISPLAY_NAME]
    #[arg(long, value_name = "NAME")]
    pub display_name: Option<String>,
}
