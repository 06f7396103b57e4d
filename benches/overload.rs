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
use std::{env, fs, process, thread};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};
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
const TIMES: usize = 10;
/// As many under overload as without it: what ten times as many callers cost is asked, and not what connections do.
const CONNECTIONS: usize = 40;
/// How long the peak is measured, before and after.
const PEAK: Duration = Duration::from_secs(10);
/// How long one look at the rate takes afterwards.
const LOOK: Duration = Duration::from_secs(1);
/// After so many of them it is not looked any more.
const GIVEN_UP: u64 = 11;
/// A machine is not as fast in one minute as in the next.
const ROUNDS: usize = 3;
const WORKERS: usize = 64;

fn start(directory: &Path) -> Plane {
    let config = directory.join("serve.toml");
    fs::write(&config, "[limits]\nmax_workers = 100000\n").unwrap();
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
        let channels = connect(endpoint, CONNECTIONS).await;
        let (told, over) = (Arc::<Told>::default(), Arc::<AtomicBool>::default());
        let callers = (0..callers).map(|n| {
            let client = WorkerServiceClient::new(channels[n % CONNECTIONS].clone());
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

/// How long things took for a caller on a thread of its own, whom the crowd's own work does not keep waiting.
struct Beside {
    health: Vec<Duration>,
    stops: Vec<Duration>,
    /// Until it was told that there is too much.
    shed: Vec<Duration>,
}

impl Beside {
    fn go_on(endpoint: &str, worker_id: &str, spare: Vec<String>, over: Arc<AtomicBool>) -> thread::JoinHandle<Self> {
        let (endpoint, worker_id) = (endpoint.to_owned(), worker_id.to_owned());
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let channel = connect(&endpoint, 1).await.remove(0);
                let ([health, stops], shed) =
                    tokio::join!(in_the_lane(channel.clone(), spare, &over), refused(channel, worker_id, &over));
                Self { health, stops, shed }
            })
        })
    }
}

