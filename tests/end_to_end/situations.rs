//! What is said of an agent's worker in each situation that it, its host and its control plane can be in: by `GetWorker`, by
//! `ListWorkers`, by a stream that was open before, and by `workplane explain`.
//!
//! docs/situations.md has all of it, and this test compares: `WORKPLANE_WRITE_SITUATIONS=1 cargo test --test end_to_end
//! situations` writes it anew.

use std::env;
use std::fs;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;
use tonic::Status;
use workplane::proto::v1::observation_frame::Payload;
use workplane::proto::v1::{
    DiagnosticSeverity, ListWorkersRequest, StopMode, TranscriptRole, Worker as Told, WorkerActivity,
};

use crate::acp::profile;
use crate::support::{Console, Frame, Host, PATIENCE, Plane, Profile, Proxy, Stream, Worker, until, within};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/situations.md");
const HEAD: &str = "# Situations

What is said of an agent's worker on a host, in each situation that it can be in. `tests/end_to_end/situations.rs` brings each of them
about and writes this file; CI fails where one is told otherwise. GetWorker and ListWorkers say the same. The stream is one that was
opened before; of `explain` the table has the answers to reachable, alive, working, progressing and ended, and its exit code.

| | situation | GetWorker, ListWorkers | the stream's last word | `explain` |
| --- | --- | --- | --- | --- |
";

/// A worker of an agent, on a host that is reached over a wire, and who observes it.
struct Scene {
    host: Host,
    wire: Proxy,
    plane: Plane,
    worker: Worker,
    stream: Stream,
    cursor: String,
}

impl Scene {
    async fn new(agent: Profile) -> Self {
        let host = Host::named("one").profile("builtin:coder", agent).durable().start().await;
        let wire = Proxy::to(host.address()).await;
        let plane = Plane::new().host_via(&host, wire.address()).start().await;
        let worker = plane.spawn("one", "builtin:coder").await;
        let stream = worker.observe().await;
        Self { host, wire, plane, worker, stream, cursor: String::new() }
    }

    /// Gives it a prompt, and waits until this is told.
    async fn prompt(&mut self, prompt: &str, told: &str) {
        self.worker.send(prompt).await;
        self.told(told).await;
    }

    /// Waits until this is told.
    async fn told(&mut self, wanted: &str) {
        within(&format!("the stream to tell {wanted:?}"), async {
            loop {
                let word = match self.stream.next().await {
                    Ok(Some(frame)) => {
                        frame.cursor.clone_into(&mut self.cursor);
                        word(&frame)
                    }
                    Ok(None) => panic!("the stream ended before {wanted:?}"),
                    Err(_) => "it breaks".to_owned(),
                };
                if word == wanted {
                    return;
                }
            }
        })
        .await;
    }

    /// Waits until this is known of it, and says what is said of it then.
    async fn row(&self, name: &str, told: &str, known: &str) -> String {
        comes_to(name, known, || get(&self.worker)).await;
        comes_to(name, known, || self.list()).await;
        let name_of_it = format!("{}/{}", self.worker.runtime_id, self.worker.worker_id);
        let output = Console::of(&self.plane).run(&["explain", &name_of_it, "--output", "json"], "").await;
        let findings = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default();
        let findings = findings["findings"].as_array().cloned().unwrap_or_default();
        let answers: Vec<_> = findings.iter().filter_map(|finding| finding["answer"].as_str()).collect();
        let answers = if answers.is_empty() { "nothing".to_owned() } else { answers.join(", ") };
        format!("{name} | {known} | {told} | {answers}; {}", output.status.code().unwrap())
    }

    async fn list(&self) -> String {
        let request = ListWorkersRequest { runtime_id: Some("one".to_owned()), ..ListWorkersRequest::default() };
        match within("a list", self.plane.client().workers().list_workers(request)).await {
            Ok(page) => {
                let page = page.into_inner();
                let found = page.workers.iter().find(|it| it.worker_id == self.worker.worker_id);
                found.map_or_else(|| missing(&page.diagnostics), words)
            }
            Err(status) => code(&status),
        }
    }
}

