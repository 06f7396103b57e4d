//! What a turn of an agent costs beside driving the same agent directly, how late the pieces of its answer come, and what an
//! agent that floods costs the others: `cargo bench --bench turn [DIR]`. In one run, by turns; real binary, real agents, with
//! the state in memory and on the disk of DIR.
//!
//! The agent is this program itself, started anew: it answers at once, so that all there is besides is the way there and back.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed, and says where")]

#[allow(dead_code, reason = "it can do more than this bench wants")]
mod plane;

use std::fs;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Streaming;
use tonic::transport::Channel;
use workplane::proto::raw::ObserveWorkerResponse;
use workplane::proto::v1;
use workplane::proto::v1::observation_frame::Payload;
use workplane::proto::v1::observation_service_client::ObservationServiceClient;
use workplane::proto::v1::worker_service_client::WorkerServiceClient;

use plane::{Plane, RUNTIME, connect};

/// Set for the agent.
const AGENT: &str = "WORKPLANE_BENCH_AGENT";
const TURNS: usize = 1_000;
/// Pieces of an answer, and what lies between two.
const PIECES: usize = 400;
const BETWEEN: Duration = Duration::from_millis(5);
/// What an agent that floods writes.
const FLOOD: usize = 1 << 30;
const LINE: usize = 16 * 1024;

fn main() {
    if std::env::var_os(AGENT).is_some() {
        return agent();
    }
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(Path::new(directory.as_deref().unwrap_or("target"))));
}

async fn run(directory: &Path) {
    let directory = tempfile::tempdir_in(directory).unwrap();
    let config = directory.path().join("serve.toml");
    let command = std::env::current_exe().unwrap();
    let profile = format!("protocol = \"acp\"\ncommand = [\"{}\"]\nenv = {{ {AGENT} = \"1\" }}\n", command.display());
    fs::write(&config, format!("[profiles.\"builtin:coder\"]\n{profile}")).unwrap();
    let data = directory.path().join("data");
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    let memory = Plane::start(&["--config", config]);
    let disk = Plane::start(&["--config", config, "--data-dir", data]);
    turns(&memory, &disk).await;
    for (what, plane) in [("in memory", &memory), ("on disk", &disk)] {
        pieces(what, plane).await;
        flood(what, plane).await;
    }
    println!(
        "In memory, what is kept of a flood and of the turns meanwhile is memory, too: the bound is for a state on disk."
    );
}

/// How long a turn takes directly and through a control plane, by turns.
async fn turns(memory: &Plane, disk: &Plane) {
    let mut direct = Direct::start();
    let mut through = [Talk::with(memory).await, Talk::with(disk).await];
    let mut took: [Vec<Duration>; 3] = Default::default();
    for turn in 0..TURNS + 20 {
        let each = [direct.turn(), through[0].turn("turn").await, through[1].turn("turn").await];
        // The first ones warm up.
        if turn >= 20 {
            took.iter_mut().zip(each).for_each(|(took, each)| took.push(each));
        }
    }
    let [direct, memory, disk] = took.map(percentiles);
    println!("{TURNS} turns                  p50        p99");
    println!("directly               {:>9.1?}  {:>9.1?}", direct.0, direct.1);
    for (what, it) in [("in memory", memory), ("on disk", disk)] {
        println!(
            "{what:<22} {:>9.1?}  {:>9.1?}   p50 + {:.1?} (at most 2 ms)",
            it.0,
            it.1,
            it.0.saturating_sub(direct.0)
        );
    }
}

/// How long after it was written a piece of an answer comes.
async fn pieces(what: &str, plane: &Plane) {
    let mut talk = Talk::with(plane).await;
    talk.send("pieces").await;
    let mut late = Vec::new();
    loop {
        match talk.frame().await {
            Payload::OutputDelta(delta) => {
                let now = since_epoch();
                let written = delta.text.split_terminator(';').map(|text| text.parse::<u64>().unwrap());
                late.extend(written.map(|at| Duration::from_nanos(now.saturating_sub(at))));
            }
            Payload::TurnEnded(_) => break,
            _ => {}
        }
    }
    assert_eq!(late.len(), PIECES);
    let (p50, p99) = percentiles(late);
    println!("{PIECES} pieces, {BETWEEN:?} apart, {what}: p50 {p50:.1?}  p99 {p99:.1?} (at most 50 ms)");
}

