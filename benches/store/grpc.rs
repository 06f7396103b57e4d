//! The binary, and calls to it over sockets.

use std::path::Path;
use std::process::Stdio;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};
use workplane::proto::v1;
use workplane::proto::v1::worker_service_client::WorkerServiceClient;

use crate::bed::PAYLOAD;
use crate::load::{Measured, load};
use crate::processor::Meter;

const RUNTIME: &str = "embedded-worker-runtime";
const CONNECTIONS: usize = 4;

/// A control plane, which ends with this.
pub(crate) struct Plane {
    child: Child,
    channels: Vec<Channel>,
}

impl Plane {
    pub(crate) async fn start(data_dir: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workplane"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-level", "error"]);
        if let Some(dir) = data_dir {
            command.arg("--data-dir").arg(dir);
        }
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("it says where it listens");
        let channels = connect(&format!("http://{address}")).await;
        Self { child, channels }
    }

    /// Inputs for as many workers, so many at once; and how many microseconds of processor time each took the server and
    /// the client.
    pub(crate) async fn drive(&self, waiting: usize, workers: usize) -> (Measured, [f64; 2]) {
        let workers = join_all((0..workers).map(|_| spawn(self.channels[0].clone()))).await;
        let calls: Vec<_> = (0..waiting)
            .map(|n| {
                let client = WorkerServiceClient::new(self.channels[n % CONNECTIONS].clone());
                (client, input(&workers[n % workers.len()]))
            })
            .collect();
        let meter = Meter::of(self.child.id());
        let measured = load(waiting, move |n| {
            let (mut client, request) = calls[n].clone();
            async move { drop(client.send_input(request).await.unwrap()) }
        })
        .await;
        (measured, meter.each(measured.calls))
    }
}

pub(crate) async fn connect(endpoint: &str) -> Vec<Channel> {
    let connect = || async { Endpoint::from_shared(endpoint.to_owned()).unwrap().connect().await.unwrap() };
    join_all((0..CONNECTIONS).map(|_| connect())).await
}

async fn spawn(channel: Channel) -> String {
    let kind = Some(v1::spawn_intent::Kind::WorkspaceCompanion(v1::WorkspaceCompanion {}));
    let intent = Some(v1::SpawnIntent { kind });
    let request =
        v1::SpawnWorkerRequest { runtime_id: RUNTIME.to_owned(), intent, ..v1::SpawnWorkerRequest::default() };
    let answer = WorkerServiceClient::new(channel).spawn_worker(request).await.unwrap();
    answer.into_inner().worker.expect("a worker").worker_id
}

fn input(worker_id: &str) -> v1::SendInputRequest {
    v1::SendInputRequest {
        runtime_id: RUNTIME.to_owned(),
        worker_id: worker_id.to_owned(),
        kind: v1::WorkerInputKind::System.into(),
        content: "x".repeat(PAYLOAD),
        ..v1::SendInputRequest::default()
    }
}
