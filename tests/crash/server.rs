//! A server on a data directory of its own that is killed and started again at the same address.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::configuration::{Configuration, Remote};
use crate::support::{Client, Running, until, write_secret};

/// Which role a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// `workplane serve`, with its embedded runtime.
    Plane,
    /// `workplane runtime`, with this id.
    Host(String),
}

/// A server, up or down.
#[derive(Debug)]
pub(crate) struct Server {
    role: Role,
    directory: TempDir,
    data_dir: PathBuf,
    listen: Option<SocketAddr>,
    process: Option<Running>,
}

impl Server {
    /// One that was never up. Its data lie beside its configuration unless it is told otherwise.
    pub(crate) fn new(role: Role, configuration: &Configuration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        let server = Self { role, directory, data_dir, listen: None, process: None };
        write_secret(server.directory.path(), "tokens", &format!("tests {}\n", server.token()));
        fs::write(server.path("config.toml"), configuration.to_toml()).unwrap();
        server
    }

    /// Adds to its configuration.
    pub(crate) fn configured(self, text: &str) -> Self {
        let path = self.path("config.toml");
        let configuration = fs::read_to_string(&path).unwrap() + text;
        fs::write(path, configuration).unwrap();
        self
    }

    /// Its data lie here.
    pub(crate) fn data_dir(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.data_dir);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn token(&self) -> String {
        match &self.role {
            Role::Plane => "token-of-the-tests".to_owned(),
            Role::Host(runtime_id) => format!("token-of-{runtime_id}"),
        }
    }

    /// Starts it with something in its environment; with what it logged where it ended instead of listening.
    pub(crate) async fn try_start(&mut self, environment: &[(&str, &str)]) -> Result<(), String> {
        let listen = self.listen.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let [config, tokens] = ["config.toml", "tokens"].map(|name| self.path(name).to_str().unwrap().to_owned());
        let mut arguments = vec!["--config", &config, "--listen", &listen, "--token-file", &tokens, "--data-dir"];
        arguments.push(self.data_dir.to_str().unwrap());
        match &self.role {
            Role::Plane => arguments.insert(0, "serve"),
            Role::Host(runtime_id) => arguments.splice(0..0, ["runtime", "--runtime-id", runtime_id]).for_each(drop),
        }
        let process = Running::try_start(&format!("{:?}", self.role), &arguments, environment).await?;
        self.listen = Some(process.address());
        self.process = Some(process);
        Ok(())
    }

    /// Starts it and waits until it is SERVING; returns how long that took.
    pub(crate) async fn start(&mut self) -> Duration {
        self.start_with(&[]).await
    }

    /// The same with something in its environment.
    pub(crate) async fn start_with(&mut self, environment: &[(&str, &str)]) -> Duration {
        let begun = Instant::now();
        self.try_start(environment)
            .await
            .unwrap_or_else(|log| panic!("{:?} does not start; its log:\n{log}", self.role));
        self.serving().await;
        begun.elapsed()
    }

    /// Waits until it is SERVING.
    pub(crate) async fn serving(&self) {
        let client = self.client();
        until("the server to be SERVING", || async {
            let answer = HealthClient::new(client.transport()).check(HealthCheckRequest::default()).await;
            answer.ok().filter(|answer| answer.get_ref().status() == ServingStatus::Serving)
        })
        .await;
    }

    /// Ends it at once, as a crash would.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().expect("it is up");
        process.kill().await;
    }

    /// Waits until its log says this.
    pub(crate) async fn says(&self, what: &str) {
        until(what, || async { self.process.as_ref().expect("it is up").log().contains(what).then_some(()) }).await;
    }

    /// Waits until it has ended by itself, and this is the last that is heard of it: its log is read beside.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn ended(&mut self, last_words: &str) {
        let mut process = self.process.take().expect("it is up");
        process.ended().await;
        // Other threads may have had the very last word.
        until(last_words, || async { process.log().contains(last_words).then_some(()) }).await;
    }

    /// Where it listens, whenever it is up.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen.expect("it was started once")
    }

    /// A client that connects again whenever it is up.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address(), Some(&self.token()))
    }

    /// Where its data lie.
    pub(crate) fn data(&self) -> &Path {
        &self.data_dir
    }

    /// The entry for this host in a control plane's file.
    pub(crate) fn entry(&self) -> Remote {
        let Role::Host(runtime_id) = &self.role else { panic!("a control plane is nobody's host") };
        Remote {
            runtime_id: runtime_id.clone(),
            address: self.address(),
            token_file: self.path("tokens"),
            tls: Vec::new(),
        }
    }
}
