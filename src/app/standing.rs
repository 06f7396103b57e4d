//! What stands now, for those who ask for metrics: nothing of it is counted, and nobody looks unless somebody asks.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::storage::Logs;
use crate::engine::store::log::LogStanding;
use crate::engine::{Census, Engine};
use crate::metrics::{Family, Text, families};
use crate::model::RuntimeId;
use crate::registry::Registry;
use crate::runtime::{BreakerState, Reach};
use crate::tls::{Facts, ServerTls};

/// All that can be looked at.
pub(super) struct Standing {
    role: &'static str,
    since: Instant,
    engine: Option<Engine>,
    logs: Logs,
    registry: Option<Registry>,
    tls: Option<Arc<ArcSwap<ServerTls>>>,
}

impl Standing {
    /// Of a process in this role that serves from now on.
    pub(super) fn new(
        role: &'static str,
        engine: Option<&Engine>,
        logs: Logs,
        registry: Option<&Registry>,
        tls: Option<Arc<ArcSwap<ServerTls>>>,
    ) -> Self {
        Self { role, since: Instant::now(), engine: engine.cloned(), logs, registry: registry.cloned(), tls }
    }

    /// Writes all of it.
    pub(super) fn write(&self, text: &mut Text) {
        let version = env!("CARGO_PKG_VERSION");
        text.family(&families::BUILD).sample(&[("role", self.role), ("version", version)], 1.0);
        text.one(&families::UPTIME, self.since.elapsed().as_secs_f64());
        if let Some(bytes) = resident() {
            text.one(&families::RESIDENT, number(bytes));
        }
        if let Some(engine) = &self.engine {
            workers(text, engine);
        }
        stores(text, &self.logs.standing());
        let runtimes = self.registry.as_ref().map(Registry::runtimes);
        let reaches = runtimes.iter().flat_map(|all| all.iter()).filter_map(|it| Some((it.id(), it.reach()?)));
        let reaches: Vec<_> = reaches.collect();
        hosts(text, &reaches);
        self.certificates(text, &reaches);
    }

    /// Until when what is shown is valid: of what is shown to hosts, the one that ends first.
    fn certificates(&self, text: &mut Text, hosts: &[(&RuntimeId, Reach)]) {
        let ours = self.tls.as_ref().and_then(|tls| Facts::of(tls.load().certificate()?));
        let server = ours.map(|facts| ("server", facts.until));
        let client = hosts.iter().filter_map(|(_, host)| host.certificate_until).min().map(|until| ("client", until));
        let all: Vec<_> = server.into_iter().chain(client).collect();
        if all.is_empty() {
            return;
        }
        let mut samples = text.family(&families::CERTIFICATE_EXPIRY);
        for (role, until) in all {
            // One that was over in 1970 is over.
            let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            samples.sample(&[("role", role)], number(until.as_secs()));
        }
    }
}

fn workers(text: &mut Text, engine: &Engine) {
    let Census { starting, running, stopping, stopped, cancelled, failed, quarantined, receipts } = engine.census();
    let mut workers = text.family(&families::WORKERS);
    for (state, count) in [
        ("starting", starting),
        ("running", running),
        ("stopping", stopping),
        ("stopped", stopped),
        ("cancelled", cancelled),
        ("failed", failed),
    ] {
        workers.sample(&[("state", state)], number(count));
    }
    text.one(&families::WORKERS_MAX, engine.parts().limits.max_workers.into());
    text.one(&families::QUARANTINED, number(quarantined));
    text.one(&families::RECEIPTS, number(receipts));
}

fn stores(text: &mut Text, logs: &[(&'static str, LogStanding)]) {
    type Value = fn(&LogStanding) -> f64;
    let families: [(&Family, Value); 5] = [
        (&families::STORE_QUEUE, |log| number(log.waiting as u64)),
        (&families::STORE_BYTES, |log| number(log.stats.bytes)),
        (&families::STORE_LIVE, |log| number(log.stats.live)),
        (&families::STORE_FULL, |log| u8::from(log.is_full).into()),
        (&families::STORE_BROKEN, |log| u8::from(log.is_failing).into()),
    ];
    for (family, value) in families.into_iter().filter(|_| !logs.is_empty()) {
        let mut samples = text.family(family);
        for (store, log) in logs {
            samples.sample(&[("store", store)], value(log));
        }
    }
}

fn hosts(text: &mut Text, hosts: &[(&RuntimeId, Reach)]) {
    type Value = fn(&Reach) -> Option<f64>;
    if hosts.is_empty() {
        return;
    }
    let families: [(&Family, Value); 3] = [
        (&families::HOST_REACHABLE, |host| Some(u8::from(host.is_reachable).into())),
        (&families::HOST_SEEN, |host| host.seen_age.map(|age| age.as_secs_f64())),
        (&families::HOST_TOKENS, |host| Some(host.retry_tokens)),
    ];
    for (family, value) in families {
        let mut samples = text.family(family);
        for (id, host) in hosts {
            // One that was never heard of has no age.
            if let Some(value) = value(host) {
                samples.sample(&[("runtime_id", id.as_str())], value);
            }
        }
    }
    let mut breakers = text.family(&families::HOST_BREAKER);
    for (id, host) in hosts {
        for (state, name) in BreakerState::ALL {
            let is_in = u8::from(host.breaker == state);
            breakers.sample(&[("runtime_id", id.as_str()), ("state", name)], is_in.into());
        }
    }
    let mut in_flight = text.family(&families::HOST_IN_FLIGHT);
    for (id, host) in hosts {
        for (lane, count) in [("answered", host.in_flight), ("waiting", host.waiting)] {
            in_flight.sample(&[("runtime_id", id.as_str()), ("lane", lane)], number(count as u64));
        }
    }
}

/// The resident memory of this process, in bytes; where the system does not say, there is none to tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 nobody misses the ones")]
fn number(value: u64) -> f64 {
    value as f64
}
