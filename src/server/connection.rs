//! One accepted connection, for all who hold a piece of it: the listener makes it, the layers count on it, and the wrapped
//! socket looks at it. It travels as tonic's connect info in the extensions of every request.
//!
//! What a library that is polite cannot do from above, an end that is [`Connection::end`] does: the socket's next read or
//! write fails, and it is woken for that. All that a connection may be ended for by the clock is looked at in one place,
//! for all of them together ([`Connections`]), so that a call costs no timer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Context;
use std::time::Duration;
use std::{fmt, io};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::edge::Edge;
use super::seldom::Seldom;
use super::tally::{Counted, Tally};
use crate::metrics::{CONNECTIONS, CONNECTIONS_ACCEPTED, Counted as Open, connection_ended};
use crate::model::Caller;

/// How long a connection that is refused goes on, so that the refusal is read.
const SOON: Duration = Duration::from_secs(1);
/// How often all connections are looked at; more often where a limit is short.
const LOOK: Duration = Duration::from_millis(500);
/// How many parts the time is counted in that an answer may stay unread: all but the one that begins are over.
const PARTS: u8 = 5;
/// No time.
const NEVER: u64 = u64::MAX;

/// The connections of a listener: how many there are of whom, and a look at all of them now and then.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Table>);

#[derive(Debug)]
struct Table {
    edge: Edge,
    began: Instant,
    /// Milliseconds since then, as of the last look, and never 0.
    now: AtomicU64,
    /// Where in `unread` what is handed out now is counted.
    part: AtomicUsize,
    room: Arc<Semaphore>,
    strangers: Tally<IpAddr>,
    callers: Tally<Caller>,
    open: Mutex<Vec<Weak<Shared>>>,
    turned_away: Seldom,
}

/// One connection. Clones are the same.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    table: Arc<Table>,
    address: SocketAddr,
    since: u64,
    /// By when the next thing must have come, or the connection ends.
    due: AtomicU64,
    asked: AtomicBool,
    /// While nobody has authenticated on it.
    stranger: Mutex<Option<Counted<IpAddr>>>,
    /// Who was the first to; `None` where that one has too many others.
    caller: OnceLock<Option<Counted<Caller>>>,
    unary: AtomicUsize,
    /// Answers that have handed something out and have not been asked for more, by the part of time when they did.
    unread: [AtomicUsize; PARTS as usize],
    /// Since when the socket takes nothing; 0 where it does.
    blocked: AtomicU64,
    /// Why it must end.
    over: OnceLock<&'static str>,
    socket: AtomicWaker,
    _room: OwnedSemaphorePermit,
    _open: Open,
}

// === impl Connections ===

impl Connections {
    /// None yet. They are looked at by a task that ends with the last of them and with this.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(edge: &Edge) -> Self {
        let table = Arc::new(Table {
            edge: *edge,
            began: Instant::now(),
            now: AtomicU64::new(1),
            part: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(edge.max_connections)),
            strangers: Tally::default(),
            callers: Tally::default(),
            open: Mutex::default(),
            turned_away: Seldom::default(),
        });
        tokio::spawn(tend(
            Arc::downgrade(&table),
            edge.stalled_stream_timeout / u32::from(PARTS - 1),
            look_every(edge),
        ));
        Self(table)
    }

    /// The limits that they have.
    pub(super) fn edge(&self) -> &Edge {
        &self.0.edge
    }

    /// Waits until there is room for one more.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.0.room.clone().acquire_owned().await.ok()
    }

    /// One that was accepted; `None` where as many come from there already that have not said who they are.
    pub(super) fn take(&self, address: SocketAddr, room: OwnedSemaphorePermit) -> Option<Connection> {
        let table = &self.0;
        let stranger = match neighbourhood(address.ip()) {
            Some(from) => {
                let counted = table.strangers.take(&from, table.edge.max_connections_per_address);
                if counted.is_none() {
                    table.turn_away("one address has too many connections without a token");
                    return None;
                }
                counted
            }
            None => None,
        };
        let shared = Arc::new(Shared {
            table: table.clone(),
            address,
            since: table.now(),
            due: AtomicU64::new(NEVER),
            asked: AtomicBool::new(false),
            stranger: Mutex::new(stranger),
            caller: OnceLock::new(),
            unary: AtomicUsize::new(0),
            unread: Default::default(),
            blocked: AtomicU64::new(0),
            over: OnceLock::new(),
            socket: AtomicWaker::new(),
            _room: room,
            _open: Open::new(&CONNECTIONS),
        });
        CONNECTIONS_ACCEPTED.increment(1);
        table.open.lock().push(Arc::downgrade(&shared));
        Some(Connection(shared))
    }
}

