//! What a list over many hosts costs beside a list over one: `cargo bench --bench fan_out`.
//!
//! Every host answers after 10 ms. Two real control planes are asked by turns, one with a single host and one with 32,
//! and a host itself, for what the way there costs at least. It prints percentiles of each, and the ratio of the medians,
//! which is to stay at 1.3 at most (acceptance 13, 16). By itself it judges nothing: a busy machine is nobody's fault.
//! With `WORKPLANE_FAN_OUT_MOST=1.3`, as in `just nightly`, it fails above that.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed, and says where")]

#[allow(dead_code, reason = "it can do more than this bench wants")]
#[path = "../tests/end_to_end/support/hostile.rs"]
mod hostile;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use hostile::{Answer, Hostile, worker};
use prost::Message as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use workplane::proto::runtime_v1::worker_runtime_service_client::WorkerRuntimeServiceClient;
use workplane::proto::v1::worker_service_client::WorkerServiceClient;
use workplane::proto::{runtime_v1, v1};

const HOSTS: usize = 32;
const DELAY: Duration = Duration::from_millis(10);
const ROUNDS: usize = 500;

fn main() {
    // The hosts have threads of their own, so that who measures does not wait for them.
    let elsewhere = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let hosts = elsewhere.block_on(join_all((0..HOSTS).map(host)));
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(&hosts));
}

async fn run(hosts: &[Hostile]) {
    let directory = tempfile::tempdir().unwrap();
    let one = Plane::start(directory.path(), &hosts[..1]).await;
    let many = Plane::start(directory.path(), hosts).await;
    let mut direct = WorkerRuntimeServiceClient::new(connect(hosts[0].address()));
    let (mut raw, mut single, mut all) = (Vec::new(), Vec::new(), Vec::new());
    // The first rounds make connections.
    for round in 0..ROUNDS + 20 {
        let began = Instant::now();
        direct.list_workers(runtime_v1::ListWorkersRequest::default()).await.unwrap();
        let took = (began.elapsed(), one.list(1).await, many.list(HOSTS).await);
        if round >= 20 {
            raw.push(took.0);
            single.push(took.1);
            all.push(took.2);
        }
    }
    println!("ListWorkers, {ROUNDS} rounds by turns, {DELAY:?} of delay at every host:");
    for (what, times) in
        [("one host itself", &mut raw), ("a control plane with 1", &mut single), ("a control plane with 32", &mut all)]
    {
        times.sort_unstable();
        println!("  {what:24} p50 {:8.3?}  p90 {:8.3?}  p99 {:8.3?}", at(times, 50), at(times, 90), at(times, 99));
    }
    let ratio = at(&all, 50).as_secs_f64() / at(&single, 50).as_secs_f64();
    println!("  p50 of {HOSTS} : p50 of 1 = {ratio:.3}");
    if let Some(most) = env::var_os("WORKPLANE_FAN_OUT_MOST") {
        let most: f64 = most.to_str().and_then(|most| most.parse().ok()).expect("WORKPLANE_FAN_OUT_MOST is a number");
        assert!(
            ratio <= most,
            "a list over {HOSTS} hosts takes {ratio:.3} times as long as over one: more than {most}"
        );
    }
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted[sorted.len() * percent / 100]
}

async fn host(n: usize) -> Hostile {
    let name = format!("host-{n}");
    let host = Hostile::named(&name).await;
    let workers = vec![worker(&name, &format!("worker-{n}"))];
    let answer = runtime_v1::ListWorkersResponse { workers, ..Default::default() };
    host.answers("ListWorkers", Answer::After(DELAY, answer.encode_to_vec().into()));
    host
}

fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// A control plane: the real binary.
struct Plane {
    client: WorkerServiceClient<Channel>,
    _process: Child,
}

impl Plane {
    async fn start(directory: &Path, hosts: &[Hostile]) -> Self {
        let mut file = "[embedded]\nenabled = false\n\n".to_owned();
        for host in hosts {
            let (runtime_id, address, token_file) = (host.runtime_id(), host.address(), host.token_file());
            let token_file = token_file.to_str().unwrap();
            writeln!(
                file,
                "[[remote_runtimes]]\nruntime_id = {runtime_id:?}\nendpoint = \"http://{address}\"\n\
                 token_file = {token_file:?}\n"
            )
            .unwrap();
        }
        let config = directory.join(format!("serve-{}.toml", hosts.len()));
        fs::write(&config, file).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_workplane"))
            .args(["serve", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let address = line.trim_end().strip_prefix("listening on ").expect("it says where it listens").parse();
        Self { client: WorkerServiceClient::new(connect(address.unwrap())), _process: process }
    }

    /// How long a list takes, which must be whole.
    async fn list(&self, workers: usize) -> Duration {
        let request = v1::ListWorkersRequest { page_size: 1_000, fresh: true, ..Default::default() };
        let began = Instant::now();
        let listed = self.client.clone().list_workers(request).await.unwrap().into_inner();
        let took = began.elapsed();
        assert_eq!((listed.workers.len(), listed.diagnostics.len()), (workers, 0), "{:?}", listed.diagnostics);
        took
    }
}

/// What the scripted host wants of who uses it.
fn write_secret(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    path
}
