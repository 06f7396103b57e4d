//! How a server ends: balancers see it, it takes no more work, its calls finish, its streams and its workers end, and in
//! any case it is over in time. (Where it is not, `control` ends the process.)

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::watch::Watch;
use crate::engine::Engine;
use crate::model::{CallContext, StopMode, StopWorker, TerminalIntent, Worker, WorkerFilter};
use crate::server::{Drain, Health};

/// An end takes this long at most; with the store's 2 s, less than the 30 s after which `control` ends the process.
const HARD_END: Duration = Duration::from_secs(27);
/// Unary calls have this long to finish.
const CALLS: Duration = Duration::from_secs(10);
/// Observers have this long to read how their streams end; a client that keeps its connection beyond that loses it with
/// the process.
const STREAMS: Duration = Duration::from_secs(5);
/// What is kept of the end for killing those workers that do not end when they are asked to.
const FORCE: Duration = Duration::from_secs(3);

/// Brings `serving` to its end, and goes on looking after its files meanwhile: a token that is removed opens nothing, also
/// in a drain.
pub(super) async fn end<E, F: Future<Output = Result<(), E>>>(
    serving: Pin<&mut F>,
    pause: Duration,
    health: &Health,
    drain: &Drain,
    engine: Option<&Engine>,
    watch: &mut Watch,
) -> Result<(), E> {
    tokio::select! {
        ended = end_in_order(serving, pause, health, drain, engine) => ended,
        never = watch.follow() => match never {},
    }
}

/// In the order of robustness.md. For `pause` it goes on as before.
async fn end_in_order<E, F: Future<Output = Result<(), E>>>(
    mut serving: Pin<&mut F>,
    pause: Duration,
    health: &Health,
    drain: &Drain,
    engine: Option<&Engine>,
) -> Result<(), E> {
    let deadline = Instant::now() + HARD_END;
    health.not_serving().await;
    let served = tokio::select! {
        // Over by itself: once the intake has stopped, when the last connection has closed.
        served = &mut serving => Some(served),
        () = wind_down(pause, drain, engine) => None,
    };
    // At once: a client that reads slowly takes nothing of the workers' time. Streams say that the server goes, and
    // nothing that comes after, whenever they are read.
    let closed = async {
        match served {
            Some(served) => served,
            None => timeout(STREAMS, &mut serving).await.unwrap_or_else(|_| {
                tracing::warn!("clients keep their connections: ending without them");
                Ok(())
            }),
        }
    };
    let workers = async {
        if let Some(engine) = engine {
            end_workers(engine, deadline).await;
        }
    };
    tokio::join!(closed, workers).0
}

/// Takes no more work, waits for the calls that are there, and ends the streams.
async fn wind_down(pause: Duration, drain: &Drain, engine: Option<&Engine>) {
    sleep(pause).await;
    drain.stop_intake();
    if let Some(engine) = engine {
        engine.close();
    }
    if timeout(CALLS, drain.calls_ended()).await.is_err() {
        tracing::warn!("calls take too long to finish: ending without them");
    }
    // Observers are told that the server goes, rather than how it ends their workers: they come back with their cursors.
    drain.end_streams();
}

/// Ends the workers, those that take too long by force.
async fn end_workers(engine: &Engine, deadline: Instant) {
    if timeout_at(deadline - FORCE, engine.shutdown()).await.is_ok() {
        return;
    }
    tracing::warn!("workers take too long to end: they are killed");
    let killed = live_workers(engine).map(|worker| async move {
        let context = CallContext::internal(worker.workspace_id, FORCE);
        let (intent, mode) = (TerminalIntent::Stop, StopMode::Force);
        let request = StopWorker { worker_id: worker.worker_id, intent, reason: String::new(), mode };
        engine.stop_worker(&context, request).await
    });
    let _ = timeout_at(deadline, join_all(killed)).await;
    // Also where a store that takes nothing answered at once: what is not stored was not done.
    let live = live_workers(engine).count();
    if live > 0 {
        tracing::warn!(live, "workers do not end: their programs are killed, and the next start tells of them");
        engine.abandon();
    }
}

fn live_workers(engine: &Engine) -> impl Iterator<Item = Worker> {
    let workers = engine.list_workers(&WorkerFilter::default(), None, usize::MAX).workers;
    workers.into_iter().filter(|worker| !worker.state.is_final())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fs;
    use std::pin::pin;

    use tokio::sync::Notify;

    use super::super::watch::Group;
    use super::*;

    #[tokio::test]
    async fn files_are_looked_after_until_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        fs::write(&file, "one").unwrap();
        let taken = std::sync::Arc::new(Notify::new());
        let group = {
            let taken = taken.clone();
            Group::new("a file", [file.clone()], move || {
                let taken = taken.clone();
                Ok(Box::new(move || taken.notify_one()))
            })
        };
        // It is served until the file was taken twice: as it was, and as it is then.
        let serving = pin!(async {
            taken.notified().await;
            fs::write(&file, "another").unwrap();
            taken.notified().await;
            Ok::<_, Infallible>(())
        });
        let (health, drain, mut watch) = (Health::of_nobody().await, Drain::new(), Watch::new(vec![group]));
        let long = Duration::from_hours(1);
        let ended = timeout(Duration::from_mins(1), end(serving, long, &health, &drain, None, &mut watch)).await;
        ended.expect("the file was looked at").unwrap();
    }
}
