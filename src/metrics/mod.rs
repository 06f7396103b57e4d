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
    LazyLock::force(&REFUSED);
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

/// A closed set of reasons, each with its counter.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident, $static:ident, $family:ident { $($(#[$why_doc:meta])* $why:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$why_doc])* $why,)*
        }

        static $static: LazyLock<Vec<Counter>> =
            LazyLock::new(|| [$($label,)*].iter().map(|why| families::$family.counter(&[("why", *why)])).collect());

        impl $name {
            /// One for this reason.
            pub fn count(self) {
                // In the order of the variants, one for each.
                $static[self as usize].increment(1);
            }
        }
    };
}

reasons! {
    /// Why a call is shed.
    Shed, SHED, SHED {
        /// Too many unary calls are in flight.
        Unary = "unary",
        /// Too many streams are open.
        Streams = "streams",
        /// Too many health checks are in flight, or watched.
        Health = "health",
    }
}

reasons! {
    /// Why a connection is ended, or never begins.
    Refused, REFUSED, CONNECTIONS_REFUSED {
        /// The system hands out none: it is out of descriptors, say.
        System = "system",
        /// It did not say in time that it speaks HTTP/2.
        Silent = "silent",
    }
}
