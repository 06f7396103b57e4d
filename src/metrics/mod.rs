//! What is measured: the name, kind and meaning of every series in one place, and what the rooms count with.
//!
//! The `metrics` crate is a facade, as `tracing` is: rooms say what happened, and the composition root decides whether
//! anybody listens (`telemetry::scrape`). Until somebody does, all that is counted goes nowhere, so that the recorder must
//! be there before the first handle is made. Handles are made once and kept: nothing allocates when something is counted.
//!
//! The values of labels are closed sets: methods that are served, codes, states, the ids of runtimes that the
//! configuration names. Never what a caller gives.
//!
//! What *happens* is counted where it happens, through these handles. What *stands* (a queue's length, a host's state) is
//! looked at when somebody asks, and written as [`Text`]: so nothing is left of a host that is gone.

pub mod families;
mod text;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ::metrics::{Counter, Gauge, Histogram};

pub use text::{Samples, Text};

/// A family of series: what is said of all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it means.
    pub help: &'static str,
}

/// What the numbers of a family are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It rises, until the process ends.
    Counter,
    /// It stands where it stands.
    Gauge,
    /// How many were below each of these bounds.
    Histogram(&'static [f64]),
}

impl Family {
    /// What counts under these labels.
    pub fn counter(&self, labels: &[(&'static str, &str)]) -> Counter {
        ::metrics::counter!(self.name, &owned(labels))
    }

    /// What goes up and down under these labels.
    pub fn gauge(&self, labels: &[(&'static str, &str)]) -> Gauge {
        ::metrics::gauge!(self.name, &owned(labels))
    }

    /// What takes values under these labels.
    pub fn histogram(&self, labels: &[(&'static str, &str)]) -> Histogram {
        ::metrics::histogram!(self.name, &owned(labels))
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// Whether anybody listens.
static LISTENED_TO: AtomicBool = AtomicBool::new(false);

/// Somebody listens from now on: the recorder is there. What has no labels, or few, is there from the start, as 0.
pub fn begin() {
    LISTENED_TO.store(true, Ordering::Relaxed);
    for gauge in [&CONNECTIONS, &OBSERVERS] {
        gauge.increment(0.0);
    }
    for counter in [&CONNECTIONS_ACCEPTED, &TOKENS_REFUSED, &FRAMES_SENT, &CATCH_UP_READS, &WORKER_RESTARTS] {
        counter.increment(0);
    }
    LazyLock::force(&SHED);
    LazyLock::force(&HANDSHAKES_FAILED);
    LazyLock::force(&FILES_REFUSED);
    families::CONNECTIONS_ENDED.counter(&[("why", NOT_ACCEPTED)]).increment(0);
}

/// Whether anybody listens: what costs more than a counter is left out where nobody does.
#[must_use]
pub fn is_listened_to() -> bool {
    LISTENED_TO.load(Ordering::Relaxed)
}

/// Connections that are open.
pub static CONNECTIONS: LazyLock<Gauge> = LazyLock::new(|| families::CONNECTIONS.gauge(&[]));
/// Connections that were accepted.
pub static CONNECTIONS_ACCEPTED: LazyLock<Counter> = LazyLock::new(|| families::CONNECTIONS_ACCEPTED.counter(&[]));
/// Calls without a valid token.
pub static TOKENS_REFUSED: LazyLock<Counter> = LazyLock::new(|| families::TOKENS_REFUSED.counter(&[]));
/// Readers of workers' streams.
pub static OBSERVERS: LazyLock<Gauge> = LazyLock::new(|| families::OBSERVERS.gauge(&[]));
/// Frames that were handed to observers' streams.
pub static FRAMES_SENT: LazyLock<Counter> = LazyLock::new(|| families::FRAMES_SENT.counter(&[]));
/// Reads of the store, or of a host's, for observers that were behind.
pub static CATCH_UP_READS: LazyLock<Counter> = LazyLock::new(|| families::CATCH_UP_READS.counter(&[]));
/// Programs that were started anew.
pub static WORKER_RESTARTS: LazyLock<Counter> = LazyLock::new(|| families::WORKER_RESTARTS.counter(&[]));

/// What counts for as long as it is there.
#[derive(Debug)]
pub struct Counted(&'static LazyLock<Gauge>);

impl Counted {
    /// One more.
    #[must_use]
    pub fn new(gauge: &'static LazyLock<Gauge>) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Why a call is shed: there is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Unary calls are in flight.
    Unary,
    /// Of these, on one connection.
    Connection,
    /// Streams are open, in all or of one caller.
    Streams,
    /// Health checks are in flight, or watched.
    Health,
    /// Memory is taken by requests.
    Memory,
}

static SHED: LazyLock<[Counter; 5]> = LazyLock::new(|| {
    // In the order of the variants.
    ["unary", "connection", "streams", "health", "memory"].map(|why| families::SHED.counter(&[("why", why)]))
});

impl Shed {
    /// One more.
    pub fn count(self) {
        SHED[self as usize].increment(1);
    }
}

/// Why a handshake of TLS with a client fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client does not speak TLS.
    NotTls,
    /// It showed no certificate, and must.
    NoCertificate,
    /// The certificate that it showed is not taken.
    Certificate,
    /// It does not take ours.
    RefusedByClient,
    /// There is no version or protocol that both speak.
    Protocol,
    /// It took too long.
    TooLong,
    /// It gave way to newer ones.
    GaveWay,
    /// The connection ended.
    BrokenOff,
}

static HANDSHAKES_FAILED: LazyLock<[Counter; 8]> = LazyLock::new(|| {
    // In the order of the variants.
    let names = [
        "not_tls",
        "no_certificate",
        "certificate",
        "refused_by_client",
        "protocol",
        "too_long",
        "gave_way",
        "broken_off",
    ];
    names.map(|why| families::HANDSHAKES_FAILED.counter(&[("why", why)]))
});

impl HandshakeFailure {
    /// One more.
    pub fn count(self) {
        HANDSHAKES_FAILED[self as usize].increment(1);
    }
}

/// A file that is looked after while a server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchedFile {
    /// Of tokens.
    Tokens,
    /// Of a certificate, or of its key.
    Certificate,
    /// Of authorities.
    Authority,
}

static FILES_REFUSED: LazyLock<[Counter; 3]> = LazyLock::new(|| {
    // In the order of the variants.
    ["tokens", "certificate", "authority"].map(|kind| families::FILES_REFUSED.counter(&[("kind", kind)]))
});

impl WatchedFile {
    /// One more of them has changed and cannot be used.
    pub fn refused(self) {
        FILES_REFUSED[self as usize].increment(1);
    }
}

/// What a connection comes to that the system does not hand out: it is out of descriptors, say.
pub const NOT_ACCEPTED: &str = "none could be accepted";

/// A connection is turned away, or ended from here. The reason is one of the words that are written where that is done.
pub fn connection_ended(why: &'static str) {
    families::CONNECTIONS_ENDED.counter(&[("why", why)]).increment(1);
}
