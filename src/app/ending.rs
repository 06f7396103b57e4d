//! How a server ends: it takes no more work, its streams end, its calls finish, its workers end, and in any case it is
//! over in time.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

use crate::engine::Engine;
use crate::model::{CallContext, StopMode, StopWorker, TerminalIntent, WorkerFilter};
use crate::server::{Drain, Health};

/// An end takes this long at most, whatever happens.
const HARD_END: Duration = Duration::from_secs(30);
/// Calls have this long to finish; a client that keeps its connection beyond that loses it with the process.
const CALLS: Duration = Duration::from_secs(10);
/// What is kept of the end for killing those workers that do not end when they are asked to.
const FORCE: Duration = Duration::from_secs(3);

/// Brings `serving` to its end, in the order of robustness.md.
pub(super) async fn end<E>(
    serving: impl Future<Output = Result<(), E>>,
    health: &Health,
    drain: &Drain,
    engine: Option<&Engine>,
) -> Result<(), E> {
    let deadline = Instant::now() + HARD_END;
    health.not_serving().await;
    drain.stop_intake();
    // Observers are told that the server goes, rather than how it ends their workers: they come back with their cursors.
    drain.end_streams();
    let served = timeout(CALLS, serving).await.unwrap_or_else(|_| {
        tracing::warn!("clients keep their connections: ending without them");
        Ok(())
    });
    if let Some(engine) = engine {
        end_workers(engine, deadline).await;
    }
    served
}

/// Ends the workers, those that take too long by force.
async fn end_workers(engine: &Engine, deadline: Instant) {
    if timeout_at(deadline - FORCE, engine.shutdown()).await.is_ok() {
        return;
    }
    tracing::warn!("workers take too long to end: they are killed");
    let workers = engine.list_workers(&WorkerFilter::default(), None, usize::MAX).workers;
    let live = workers.into_iter().filter(|worker| !worker.state.is_final());
    let killed = live.map(|worker| async move {
        let context = CallContext::internal(worker.workspace_id, FORCE);
        let (intent, mode) = (TerminalIntent::Stop, StopMode::Force);
        let request = StopWorker { worker_id: worker.worker_id, intent, reason: String::new(), mode };
        engine.stop_worker(&context, request).await
    });
    if timeout_at(deadline, join_all(killed)).await.is_err() {
        tracing::warn!("workers do not end: ending without them");
    }
}
