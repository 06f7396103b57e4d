//! The fixture: real binaries on ports of their own, and clients for them. A test reads like a script:
//!
//! ```ignore
//! let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
//! let plane = Plane::new().host(&host).start().await;
//! let worker = plane.spawn("one", "builtin:coder").await;
//! worker.send("hello").await;
//! ```
//!
//! Everything a test starts ends with it. Nothing here sleeps to let something happen: it waits for it.

mod approvals;
mod both;
pub(crate) mod bundle;
mod certificates;
mod client;
mod collector;
pub(crate) mod configuration;
mod console;
mod conversation;
mod host;
mod hostile;
mod mute;
mod plane;
mod process;
mod programs;
mod proxy;
mod relay;
mod scrape;
mod seed;
mod stream;
mod worker;

use std::future::Future;
use std::time::Duration;

pub(crate) use both::{both, codes, plane_and_host};
pub(crate) use certificates::{Certificates, Kind};
pub(crate) use client::{Client, Refusal, refusal};
pub(crate) use collector::{Collector, attribute};
pub(crate) use configuration::{Profile, Remote, write_secret};
pub(crate) use console::Console;
pub(crate) use conversation::{Line, line_of, lines_of};
pub(crate) use host::Host;
pub(crate) use hostile::{Answer, Hostile, SECRET, framed, hello, worker};
pub(crate) use mute::{Mute, leave};
pub(crate) use plane::{EMBEDDED, Plane, TOKEN};
pub(crate) use process::{Memory, Running, run, run_with_input};
pub(crate) use programs::{agent, program_is_here};
pub(crate) use proxy::Proxy;
pub(crate) use relay::CountingRelay;
pub(crate) use scrape::{Labels, Scrape};
pub(crate) use seed::{Chance, chance};
pub(crate) use stream::{Frame, Stream};
pub(crate) use worker::Worker;

/// How long anything may take before the test is over: far longer than it should, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for something, and says what it was when it does not come.
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// Asks until the answer is there: for what nobody announces.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    within(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
