//! The configuration of `workplane serve`.

use std::net::{Ipv4Addr, SocketAddr};

use super::document::{Document, Section};
use super::error::ConfigError;
use super::flags::ServeFlags;
use super::host::read_profiles;
use super::layers::{Environment, Layers};
use super::limits::read_limits;
use super::remote::{RemoteRuntimeConfig, read_remotes};
use super::server::ServerConfig;
use crate::engine::{EngineLimits, Profiles};
use crate::model::{RuntimeId, WorkspaceId};
use crate::server::Edge;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7400);
const DEFAULT_WORKSPACE: &str = "local:default";
/// The embedded runtime's id where the file gives none (acceptance 43).
pub const EMBEDDED_RUNTIME: &str = "embedded-worker-runtime";

/// The control plane, validated.
#[derive(Debug)]
pub struct ServeConfig {
    /// Where it listens, who may call, what it logs.
    pub server: ServerConfig,
    /// The workspace of requests that name none.
    pub workspace_id: WorkspaceId,
    /// How much of everything the listener allows.
    pub edge: Edge,
    /// The embedded runtime; absent where it is not enabled.
    pub embedded: Option<EmbeddedConfig>,
    /// Runtimes on other hosts, in the order of the file.
    pub remotes: Vec<RemoteRuntimeConfig>,
}

/// The runtime inside the control plane.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Its id.
    pub runtime_id: RuntimeId,
    /// What it runs.
    pub profiles: Profiles,
    /// How much of everything.
    pub limits: EngineLimits,
}

impl ServeConfig {
    /// Reads the flags, the environment and the file, in this order of weight, and checks all of it.
    ///
    /// # Errors
    /// The first value that is refused, by its place.
    pub fn load(flags: &ServeFlags, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let document = super::document(&flags.server, environment)?;
        document.with_root(|file| Self::read(file, &document, flags, environment))
    }

    pub(super) fn read(
        file: &mut Section<'_>,
        document: &Document,
        flags: &ServeFlags,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let directory = document.directory();
        let mut layers = Layers::new(file, environment);
        let server = ServerConfig::read(&mut layers, &flags.server, &directory, DEFAULT_LISTEN)?;
        let workspace_id = match layers.text("workspace_id", flags.workspace_id.as_ref())? {
            Some(given) => given.parse(|text| WorkspaceId::new(text).map_err(|error| error.rule()))?,
            None => default_workspace(),
        };
        let embedded = read_embedded(file)?;
        let profiles = read_profiles(file, &directory)?;
        let (limits, edge) = read_limits(file, Edge::control_plane())?;
        let remotes = read_remotes(file, &directory, server.allow_plaintext, embedded.as_ref())?;
        let embedded = embedded.map(|runtime_id| EmbeddedConfig { runtime_id, profiles, limits });
        Ok(Self { server, workspace_id, edge, embedded, remotes })
    }
}

/// The workspace of requests that name none, where nothing else is said.
///
/// # Panics
/// Never.
#[must_use]
pub fn default_workspace() -> WorkspaceId {
    // The constant follows the rule of its kind, which a test holds.
    WorkspaceId::new(DEFAULT_WORKSPACE).expect("a valid identifier")
}

/// Reads `[embedded]`: the id of the embedded runtime, unless it is not enabled.
fn read_embedded(file: &mut Section<'_>) -> Result<Option<RuntimeId>, ConfigError> {
    // The constant follows the rule of its kind, which a test holds.
    let default = RuntimeId::new(EMBEDDED_RUNTIME).expect("a valid identifier");
    let Some(mut section) = file.section("embedded")? else { return Ok(Some(default)) };
    let enabled = section.boolean("enabled")?.is_none_or(|given| given.value);
    let id = section.text("runtime_id")?;
    let id = id.map(|given| given.parse(|text| RuntimeId::new(text).map_err(|error| error.rule()))).transpose()?;
    section.finish()?;
    Ok(enabled.then(|| id.unwrap_or(default)))
}
