//! How the two roles start, what they refuse to start with, and how they end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use tonic::Code;
use workplane::proto::v1;

use crate::support::{EMBEDDED, Host, Plane, Profile, refusal, run};

/// A start that must fail as bad configuration does; what it says.
async fn refused(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = run(arguments).await;
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
    assert!(stdout.is_empty(), "standard output is for where it listens");
    said
}

fn write(directory: &Path, name: &str, text: &str, mode: u32) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Whether a process runs: it is there, and not merely waiting for its parent to notice that it has ended.
fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // proc(5): the state comes after the name, which is in parentheses and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn beyond_loopback_there_is_no_serving_without_a_token() {
    // acceptance 123
    for role in ["serve", "runtime"] {
        for listen in ["0.0.0.0:0", "[::]:0"] {
            let said = refused(&[role, "--listen", listen]).await;
            assert!(said.contains("listen") && said.contains("token"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_wrong_file_is_named_with_its_line_and_field() {
    // acceptance 125
    let directory = tempfile::tempdir().unwrap();
    for (role, text, place) in [
        ("serve", "listen = \"127.0.0.1:0\"\nlisten_on = 1\n", [":2", "listen_on"]),
        (
            "serve",
            "\n[[remote_runtimes]]\nruntime_id = \"a b\"\nendpoint = \"http://127.0.0.1:1\"\n",
            [":3", "runtime_id"],
        ),
        ("serve", "[[remote_runtimes]]\nruntime_id = \"a\"\nendpoint = \"ftp://x\"\n", [":3", "endpoint"]),
        ("runtime", "[profiles.\"builtin:coder\"]\nprotocol = \"lines\"\ncommand = []\n", [":3", "command"]),
        ("runtime", "[profiles.\"builtin:coder\"]\nprotocol = \"telepathy\"\n", [":2", "protocol"]),
        ("runtime", "listen = \n", [":1", "config"]),
    ] {
        let file = write(directory.path(), "config.toml", text, 0o600);
        let said = refused(&[role, "--listen", "127.0.0.1:0", "--config", &file]).await;
        for place in place.iter().chain(&["config.toml"]) {
            assert!(said.contains(place), "{text}\nis refused without {place}: {said}");
        }
    }
}

#[tokio::test]
async fn the_same_runtime_twice_is_refused() {
    // acceptance 12
    let directory = tempfile::tempdir().unwrap();
    let one = "[[remote_runtimes]]\nruntime_id = \"one\"\nendpoint = \"http://127.0.0.1:1\"\n";
    let file = write(directory.path(), "serve.toml", &one.repeat(2), 0o600);
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--config", &file]).await;
    assert!(said.contains(":5") && said.contains("runtime_id"), "{said}");
}

#[tokio::test]
async fn a_token_file_that_is_empty_or_open_to_others_is_refused_without_its_words() {
    // acceptance 125
    let directory = tempfile::tempdir().unwrap();
    for (text, mode) in [("", 0o600), ("# nothing\n", 0o600), ("ops s3cret\n", 0o644)] {
        let file = write(directory.path(), "tokens", text, mode);
        for role in ["serve", "runtime"] {
            let said = refused(&[role, "--listen", "127.0.0.1:0", "--token-file", &file]).await;
            assert!(said.contains("tokens") && !said.contains("s3cret"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_refused() {
    // acceptance 125
    for arguments in [&["serve", "--lisen", "x"][..], &["serve", "--listen", "nowhere"], &[], &["dance"]] {
        let Output { status, .. } = run(arguments).await;
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_each_role_ends_its_workers_and_exits_with_0() {
    // A program that does not end by itself, whatever becomes of its standard input and output.
    let endless = || Profile::script("echo $$; exec sleep 3600");
    let mut host = Host::named("one").profile("builtin:coder", endless()).start().await;
    let mut plane = Plane::new().profile("builtin:coder", endless()).host(&host).start().await;
    let local = plane.spawn(EMBEDDED, "builtin:coder").await;
    let remote = plane.spawn("one", "builtin:coder").await;
    let mut streams = [local.observe().await, remote.observe().await];
    let mut programs = Vec::new();
    for stream in &mut streams {
        let said = stream.first("the program's number", |frame| frame.item().is_some()).await;
        programs.push(said.item().unwrap().content.trim().parse::<u32>().unwrap());
    }
    assert!(programs.iter().all(|program| runs(*program)));

    plane.process().signal(Signal::TERM);
    for stream in &mut streams {
        // The last frame says why, and that its cursor is good for later.
        let last = stream.first("the drain", |frame| frame.diagnostic() == Some("draining")).await;
        assert!(!last.cursor.is_empty());
        let ended = stream.next().await.expect_err("a drained stream has not ended well");
        assert_eq!(refusal(&ended).is(), (Code::Unavailable, "DRAINING"));
    }
    assert_eq!(plane.process().ended().await.code(), Some(0));
    assert_eq!(plane.process().chatter(), "", "standard output is for where it listens");
    assert!(!runs(programs[0]), "the embedded runtime's worker has outlived it");

    // The worker on the host has outlived the control plane.
    let request = workplane::proto::runtime_v1::GetWorkerRequest { worker_id: remote.worker_id.clone() };
    let there = host.client().worker_runtime().get_worker(request).await.unwrap().into_inner().worker.unwrap();
    assert_eq!(there.state(), v1::WorkerState::Running);
    assert!(runs(programs[1]));
    host.process().signal(Signal::INT);
    assert_eq!(host.process().ended().await.code(), Some(0));
    assert!(!runs(programs[1]), "the host's worker has outlived it");
    assert_eq!(host.process().chatter(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_workers_is_in_no_log() {
    let cat = || Profile::text(["cat"]);
    let mut host = Host::named("one").profile("builtin:coder", cat()).start().await;
    let mut plane = Plane::new().profile("builtin:coder", cat()).host(&host).start().await;
    for runtime_id in [EMBEDDED, "one"] {
        let worker = plane.spawn(runtime_id, "builtin:coder").await;
        worker.send("the-secret-of-the-input").await;
        worker.observe().await.first("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
        worker.stop(v1::StopMode::Graceful).await;
    }
    for log in [plane.process().log(), host.process().log()] {
        for secret in ["the-secret-of-the-input", "token-of"] {
            assert!(!log.contains(secret), "{secret} is in a log:\n{log}");
        }
    }
}
