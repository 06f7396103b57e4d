//! A host: `workplane runtime` with profiles of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use super::configuration::{Configuration, Profile, Remote, write_secret};
use super::{Client, Running, Scrape};

/// A host in the making.
#[derive(Debug)]
pub(crate) struct HostBuilder {
    runtime_id: String,
    token: String,
    configuration: Configuration,
    listen: Option<SocketAddr>,
    durable: bool,
    metrics: Option<&'static str>,
}

/// A running host.
#[derive(Debug)]
pub(crate) struct Host {
    builder: HostBuilder,
    directory: TempDir,
    process: Running,
}

impl Host {
    /// A host whose runtime has this id.
    pub(crate) fn named(runtime_id: &str) -> HostBuilder {
        HostBuilder {
            runtime_id: runtime_id.to_owned(),
            token: format!("token-of-{runtime_id}"),
            configuration: Configuration::default(),
            listen: None,
            durable: false,
            metrics: None,
        }
    }

    pub(crate) fn runtime_id(&self) -> &str {
        &self.builder.runtime_id
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// What its metrics are now.
    pub(crate) async fn scrape(&self) -> Scrape {
        Scrape::of(self.process.metrics_address().await).await
    }

    pub(crate) fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    /// A client of the host itself, with the control plane's token.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address(), Some(&self.builder.token))
    }

    /// The file of the tokens that it lets in.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.directory.path().join("tokens")
    }

    /// The entry for this host in a control plane's file, reached at `address`.
    pub(crate) fn entry(&self, address: SocketAddr) -> Remote {
        let token_file = self.token_file();
        Remote { runtime_id: self.runtime_id().to_owned(), address, token_file, tls: Vec::new() }
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Asks for another token from its next start on. Control planes that run do not know it before they read it anew.
    pub(crate) fn exchange_token(&mut self, token: &str) {
        token.clone_into(&mut self.builder.token);
    }

    /// Kills it and starts it anew at the same address; what it had in memory alone is gone.
    pub(crate) async fn restart(&mut self) {
        self.process.kill().await;
        self.start_again().await;
    }

    /// Starts it at the same address, once it has ended.
    pub(crate) async fn start_again(&mut self) {
        self.builder.listen = Some(self.address());
        self.process = self.builder.launch(&self.directory).await;
    }
}

impl HostBuilder {
    /// Adds a profile.
    pub(crate) fn profile(mut self, name: &str, profile: Profile) -> Self {
        self.configuration.profiles.push((name.to_owned(), profile));
        self
    }

    /// Serves metrics.
    pub(crate) fn metrics(mut self) -> Self {
        self.metrics = Some("127.0.0.1:0");
        self
    }

    /// Sends traces to this collector: this part of those that begin here.
    pub(crate) fn traces(mut self, collector: SocketAddr, sample: f64) -> Self {
        self.configuration.traces = Some((collector, sample));
        self
    }

    /// Sets values of its file.
    pub(crate) fn set(mut self, values: impl IntoIterator<Item = (String, String)>) -> Self {
        self.configuration.root.extend(values);
        self
    }

    /// Gives it a data directory.
    pub(crate) fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Starts it, and waits until it listens.
    pub(crate) async fn start(self) -> Host {
        let directory = tempfile::tempdir().unwrap();
        let process = self.launch(&directory).await;
        Host { builder: self, directory, process }
    }

    async fn launch(&self, directory: &TempDir) -> Running {
        let tokens = write_secret(directory.path(), "tokens", &format!("plane {}\n", self.token));
        let config = directory.path().join("runtime.toml");
        fs::write(&config, self.configuration.to_toml()).unwrap();
        let listen = self.listen.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let mut arguments = vec![
            "runtime",
            "--config",
            config.to_str().unwrap(),
            "--listen",
            &listen,
            "--runtime-id",
            &self.runtime_id,
            "--token-file",
            tokens.to_str().unwrap(),
        ];
        arguments.extend(self.metrics.iter().flat_map(|address| ["--metrics-listen", address]));
        let data_dir = directory.path().join("data");
        if self.durable {
            arguments.extend(["--data-dir", data_dir.to_str().unwrap()]);
        }
        Running::start(&format!("host {}", self.runtime_id), &arguments).await
    }
}
