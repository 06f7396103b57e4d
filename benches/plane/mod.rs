//! A control plane of its own process, and what benches ask it for.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use tonic::transport::{Channel, Endpoint};
use workplane::proto::v1;
use workplane::proto::v1::worker_service_client::WorkerServiceClient;

pub(crate) const RUNTIME: &str = "embedded-worker-runtime";
/// How long an input is.
pub(crate) const PAYLOAD: usize = 200;

/// A control plane that ends with this.
pub(crate) struct Plane {
    pub(crate) child: Child,
    pub(crate) endpoint: String,
}

impl Plane {
    /// The release binary, on a port that is free.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_workplane"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "error"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on ").expect("it says where it listens");
        Self { child, endpoint: format!("http://{address}") }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // It may have ended by itself; what matters is that it is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// So many connections.
pub(crate) async fn connect(endpoint: &str, connections: usize) -> Vec<Channel> {
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).expect("it is an address");
    join_all((0..connections).map(|_| async { endpoint.connect().await.expect("it is up") })).await
}

/// Makes a worker for which nothing runs.
pub(crate) async fn spawn(channel: Channel) -> String {
    let kind = Some(v1::spawn_intent::Kind::WorkspaceCompanion(v1::WorkspaceCompanion {}));
    let intent = Some(v1::SpawnIntent { kind });
    let request =
        v1::SpawnWorkerRequest { runtime_id: RUNTIME.to_owned(), intent, ..v1::SpawnWorkerRequest::default() };
    let answer = WorkerServiceClient::new(channel).spawn_worker(request).await.expect("a worker");
    answer.into_inner().worker.expect("a worker").worker_id
}

/// An input of [`PAYLOAD`] bytes, which becomes an item.
pub(crate) fn input(worker_id: &str) -> v1::SendInputRequest {
    v1::SendInputRequest {
        runtime_id: RUNTIME.to_owned(),
        worker_id: worker_id.to_owned(),
        kind: v1::WorkerInputKind::System.into(),
        content: "x".repeat(PAYLOAD),
        ..v1::SendInputRequest::default()
    }
}
