//! Real binaries: started, listened to, and ended with the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{until, within};

/// A `workplane` command with an environment that says nothing of how it should run.
fn binary() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_workplane")))
}

/// A command whose environment says nothing of how it should run.
pub(super) fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name == "RUST_LOG" || name.to_string_lossy().starts_with("WORKPLANE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A server that has said where it listens.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    address: SocketAddr,
    /// What it wrote to standard error, so far.
    log: Arc<Mutex<String>>,
    /// What it wrote to standard output after its first line.
    rest: Arc<Mutex<String>>,
    /// Those who read both, until they have read all.
    collecting: Vec<JoinHandle<()>>,
}

/// What a process has of memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// The most that it ever had.
    pub(crate) most: u64,
}

impl Running {
    /// Starts `workplane` with these arguments, and waits until it listens.
    pub(crate) async fn start(name: &str, arguments: &[&str]) -> Self {
        let started = Self::try_start(name, arguments, &[]).await;
        started.unwrap_or_else(|log| panic!("{name} does not say where it listens; its log:\n{log}"))
    }

    /// The same by way of another program, which is given what it is to execute.
    pub(crate) async fn start_by(name: &str, by: &[&str], arguments: &[&str]) -> Self {
        let mut command = without_settings(Command::new(by[0]));
        command.args(&by[1..]).arg(env!("CARGO_BIN_EXE_workplane")).args(arguments);
        let started = Self::launch(name, command).await;
        started.unwrap_or_else(|log| panic!("{name} does not say where it listens; its log:\n{log}"))
    }

    /// The same with something in its environment; what it logged where it ended instead of listening.
    pub(crate) async fn try_start(
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut command = binary();
        command.args(arguments).envs(environment.iter().copied());
        Self::launch(name, command).await
    }

    async fn launch(name: &str, mut command: Command) -> Result<Self, String> {
        let mut child = command.spawn().expect("it can be started");
        let log = Arc::default();
        let rest = Arc::default();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let logging = collect(child.stderr.take().expect("it is piped"), Arc::clone(&log));
        let mut line = String::new();
        within("`listening on`", stdout.read_line(&mut line)).await.expect("it says UTF-8");
        if line.is_empty() {
            within("its log to end", logging).await.expect("it is read to its end");
            return Err(std::mem::take(&mut log.lock()));
        }
        let Some(address) = line.strip_prefix("listening on ").and_then(|at| at.trim_end().parse().ok()) else {
            panic!("{name} said {line:?} instead of where it listens; its log:\n{}", log.lock());
        };
        let collecting = vec![logging, collect(stdout, Arc::clone(&rest))];
        Ok(Self { name: name.to_owned(), child, address, log, rest, collecting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves metrics, which its log says.
    pub(crate) async fn metrics_address(&self) -> SocketAddr {
        const SAID: &str = "metrics are served at /metrics";
        let port = until("the address for metrics", || async {
            let log = self.log();
            let line = log.lines().find(|line| line.contains(SAID))?;
            // The line may not be there to its end yet.
            log.contains(&format!("{line}\n")).then(|| line.rsplit_once(':').and_then(|(_, port)| port.parse().ok()))?
        })
        .await;
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// What it has written to standard output beside the one line that it is to write.
    pub(crate) fn chatter(&self) -> String {
        self.rest.lock().clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Lets it have no more files than it has, or, later, as many as this again.
    pub(crate) fn limit_files(&self, files: u64) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum }).expect("it can be limited");
    }

    /// What it has of memory.
    pub(crate) fn memory(&self) -> Memory {
        let status = self.proc("status");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
        };
        Memory { now: bytes("VmRSS:"), most: bytes("VmHWM:") }
    }

    /// The processor time that it has had.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<_> = stat.rsplit(')').next().expect("it has a name").split_whitespace().collect();
        // Its own and the kernel's for it, in hundredths of a second.
        Duration::from_millis(fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number") * 10).sum())
    }

    /// How many files it has open.
    pub(crate) fn files(&self) -> u64 {
        let pid = self.child.id().expect("it runs");
        std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count() as u64
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.child.id().expect("it runs");
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs")
    }

    /// Waits until it has ended, and all that it wrote has been read.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = within("the process to end", self.child.wait()).await.expect("it can be waited for");
        for collecting in self.collecting.drain(..) {
            within("what it wrote to end", collecting).await.expect("it is read to its end");
        }
        status
    }

    /// Ends it at once, as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.child.start_kill().expect("it can be killed");
        self.ended().await;
    }
}

impl Drop for Running {
    /// The log of a server in a failed test is half of the explanation.
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log.lock();
            let from = log.len().saturating_sub(4_000);
            let from = (from..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
            eprintln!("--- the end of the log of {}:\n{}", self.name, &log[from..]);
        }
    }
}

fn collect(mut from: impl tokio::io::AsyncRead + Send + Unpin + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            into.lock().push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    })
}

/// Runs `workplane` to its end.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    run_with_input(arguments, "", None).await
}

/// Runs `workplane` to its end with something on its standard input, in a directory.
pub(crate) async fn run_with_input(arguments: &[&str], input: &str, directory: Option<&Path>) -> Output {
    let mut command = binary();
    command.args(arguments).stdin(Stdio::piped());
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let mut child = command.spawn().expect("the binary can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // One that ends without reading is no failure of the test's.
    tokio::spawn(async move { _ = stdin.write_all(input.as_bytes()).await });
    within("the command to end", child.wait_with_output()).await.expect("its output can be read")
}
