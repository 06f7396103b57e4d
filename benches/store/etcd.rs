//! etcd, and durable puts to it, over the same transport and with the same sizes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::process::{Child, Command};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::grpc::CONNECTIONS;
use crate::load::{Measured, load};
use crate::plane::{PAYLOAD, connect};
use crate::processor::Meter;

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`, of which nothing is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// One member, which ends with this.
pub(crate) struct Etcd {
    child: Child,
    endpoint: String,
}

impl Etcd {
    /// Whether it is installed.
    pub(crate) fn is_there() -> bool {
        let version = std::process::Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    }

    /// Starts one that syncs what it acknowledges, as it does unless told otherwise.
    pub(crate) async fn start(dir: &Path) -> Self {
        let [clients, peers] = [free_address(), free_address()].map(|address| format!("http://{address}"));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.join("etcd"))
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let etcd = Self { child, endpoint: clients };
        etcd.answers().await;
        etcd
    }

    /// Waits until a put is answered: then it has a leader.
    async fn answers(&self) {
        let endpoint = Endpoint::from_shared(self.endpoint.clone()).unwrap();
        for _ in 0..600 {
            if let Ok(channel) = endpoint.connect().await
                && put(channel, 0).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("etcd does not answer");
    }

    /// Puts to as many keys, so many at once.
    pub(crate) async fn put(&self, waiting: usize) -> (Measured, [f64; 2]) {
        let channels = connect(&self.endpoint, CONNECTIONS).await;
        let meter = Meter::of(self.child.id());
        let measured = load(waiting, move |n| {
            let channel = channels[n % channels.len()].clone();
            async move { put(channel, n).await.unwrap() }
        })
        .await;
        (measured, meter.each(measured.calls))
    }
}

async fn put(channel: Channel, n: usize) -> Result<(), tonic::Status> {
    let request = PutRequest { key: format!("key-{n}").into_bytes(), value: vec![7; PAYLOAD] };
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
    let codec = ProstCodec::<PutRequest, PutResponse>::default();
    grpc.unary(tonic::Request::new(request), path, codec).await.map(drop)
}

/// One that was free just now.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