/// How often connections are to be looked at, for what is to be found late by a fourth at most.
fn look_every(edge: &Edge) -> Duration {
    let part = edge.stalled_stream_timeout / 4;
    let limits = [edge.preface_timeout, edge.first_request_timeout, edge.connection_age_grace, part];
    limits.into_iter().fold(LOOK, |least, limit| least.min(limit / 4)).max(Duration::from_millis(5))
}

/// Looks at all connections as long as there can be any.
async fn tend(table: Weak<Table>, part: Duration, every: Duration) {
    let mut next_part = Instant::now() + part;
    loop {
        sleep(every).await;
        let Some(table) = table.upgrade() else { return };
        let turns = Instant::now() >= next_part;
        if turns {
            // Not from when it should have been: a process that was stopped has not seen what was read meanwhile.
            next_part = Instant::now() + part;
        }
        table.look(turns);
    }
}

impl Table {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Not as of the last look.
    fn after(&self, time: Duration) -> u64 {
        millis(self.began.elapsed() + time) + 1
    }

    /// Ends those whose time is over. Where a part of it `turns`, whatever was counted in the oldest is stalled.
    fn look(&self, turns: bool) {
        self.now.store(millis(self.began.elapsed()) + 1, Ordering::Relaxed);
        let oldest = turns.then(|| (self.part.load(Ordering::Relaxed) + 1) % usize::from(PARTS));
        self.open.lock().retain(|connection| {
            let connection = connection.upgrade().map(Connection);
            if let Some(connection) = &connection {
                connection.look(oldest);
            }
            connection.is_some()
        });
        if let Some(next) = oldest {
            self.part.store(next, Ordering::Relaxed);
        }
    }

    fn turn_away(&self, why: &'static str) {
        connection_ended(why);
        if let Some(connections) = self.turned_away.count() {
            tracing::warn!(connections, why, "connections were turned away");
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER)
}

/// Where strangers are counted together: an address, or what one customer has of IPv6. This machine is no stranger.
fn neighbourhood(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()),
        IpAddr::V4(address) => Some(address.into()),
    }
}

// === impl Connection ===

