//! `workplane serve`: the control plane.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::AppError;
use super::control::Control;
use super::door::Door;
use super::embedded::open_engine;
use super::observed::Observed;
use super::remotes::{Changes, Remotes};
use super::standing::Standing;
use super::storage::Storage;
use super::watch::{Group, Watch};
use super::{ending, reload};
use crate::config::{EmbeddedConfig, Fixed, ServeConfig};
use crate::engine::SystemClock;
use crate::engine::store::DirRole;
use crate::model::WorkspaceId;
use crate::registry::Registry;
use crate::runtime::{EMBEDDED_DISPLAY_NAME, LocalRuntime, WorkerRuntime};
use crate::server::{self, Connections, Drain, Edge};

/// A control plane that is ready to serve.
pub struct ControlPlane {
    workspace_id: WorkspaceId,
    registry: Registry,
    embedded: Option<LocalRuntime>,
    storage: Storage,
    remotes: Remotes,
    door: Door,
    edge: Edge,
    drain_pause: Duration,
    started: Fixed,
    observed: Observed,
}

impl ControlPlane {
    /// Makes all that the configuration names. It reaches no host yet: one that is down holds nothing up.
    ///
    /// # Errors
    /// When the embedded runtime does not open.
    pub async fn open(config: ServeConfig) -> Result<Self, AppError> {
        let started = Fixed::from(&config);
        let ServeConfig { server, workspace_id, edge, embedded, remotes } = config;
        let observed = Observed::begin(&server).await?;
        let door = Door::new(server.tokens, server.token_file, server.tls);
        let runtime_id = embedded.as_ref().map(|embedded| &embedded.runtime_id);
        let storage = Storage::open(server.data_dir.as_deref(), DirRole::ControlPlane, runtime_id).await?;
        let embedded = match embedded {
            Some(EmbeddedConfig { runtime_id, profiles, limits }) => {
                let engine = open_engine(&storage, runtime_id, profiles, limits).await?;
                Some(LocalRuntime::new(engine, EMBEDDED_DISPLAY_NAME))
            }
            None => None,
        };
        let registry = Registry::on(storage.ledger(), Arc::new(SystemClock));
        let (none, drain_pause) = (Remotes::default(), server.drain_pause);
        let mut plane = Self {
            workspace_id,
            registry,
            embedded,
            storage,
            remotes: none,
            door,
            edge,
            drain_pause,
            started,
            observed,
        };
        plane.register(plane.remotes.next(remotes)?)?;
        Ok(plane)
    }

    /// Serves until it is told to drain and has ended in order.
    ///
    /// # Errors
    /// When serving itself fails.
    pub async fn run(mut self, listener: TcpListener, mut control: Control<ServeConfig>) -> Result<(), AppError> {
        let drain = Drain::new();
        if let Some(engine) = self.embedded.as_ref().map(|embedded| embedded.engine().clone()) {
            control.set_last_act(move || engine.abandon());
        }
        let engine = self.embedded.as_ref().map(LocalRuntime::engine);
        let (logs, tls) = (self.storage.logs(), self.door.tls.clone());
        let standing = Standing::new("control plane", engine, logs, Some(&self.registry), tls);
        let _metrics = self.observed.serve(standing);
        let (registry, workspace_id) = (self.registry.clone(), self.workspace_id.clone());
        let served = server::control_plane(registry, workspace_id, Arc::new(SystemClock), drain.clone()).await?;
        let edge = self.edge;
        let incoming = server::accept(listener, Connections::new(&edge), self.door.tls.clone());
        let serving = server::serve(incoming, served.routes, &edge, self.door.callers.clone(), drain.clone());
        let mut serving = pin!(serving);
        served.health.serving().await;
        let mut watch = Watch::new(self.watched());
        {
            // A drain does without: old notes may wait for the next start. Hosts are looked after by tasks of their own.
            let tended = self.registry.clone();
            let mut tending = pin!(tended.tend());
            loop {
                tokio::select! {
                    ended = &mut serving => return ended.map_err(AppError::Serving),
                    Some(config) = control.configs.recv() => {
                        if self.follow(config) {
                            watch = Watch::new(self.watched());
                        }
                    }
                    never = watch.follow() => match never {},
                    never = &mut tending => match never {},
                    () = control.drain.cancelled() => break,
                }
            }
        }
        let engine = self.embedded.as_ref().map(LocalRuntime::engine);
        let ended = ending::end(serving, self.drain_pause, &served.health, &drain, engine, &mut watch).await;
        tokio::join!(self.storage.close(), self.observed.end());
        tracing::info!("stopped");
        ended.map_err(AppError::Serving)
    }

    /// All files that may change at any time.
    fn watched(&self) -> Vec<Group> {
        self.door.watched().into_iter().chain(self.remotes.watched()).collect()
    }

    /// Goes on with the remote runtimes, tokens and certificates of another configuration; all else stays until a restart.
    /// Whether it was taken.
    fn follow(&mut self, config: ServeConfig) -> bool {
        let later = Fixed::from(&config);
        let taken = self.take(config);
        reload::report(&self.started, &later, &taken);
        taken.is_ok()
    }

    fn take(&mut self, config: ServeConfig) -> Result<Changes, AppError> {
        self.door.may_exchange(&config.server.tls)?;
        let next = self.remotes.next(config.remotes)?;
        let changes = next.changes(&self.remotes);
        self.register(next)?;
        let server = config.server;
        self.door.exchange(server.tokens, server.token_file, server.tls);
        Ok(changes)
    }

    fn register(&mut self, remotes: Remotes) -> Result<(), AppError> {
        let embedded = self.embedded.clone().map(|embedded| Arc::new(embedded) as Arc<dyn WorkerRuntime>);
        self.registry.replace(embedded.into_iter().chain(remotes.runtimes()).collect())?;
        remotes.succeed(&self.remotes);
        self.remotes = remotes;
        Ok(())
    }
}
