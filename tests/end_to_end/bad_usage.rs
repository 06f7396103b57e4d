//! Wrong words on the command line, and endpoints that are none: said clearly, with the exit code that tells them apart.

use std::process::Output;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::support::{Plane, Profile, run};

/// What a command that must fail ended with, and what it said.
fn failed(arguments: &[&str], output: Output) -> (Option<i32>, String) {
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}: what is printed is for those who succeed");
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_words_exit_2_and_name_the_flag() {
    // acceptance 125
    const DURATION: &str = "must be a duration with its unit";
    const ENDPOINT: &str = "--endpoint: must be http://HOST:PORT";
    for (line, why) in [
        ("--nope", "unexpected argument '--nope'"),
        ("fly", "unrecognized subcommand 'fly'"),
        ("serve --nope", "unexpected argument '--nope'"),
        ("serve --config /nonexistent.toml", "/nonexistent.toml: the file cannot be read"),
        ("serve --listen nowhere", "--listen: must be an address and a port"),
        ("serve --listen 127.0.0.1:99999", "--listen: must be an address and a port"),
        ("serve --token-file /nonexistent", "--token-file: /nonexistent cannot be read"),
        ("serve --workspace-id a.b", "--workspace-id: must be 1 to 120 characters"),
        ("serve --log-format xml", "--log-format: must be text or json"),
        ("serve --log-level loud", "--log-level: must be error"),
        ("runtime --runtime-id a/b", "--runtime-id: must be 1 to 120 characters"),
        ("runtimes --endpoint ftp://127.0.0.1:1", ENDPOINT),
        ("runtimes --endpoint http://", ENDPOINT),
        ("runtimes --endpoint http://127.0.0.1", ENDPOINT),
        ("runtimes --endpoint http://127.0.0.1:99999", ENDPOINT),
        ("runtimes --endpoint http://u:p@127.0.0.1:7400", ENDPOINT),
        ("runtimes --endpoint http://127.0.0.1:7400/path", ENDPOINT),
        ("runtimes --token-file /nonexistent", "--token-file: /nonexistent cannot be read"),
        ("runtimes --timeout soon", DURATION),
        ("runtimes --timeout 10", DURATION),
        ("runtimes --timeout 0s", "must be 1ms to 1day"),
        ("runtimes --timeout 99999999999y", "must be 1ms to 1day"),
        ("runtimes --output xml", "invalid value 'xml' for '--output <FORM>'"),
        ("observe worker-1 --heartbeat x", DURATION),
        ("observe worker-1 --heartbeat 1h", "must be 1s to 5m"),
        ("observe worker-1 --beginning --cursor x", "cannot be used with"),
        ("transcript worker-1 --start first", "invalid value 'first' for '--start <N>'"),
        ("spawn --label x", "must be KEY=VALUE"),
        ("spawn --role poet --ticket T-1", "invalid value 'poet' for '--role <ROLE>'"),
        ("spawn --role coder", "--ticket <ID>"),
        ("spawn --companion --orchestrator", "cannot be used with"),
        ("workers --state tired", "must be starting, running"),
        ("workers worker-1", "`workplane workers get worker-1`"),
        ("runtimes r-1 --output json", "`workplane runtimes get r-1`"),
        ("hosts h-1", "`workplane hosts get h-1`"),
        ("send", "<WORKER>"),
        ("demo now", "unexpected argument 'now'"),
    ] {
        let arguments: Vec<_> = line.split(' ').collect();
        let (code, said) = failed(&arguments, run(&arguments).await);
        assert!(code == Some(2) && said.contains(why), "{line}: {code:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_control_plane_finds_wrong_exits_1_and_names_the_field_once() {
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let worker_id = plane.spawn(crate::support::EMBEDDED, "builtin:coder").await.worker_id;
    let (endpoint, token_file) = (plane.endpoint(), plane.token_file().to_str().unwrap().to_owned());
    let long = "x".repeat(2_049);
    for (arguments, why) in [
        (vec!["spawn", "--runtime", "a b"], "INVALID_IDENTIFIER: runtime_id: "),
        (vec!["spawn", "--ticket", "a/b"], "INVALID_IDENTIFIER: intent.ticket_role.ticket_id: "),
        (vec!["spawn", "--profile", "a b"], "INVALID_REQUEST: profile.named: "),
        (vec!["spawn", "--label", "k=v v"], "INVALID_REQUEST: labels[k]: "),
        (vec!["spawn", "--request-id", "a b"], "INVALID_IDENTIFIER: request_id: "),
        (vec!["spawn", "--input", " "], "INVALID_REQUEST: initial_input.content: "),
        (vec!["stop", &worker_id, "--reason", &long], "INVALID_REQUEST: reason: "),
        (vec!["observe", &worker_id, "--cursor", "x"], "CURSOR_MALFORMED: cursor: "),
        (vec!["hosts", "get", "nope"], "UNKNOWN_HOST: "),
    ] {
        let connection = ["--endpoint", &endpoint, "--token-file", &token_file];
        let arguments: Vec<_> = arguments.into_iter().chain(connection).collect();
        let (code, said) = failed(&arguments, run(&arguments).await);
        assert!(code == Some(1) && said.starts_with(&format!("workplane: {why}")), "{code:?}: {said}");
        let field = why.split(": ").nth(1).filter(|field| !field.is_empty());
        assert!(field.is_none_or(|field| said.matches(&format!("{field}: ")).count() == 1), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_control_plane_is_said_to_be_none() {
    let nobody = run(&["runtimes", "--endpoint", "http://127.0.0.1:1"]).await;
    let (code, said) = failed(&["nobody"], nobody);
    assert!(code == Some(1) && said.contains("no control plane answers at 127.0.0.1:1"), "{said}");

    // One that hangs up on every line it does not understand, and one that says nothing at all.
    for talks in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if talks {
                    _ = stream.read(&mut [0; 64]).await;
                    _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                } else {
                    silent.push(stream);
                }
            }
        });
        let arguments = ["runtimes", "--endpoint", &endpoint, "--timeout", "500ms"];
        let (code, said) = failed(&arguments, run(&arguments).await);
        assert!(code == Some(1) && said.contains("no control plane answer"), "{talks}: {said}");
        server.abort();
    }
}
