//! Where the state of this process lies: in a data directory, or in memory where none is named.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::AppError;
use crate::engine::store::disk::RealDisk;
use crate::engine::store::log::{LogStanding, Reached};
use crate::engine::store::{DataDir, DirRole, FsStore, MemoryStore, Store};
use crate::model::{Incarnation, RuntimeId};
use crate::proto::ProtoRecords;
use crate::registry::ledger::{FileLedger, Ledger, MemoryLedger};

/// How long a disk may take for the last of what is written.
const CLOSING: Duration = Duration::from_secs(2);

/// The state of this process, held by it alone until the value is dropped.
#[derive(Debug)]
pub(super) struct Storage {
    incarnation: Incarnation,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    dir: DataDir,
    store: Option<FsStore>,
    ledger: Option<Arc<FileLedger>>,
}

impl Kept {
    /// Opens all that is in the directory, or makes it, before anything is made of it.
    fn open(dir: &Path, role: DirRole, runtime_id: Option<&RuntimeId>, handle: &Handle) -> Result<Self, AppError> {
        let dir = DataDir::open(Arc::new(RealDisk), dir, role, runtime_id)?;
        let mut kept = Self { dir, store: None, ledger: None };
        if role == DirRole::Host || runtime_id.is_some() {
            let store = FsStore::open(kept.dir.disk(), &kept.dir.log(), Arc::new(ProtoRecords), handle.clone());
            kept.store = Some(store.map_err(|error| not_opened(&kept.dir.log(), &error))?);
        }
        if role == DirRole::ControlPlane {
            let ledger = FileLedger::open(kept.dir.disk(), &kept.dir.control(), handle);
            kept.ledger = Some(Arc::new(ledger.map_err(|error| not_opened(&kept.dir.control(), &error))?));
        }
        let reached = kept.reached();
        kept.dir.settle(&reached)?;
        Ok(kept)
    }

    fn reached(&self) -> Vec<(&'static str, Reached)> {
        let store = self.store.iter().map(|store| ("log", store.reached()));
        store.chain(self.ledger.iter().map(|ledger| ("control", ledger.reached()))).collect()
    }

    fn close(mut self) {
        self.store.iter().for_each(FsStore::close);
        self.ledger.iter().for_each(|ledger| ledger.close());
        let reached = self.reached();
        self.dir.end(&reached);
    }
}

impl Storage {
    /// Opens the directory and what is in it, or makes it; `runtime_id` must be the runtime that it belongs to. A control
    /// plane without one has none embedded.
    ///
    /// # Errors
    /// It is in use, another's, or cannot be used.
    pub(super) async fn open(
        dir: Option<&Path>,
        role: DirRole,
        runtime_id: Option<&RuntimeId>,
    ) -> Result<Self, AppError> {
        let Some(dir) = dir else {
            tracing::info!("no data_dir is named: state is kept in memory, and is gone when this process ends");
            return Ok(Self { incarnation: Incarnation::generate(), kept: None });
        };
        let (path, runtime_id) = (dir.to_owned(), runtime_id.cloned());
        let handle = Handle::current();
        let kept = blocking(move || Kept::open(&path, role, runtime_id.as_ref(), &handle)).await?;
        Ok(Self { incarnation: kept.dir.incarnation(), kept: Some(kept) })
    }

    /// The runtime that the directory belongs to.
    pub(super) fn runtime_id(&self) -> Option<&RuntimeId> {
        self.kept.as_ref().and_then(|kept| kept.dir.runtime_id())
    }

    /// The directory, where there is one.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.kept.as_ref().map(|kept| kept.dir.path())
    }

    /// Of the streams in it.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The store of the runtime.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self.kept.as_ref().and_then(|kept| kept.store.clone()) {
            Some(store) => Arc::new(store),
            None => MemoryStore::new(),
        }
    }

    /// The control plane's own store.
    pub(super) fn ledger(&self) -> Arc<dyn Ledger> {
        match self.kept.as_ref().and_then(|kept| kept.ledger.clone()) {
            Some(ledger) => ledger,
            None => Arc::new(MemoryLedger::default()),
        }
    }

    /// Its logs, where there are any.
    pub(super) fn logs(&self) -> Logs {
        let kept = self.kept.as_ref();
        kept.map(|kept| Logs { store: kept.store.clone(), ledger: kept.ledger.clone() }).unwrap_or_default()
    }

    /// Writes what waits, and closes it in order; then the directory is free.
    pub(super) async fn close(self) {
        let Some(kept) = self.kept else { return };
        let closed = blocking(move || {
            kept.close();
            Ok::<_, AppError>(())
        });
        match timeout(CLOSING, closed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store was not closed in order: the next start looks through it");
            }
            Err(_) => tracing::warn!("the disk does not answer: ending without closing the store in order"),
        }
    }
}

/// The logs of this process, for those who watch them.
#[derive(Debug, Default)]
pub(super) struct Logs {
    store: Option<FsStore>,
    ledger: Option<Arc<FileLedger>>,
}

impl Logs {
    /// How they stand, by the names that metrics have for them.
    pub(super) fn standing(&self) -> Vec<(&'static str, LogStanding)> {
        let store = self.store.iter().map(|store| ("workers", store.standing()));
        store.chain(self.ledger.iter().map(|ledger| ("control", ledger.standing()))).collect()
    }
}

/// What the disk said, and of which directory.
fn not_opened(dir: &Path, error: &std::io::Error) -> AppError {
    AppError::Store(std::io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
}

/// Does what blocks where that is allowed.
async fn blocking<T: Send + 'static, E: Into<AppError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, AppError> {
    match Handle::current().spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(panicked) => Err(AppError::Store(std::io::Error::other(panicked))),
    }
}
