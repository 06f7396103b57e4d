//! Agents that this project did not write, unchanged: the example of the protocol's own SDK for JavaScript, which plays a turn
//! with two tools, and `OpenCode`, an agent that people use, with a model that these tests play (`agents/model.py`).
//!
//! `WORKPLANE_FOREIGN_AGENTS` says where they are: `.ci/tool agents` installs them there. Without it these tests are left out.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use workplane::proto::v1::observation_frame::Payload;
use workplane::proto::v1::{OperationState, OutputChannel, StopMode, TerminationReason, WorkerActivity, WorkerState};

use crate::acp::{answers, ask, pieces, turn_end};
use crate::support::{EMBEDDED, Frame, Host, Plane, Profile, Worker, agent, program_is_here, within};

/// Where they are installed.
fn installed() -> Option<PathBuf> {
    let home = env::var_os("WORKPLANE_FOREIGN_AGENTS").map(|home| PathBuf::from(home).join("node_modules"));
    let required = env::var_os("WORKPLANE_REQUIRE_PROGRAMS").is_some();
    assert!(home.is_some() || !required, "WORKPLANE_FOREIGN_AGENTS is not set, and WORKPLANE_REQUIRE_PROGRAMS is");
    if home.is_none() {
        println!("left out: WORKPLANE_FOREIGN_AGENTS does not say where foreign agents are");
    }
    home.filter(|_| program_is_here("node") && program_is_here("python3"))
}

/// The SDK's example.
fn example() -> Option<Profile> {
    let program = installed()?.join("@agentclientprotocol/sdk/dist/examples/agent.js");
    Some(Profile::acp(["node", program.to_str().unwrap()]))
}

/// `OpenCode`, and what it needs while it runs.
struct OpenCode {
    profile: Profile,
    /// Its settings and sessions.
    _home: TempDir,
    _model: Child,
}

/// `OpenCode` with a model of ours, which asks for leave before it runs a command.
async fn opencode() -> Option<OpenCode> {
    let places = installed()?.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let program = places.map(|place| place.join("bin/opencode")).find(|program| program.is_file()).unwrap();
    let mut model = Command::new("python3");
    let model = model.arg(agent("model.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut model = model.spawn().unwrap();
    let mut port = String::new();
    let mut said = BufReader::new(model.stdout.take().unwrap());
    within("the model's port", said.read_line(&mut port)).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "provider": {"ours": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": format!("http://127.0.0.1:{}/v1", port.trim()), "apiKey": "none"},
            "models": {"m": {"name": "m"}},
        }},
        "model": "ours/m",
        "small_model": "ours/m",
        "permission": {"bash": "ask"},
        "autoupdate": false,
        "share": "disabled",
    });
    let profile = Profile::acp([program.to_str().unwrap(), "acp"])
        .env("HOME", home.path().to_str().unwrap())
        .env("OPENCODE_CONFIG_CONTENT", &config.to_string());
    Some(OpenCode { profile, _home: home, _model: model })
}

/// The uses of tools that were told.
fn tools(frames: &[Frame]) -> Vec<String> {
    let call = |frame: &Frame| match frame.payload() {
        Payload::ToolCall(call) => Some(format!("{}: {}", call.title, call.status)),
        _ => None,
    };
    frames.iter().filter_map(call).collect()
}

