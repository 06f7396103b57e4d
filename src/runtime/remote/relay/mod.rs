//! One upstream for each observed worker of a host, however many observe it.
//!
//! The first reader opens it; it goes on while there are readers, and a little longer, so that one who comes back finds
//! it. A relay keeps its own view of the worker from the frames that pass, and publishes those with the host's own bytes
//! to a [`Tail`], from which readers pull at their own pace; whoever falls behind it reads from the host ([`history`]).
//!
//! ```text
//!              first snapshot                connection lost              found again, same cursor
//!   OPENING ──────────────────▶ FOLLOWING ──────────────────▶ RECONNECTING ──────────────────────▶ FOLLOWING
//!      │ refused                   │ worker ended, malformed,     │ refused, or 30 s over
//!      ▼                           ▼ no reader for 5 s            ▼
//!    told to who waits           over                           over: readers get the reason, their cursor is good
//! ```

mod backoff;
mod follow;
mod follower;
mod gap;
mod history;
mod upstream;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_gap;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::Core;
use super::link::too_late;
use crate::engine::{Observation, ObserveFrom, Tail};
use crate::model::{CallContext, Cursor, Error, Incarnation, Reason, Result, WorkerId};
use crate::runtime::budget::budget;
use history::HostHistory;

/// How many workers of one host are observed at most: below the streams that a host allows on one connection (1,000),
/// so that there is room for readers that are fed from the host's store.
const MAX_RELAYS: usize = 900;
/// How long a relay stays without readers.
const LINGER: Duration = Duration::from_secs(5);

/// The relays of one host.
#[derive(Default)]
pub(super) struct Relays(Mutex<HashMap<WorkerId, Arc<Relay>>>);

/// One relay, as its readers know it.
struct Relay {
    /// How it stands; `None` until the host has answered.
    opened: watch::Sender<Option<Result<Opened>>>,
    leases: AtomicUsize,
    /// The last lease is gone.
    idle: Notify,
}

/// A relay that has its first snapshot.
#[derive(Clone)]
struct Opened {
    incarnation: Incarnation,
    tail: Arc<Tail>,
}

/// A reader's share in a relay: while there is one, the relay goes on.
struct Lease(Arc<Relay>);

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.leases.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl Lease {
    fn new(relay: &Arc<Relay>) -> Self {
        relay.leases.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(relay))
    }

    /// Waits for the host's first answer.
    async fn opened(&self) -> Result<Opened> {
        let mut opened = self.0.opened.subscribe();
        match opened.wait_for(Option::is_some).await.map(|opened| opened.clone()) {
            Ok(Some(opened)) => opened,
            // The sender is in the relay that this lease holds, so that it cannot be gone.
            Ok(None) | Err(_) => Err(Error::new(Reason::RemoteRuntimeNetworkError, "the relay ended")),
        }
    }
}

/// Opens a reader of a worker of this host.
pub(super) async fn observe(
    core: &Arc<Core>,
    ctx: &CallContext,
    worker_id: &WorkerId,
    from: ObserveFrom,
    stop_after: Option<u64>,
) -> Result<Observation> {
    let until = budget(ctx, core.timeout())?;
    let lease = join(core, worker_id)?;
    let opened = match timeout_at(until, lease.opened()).await.map_err(|_| too_late(&core.runtime_id))? {
        Err(unknown) if unknown.reason() == Reason::UnknownWorker => return Err(gone(core, from, unknown, until).await),
        opened => opened?,
    };
    let after = match from {
        ObserveFrom::Now => None,
        ObserveFrom::Beginning => Some(opened.tail.view().first_sequence.saturating_sub(1)),
        ObserveFrom::After(cursor) => Some(usable(core, ctx, worker_id, &opened, cursor, until).await?),
    };
    let Opened { incarnation, tail } = opened;
    let (core, worker_id, told) = (Arc::clone(core), worker_id.clone(), Arc::clone(&tail));
    let history = HostHistory { core, worker_id, incarnation, tail: told, _lease: lease };
    Ok(Observation::open(incarnation, tail, Arc::new(history), after, stop_after))
}

/// What a reader of a worker that the host does not know is told: where its cursor is of a store that is gone, that is
/// the news.
async fn gone(core: &Core, from: ObserveFrom, unknown: Error, until: Instant) -> Error {
    let ObserveFrom::After(cursor) = from else { return unknown };
    match core.observation.connection(until).await {
        Ok(connection) if connection.incarnation != cursor.incarnation => {
            Error::new(Reason::CursorExpired, "the cursor is of another incarnation of the runtime")
                .with("recovery", &"list the workers: this one is not there any more")
        }
        Ok(_) | Err(_) => unknown,
    }
}

