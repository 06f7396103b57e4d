//! Calls again and again for a while, so many at once, and what came of it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::plane::PAYLOAD;

/// How long one load of a round goes on.
const LASTING: Duration = Duration::from_millis(600);

/// How many a second, and how long one took: the median and the 99th of a hundred.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) calls: u32,
}

impl Measured {
    fn of(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        let calls = u32::try_from(times.len()).unwrap_or(u32::MAX);
        let rate = f64::from(calls) / took.as_secs_f64();
        Self { calls, rate, p50: times[times.len() / 2], p99: times[times.len() * 99 / 100] }
    }

    pub(crate) fn tell(&self, what: &str) {
        println!("  {what:<44} {:>9.0}/s  p50 {:>9.1?}  p99 {:>9.1?}", self.rate, self.p50, self.p99);
    }
}

/// Calls `waiting` at once, each again as soon as it was answered. `call` is told which of them it is.
pub(crate) async fn load<R>(waiting: usize, call: impl Fn(usize) -> R + Clone + Send + 'static) -> Measured
where
    R: Future<Output = ()> + Send + 'static,
{
    let begun = Instant::now();
    let loops = (0..waiting).map(|n| {
        let call = call.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            while begun.elapsed() < LASTING {
                let sent = Instant::now();
                call(n).await;
                times.push(sent.elapsed());
            }
            times
        })
    });
    let times: Vec<_> = join_all(loops).await.into_iter().map(Result::unwrap).collect();
    Measured::of(times.concat(), begun.elapsed())
}

/// A loop that appends what an input has and syncs.
pub(crate) fn bare(dir: &Path) -> Measured {
    let path = dir.join("bare");
    let mut file = File::create(&path).unwrap();
    let bytes = [7; PAYLOAD];
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < LASTING {
        let sent = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        times.push(sent.elapsed());
    }
    let measured = Measured::of(times, begun.elapsed());
    fs::remove_file(path).unwrap();
    measured
}