/// What others notice of an agent that writes as much as it can.
async fn flood(what: &str, plane: &Plane) {
    let mut other = Talk::with(plane).await;
    let mut bad = Talk::with(plane).await;
    bad.turn("turn").await;
    let quiet = other.turns_for(Duration::from_secs(5)).await;
    let before = memory_of(plane, "VmRSS:");
    fs::write(format!("/proc/{}/clear_refs", plane.child.id()), "5").unwrap();
    // Nobody listens to it: what a reader of so much takes is another matter.
    let mut end = bad.end_of("flood").await;
    let mut meanwhile = Vec::new();
    let began = Instant::now();
    while !end.is_finished() {
        meanwhile.push(other.turn("turn").await);
    }
    let (took, more) = (began.elapsed(), memory_of(plane, "VmHWM:").saturating_sub(before) >> 10);
    (&mut end).await.unwrap();
    let (turns, (quiet, loud)) = (meanwhile.len(), (percentiles(quiet), percentiles(meanwhile)));
    println!("1 GiB of output in {took:.1?}, {what}: {more} MiB more than before (on disk at most 32 MiB)");
    println!(
        "  turns of another worker: p50 {:.1?}, p99 {:.1?}; meanwhile ({turns}) p50 {:.1?}, p99 {:.1?}; p99 × {:.2} (at most 1.5)",
        quiet.0,
        quiet.1,
        loud.0,
        loud.1,
        loud.1.as_secs_f64() / quiet.1.as_secs_f64()
    );
}