/// Asks until this is said.
async fn comes_to<F: Future<Output = String>>(name: &str, known: &str, ask: impl Fn() -> F) {
    let began = Instant::now();
    loop {
        let said = ask().await;
        if said == known {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{name}: it is said to be {said:?}, and not {known:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A list that does not have it says why, or it is gone.
fn missing(diagnostics: &[workplane::proto::v1::Diagnostic]) -> String {
    if diagnostics.is_empty() { "NOT_FOUND".to_owned() } else { "UNAVAILABLE".to_owned() }
}

async fn get(worker: &Worker) -> String {
    worker.try_get().await.map_or_else(|status| code(&status), |told| words(&told))
}

fn code(status: &Status) -> String {
    match status.code() {
        tonic::Code::NotFound => "NOT_FOUND".to_owned(),
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => "UNAVAILABLE".to_owned(),
        other => format!("{other:?}"),
    }
}

fn words(told: &Told) -> String {
    let mut words = vec![last_of(told.state().as_str_name(), "WORKER_STATE_")];
    if told.activity() != WorkerActivity::Unspecified {
        words.push(last_of(told.activity().as_str_name(), "WORKER_ACTIVITY_"));
    }
    words.extend(told.termination.as_ref().map(|end| last_of(end.reason().as_str_name(), "TERMINATION_REASON_")));
    words.extend((told.run_generation > 1).then(|| format!("run {}", told.run_generation)));
    words.extend(told.stale.then(|| "stale".to_owned()));
    let grave = told.diagnostics.iter().filter(|it| it.severity() != DiagnosticSeverity::Info);
    words.extend(grave.map(|diagnostic| diagnostic.code.clone()));
    words.join(", ")
}

fn last_of(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap().to_owned()
}

/// What a frame tells, in a word or two.
fn word(frame: &Frame) -> String {
    match frame.payload() {
        Payload::TurnStarted(_) => "turn_started".to_owned(),
        Payload::TurnEnded(turn) => format!("turn_ended {}", turn.reason),
        Payload::OutputDelta(_) => "output_delta".to_owned(),
        Payload::ToolCall(call) => format!("tool_call {}", call.status),
        Payload::ApprovalRequested(_) => "approval_requested".to_owned(),
        Payload::Diagnostic(diagnostic) => format!("diagnostic {}", diagnostic.code),
        Payload::End(end) => {
            let reason = end.termination.as_ref().unwrap().reason();
            format!("end {}", last_of(reason.as_str_name(), "TERMINATION_REASON_"))
        }
        _ => String::new(),
    }
}

fn agent() -> Profile {
    profile(&[]).expect("looked for before")
}

async fn at_rest(known: &str) -> String {
    let mut scene = Scene::new(agent()).await;
    scene.prompt("a", "turn_ended end_turn").await;
    scene.row("it has nothing to do", "turn_ended end_turn", known).await
}

/// In a turn that goes on.
async fn at_work(name: &str, agent: Profile, prompt: &str, told: &str, known: &str) -> String {
    let mut scene = Scene::new(agent).await;
    scene.prompt(prompt, told).await;
    scene.row(name, told, known).await
}

async fn interrupted(prompt: &str, name: &str, told: &str, known: &str) -> String {
    let mut scene = Scene::new(agent()).await;
    scene.prompt(prompt, "output_delta").await;
    if told == "output_delta" {
        // It does not heed it: the caller waits for as long as it likes.
        let worker = scene.worker.clone();
        tokio::spawn(async move { worker.try_interrupt("").await });
    } else {
        scene.worker.try_interrupt("").await.unwrap();
        scene.told(told).await;
    }
    scene.row(name, told, known).await
}

/// It ends by what a prompt makes it do.
async fn ends_by(name: &str, agent: Profile, prompt: &str, told: &str, known: &str) -> String {
    let mut scene = Scene::new(agent).await;
    scene.prompt(prompt, told).await;
    scene.row(name, told, known).await
}

async fn killed(name: &str, agent: Profile, told: &str, known: &str) -> String {
    let mut scene = Scene::new(agent).await;
    scene.worker.send("pid").await;
    let said = scene
        .stream
        .first("its pid", |frame| frame.item().is_some_and(|item| item.role() == TranscriptRole::Assistant));
    let pid = said.await.item().unwrap().content.parse().unwrap();
    scene.prompt("wait", "output_delta").await;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    scene.told(told).await;
    scene.row(name, told, known).await
}

async fn asked_to_end(cancel: bool, name: &str, told: &str, known: &str) -> String {
    let mut scene = Scene::new(agent()).await;
    scene.prompt("wait", "output_delta").await;
    if cancel {
        scene.worker.cancel("enough").await;
    } else {
        scene.worker.stop(StopMode::Graceful).await;
    }
    scene.told(told).await;
    scene.row(name, told, known).await
}

/// The host is killed in mid-turn; `back`: it is started again.
async fn host_killed(name: &str, agent: Profile, back: bool, told: &str, known: &str) -> String {
    let mut scene = Scene::new(agent).await;
    scene.prompt("wait", "output_delta").await;
    until("a list that has it", || async { scene.list().await.contains("BUSY").then_some(()) }).await;
    scene.host.process().kill().await;
    if back {
        scene.host.start_again().await;
    }
    scene.told(told).await;
    scene.row(name, told, known).await
}

async fn drained(known: &str) -> String {
    let mut scene = Scene::new(agent()).await;
    scene.prompt("wait", "output_delta").await;
    scene.host.process().signal(Signal::TERM);
    assert!(scene.host.process().ended().await.success());
    scene.host.start_again().await;
    scene.told("end DRAINED").await;
    scene.row("its host was drained, and is back", "end DRAINED", known).await
}

async fn partitioned(name: &str, healed: bool, told: &str, known: &str) -> String {
    let mut scene = Scene::new(agent()).await;
    scene.prompt("wait", "output_delta").await;
    until("a list that has it", || async { scene.list().await.contains("BUSY").then_some(()) }).await;
    scene.wire.refuse();
    scene.told("diagnostic upstream_disconnect").await;
    if healed {
        scene.wire.open();
        scene.told(told).await;
    }
    scene.row(name, told, known).await
}

async fn plane_killed(known: &str) -> String {
    let mut scene = Scene::new(agent()).await;
    scene.prompt("wait", "output_delta").await;
    scene.plane.process().kill().await;
    scene.told("it breaks").await;
    scene.plane.start_again().await;
    let resume = || async { scene.worker.try_resume(&scene.cursor).await.ok() };
    let mut stream = until("the stream to be resumed", resume).await;
    assert!(matches!(stream.frame().await.payload(), Payload::Snapshot(_)));
    scene.row("the control plane was killed, and is back", "it breaks, and goes on by its cursor", known).await
}

async fn plane_gone(known: &str) -> String {
    let mut scene = Scene::new(agent()).await;
    scene.prompt("wait", "output_delta").await;
    scene.plane.process().kill().await;
    scene.told("it breaks").await;
    scene.row("the control plane was killed", "it breaks", known).await
}

async fn unheard(known: &str) -> String {
    let mut scene = Scene::new(agent()).await;
    scene.prompt("wait", "output_delta").await;
    scene.host.process().kill().await;
    scene.plane.restart().await;
    scene.told("it breaks").await;
    scene.row("the control plane began anew while the host was gone", "it breaks", known).await
}

async fn deleted(known: &str) -> String {
    let scene = Scene::new(agent()).await;
    scene.worker.try_delete(true, "").await.unwrap();
    scene.row("it was deleted", "end STOPPED", known).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_situation_is_told_by_all_who_tell_and_as_it_is() {
    if profile(&[]).is_none() {
        return;
    }
    let asking = || agent().permissions("ask");
    let lost = "diagnostic upstream_disconnect";
    let situations: Vec<BoxFuture<'_, String>> = vec![
        Box::pin(at_rest("RUNNING, IDLE")),
        Box::pin(at_work("it works or thinks, however long", agent(), "wait", "output_delta", "RUNNING, BUSY")),
        Box::pin(at_work("it uses a tool", agent(), "tool and wait", "tool_call in_progress", "RUNNING, BUSY")),
        Box::pin(at_work("it waits for leave", asking(), "ask", "approval_requested", "RUNNING, WAITING")),
        Box::pin(at_work("it hangs in its turn", agent(), "hang", "turn_started", "RUNNING, BUSY")),
        Box::pin(interrupted("wait", "its turn was interrupted", "turn_ended cancelled", "RUNNING, IDLE")),
        Box::pin(interrupted("ignore", "it does not heed the interruption", "output_delta", "RUNNING, BUSY")),
        Box::pin(ends_by("it exited in mid-turn", agent(), "exit", "end EXITED", "FAILED, EXITED")),
        Box::pin(ends_by("it broke the protocol", agent(), "garbage", "end PROTOCOL_ERROR", "FAILED, PROTOCOL_ERROR")),
        Box::pin(killed("it was killed (kill -9)", agent(), "end KILLED", "FAILED, KILLED")),
        Box::pin(killed(
            "it was killed, and is started anew",
            agent().restarting(),
            "turn_ended failed",
            "RUNNING, IDLE, run 2, worker_run_failed",
        )),
        Box::pin(asked_to_end(false, "it was stopped", "end STOPPED", "STOPPED, STOPPED")),
        Box::pin(asked_to_end(true, "it was cancelled", "end CANCELLED", "CANCELLED, CANCELLED")),
        Box::pin(host_killed("its host was killed", agent(), false, lost, "RUNNING, BUSY, stale")),
        Box::pin(host_killed(
            "its host was killed, and is back",
            agent(),
            true,
            "end RUNTIME_LOST",
            "FAILED, RUNTIME_LOST",
        )),
        Box::pin(host_killed(
            "the same, and it is started anew",
            agent().restarting(),
            true,
            "turn_ended RUNTIME_LOST",
            "RUNNING, IDLE, run 2, worker_run_failed",
        )),
        Box::pin(drained("STOPPED, DRAINED")),
        Box::pin(partitioned("its host is cut off", false, lost, "RUNNING, BUSY, stale")),
        Box::pin(partitioned(
            "its host was cut off, and is back",
            true,
            "diagnostic upstream_reconnected",
            "RUNNING, BUSY",
        )),
        Box::pin(plane_gone("UNAVAILABLE")),
        Box::pin(plane_killed("RUNNING, BUSY")),
        Box::pin(unheard("UNAVAILABLE")),
        Box::pin(deleted("NOT_FOUND")),
    ];
    let rows: Vec<String> = stream::iter(situations).buffered(4).collect().await;
    let numbered = rows.iter().enumerate().map(|(number, row)| format!("| {} | {row} |\n", number + 1));
    let table = HEAD.to_owned() + &numbered.collect::<String>();
    if env::var_os("WORKPLANE_WRITE_SITUATIONS").is_some() {
        fs::write(FILE, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(FILE).unwrap_or_default(), "docs/situations.md is not what is told");
}