/// Kills the program of a worker, which no API names: it is the one that has its id in its environment.
fn kill_the_program_of(worker: &Worker) {
    let is_its = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&worker.worker_id)
    };
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let its: Vec<i32> = pids.filter(is_its).collect();
    assert!(!its.is_empty(), "{} has no program", worker.worker_id);
    for pid in its {
        // One that ended with another is gone.
        _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdks_example_uses_its_tools_with_the_leave_that_its_profile_gives() {
    for (permissions, last, done) in [
        ("deny", " I understand you prefer not to make that change. I'll skip the configuration update.", false),
        ("allow", " Perfect! I've successfully updated the configuration. The changes have been applied.", true),
    ] {
        let Some(profile) = example() else { return };
        let host = Host::named("one").profile("builtin:coder", profile.permissions(permissions)).start().await;
        let plane = Plane::new().host(&host).start().await;
        let worker = plane.spawn("one", "builtin:coder").await;
        let frames = ask(&worker, "help me").await;
        let said = answers(&frames);
        assert_eq!((said.len(), said[2]), (3, last), "{said:?}");
        assert!(pieces_of_items(&frames) > 2, "it came in pieces");
        let mut told = vec![
            "Reading project files: pending",
            "Reading project files: completed",
            "Modifying critical configuration file: pending",
        ];
        told.extend(done.then_some("Modifying critical configuration file: completed"));
        assert_eq!(tools(&frames), told);
        assert_eq!(frames.last().and_then(turn_end), Some("end_turn"));
    }
}

fn pieces_of_items(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| matches!(frame.payload(), Payload::OutputDelta(_))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_answers_in_pieces_remembers_and_uses_a_tool_with_the_leave_that_its_profile_gives() {
    for permissions in ["deny", "allow"] {
        let Some(opencode) = opencode().await else { return };
        let plane =
            Plane::new().profile("builtin:coder", opencode.profile.clone().permissions(permissions)).start().await;
        let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
        let frames = ask(&worker, "hello").await;
        assert_eq!(answers(&frames), ["you have spoken 1 times"]);
        assert_eq!(pieces(&frames, OutputChannel::Output), "you have spoken 1 times");
        assert_eq!(answers(&ask(&worker, "again").await), ["you have spoken 2 times"]);
        let frames = ask(&worker, "use a tool").await;
        let (told, said) = (tools(&frames), answers(&frames));
        assert_eq!(told.first().map(String::as_str), Some("bash: pending"), "{told:?}");
        if permissions == "allow" {
            assert_eq!(told.last().map(String::as_str), Some("echo from the tool: completed"), "{told:?}");
            assert_eq!(said, ["the tool said: from the tool\n"]);
        } else {
            assert_eq!(told.last().map(String::as_str), Some("echo from the tool: failed"), "{told:?}");
            assert!(!said.concat().contains("from the tool"), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_breaks_the_turn_of_a_foreign_agent_off() {
    let (Some(example), Some(opencode)) = (example(), opencode().await) else { return };
    for (profile, prompt) in [(example, "help me"), (opencode.profile.clone(), "wait")] {
        let plane = Plane::new().profile("builtin:coder", profile).start().await;
        let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
        let mut stream = worker.observe().await;
        worker.send(prompt).await;
        stream.first("a piece", |frame| matches!(frame.payload(), Payload::OutputDelta(_))).await;
        worker.stop(StopMode::Graceful).await;
        let frames = stream.rest().await;
        assert_eq!(frames.iter().filter_map(turn_end).collect::<Vec<_>>(), ["cancelled"], "{prompt}");
        assert_eq!(worker.get().await.state(), WorkerState::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_agent_that_is_killed_in_mid_turn_has_failed_and_says_in_what() {
    let (Some(example), Some(opencode)) = (example(), opencode().await) else { return };
    for (profile, prompt) in [(example, "help me"), (opencode.profile.clone(), "wait")] {
        let plane = Plane::new().profile("builtin:coder", profile).start().await;
        let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
        let mut stream = worker.observe().await;
        worker.send(prompt).await;
        stream.first("a piece", |frame| matches!(frame.payload(), Payload::OutputDelta(_))).await;
        kill_the_program_of(&worker);
        let frames = stream.rest().await;
        assert_eq!(frames.iter().filter_map(turn_end).collect::<Vec<_>>(), ["failed"], "{prompt}");
        let end = frames.last().and_then(|frame| frame.termination()).unwrap();
        assert_eq!((end.reason(), end.signal), (TerminationReason::Killed, Some(9)), "{end:?}");
        assert!(end.message.contains("it was in turn-"), "{}", end.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_agent_goes_on_after_its_runtime_was_killed() {
    let (Some(example), Some(opencode)) = (example(), opencode().await) else { return };
    // One cannot take up a session again, the other one can.
    let remembers = Some("you have spoken 2 times");
    for (profile, prompt, remembers) in [(example, "help me", None), (opencode.profile.clone(), "hello", remembers)] {
        let mut host = Host::named("one").profile("builtin:coder", profile.restarting()).durable().start().await;
        let plane = Plane::new().host(&host).start().await;
        let worker = plane.spawn("one", "builtin:coder").await;
        assert!(!answers(&ask(&worker, prompt).await).is_empty());
        host.restart().await;
        let again = worker.state_is(WorkerState::Running).await;
        assert_eq!(again.run_generation, 2);
        let frames = ask(&worker, prompt).await;
        assert_eq!(frames.last().and_then(turn_end), Some("end_turn"), "{prompt}");
        assert!(
            remembers.is_none_or(|words| answers(&frames) == [words]) && !answers(&frames).is_empty(),
            "{frames:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_by_a_foreign_agent_decides() {
    let (Some(example), Some(opencode)) = (example(), opencode().await) else { return };
    let bash = ("use a tool", "the tool said: from the tool\n");
    let edit = ("help me", " Perfect! I've successfully updated the configuration. The changes have been applied.");
    for (profile, option, (prompt, last)) in [(example, "allow", edit), (opencode.profile.clone(), "once", bash)] {
        let host = Host::named("one").profile("builtin:coder", profile.permissions("ask")).start().await;
        let plane = Plane::new().host(&host).start().await;
        let worker = plane.spawn("one", "builtin:coder").await;
        let mut stream = worker.observe().await;
        worker.send(prompt).await;
        let asked = stream.first("a question", |frame| frame.approval().is_some()).await.approval().unwrap().clone();
        assert_eq!(worker.get().await.activity(), WorkerActivity::Waiting);
        let answer = worker.try_answer(worker.answer(&asked.approval_id, option)).await.unwrap();
        assert_eq!(answer.state(), OperationState::Accepted, "{answer:?}");
        let frames = stream.up_to("the end of the turn", |frame| turn_end(frame).is_some()).await;
        assert_eq!(answers(&frames).last(), Some(&last), "{frames:?}");
        assert_eq!(frames.last().and_then(turn_end), Some("end_turn"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_agent_that_is_interrupted_takes_the_next_prompt() {
    let (Some(example), Some(opencode)) = (example(), opencode().await) else { return };
    for (profile, prompt) in [(example, "help me"), (opencode.profile.clone(), "wait")] {
        let plane = Plane::new().profile("builtin:coder", profile).start().await;
        let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
        let mut stream = worker.observe().await;
        worker.send(prompt).await;
        stream.first("a piece", |frame| matches!(frame.payload(), Payload::OutputDelta(_))).await;
        worker.try_interrupt("").await.unwrap();
        let end = stream.first("the end of the turn", |frame| turn_end(frame).is_some()).await;
        assert_eq!(turn_end(&end), Some("cancelled"), "{prompt}");
        assert_eq!(ask(&worker, "and now?").await.last().and_then(turn_end), Some("end_turn"), "{prompt}");
    }
}