fn percentiles(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

fn memory_of(plane: &Plane, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", plane.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn since_epoch() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// A worker that is spoken to and observed.
struct Talk {
    channel: Channel,
    worker_id: String,
    frames: Streaming<ObserveWorkerResponse>,
}

impl Talk {
    async fn with(plane: &Plane) -> Self {
        let channel = connect(&plane.endpoint, 1).await.remove(0);
        let kind = Some(v1::spawn_intent::Kind::WorkspaceCompanion(v1::WorkspaceCompanion {}));
        let profile = v1::profile_selector::Kind::Builtin("builtin:coder".to_owned());
        let request = v1::SpawnWorkerRequest {
            runtime_id: RUNTIME.to_owned(),
            intent: Some(v1::SpawnIntent { kind }),
            profile: Some(v1::ProfileSelector { kind: Some(profile) }),
            ..v1::SpawnWorkerRequest::default()
        };
        let answer = WorkerServiceClient::new(channel.clone()).spawn_worker(request).await.unwrap();
        let worker_id = answer.into_inner().worker.unwrap().worker_id;
        let frames = observe(&channel, &worker_id).await;
        Self { channel, worker_id, frames }
    }

    async fn send(&self, content: &str) {
        let request = v1::SendInputRequest {
            runtime_id: RUNTIME.to_owned(),
            worker_id: self.worker_id.clone(),
            content: content.to_owned(),
            ..v1::SendInputRequest::default()
        };
        WorkerServiceClient::new(self.channel.clone()).send_input(request).await.unwrap();
    }

    async fn frame(&mut self) -> Payload {
        payload(&mut self.frames).await
    }

    /// From the input to the end of its turn.
    async fn turn(&mut self, content: &str) -> Duration {
        let began = Instant::now();
        self.send(content).await;
        while !matches!(self.frame().await, Payload::TurnEnded(_)) {}
        began.elapsed()
    }

    async fn turns_for(&mut self, time: Duration) -> Vec<Duration> {
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < time {
            took.push(self.turn("turn").await);
        }
        took
    }

    /// Gives it an input; what ends with its turn, and does not listen until then.
    async fn end_of(mut self, content: &str) -> tokio::task::JoinHandle<()> {
        let mut workers = WorkerServiceClient::new(self.channel.clone());
        let request = v1::GetWorkerRequest { runtime_id: RUNTIME.to_owned(), worker_id: self.worker_id.clone() };
        self.send(content).await;
        while !matches!(self.frame().await, Payload::TurnStarted(_)) {}
        drop(self.frames);
        tokio::spawn(async move {
            // One that is told nothing for a while is over: what it says is cut to 4 MiB a second.
            let mut last = 0;
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let worker = workers.get_worker(request.clone()).await.unwrap().into_inner().worker.unwrap();
                if worker.last_event_id == last {
                    return;
                }
                last = worker.last_event_id;
            }
        })
    }
}

async fn observe(channel: &Channel, worker_id: &str) -> Streaming<ObserveWorkerResponse> {
    let request = v1::ObserveWorkerRequest {
        runtime_id: RUNTIME.to_owned(),
        worker_id: worker_id.to_owned(),
        ..v1::ObserveWorkerRequest::default()
    };
    let mut frames = ObservationServiceClient::new(channel.clone()).observe_worker(request).await.unwrap().into_inner();
    assert!(matches!(payload(&mut frames).await, Payload::Snapshot(_)));
    frames
}

async fn payload(frames: &mut Streaming<ObserveWorkerResponse>) -> Payload {
    let bytes = frames.message().await.unwrap().unwrap().frame.unwrap();
    v1::ObservationFrame::decode(bytes).unwrap().payload.unwrap()
}

/// The agent, driven by nobody but us.
struct Direct {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Direct {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.env(AGENT, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut direct = Self { child, stdin, stdout };
        direct.ask("initialize", &json!({"protocolVersion": 1}));
        direct.ask("session/new", &json!({"cwd": "/", "mcpServers": []}));
        direct
    }

    fn turn(&mut self) -> Duration {
        let began = Instant::now();
        self.ask("session/prompt", &json!({"sessionId": "s", "prompt": [{"type": "text", "text": "turn"}]}));
        began.elapsed()
    }

    /// Asks, and waits for the answer.
    fn ask(&mut self, method: &str, params: &Value) {
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.stdin.write_all(format!("{question}\n").as_bytes()).unwrap();
        let mut line = String::new();
        while serde_json::from_str::<Value>(&line).ok().is_none_or(|message| message.get("id").is_none()) {
            line.clear();
            self.stdout.read_line(&mut line).unwrap();
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        // It may have ended by itself; what matters is that it is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An agent that does what its prompts say.
fn agent() {
    let mut out = BufWriter::with_capacity(4 * LINE, io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let result = match asked["method"].as_str() {
            Some("initialize") => json!({"protocolVersion": 1, "agentCapabilities": {}}),
            Some("session/new") => json!({"sessionId": "s"}),
            Some("session/prompt") => {
                act(&mut out, asked["params"]["prompt"][0]["text"].as_str().unwrap());
                json!({"stopReason": "end_turn"})
            }
            _ => continue,
        };
        writeln!(out, "{}", json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})).unwrap();
        out.flush().unwrap();
    }
}

#[allow(clippy::disallowed_methods, reason = "the agent has no runtime whose thread this could hold")]
fn act(out: &mut impl Write, prompt: &str) {
    match prompt {
        "pieces" => {
            for _ in 0..PIECES {
                say(out, &format!("{};", since_epoch()));
                out.flush().unwrap();
                sleep(BETWEEN);
            }
        }
        "flood" => {
            let text = "x".repeat(LINE);
            (0..FLOOD / LINE).for_each(|_| say(out, &text));
        }
        _ => say(out, "done"),
    }
}

fn say(out: &mut impl Write, text: &str) {
    let update = json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}});
    let params = json!({"sessionId": "s", "update": update});
    writeln!(out, "{}", json!({"jsonrpc": "2.0", "method": "session/update", "params": params})).unwrap();
}
