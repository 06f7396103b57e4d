//! A control plane under attack, and somebody else who goes on calling it: what each trap has to show.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use workplane::proto::v1::ListRuntimesRequest;

use super::wire::Wire;
use crate::support::{Client, Plane, until, within};

/// The token of the tests, as a header has it.
pub(crate) const TOKEN: &str = "Bearer token-of-the-tests";
/// How much the server may grow, whatever is done to it.
pub(crate) const GROWTH: u64 = 64 << 20;
/// How many calls are measured before.
const CALLS: usize = 200;

/// How often something is done: so often in CI, and so often in the long form.
pub(crate) fn times(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

/// Whether this is the long form.
pub(crate) fn is_long() -> bool {
    std::env::var_os("WORKPLANE_TRAPS").is_some_and(|form| form == "long")
}

/// A control plane, and a client of it that calls all the time.
pub(crate) struct Scene {
    pub(crate) plane: Plane,
    before: u64,
    calm: Duration,
    over: CancellationToken,
    calls: JoinHandle<Vec<Duration>>,
}

impl Scene {
    /// A control plane with these limits; the others are the defaults.
    pub(crate) async fn with(limits: &[(&'static str, &str)]) -> Self {
        let builder = limits.iter().fold(Plane::new(), |builder, (key, value)| builder.limit(key, value));
        Self::at(builder.start().await).await
    }

    pub(crate) async fn at(mut plane: Plane) -> Self {
        let client = plane.client();
        let mut times = Vec::new();
        for _ in 0..CALLS {
            times.push(call(&client).await);
        }
        let before = plane.process().memory().now;
        let over = CancellationToken::new();
        let ended = over.clone();
        let calls = tokio::spawn(async move {
            let mut times = Vec::new();
            while !ended.is_cancelled() || times.is_empty() {
                times.push(call(&client).await);
            }
            times
        });
        Self { plane, before, calm: p99(times), over, calls }
    }

    pub(crate) async fn wire(&self) -> Wire {
        Wire::open(self.plane.address()).await
    }

    /// Waits until so many connections were ended for this reason, and sees that none was for another; the control plane
    /// serves metrics.
    pub(crate) async fn ended(&self, why: &str, connections: u32) {
        const ENDED: &str = "workplane_connections_ended_total";
        let wanted = f64::from(connections);
        let scrape = until(&format!("{connections} connections to end: {why}"), || async {
            let scrape = self.plane.scrape().await;
            (scrape.sum(ENDED, &[("why", why)]) >= wanted).then_some(scrape)
        })
        .await;
        assert!(scrape.sum(ENDED, &[]) <= wanted, "{:?}", scrape.series);
    }

    /// The attack is over: the other client was served all the time, and the server has not grown.
    pub(crate) async fn end(mut self, what: &str) {
        self.over.cancel();
        let times = within("the last call", self.calls).await.expect("every call is answered");
        let grown = self.plane.process().memory().most.saturating_sub(self.before);
        println!(
            "{what}: {} calls meanwhile, p99 {:?} (before: {:?}); grown by {} KiB at most",
            times.len(),
            p99(times),
            self.calm,
            grown >> 10
        );
        assert!(grown <= GROWTH, "{what}: the server has grown by {} MiB", grown >> 20);
    }
}

/// How long a call takes that must succeed.
pub(crate) async fn call(client: &Client) -> Duration {
    let began = Instant::now();
    within("a call", client.runtimes().list_runtimes(ListRuntimesRequest::default())).await.unwrap();
    began.elapsed()
}

pub(crate) fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}
