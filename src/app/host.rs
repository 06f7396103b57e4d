//! `workplane runtime`: one host's worker runtime.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::AppError;
use super::control::Control;
use super::door::Door;
use super::embedded::open_engine;
use super::observed::Observed;
use super::remotes::Changes;
use super::standing::Standing;
use super::storage::Storage;
use super::watch::Watch;
use super::{ending, reload};
use crate::config::{Fixed, RuntimeConfig, default_workspace};
use crate::engine::SystemClock;
use crate::engine::store::DirRole;
use crate::model::{RuntimeId, WorkspaceId};
use crate::runtime::LocalRuntime;
use crate::server::{self, Connections, Drain, Edge};

/// A worker runtime that is ready to serve.
pub struct WorkerHost {
    /// That of reads, which name none.
    workspace_id: WorkspaceId,
    runtime: LocalRuntime,
    storage: Storage,
    door: Door,
    edge: Edge,
    drain_pause: Duration,
    started: Fixed,
    observed: Observed,
}

impl WorkerHost {
    /// Opens the engine that the configuration describes.
    ///
    /// # Errors
    /// When it does not open.
    pub async fn open(config: RuntimeConfig) -> Result<Self, AppError> {
        let started = Fixed::from(&config);
        let RuntimeConfig { server, edge, runtime_id, display_name, profiles, limits } = config;
        let observed = Observed::begin(&server).await?;
        let door = Door::new(server.tokens, server.token_file, server.tls);
        let storage = Storage::open(server.data_dir.as_deref(), DirRole::Host, runtime_id.as_ref()).await?;
        let runtime_id = runtime_id.or_else(|| storage.runtime_id().cloned()).unwrap_or_else(RuntimeId::generate);
        tracing::info!(%runtime_id, incarnation = %storage.incarnation(), "this is the runtime");
        let display_name = display_name.unwrap_or_else(|| runtime_id.to_string());
        let engine = open_engine(&storage, runtime_id, profiles, limits).await?;
        let runtime = LocalRuntime::new(engine, &display_name);
        let drain_pause = server.drain_pause;
        Ok(Self { workspace_id: default_workspace(), runtime, storage, door, edge, drain_pause, started, observed })
    }

    /// Serves until it is told to drain and has ended in order.
    ///
    /// # Errors
    /// When serving itself fails.
    pub async fn run(mut self, listener: TcpListener, mut control: Control<RuntimeConfig>) -> Result<(), AppError> {
        let drain = Drain::new();
        let engine = self.runtime.engine().clone();
        control.set_last_act(move || engine.abandon());
        let (logs, tls) = (self.storage.logs(), self.door.tls.clone());
        let standing = Standing::new("worker runtime", Some(self.runtime.engine()), logs, None, tls);
        let _metrics = self.observed.serve(standing);
        let backend = self.runtime.engine().parts().store.backend();
        let (runtime, clock) = (Arc::new(self.runtime.clone()), Arc::new(SystemClock));
        let served = server::worker_runtime(runtime, backend, self.workspace_id.clone(), clock, drain.clone()).await?;
        let edge = self.edge;
        let incoming = server::accept(listener, Connections::new(&edge), self.door.tls.clone());
        let serving = server::serve(incoming, served.routes, &edge, self.door.callers.clone(), drain.clone());
        let mut serving = pin!(serving);
        served.health.serving().await;
        let mut watch = Watch::new(self.door.watched());
        loop {
            tokio::select! {
                ended = &mut serving => return ended.map_err(AppError::Serving),
                Some(config) = control.configs.recv() => {
                    if self.follow(config) {
                        watch = Watch::new(self.door.watched());
                    }
                }
                never = watch.follow() => match never {},
                () = control.drain.cancelled() => break,
            }
        }
        let engine = Some(self.runtime.engine());
        let ended = ending::end(serving, self.drain_pause, &served.health, &drain, engine, &mut watch).await;
        tokio::join!(self.storage.close(), self.observed.end());
        tracing::info!("stopped");
        ended.map_err(AppError::Serving)
    }

    /// Goes on with the tokens and certificates of another configuration; all else stays until a restart. Whether it was
    /// taken.
    fn follow(&mut self, config: RuntimeConfig) -> bool {
        let (later, server) = (Fixed::from(&config), config.server);
        let taken = self.door.may_exchange(&server.tls).map(|()| {
            self.door.exchange(server.tokens, server.token_file, server.tls);
            Changes::default()
        });
        let taken = taken.map_err(Into::into);
        reload::report(&self.started, &later, &taken);
        taken.is_ok()
    }
}
