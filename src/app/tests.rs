//! The real server on a port of its own, steered by hand.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

use super::*;
use crate::config::{ServeConfig, ServeFlags, ServerFlags};
use crate::proto::v1::ListRuntimesRequest;
use crate::proto::v1::runtime_service_client::RuntimeServiceClient;

/// A running control plane, and the directory of its files.
struct Plane {
    directory: tempfile::TempDir,
    address: SocketAddr,
    drain: CancellationToken,
    configs: mpsc::Sender<ServeConfig>,
    served: JoinHandle<Result<(), AppError>>,
}

impl Plane {
    async fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = load(&directory, config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, configs, control) = Control::by_hand();
        let plane = ControlPlane::open(config).await.unwrap();
        let served = tokio::spawn(plane.run(listener, control));
        Self { directory, address, drain, configs, served }
    }

    /// Hands it another configuration, and waits until it has taken it.
    async fn follow(&self, config: &str) {
        self.configs.send(load(&self.directory, config)).await.unwrap();
        // There is room for one: a second one is taken once the first was followed.
        drop(self.configs.reserve().await.unwrap());
        self.configs.send(load(&self.directory, config)).await.unwrap();
        drop(self.configs.reserve().await.unwrap());
    }

    /// The ids of its runtimes, asked for with `token`.
    async fn runtimes(&self, token: &str) -> Result<Vec<String>, Code> {
        let mut client = RuntimeServiceClient::connect(format!("http://{}", self.address)).await.unwrap();
        let mut request = Request::new(ListRuntimesRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let response = client.list_runtimes(request).await.map_err(|status| status.code())?;
        Ok(response.into_inner().runtimes.into_iter().map(|runtime| runtime.runtime_id).collect())
    }

    async fn end(self) {
        self.drain.cancel();
        self.served.await.unwrap().unwrap();
    }
}

fn load(directory: &tempfile::TempDir, config: &str) -> ServeConfig {
    let write = |name: &str, text: &str| -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    for token in ["one", "two"] {
        write(token, &format!("ops token-{token}\n"));
    }
    write("bad", "ops token-bad\na b c\n");
    let server = ServerFlags { config: Some(write("serve.toml", config)), ..ServerFlags::default() };
    ServeConfig::load(&ServeFlags { server, workspace_id: None }, &|_| None).unwrap()
}

fn remote(id: &str) -> String {
    format!("[[remote_runtimes]]\nruntime_id = '{id}'\nendpoint = 'http://127.0.0.1:1'\n")
}

#[tokio::test]
async fn another_configuration_changes_remote_runtimes_and_tokens_while_it_serves() {
    let plane = Plane::start(&format!("token_file = 'one'\n{}", remote("a"))).await;
    assert_eq!(plane.runtimes("token-one").await.unwrap(), ["embedded-worker-runtime", "a"]);
    assert_eq!(plane.runtimes("token-two").await.unwrap_err(), Code::Unauthenticated);
    plane.follow(&format!("token_file = 'two'\n{}{}", remote("b"), remote("a"))).await;
    assert_eq!(plane.runtimes("token-two").await.unwrap(), ["embedded-worker-runtime", "b", "a"]);
    assert_eq!(plane.runtimes("token-one").await.unwrap_err(), Code::Unauthenticated);
    // A bad line in it changes nothing.
    plane.follow("token_file = 'bad'").await;
    assert_eq!(plane.runtimes("token-two").await.unwrap().len(), 3);
    // A file that is gone from the configuration opens nothing.
    plane.follow("").await;
    assert_eq!(plane.runtimes("").await.unwrap_err(), Code::Unauthenticated);
    assert_eq!(plane.runtimes("token-two").await.unwrap(), ["embedded-worker-runtime"]);
    plane.end().await;
}

#[tokio::test]
async fn remote_runtimes_that_did_not_change_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let configs = |ids: &[&str]| load(&directory, &ids.iter().map(|id| remote(id)).collect::<String>()).remotes;
    let first = remotes::Remotes::default().next(configs(&["a", "b"])).unwrap();
    let mut changed = configs(&["b", "a"]);
    changed[0].timeout = Duration::from_secs(3);
    let second = first.next(changed).unwrap();
    let (first, second): (Vec<_>, Vec<_>) = (first.runtimes().collect(), second.runtimes().collect());
    assert!(std::sync::Arc::ptr_eq(&first[0], &second[1]));
    assert!(!std::sync::Arc::ptr_eq(&first[1], &second[0]));
}

#[tokio::test]
async fn a_server_that_drains_takes_no_more_connections_and_ends() {
    let plane = Plane::start("").await;
    let address = plane.address;
    plane.runtimes("").await.unwrap();
    plane.end().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_token_file_with_a_bad_line_is_a_wrong_configuration() {
    // acceptance 125
    let directory = tempfile::tempdir().unwrap();
    let config = load(&directory, "\ntoken_file = 'bad'\n");
    let refused = crate::cli::Failure::from(ControlPlane::open(config).await.err().unwrap());
    let text = refused.to_string();
    assert_eq!(refused.exit_code(), 2);
    assert!(
        text.contains("serve.toml:2: token_file: ") && text.contains("line 2: ") && !text.contains("token-bad"),
        "{text}"
    );
}
