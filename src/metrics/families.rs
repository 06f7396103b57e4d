//! Every family of series there is.

use super::{Family, Kind};

/// From half a millisecond, which a call on one machine takes, to half a minute, which is the default deadline. In seconds.
const LATENCIES: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From a good disk to one that hangs. In seconds.
const SYNCS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// As many as a group may take.
const BATCHES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

macro_rules! families {
    ($($name:ident: $kind:expr, $series:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Family = Family { name: $series, kind: $kind, help: $help };
        )*

        /// All of them.
        pub const ALL: &[Family] = &[$($name),*];
    };
}

families! {
    BUILD: Kind::Gauge, "workplane_build_info", "1: what this process is, by role and version";
    UPTIME: Kind::Gauge, "workplane_uptime_seconds", "How long this process has served";
    RESIDENT: Kind::Gauge, "workplane_resident_memory_bytes", "Memory of this process that is resident";

    CALLS: Kind::Counter, "workplane_calls_total",
        "Calls that ended, by service, method and code, or that they were no calls of gRPC";
    CALL_SECONDS: Kind::Histogram(LATENCIES), "workplane_call_seconds",
        "How long calls took until they were answered; of streams, until they were open";
    IN_FLIGHT: Kind::Gauge, "workplane_calls_in_flight",
        "Calls under way: a unary one until it is answered, a stream until it has ended";
    IN_FLIGHT_LIMIT: Kind::Gauge, "workplane_calls_in_flight_limit",
        "How many unary calls are let in at once now: fewer while they wait long for their turn";
    SHED: Kind::Counter, "workplane_calls_shed_total", "Calls that were refused because there was too much, by why";
    TOKENS_REFUSED: Kind::Counter, "workplane_tokens_refused_total", "Calls that showed no valid token";
    CONNECTIONS: Kind::Gauge, "workplane_connections", "Connections that are open";
    CONNECTIONS_ACCEPTED: Kind::Counter, "workplane_connections_accepted_total", "Connections that were accepted";
    CONNECTIONS_ENDED: Kind::Counter, "workplane_connections_ended_total",
        "Connections that were turned away or ended from here, by why";
    HANDSHAKES_FAILED: Kind::Counter, "workplane_tls_handshakes_failed_total",
        "Handshakes of TLS with clients that failed, by why";

    CERTIFICATE_EXPIRY: Kind::Gauge, "workplane_certificate_expiry_timestamp_seconds",
        "When the certificate that is shown expires, in seconds since 1970; of several in one role the first";
    FILES_REFUSED: Kind::Counter, "workplane_files_refused_total",
        "Files of tokens and certificates that have changed and cannot be used, by what they are";

    OBSERVERS: Kind::Gauge, "workplane_observers", "Readers of workers' streams";
    FRAMES_SENT: Kind::Counter, "workplane_frames_sent_total", "Frames that were handed to observers' streams";
    CATCH_UP_READS: Kind::Counter, "workplane_catch_up_reads_total",
        "Reads of stored events for observers that were behind";

    WORKERS: Kind::Gauge, "workplane_workers", "Workers of this process's own runtime, by state";
    WORKERS_MAX: Kind::Gauge, "workplane_workers_live_limit", "How many workers may be live at once";
    QUARANTINED: Kind::Gauge, "workplane_workers_quarantined", "Workers whose records cannot be read";
    WORKER_RESTARTS: Kind::Counter, "workplane_worker_restarts_total", "Programs that were started anew after a failure";
    RECEIPTS: Kind::Gauge, "workplane_receipts", "Answers that are kept for requests that come again";

    STORE_GROUPS: Kind::Histogram(BATCHES), "workplane_store_group_batches",
        "Commit groups that landed, by how many batches each had";
    STORE_SYNCS: Kind::Histogram(SYNCS), "workplane_store_sync_seconds", "How long the syncs of the disk took";
    STORE_FAILURES: Kind::Counter, "workplane_store_failures_total",
        "Commit groups that could not be written or synced, also for want of room";
    STORE_QUEUE: Kind::Gauge, "workplane_store_queue_batches", "Batches that wait for the disk";
    STORE_BYTES: Kind::Gauge, "workplane_store_bytes", "What the store takes, without room that was taken ahead";
    STORE_LIVE: Kind::Gauge, "workplane_store_live_bytes", "How much of that is still needed";
    STORE_FULL: Kind::Gauge, "workplane_store_full", "1: the last commit found no room, and what is new is refused";
    STORE_BROKEN: Kind::Gauge, "workplane_store_broken", "1: the store takes nothing any more";

    HOST_REACHABLE: Kind::Gauge, "workplane_host_reachable", "1: the host was reached last, and is the one it should be";
    HOST_SEEN: Kind::Gauge, "workplane_host_seen_age_seconds", "How long ago the host was last heard of";
    HOST_CALLS: Kind::Counter, "workplane_host_calls_total", "Calls to the host, by method and outcome";
    HOST_CALL_SECONDS: Kind::Histogram(LATENCIES), "workplane_host_call_seconds",
        "How long calls to the host took, with all their attempts";
    HOST_RETRIES: Kind::Counter, "workplane_host_retries_total", "Attempts at calls to the host beside the first";
    HOST_BREAKER: Kind::Gauge, "workplane_host_breaker", "1: the breaker is in this state";
    HOST_BREAKER_OPENED: Kind::Counter, "workplane_host_breaker_opened_total", "How often the breaker opened";
    HOST_TOKENS: Kind::Gauge, "workplane_host_retry_tokens",
        "What is left of the budget of retries: 10 is full, and with less than 5 there are none";
    HOST_IN_FLIGHT: Kind::Gauge, "workplane_host_calls_in_flight",
        "Attempts under way: those that are answered at once, and those that wait for something to happen";
}