/// The sequence after which a reader with this cursor goes on. One that is ahead of the relay may have been handed out
/// by another replica: then the host says whether it is of the future, and the relay catches up with it.
async fn usable(
    core: &Core,
    ctx: &CallContext,
    worker_id: &WorkerId,
    opened: &Opened,
    cursor: Cursor,
    until: Instant,
) -> Result<u64> {
    let view = opened.tail.view();
    let expired = |why| {
        let oldest = Cursor::new(opened.incarnation, worker_id, view.first_sequence.saturating_sub(1));
        Error::new(Reason::CursorExpired, why)
            .with("oldest_cursor", &oldest.encode())
            .with("recovery", &"observe again without a cursor, or from oldest_cursor")
    };
    if cursor.incarnation != opened.incarnation {
        return Err(expired("the cursor is of another incarnation of the runtime"));
    }
    if cursor.sequence + 1 < view.first_sequence {
        return Err(expired("the cursor is before the first event that is kept"));
    }
    if cursor.sequence > view.last_event_id {
        if cursor.sequence > core.get_worker(ctx, worker_id).await?.last_event_id {
            return Err(expired("the cursor is past the worker's last event"));
        }
        let caught_up = opened.tail.wait_for(|worker| worker.last_event_id >= cursor.sequence);
        timeout_at(until, caught_up).await.map_err(|_| too_late(&core.runtime_id))?;
    }
    Ok(cursor.sequence)
}

/// Joins the relay of a worker, or starts it.
fn join(core: &Arc<Core>, worker_id: &WorkerId) -> Result<Lease> {
    let mut relays = core.relays.0.lock();
    if let Some(relay) = relays.get(worker_id) {
        return Ok(Lease::new(relay));
    }
    if relays.len() >= MAX_RELAYS {
        return Err(Error::new(Reason::Overloaded, "too many workers of this host are observed")
            .with("runtime_id", &core.runtime_id)
            .retry_after(Duration::from_secs(1)));
    }
    if let Some(wait) = core.guard.is_open() {
        return Err(core.spared(wait));
    }
    let relay = Arc::new(Relay { opened: watch::Sender::new(None), leases: AtomicUsize::new(0), idle: Notify::new() });
    let lease = Lease::new(&relay);
    relays.insert(worker_id.clone(), Arc::clone(&relay));
    core.handle.spawn(run(Arc::clone(core), worker_id.clone(), relay));
    Ok(lease)
}

/// A relay's life.
async fn run(core: Arc<Core>, worker_id: WorkerId, relay: Arc<Relay>) {
    let over = tokio::select! {
        over = follow::follow(&core, &worker_id, |opened| _ = relay.opened.send_replace(Some(Ok(opened)))) => over,
        () = core.closing.cancelled() => Err(core.closing.error(&core.runtime_id)),
        () = abandoned(&core, &worker_id, &relay) => Ok(()),
    };
    leave(&core, &worker_id, &relay);
    let Err(error) = over else { return };
    let opened = match &*relay.opened.borrow() {
        Some(Ok(opened)) => Some(Arc::clone(&opened.tail)),
        _ => None,
    };
    match opened {
        Some(tail) => tail.fail(error),
        None => _ = relay.opened.send_replace(Some(Err(error))),
    }
}

/// Waits until nobody has held a lease for a while; the relay is then where nobody finds it any more.
async fn abandoned(core: &Core, worker_id: &WorkerId, relay: &Arc<Relay>) {
    loop {
        relay.idle.notified().await;
        tokio::time::sleep(LINGER).await;
        let mut relays = core.relays.0.lock();
        // Leases are taken under this lock, so that none comes now.
        if relay.leases.load(Ordering::Acquire) == 0 {
            relays.remove(worker_id);
            return;
        }
    }
}

/// Takes the relay away from where readers look for it, if it is still this one.
fn leave(core: &Core, worker_id: &WorkerId, relay: &Arc<Relay>) {
    let mut relays = core.relays.0.lock();
    if relays.get(worker_id).is_some_and(|current| Arc::ptr_eq(current, relay)) {
        relays.remove(worker_id);
    }
}