/// Asks for health and stops a worker again and again; how long each took.
async fn in_the_lane(channel: Channel, spare: Vec<String>, over: &AtomicBool) -> [Vec<Duration>; 2] {
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

/// Gives an input every 5 ms, whatever becomes of those before; how long it took to be told that there is too much.
async fn refused(channel: Channel, worker_id: String, over: &AtomicBool) -> Vec<Duration> {
    let mut every = interval(Duration::from_millis(5));
    let mut calls = JoinSet::new();
    while !over.load(Ordering::Relaxed) {
        every.tick().await;
        let (mut client, request) = (WorkerServiceClient::new(channel.clone()), input(&worker_id));
        calls.spawn(async move {
            let began = Instant::now();
            let refused = client.send_input(request).await.err()?;
            (refused.code() == Code::ResourceExhausted).then(|| began.elapsed())
        });
    }
    calls.join_all().await.into_iter().flatten().collect()
}

/// How many there are, and the 99th percentile.
fn percentile(mut times: Vec<Duration>) -> (usize, Duration) {
    times.sort_unstable();
    (times.len(), times.get(times.len() * 99 / 100).copied().unwrap_or_default())
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

/// What one round showed.
struct Round {
    /// Calls done a second, before and under overload.
    peak: f64,
    goodput: f64,
    /// The 99th percentiles, and of how many.
    shed: (usize, Duration),
    shed_in_crowd: (usize, Duration),
    health: (usize, Duration),
    stops: (usize, Duration),
    /// After how many seconds 95 % of the peak were reached again.
    back: u64,
    failed: BTreeMap<String, usize>,
}

async fn round(endpoint: &str, workers: &[String], seconds: u64) -> Round {
    let channel = connect(endpoint, 1).await.remove(0);
    let mut spare = Vec::new();
    for _ in 0..seconds * 20 {
        spare.push(spawn(channel.clone()).await);
    }
    let crowd = Crowd::of(CALLERS, endpoint, workers).await;
    crowd.rate(LOOK).await;
    let peak = crowd.rate(PEAK).await;
    crowd.end().await;

    let crowd = Crowd::of(CALLERS * TIMES, endpoint, workers).await;
    let beside = Beside::go_on(endpoint, &workers[0], spare, crowd.over.clone());
    let goodput = crowd.rate(Duration::from_secs(seconds)).await;
    let answered = crowd.end().await;
    let Beside { health, stops, shed } = beside.join().unwrap();

    let crowd = Crowd::of(CALLERS, endpoint, workers).await;
    let mut back = 1;
    while crowd.rate(LOOK).await < 0.95 * peak && back < GIVEN_UP {
        back += 1;
    }
    crowd.end().await;

    let shed_in_crowd = percentile(std::mem::take(&mut answered.shed.lock()));
    let failed = answered.failed.lock().clone();
    let [shed, health, stops] = [shed, health, stops].map(percentile);
    Round { peak, goodput, shed, shed_in_crowd, health, stops, back, failed }
}

async fn run(directory: &Path, seconds: u64) -> usize {
    let plane = start(directory);
    let endpoint = &plane.endpoint;
    let channel = connect(endpoint, 1).await.remove(0);
    let workers = join_all((0..WORKERS).map(|_| spawn(channel.clone()))).await;
    println!(
        "{CALLERS} callers, then {} for {seconds} s, and {CALLERS} again, {ROUNDS} times; medians",
        CALLERS * TIMES
    );
    let (mut rounds, mut most) = (Vec::new(), 0);
    for nth in 0..ROUNDS {
        let round = round(endpoint, &workers, seconds).await;
        let Round { peak, goodput, shed: (_, shed), health: (_, health), stops: (_, stops), back, .. } = &round;
        println!(
            "  {peak:.0}/s, {goodput:.0}/s, shed {shed:.0?}, Health {health:.0?}, Stop {stops:.0?}, back {back} s"
        );
        rounds.push(round);
        if nth == 0 {
            // What was said stays, and is more with each round.
            most = memory(plane.child.id());
        }
    }
    judge(&rounds, most)
}

fn judge(rounds: &[Round], memory: u64) -> usize {
    let mut verdict = Verdict::default();
    let still_done = median(rounds, |round| round.goodput / round.peak);
    verdict.told(
        "of the peak under overload",
        &format!("{:.0} %", still_done * 100.0),
        "80 % or more",
        still_done >= 0.8,
    );
    let mut told = |what: &str, of: fn(&Round) -> (usize, Duration), most: u64| {
        let calls: usize = rounds.iter().map(|round| of(round).0).sum();
        let p99 = median(rounds, |round| of(round).1);
        let holds = calls > 0 && p99 <= Duration::from_millis(most);
        let what = format!("p99 of {calls} {what}");
        verdict.told(&what, &format!("{p99:.1?}"), &format!("{most} ms or less"), holds);
    };
    told("that were shed", |round| round.shed, 50);
    told("of Health", |round| round.health, 250);
    told("of Stop", |round| round.stops, 250);
    let in_crowd = median(rounds, |round| round.shed_in_crowd.1);
    println!("  {:<40} {:>16}", "p99 of those shed in the crowd itself", format!("{in_crowd:.1?}"));
    let memory = memory >> 20;
    verdict.told("memory at most, in the first round", &format!("{memory} MiB"), "512 MiB or less", memory <= 512);
    let back = median(rounds, |round| round.back);
    verdict.told("95 % of the peak again", &format!("within {back} s"), "10 s or less", back < GIVEN_UP);
    let failed: Vec<_> = rounds.iter().flat_map(|round| &round.failed).collect();
    verdict.told("calls that failed otherwise", &format!("{failed:?}"), "none", failed.is_empty());
    verdict.0
}

fn median<T: PartialOrd + Copy>(rounds: &[Round], of: impl Fn(&Round) -> T) -> T {
    let mut all: Vec<_> = rounds.iter().map(of).collect();
    all.sort_by(|a, b| a.partial_cmp(b).expect("they are numbers"));
    all[all.len() / 2]
}
