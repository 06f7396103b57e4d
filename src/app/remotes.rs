//! The remote runtimes of a control plane, as its file has them now. Those whose configuration did not change keep their
//! connections and observers when the file is read again.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::AppError;
use crate::config::RemoteRuntimeConfig;
use crate::runtime::WorkerRuntime;
use crate::runtime::remote::{RemoteConfig, RemoteRuntime};

/// Remote runtimes, each beside the configuration that it was made of.
#[derive(Default)]
pub(super) struct Remotes(Vec<(RemoteRuntimeConfig, Arc<dyn WorkerRuntime>)>);

impl Remotes {
    /// The runtimes of `configs`, in their order; those that are here already are taken over.
    pub(super) fn next(&self, configs: Vec<RemoteRuntimeConfig>) -> Result<Self, AppError> {
        let taken_over = |config: &RemoteRuntimeConfig| {
            let same = self.0.iter().find(|(ours, _)| ours == config);
            same.map(|(_, runtime)| Arc::clone(runtime))
        };
        let all = configs.into_iter().map(|config| {
            let runtime = taken_over(&config).map_or_else(|| connect(&config), Ok)?;
            Ok((config, runtime))
        });
        all.collect::<Result<_, AppError>>().map(Self)
    }

    /// The runtimes.
    pub(super) fn runtimes(&self) -> impl Iterator<Item = Arc<dyn WorkerRuntime>> {
        self.0.iter().map(|(_, runtime)| Arc::clone(runtime))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn connect(config: &RemoteRuntimeConfig) -> Result<Arc<dyn WorkerRuntime>, AppError> {
    let RemoteRuntimeConfig { runtime_id, display_name, endpoint, token, timeout } = config.clone();
    let id = runtime_id.clone();
    let remote = RemoteConfig { runtime_id, display_name, endpoint: endpoint.to_string(), token, timeout };
    let runtime = RemoteRuntime::new(&remote, &Handle::current()).map_err(|error| AppError::Remote(id, error))?;
    Ok(Arc::new(runtime))
}
