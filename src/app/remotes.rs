//! The remote runtimes of a control plane, as its file has them now. One that stays where it is keeps its connections
//! and observers when the file is read again, whatever else of it has changed.

use std::path::Path;
use std::sync::Arc;

use http::Uri;
use tokio::runtime::Handle;

use super::AppError;
use super::watch::Group;
use crate::config::{BadFile, RemoteFiles, RemoteRuntimeConfig};
use crate::model::{Error, RuntimeId};
use crate::runtime::WorkerRuntime;
use crate::runtime::remote::{RemoteConfig, RemoteRuntime, RemoteSettings};

/// Remote runtimes, in the order of the file.
#[derive(Default)]
pub(super) struct Remotes(Vec<Remote>);

/// What another configuration changes of the remote runtimes: their ids, for people.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: String,
    pub(super) removed: String,
    pub(super) moved: String,
}

struct Remote {
    endpoint: Uri,
    /// As the file has it; in force once the set is.
    config: RemoteConfig,
    settings: RemoteSettings,
    /// What of that may change at any time.
    files: RemoteFiles,
    runtime: Arc<RemoteRuntime>,
}

impl Remotes {
    /// The runtimes of `configs`, in their order; those that are here already are taken over. Nothing of these changes
    /// before [`Remotes::succeed`].
    pub(super) fn next(&self, configs: Vec<RemoteRuntimeConfig>) -> Result<Self, AppError> {
        configs.into_iter().map(|config| self.remote(config)).collect::<Result<_, AppError>>().map(Self)
    }

    fn remote(&self, config: RemoteRuntimeConfig) -> Result<Remote, AppError> {
        let RemoteRuntimeConfig { runtime_id, display_name, endpoint, token, tls, files, timeout } = config;
        let same = self.find(&runtime_id).filter(|ours| ours.endpoint == endpoint);
        let id = runtime_id.clone();
        let config = RemoteConfig { runtime_id, display_name, endpoint: endpoint.to_string(), token, tls, timeout };
        if let Some(ours) = same {
            files.may_replace(config.tls.as_ref(), ours.runtime.certificate().as_ref())?;
        }
        let make = || {
            let settings = RemoteSettings::new(&config)?;
            let runtime = match same {
                Some(ours) => Arc::clone(&ours.runtime),
                None => Arc::new(RemoteRuntime::new(&config, &Handle::current())?),
            };
            Ok((settings, runtime))
        };
        let (settings, runtime) = make().map_err(|error| AppError::Remote(id, error))?;
        Ok(Remote { endpoint, config, settings, files, runtime })
    }

    /// These are the runtimes now, in place of those `before`: they go on with their settings, and who observes one
    /// that is elsewhere now is sent there.
    pub(super) fn succeed(&self, before: &Self) {
        for remote in &self.0 {
            remote.runtime.adopt(remote.settings.clone());
            if let Some(old) = before.find(remote.runtime.id())
                && !Arc::ptr_eq(&old.runtime, &remote.runtime)
            {
                old.runtime.moved();
            }
        }
    }

    /// The runtimes.
    pub(super) fn runtimes(&self) -> impl Iterator<Item = Arc<dyn WorkerRuntime>> {
        self.0.iter().map(|remote| Arc::clone(&remote.runtime) as Arc<dyn WorkerRuntime>)
    }

    /// Their files, for who looks after them.
    pub(super) fn watched(&self) -> impl Iterator<Item = Group> {
        self.0.iter().filter(|remote| remote.files.paths().next().is_some()).map(Remote::watched)
    }

    /// Which are here and were not `before`, which were there and are gone, and which are elsewhere now.
    pub(super) fn changes(&self, before: &Self) -> Changes {
        let ids = |these: &Self, of: &dyn Fn(&Remote) -> bool| {
            let ids: Vec<_> = these.0.iter().filter(|it| of(it)).map(|it| it.runtime.id().as_str()).collect();
            ids.join(", ")
        };
        Changes {
            added: ids(self, &|it| before.find(it.runtime.id()).is_none()),
            removed: ids(before, &|it| self.find(it.runtime.id()).is_none()),
            moved: ids(self, &|it| before.find(it.runtime.id()).is_some_and(|old| old.endpoint != it.endpoint)),
        }
    }

    fn find(&self, id: &RuntimeId) -> Option<&Remote> {
        self.0.iter().find(|remote| remote.runtime.id() == id)
    }
}

impl Remote {
    fn watched(&self) -> Group {
        let (files, config, runtime) = (self.files.clone(), self.config.clone(), Arc::downgrade(&self.runtime));
        let what = format!("a file of the remote runtime {}", config.runtime_id);
        let ours = self.files.tls.as_ref().and_then(|tls| tls.identity.as_ref()).map(|ours| ours.certificate.clone());
        let showing = {
            let runtime = runtime.clone();
            move || runtime.upgrade().and_then(|runtime| runtime.certificate())
        };
        let shown = showing.clone();
        let group = Group::new(what, files.paths().cloned().collect::<Vec<_>>(), move || {
            let (token, tls) = files.read()?;
            files.may_replace(tls.as_ref(), shown().as_ref())?;
            let settings = RemoteSettings::new(&RemoteConfig { token, tls, ..config.clone() });
            // All that is left of what can be wrong with it.
            let bad = |error: Error| {
                BadFile::of_tokens(files.token.as_deref().unwrap_or(Path::new("")), error.message().to_owned())
            };
            let (settings, runtime) = (settings.map_err(bad)?, runtime.clone());
            Ok(Box::new(move || {
                // One that is gone needs nothing.
                if let Some(runtime) = runtime.upgrade() {
                    runtime.adopt(settings);
                }
            }))
        });
        match ours {
            Some(file) => group.showing(file, showing),
            None => group,
        }
    }
}