impl Connection {
    /// Where it comes from.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Who was the first to authenticate on it.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.get()?.as_ref().map(Counted::key)
    }

    /// Ends it, whatever it is doing: what goes over it is not told. `why` is for the log.
    pub fn end(&self, why: &'static str) {
        if self.0.over.set(why).is_ok() {
            connection_ended(why);
            tracing::debug!(from = %self.0.address, why, "a connection is ended");
            self.0.socket.wake();
        }
    }

    /// Ends it once what was just said can have been read, whatever is asked for meanwhile.
    fn end_soon(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
        self.0.due.fetch_min(self.0.table.after(SOON), Ordering::Relaxed);
    }

    /// Fails where it must end; `cx` is woken when it must.
    pub(super) fn watch(&self, cx: &Context<'_>) -> io::Result<()> {
        self.0.socket.register(cx.waker());
        self.check()
    }

    /// Fails where it must end.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.0.over.get() {
            None => Ok(()),
            Some(why) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, *why)),
        }
    }

    /// It is handed to HTTP/2: its preface is waited for.
    pub(super) fn begins(&self) {
        self.wait_for(self.0.table.edge.preface_timeout);
    }

    /// It speaks HTTP/2: its first request is waited for.
    pub(super) fn spoke(&self) {
        self.wait_for(self.0.table.edge.first_request_timeout);
    }

    fn wait_for(&self, time: Duration) {
        self.0.due.store(self.0.table.after(time), Ordering::Relaxed);
    }

    /// Something was asked for by whom it may be.
    pub(super) fn asked(&self) {
        if !self.0.asked.load(Ordering::Relaxed) && !self.0.asked.swap(true, Ordering::Relaxed) {
            self.0.due.store(NEVER, Ordering::Relaxed);
        }
    }

    /// Whether the caller that has shown a token may have this connection. The first one's it is from then on; where
    /// that one has too many, nobody's, and it ends.
    pub(super) fn authenticated(&self, caller: &Caller) -> bool {
        let Shared { table, stranger, caller: first, .. } = &*self.0;
        let counted = first.get_or_init(|| {
            let counted = table.callers.take(caller, table.edge.max_connections_per_caller);
            if counted.is_some() {
                *stranger.lock() = None;
            } else {
                table.turn_away("one caller has too many connections");
                self.end_soon();
            }
            counted
        });
        counted.is_some()
    }

    /// One more unary call on it, until its answer was read; `None` where it has all that it may have, unless this is
    /// one for which there is room in `any` case.
    pub(super) fn unary(&self, any: bool) -> Option<Unary> {
        let most = self.0.table.edge.max_unary_per_connection;
        let call = Unary(self.clone());
        let before = self.0.unary.fetch_add(1, Ordering::Relaxed);
        (any || before < most).then_some(call)
    }

    /// An answer that is to be read on it.
    pub(super) fn answer(&self) -> Unread {
        Unread { connection: self.clone(), part: None }
    }

    /// The time as of the last look, in milliseconds.
    pub(super) fn now(&self) -> u64 {
        self.0.table.now()
    }

    /// The socket takes what is written to it, or not.
    pub(super) fn takes(&self, it_does: bool) {
        let blocked = &self.0.blocked;
        let was_blocked = blocked.load(Ordering::Relaxed) != 0;
        if was_blocked == it_does {
            blocked.store(if it_does { 0 } else { self.0.table.now() }, Ordering::Relaxed);
        }
    }

    fn look(&self, oldest: Option<usize>) {
        let Shared { table, since, due, unread, blocked, .. } = &*self.0;
        let (edge, now) = (&table.edge, table.now());
        let passed = |from: u64, time: Duration| now.saturating_sub(from) >= millis(time);
        let blocked = blocked.load(Ordering::Relaxed);
        if now >= due.load(Ordering::Relaxed) {
            self.end("its time to speak or to go is over");
        } else if blocked != 0 && passed(blocked, edge.keepalive_interval + edge.keepalive_timeout) {
            self.end("it reads nothing at all");
        } else if oldest.is_some_and(|part| unread[part].load(Ordering::Relaxed) > 0) {
            self.end("an answer or a stream on it is not read");
        } else if edge.max_connection_age.is_some_and(|age| passed(*since, age + edge.connection_age_grace)) {
            self.end("it has reached its age");
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.0.address).finish_non_exhaustive()
    }
}

/// A unary call that counts on its connection until this is dropped.
pub(super) struct Unary(Connection);

impl Drop for Unary {
    fn drop(&mut self) {
        self.0.0.unary.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether what was handed out of an answer is being read.
pub(super) struct Unread {
    connection: Connection,
    part: Option<usize>,
}

impl Unread {
    /// Something was handed out: nothing more is asked for before there is room for it.
    pub(super) fn handed(&mut self) {
        let Shared { table, unread, .. } = &*self.connection.0;
        let part = table.part.load(Ordering::Relaxed);
        unread[part].fetch_add(1, Ordering::Relaxed);
        self.part = Some(part);
    }

    /// More is asked for.
    pub(super) fn taken(&mut self) {
        if let Some(part) = self.part.take() {
            self.connection.0.unread[part].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.taken();
    }
}

#[cfg(test)]
mod tests;
