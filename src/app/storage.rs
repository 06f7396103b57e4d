//! Where the state of this process lies: in a data directory, or in memory where none is named.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::AppError;
use crate::engine::store::disk::{Disk, RealDisk};
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
    dir: Arc<DataDir>,
    store: Option<FsStore>,
    ledger: Option<Arc<FileLedger>>,
}

impl Storage {
    /// Opens the directory, or makes it; `runtime_id` must be the runtime that it belongs to.
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
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let dir = blocking(move || DataDir::open(disk, &path, role, runtime_id.as_ref())).await?;
        let kept = Kept { dir: Arc::new(dir), store: None, ledger: None };
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
    ///
    /// # Errors
    /// It cannot be read. What is damaged in it is no error: that is for whoever restores from it.
    pub(super) async fn store(&mut self) -> Result<Arc<dyn Store>, AppError> {
        let Some(kept) = &mut self.kept else { return Ok(MemoryStore::new()) };
        let (dir, handle) = (Arc::clone(&kept.dir), Handle::current());
        let at = dir.log();
        let open = move || FsStore::open(dir.disk(), &dir.log(), Arc::new(ProtoRecords), handle);
        let store = blocking(move || open().map_err(|error| not_opened(&at, &error))).await?;
        kept.store = Some(store.clone());
        Ok(Arc::new(store))
    }

    /// The control plane's own store.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn ledger(&mut self) -> Result<Arc<dyn Ledger>, AppError> {
        let Some(kept) = &mut self.kept else { return Ok(Arc::new(MemoryLedger::default())) };
        let (dir, handle) = (Arc::clone(&kept.dir), Handle::current());
        let at = dir.control();
        let open = move || FileLedger::open(dir.disk(), &dir.control(), &handle);
        let ledger = Arc::new(blocking(move || open().map_err(|error| not_opened(&at, &error))).await?);
        kept.ledger = Some(Arc::clone(&ledger));
        Ok(ledger)
    }

    /// Writes what waits, and closes it in order; then the directory is free.
    pub(super) async fn close(self) {
        let Some(Kept { dir, store, ledger }) = self.kept else { return };
        let closed = blocking(move || {
            if let Some(store) = store {
                store.close();
            }
            if let Some(ledger) = ledger {
                ledger.close();
            }
            drop(dir);
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
