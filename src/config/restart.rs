//! What stays as it was at the start when the configuration is read again, and which of it another one would change.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::log::LogConfig;
use super::runtime::RuntimeConfig;
use super::serve::{EmbeddedConfig, ServeConfig};
use super::traces::TracesConfig;
use crate::engine::{EngineLimits, Profiles, Retention};
use crate::model::{RuntimeId, WorkspaceId};
use crate::server::Edge;

/// The part of a role's configuration that holds until a restart. What a role does not have is `None`.
#[derive(Debug, Clone)]
pub struct Fixed {
    listen: SocketAddr,
    metrics_listen: Option<SocketAddr>,
    traces: Option<TracesConfig>,
    /// Whether TLS is served at all; with which certificate may change at any time.
    tls: bool,
    log: LogConfig,
    data_dir: Option<PathBuf>,
    workspace_id: Option<WorkspaceId>,
    display_name: Option<String>,
    /// Whether there is a runtime in this process at all.
    embedded: bool,
    runtime_id: Option<RuntimeId>,
    profiles: Option<Profiles>,
    edge: Edge,
    limits: Option<EngineLimits>,
    retention: Option<Retention>,
}

impl Fixed {
    /// The keys whose values are others in `later`.
    #[must_use]
    pub fn changed(&self, later: &Self) -> Vec<&'static str> {
        let Self {
            listen,
            metrics_listen,
            traces,
            tls,
            log,
            data_dir,
            workspace_id,
            display_name,
            embedded,
            runtime_id,
            profiles,
            edge,
            limits,
            retention,
        } = self;
        // With the runtime itself all that is its own comes and goes.
        let same_runtime = *embedded == later.embedded;
        let keys = [
            ("listen", *listen != later.listen),
            ("metrics_listen", *metrics_listen != later.metrics_listen),
            ("traces", *traces != later.traces),
            ("tls_cert", *tls != later.tls),
            ("log_format", log.format != later.log.format),
            ("log_level", log.filter != later.log.filter),
            ("data_dir", *data_dir != later.data_dir),
            ("workspace_id", *workspace_id != later.workspace_id),
            ("display_name", *display_name != later.display_name),
            ("embedded", !same_runtime),
            ("runtime_id", same_runtime && *runtime_id != later.runtime_id),
            ("profiles", same_runtime && *profiles != later.profiles),
            ("limits", *edge != later.edge || (same_runtime && *limits != later.limits)),
            ("retention", same_runtime && *retention != later.retention),
        ];
        keys.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}

/// Limits without what is told apart.
fn bare(limits: EngineLimits) -> EngineLimits {
    EngineLimits { retention: Retention::default(), ..limits }
}

impl From<&ServeConfig> for Fixed {
    fn from(config: &ServeConfig) -> Self {
        let ServeConfig { server, workspace_id, edge, embedded, remotes: _ } = config;
        let (runtime_id, profiles, limits) = match embedded.clone() {
            Some(EmbeddedConfig { runtime_id, profiles, limits }) => (Some(runtime_id), Some(profiles), Some(limits)),
            None => (None, None, None),
        };
        Self {
            listen: server.listen,
            metrics_listen: server.metrics_listen,
            traces: server.traces.clone(),
            tls: server.tls.is_some(),
            log: server.log.clone(),
            data_dir: server.data_dir.clone(),
            workspace_id: Some(workspace_id.clone()),
            display_name: None,
            embedded: embedded.is_some(),
            runtime_id,
            profiles,
            edge: *edge,
            retention: limits.as_ref().map(|limits| limits.retention),
            limits: limits.map(bare),
        }
    }
}

impl From<&RuntimeConfig> for Fixed {
    fn from(config: &RuntimeConfig) -> Self {
        let RuntimeConfig { server, edge, runtime_id, display_name, profiles, limits } = config;
        Self {
            listen: server.listen,
            metrics_listen: server.metrics_listen,
            traces: server.traces.clone(),
            tls: server.tls.is_some(),
            log: server.log.clone(),
            data_dir: server.data_dir.clone(),
            workspace_id: None,
            display_name: display_name.clone(),
            embedded: true,
            runtime_id: runtime_id.clone(),
            profiles: Some(profiles.clone()),
            edge: *edge,
            limits: Some(bare(limits.clone())),
            retention: Some(limits.retention),
        }
    }
}
