//! The configuration of `workplane runtime`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::document::{Document, Section};
use super::error::ConfigError;
use super::flags::RuntimeFlags;
use super::host::read_profiles;
use super::layers::{Environment, Layers};
use super::limits::read_limits;
use super::server::ServerConfig;
use crate::engine::{EngineLimits, Profiles};
use crate::model::RuntimeId;
use crate::server::Edge;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7500);

/// One host's worker runtime, validated.
#[derive(Debug)]
pub struct RuntimeConfig {
    /// Where it listens, who may call, what it logs.
    pub server: ServerConfig,
    /// How much of everything the listener allows.
    pub edge: Edge,
    /// Its id; absent where one is to be made up.
    pub runtime_id: Option<RuntimeId>,
    /// Its name for people; absent where the id is to be it.
    pub display_name: Option<String>,
    /// What it runs.
    pub profiles: Profiles,
    /// How much of everything.
    pub limits: EngineLimits,
}

impl RuntimeConfig {
    /// Reads the flags, the environment and the file, in this order of weight, and checks all of it.
    ///
    /// # Errors
    /// The first value that is refused, by its place.
    pub fn load(flags: &RuntimeFlags, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let document = super::document(&flags.server, environment)?;
        document.with_root(|file| Self::read(file, &document, flags, environment))
    }

    pub(super) fn read(
        file: &mut Section<'_>,
        document: &Document,
        flags: &RuntimeFlags,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let directory = document.directory();
        let mut layers = Layers::new(file, environment);
        let server = ServerConfig::read(&mut layers, &flags.server, &directory, DEFAULT_LISTEN)?;
        let runtime_id = layers.text("runtime_id", flags.runtime_id.as_ref())?;
        let runtime_id = runtime_id.map(|given| given.parse(|text| RuntimeId::new(text).map_err(|error| error.rule())));
        let display_name = layers.text("display_name", flags.display_name.as_ref())?.map(|given| given.value);
        let profiles = read_profiles(file, &directory)?;
        let (limits, edge) = read_limits(file, Edge::host())?;
        Ok(Self { server, edge, runtime_id: runtime_id.transpose()?, display_name, profiles, limits })
    }
}
