//! The writer of a relay's tail: opens the upstream, follows it, and gets it back when it is lost.

use std::sync::Arc;
use std::time::SystemTime;

use super::super::Core;
use super::super::link::unreachable;
use super::Opened;
use super::backoff::Backoff;
use super::follower::{Follower, Step};
use super::upstream::Upstream;
use crate::engine::{ObserveFrom, Progress, Tail};
use crate::model::{Diagnostic, Error, EventKind, Reason, Result, Worker, WorkerId};
use crate::proto::host_client::malformed;

/// Follows a worker to its end. `opened` is told once there is something to read.
pub(super) async fn follow(core: &Arc<Core>, worker_id: &WorkerId, opened: impl FnOnce(Opened)) -> Result<()> {
    let mut upstream = Upstream::open(core, worker_id, ObserveFrom::Now, None).await?;
    let incarnation = upstream.incarnation();
    let mut follower = Follower::new(&core.runtime_id, worker_id, incarnation, 0);
    let first = upstream.next(core).await?.ok_or_else(|| malformed("a stream without a snapshot"))?;
    let begun = follower.begin(&first)?;
    let ended = begun.worker.state.is_final();
    let tail = Arc::new(Tail::new(Arc::new(begun.worker)));
    tail.touch(SystemTime::now());
    if let Some(text) = begun.in_progress {
        tail.publish(|_| {}, Progress::Now(text), []);
    }
    opened(Opened { incarnation, tail: Arc::clone(&tail) });
    if ended {
        return Ok(());
    }

    let mut backoff = Backoff::new();
    loop {
        match pump(core, &mut upstream, &mut follower, &tail, &mut backoff).await {
            Ok(()) => return Ok(()),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        say(&tail, upstream_lost(), true);
        upstream = regain(core, worker_id, &mut follower, &tail, &mut backoff).await?;
        say(&tail, upstream_found(), false);
    }
}

/// Publishes what comes until the worker has ended; any other end of the stream is a loss.
async fn pump(
    core: &Core,
    upstream: &mut Upstream,
    follower: &mut Follower,
    tail: &Tail,
    backoff: &mut Backoff,
) -> Result<()> {
    while let Some(frame) = upstream.next(core).await? {
        tail.touch(SystemTime::now());
        let Step::Publish(publication) = follower.take(frame)? else { continue };
        backoff.settled();
        let (frame, progress) = (publication.frame.clone(), publication.progress.clone());
        let ended = frame.kind == EventKind::End;
        tail.publish(|worker| publication.apply(worker), progress, [frame]);
        if ended {
            return Ok(());
        }
    }
    Err(unreachable(&core.runtime_id))
}

/// Opens the stream anew after our cursor; gives up after a while, or where the host refuses for good.
async fn regain(
    core: &Core,
    worker_id: &WorkerId,
    follower: &mut Follower,
    tail: &Tail,
    backoff: &mut Backoff,
) -> Result<Upstream> {
    backoff.lost_again();
    let mut last = unreachable(&core.runtime_id);
    while backoff.wait().await {
        match resume(core, worker_id, follower, tail).await {
            Ok(upstream) => return Ok(upstream),
            Err(error) if is_passing(&error) => last = error,
            Err(error) => return Err(error),
        }
    }
    // Whatever the last attempt failed with, what the reader must know is that the host is away.
    tracing::info!(runtime_id = %core.runtime_id, reason = last.reason().as_str(), "a host stayed away too long");
    Err(unreachable(&core.runtime_id).with("worker_id", worker_id))
}

async fn resume(core: &Core, worker_id: &WorkerId, follower: &mut Follower, tail: &Tail) -> Result<Upstream> {
    let from = ObserveFrom::After(follower.cursor());
    let mut upstream = match Upstream::open(core, worker_id, from, None).await {
        Err(refused) => {
            // What we had not read yet may be gone: then the stream goes on behind it.
            let gap = follower.missing(&refused).ok_or(refused)?;
            let to = gap.sequence;
            tail.publish(|worker| worker.last_event_id = to, Progress::Done, [gap]);
            Upstream::open(core, worker_id, ObserveFrom::After(follower.cursor()), None).await?
        }
        Ok(upstream) => upstream,
    };
    let first = upstream.next(core).await?.ok_or_else(|| unreachable(&core.runtime_id))?;
    let (progress, now) = follower.resume(&first)?;
    tail.touch(SystemTime::now());
    let turned = follower.turned(&tail.view(), &now);
    let adopt = |worker: &mut Worker| {
        worker.last_progress_at = worker.last_progress_at.max(now.last_progress_at);
        (worker.activity, worker.activity_since) = (now.activity, now.activity_since);
        worker.activity_detail = now.activity_detail;
    };
    tail.publish(adopt, progress, turned);
    Ok(upstream)
}

/// Whether the same may go well in a while.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::RemoteRuntimeNetworkError
            | Reason::RemoteRuntimeTimeout
            | Reason::DeadlineExceeded
            | Reason::Draining
            | Reason::Overloaded
    )
}

fn upstream_lost() -> Diagnostic {
    Diagnostic::warning(
        "upstream_disconnect",
        "the connection to the host was lost; the stream goes on when it is back",
    )
}

fn upstream_found() -> Diagnostic {
    Diagnostic::info("upstream_reconnected", "the host is back; the stream goes on without a gap")
}

/// Tells all readers of the stream itself, and those who come whether what they see first is `stale`.
fn say(tail: &Tail, diagnostic: Diagnostic, stale: bool) {
    tail.notice(|worker| worker.stale = stale, diagnostic);
}
