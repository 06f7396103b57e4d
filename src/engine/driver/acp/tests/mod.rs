//! Conversations with agents in memory, for what takes longer than a test may.

mod leave;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, duplex};

use tokio::runtime::Handle;

use super::*;
use crate::engine::driver::{Delivery, Reply};
use crate::engine::profile::{Permissions, Profile};

/// The agent's ends of the pipes, and the conversation.
struct Bed {
    heard: BufReader<DuplexStream>,
    says: DuplexStream,
    talk: tokio::task::JoinHandle<Ended>,
    inputs: mpsc::Sender<Delivery>,
    answers: mpsc::Sender<Reply>,
    signals: Signals,
    reports: mpsc::Receiver<Report>,
}

fn bed() -> Bed {
    with(Permissions::Deny)
}

fn with(permissions: Permissions) -> Bed {
    let ((stdin, heard), (says, stdout)) = (duplex(64 * 1024), duplex(64 * 1024));
    let (inputs, deliveries) = mpsc::channel(WINDOW);
    let (answer, answers) = mpsc::channel(ANSWERS);
    let (report, reports) = mpsc::channel(REPORTS);
    let signals = Signals::default();
    let handle = Handle::current();
    let talk = Talk {
        handle: handle.clone(),
        cwd: PathBuf::from("/"),
        past: Past::default(),
        permissions,
        asked: 0,
        handshake: Profile::HANDSHAKE_TIMEOUT,
        inputs: deliveries,
        answers,
        interrupted: watch::channel(None).1,
        report,
        signals: signals.clone(),
    };
    let talk = handle.spawn(converse(stdin, Output::new(stdout, CancellationToken::new()), talk));
    Bed { heard: BufReader::new(heard), says, talk, inputs, answers: answer, signals, reports }
}

impl Bed {
    /// What it is asked next.
    async fn asked(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.heard.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn answers(&mut self, result: serde_json::Value) -> serde_json::Value {
        let asked = self.asked().await;
        let line = serde_json::json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string() + "\n";
        self.says.write_all(line.as_bytes()).await.unwrap();
        asked
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_hangs_is_given_up() {
    let mut bed = bed();
    let asked = bed.asked().await;
    assert_eq!((asked["method"].as_str(), &asked["params"]["protocolVersion"]), (Some("initialize"), &1.into()));
    assert_eq!(bed.talk.await.unwrap().broken.as_deref(), Some("the agent did not answer initialize in time"));
}

#[tokio::test(start_paused = true)]
async fn so_is_one_that_hangs_after_its_first_answer_however_much_is_told_meanwhile() {
    let mut bed = bed();
    bed.answers(serde_json::json!({"protocolVersion": 1})).await;
    let told = br#"{"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": {"sessionUpdate": "x"}}}"#;
    for _ in 0..100 {
        bed.says.write_all(told).await.unwrap();
        bed.says.write_all(b"\n").await.unwrap();
    }
    assert_eq!(bed.talk.await.unwrap().broken.as_deref(), Some("the agent did not answer session/new in time"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_another_version_is_not_spoken_with() {
    let mut bed = bed();
    bed.answers(serde_json::json!({"protocolVersion": 0})).await;
    let broken = bed.talk.await.unwrap().broken.unwrap();
    assert!(broken.contains("another version") || broken.contains("did not agree to initialize"), "{broken}");
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_handshake_is_told_in_one_bounded_line() {
    let mut bed = bed();
    let asked = bed.asked().await;
    let error = serde_json::json!({"code": -32000, "message": format!("log in\n\u{1b}[2J{}", "x".repeat(10_000))});
    let line = serde_json::json!({"jsonrpc": "2.0", "id": asked["id"], "error": error}).to_string() + "\n";
    bed.says.write_all(line.as_bytes()).await.unwrap();
    let broken = bed.talk.await.unwrap().broken.unwrap();
    assert!(broken.starts_with("the agent did not agree to initialize: log in"), "{broken}");
    assert!(broken.len() < 700 && broken.chars().all(is_plain), "{broken}");
}
