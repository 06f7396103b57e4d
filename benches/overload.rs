//! Ten times as many callers as there is room for: what is still done, how soon the others are told, who still gets
//! through, what it costs in memory, and how soon all is as before. Real binary, real sockets, state on disk, two processes
//! on one machine.
//!
//! `cargo bench --bench overload -- [DIR]` keeps the state in a directory of DIR. It prints each figure beside its bound;
//! with `WORKPLANE_OVERLOAD=60` the overload lasts as many seconds and it fails where a bound is missed.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed, and says where")]

mod plane;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;
use workplane::proto::v1;
use workplane::proto::v1::worker_service_client::WorkerServiceClient;

use plane::{Plane, RUNTIME, connect, input, spawn};

/// So many callers take all that there is.
const CALLERS: usize = 240;
const CALLERS_EACH: usize = 60;
const TIMES: usize = 10;
/// How long the peak is measured, before and after.
const PEAK: Duration = Duration::from_secs(10);
/// How long one look at the rate takes afterwards.
const LOOK: Duration = Duration::from_secs(1);
const WORKERS: usize = 64;

fn start(directory: &Path) -> Plane {
    let config = directory.join("serve.toml");
    fs::write(&config, "[limits]\nmax_workers = 100000\n[retention]\nmax_bytes = \"256MiB\"\n").unwrap();
    let data = directory.join("data");
    Plane::start(&["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()])
}

/// The most memory that a process ever had, in bytes.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// What became of calls.
#[derive(Default)]
struct Told {
    done: AtomicUsize,
    shed: Mutex<Vec<Duration>>,
    /// Calls that failed otherwise.
    failed: Mutex<BTreeMap<String, usize>>,
}

/// Callers that go on until they are stopped, and come back when they are told to.
struct Crowd {
    told: Arc<Told>,
    over: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    async fn of(callers: usize, endpoint: &str, workers: &[String]) -> Self {
        let channels = connect(endpoint, callers / CALLERS_EACH).await;
        let (told, over) = (Arc::<Told>::default(), Arc::<AtomicBool>::default());
        let callers = (0..callers).map(|n| {
            let client = WorkerServiceClient::new(channels[n / CALLERS_EACH].clone());
            tokio::spawn(go_on(client, workers[n % workers.len()].clone(), told.clone(), over.clone()))
        });
        Self { callers: callers.collect(), told, over }
    }

    /// Calls done a second over this time.
    async fn rate(&self, time: Duration) -> f64 {
        let (before, began) = (self.told.done.load(Ordering::Relaxed), Instant::now());
        sleep(time).await;
        let done = self.told.done.load(Ordering::Relaxed) - before;
        f64::from(u32::try_from(done).unwrap()) / began.elapsed().as_secs_f64()
    }

    async fn end(self) -> Arc<Told> {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        self.told
    }
}

async fn go_on(mut client: WorkerServiceClient<Channel>, worker_id: String, told: Arc<Told>, over: Arc<AtomicBool>) {
    let request = input(&worker_id);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        match client.send_input(request.clone()).await {
            Ok(_) => _ = told.done.fetch_add(1, Ordering::Relaxed),
            Err(status) if status.code() == Code::ResourceExhausted => {
                told.shed.lock().push(began.elapsed());
                let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
                sleep(retry.expect("it is told when to come back")).await;
            }
            Err(status) => *told.failed.lock().entry(status.to_string()).or_default() += 1,
        }
    }
}

/// Asks for health and stops a worker again and again; how long each took.
async fn in_the_lane(channel: Channel, spare: Vec<String>, over: Arc<AtomicBool>) -> [Vec<Duration>; 2] {
    let mut taken = [Vec::new(), Vec::new()];
    for worker_id in spare {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.expect("it is healthy");
        taken[0].push(began.elapsed());
        let (runtime_id, began) = (RUNTIME.to_owned(), Instant::now());
        let request = v1::StopWorkerRequest { runtime_id, worker_id, ..v1::StopWorkerRequest::default() };
        WorkerServiceClient::new(channel.clone()).stop_worker(request).await.expect("it is stopped");
        taken[1].push(began.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    taken
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}

/// What was measured beside what it is to be.
#[derive(Default)]
struct Verdict(usize);

impl Verdict {
    fn told(&mut self, what: &str, figure: &str, bound: &str, holds: bool) {
        self.0 += usize::from(!holds);
        println!("  {what:<40} {figure:>16}   {bound:<16} {}", if holds { "" } else { "MISSED" });
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let asked = env::var_os("WORKPLANE_OVERLOAD");
    let seconds = asked.as_ref().map_or(10, |text| text.to_str().and_then(|text| text.parse().ok()).expect("seconds"));
    let parent = env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let directory = parent.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let missed = run(directory.path(), seconds).await;
    drop(directory);
    if asked.is_some() && missed > 0 {
        eprintln!("{missed} bounds are missed");
        process::exit(1);
    }
}

async fn run(directory: &Path, seconds: u64) -> usize {
    let plane = start(directory);
    let endpoint = &plane.endpoint;
    let channel = connect(endpoint, 1).await.remove(0);
    let workers = join_all((0..WORKERS).map(|_| spawn(channel.clone()))).await;
    let mut spare = Vec::new();
    for _ in 0..seconds * 20 {
        spare.push(spawn(channel.clone()).await);
    }
    let crowd = Crowd::of(CALLERS, endpoint, &workers).await;
    crowd.rate(LOOK).await;
    let peak = crowd.rate(PEAK).await;
    crowd.end().await;

    let crowd = Crowd::of(CALLERS * TIMES, endpoint, &workers).await;
    let lane = tokio::spawn(in_the_lane(channel, spare, crowd.over.clone()));
    let goodput = crowd.rate(Duration::from_secs(seconds)).await;
    let answered = crowd.end().await;
    let [mut health, mut stops] = lane.await.unwrap();

    let crowd = Crowd::of(CALLERS, endpoint, &workers).await;
    let mut back = None;
    for look in 1..=10 {
        if crowd.rate(LOOK).await >= 0.95 * peak {
            back = Some(look);
            break;
        }
    }
    crowd.end().await;

    println!("{} callers, then {} for {seconds} s, and {CALLERS} again", CALLERS, CALLERS * TIMES);
    let mut verdict = Verdict::default();
    println!("  {:<40} {peak:>14.0}/s", "peak");
    let still_done = goodput / peak;
    verdict.told(
        "under overload",
        &format!("{goodput:.0}/s, {:.0} %", still_done * 100.0),
        "80 % or more",
        still_done >= 0.8,
    );
    let mut shed = answered.shed.lock();
    let (calls, soon) = (shed.len(), percentile(&mut shed, 99));
    let bound = Duration::from_millis(50);
    verdict.told(&format!("p99 of {calls} that were shed"), &format!("{soon:.1?}"), "50 ms or less", soon <= bound);
    for (what, times) in [("Health", &mut health), ("Stop", &mut stops)] {
        let (calls, p99) = (times.len(), percentile(times, 99));
        let holds = calls > 0 && p99 <= Duration::from_millis(250);
        verdict.told(&format!("p99 of {calls} of {what}"), &format!("{p99:.1?}"), "250 ms or less", holds);
    }
    let memory = memory(plane.child.id()) >> 20;
    verdict.told("memory at most", &format!("{memory} MiB"), "512 MiB or less", memory <= 512);
    let told_back = back.map_or_else(|| "not in 10 s".to_owned(), |look| format!("within {look} s"));
    verdict.told("95 % of the peak again", &told_back, "10 s or less", back.is_some());
    let failed = answered.failed.lock().clone();
    verdict.told("calls that failed otherwise", &format!("{failed:?}"), "none", failed.is_empty());
    verdict.0
}
