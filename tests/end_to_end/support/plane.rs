//! A control plane: `workplane serve`, with its embedded runtime and the hosts it is told of.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;
use workplane::proto::v1;

use super::configuration::{Configuration, Profile, Remote, write_secret};
use super::{Client, Host, Hostile, Running, Scrape, Worker, until};

/// The id of the embedded runtime.
pub(crate) const EMBEDDED: &str = "embedded-worker-runtime";

/// The token that clients show.
pub(crate) const TOKEN: &str = "token-of-the-tests";

/// A control plane in the making.
#[derive(Debug, Default)]
pub(crate) struct PlaneBuilder {
    configuration: Configuration,
    listen: Option<SocketAddr>,
    /// Whether it listens on all addresses of this machine, with tokens in clear.
    everywhere: bool,
    durable: bool,
    metrics: Option<&'static str>,
}

/// A running control plane.
#[derive(Debug)]
pub(crate) struct Plane {
    builder: PlaneBuilder,
    directory: TempDir,
    process: Running,
}

impl Plane {
    #[allow(clippy::new_ret_no_self, reason = "a test says `Plane::new()` and what it shall have, then starts it")]
    pub(crate) fn new() -> PlaneBuilder {
        PlaneBuilder::default()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What its metrics are now.
    pub(crate) async fn scrape(&self) -> Scrape {
        Scrape::of(self.process.metrics_address().await).await
    }

    pub(crate) fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// The file with the token that clients show.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.directory.path().join("tokens")
    }

    /// A client with the token.
    pub(crate) fn client(&self) -> Client {
        Self::client_at(self.address())
    }

    /// A client with the token that calls another address: a proxy's.
    pub(crate) fn client_at(address: SocketAddr) -> Client {
        Client::new(address, Some(TOKEN))
    }

    /// Spawns a worker that runs a builtin profile, and waits until it runs.
    pub(crate) async fn spawn(&self, runtime_id: &str, profile: &str) -> Worker {
        Worker::spawn(self.client(), runtime_id, profile).await
    }

    /// What the control plane knows of a runtime; `None` where it knows none of that id.
    pub(crate) async fn runtime(&self, runtime_id: &str) -> Option<v1::Runtime> {
        let response = self.client().runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.unwrap();
        response.into_inner().runtimes.into_iter().find(|runtime| runtime.runtime_id == runtime_id)
    }

    /// Waits until a runtime is known and in this status.
    pub(crate) async fn runtime_is(&self, runtime_id: &str, status: v1::RuntimeStatus) -> v1::Runtime {
        until(&format!("{runtime_id} to be {status:?}"), || async {
            self.runtime(runtime_id).await.filter(|runtime| runtime.status() == status)
        })
        .await
    }

    /// Adds a host to the file, and has it read again.
    pub(crate) fn add(&mut self, host: &Host) {
        self.add_entry(host.entry(host.address()));
    }

    /// The entry of a host in the file.
    pub(crate) fn entry_of(&self, runtime_id: &str) -> Remote {
        let entry = self.builder.configuration.remotes.iter().find(|remote| remote.runtime_id == runtime_id);
        entry.expect("the file has an entry for it").clone()
    }

    /// Adds an entry to the file, and has it read again.
    pub(crate) fn add_entry(&mut self, entry: Remote) {
        self.builder.configuration.remotes.push(entry);
        self.reload();
    }

    /// Removes a host from the file, and has it read again.
    pub(crate) fn remove(&mut self, runtime_id: &str) {
        self.builder.configuration.remotes.retain(|remote| remote.runtime_id != runtime_id);
        self.reload();
    }

    /// Changes the entry of a host, and has the file read again.
    pub(crate) fn change(&mut self, runtime_id: &str, change: impl FnOnce(&mut Remote)) {
        let entry = self.builder.configuration.remotes.iter_mut().find(|remote| remote.runtime_id == runtime_id);
        change(entry.expect("the file has an entry for it"));
        self.reload();
    }

    /// Adds a profile to the file, and has it read again.
    pub(crate) fn add_profile(&mut self, name: &str, profile: Profile) {
        self.builder.configuration.profiles.push((name.to_owned(), profile));
        self.reload();
    }

    /// Kills it and starts it anew at the same address; what it had in memory alone is gone.
    pub(crate) async fn restart(&mut self) {
        self.process.kill().await;
        self.start_again().await;
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts it at the same address, once it has ended.
    pub(crate) async fn start_again(&mut self) {
        self.builder.listen = Some(self.address());
        self.process = self.builder.launch(&self.directory).await;
    }

    fn reload(&self) {
        // At once: what was asked for before may be reading it.
        let (new, file) = (self.directory.path().join("new.toml"), self.directory.path().join("serve.toml"));
        fs::write(&new, self.builder.configuration.to_toml()).unwrap();
        fs::rename(new, file).unwrap();
        self.process.signal(Signal::HUP);
    }
}

impl PlaneBuilder {
    /// Adds a profile to the embedded runtime.
    pub(crate) fn profile(mut self, name: &str, profile: Profile) -> Self {
        self.configuration.profiles.push((name.to_owned(), profile));
        self
    }

    /// Sets values of its file.
    pub(crate) fn set(mut self, values: impl IntoIterator<Item = (String, String)>) -> Self {
        self.configuration.root.extend(values);
        self
    }

    /// Adds a host.
    pub(crate) fn host(self, host: &Host) -> Self {
        self.host_via(host, host.address())
    }

    /// Adds a host that is reached at another address: a proxy's.
    pub(crate) fn host_via(mut self, host: &Host, address: SocketAddr) -> Self {
        self.configuration.remotes.push(host.entry(address));
        self
    }

    /// Adds a remote runtime of which there may be nothing but an entry.
    pub(crate) fn remote(mut self, remote: Remote) -> Self {
        self.configuration.remotes.push(remote);
        self
    }

    /// Adds a host that answers as it is told to.
    pub(crate) fn hostile(self, host: &Hostile) -> Self {
        self.hostile_via(host, host.address())
    }

    /// Adds one that is reached at another address: a proxy's.
    pub(crate) fn hostile_via(self, host: &Hostile, address: SocketAddr) -> Self {
        let (runtime_id, token_file) = (host.runtime_id().to_owned(), host.token_file());
        self.remote(Remote { runtime_id, address, token_file, tls: Vec::new() })
    }

    /// Lets it be reached by all addresses of this machine.
    pub(crate) fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    /// Sets a limit, as it stands in the file.
    pub(crate) fn limit(mut self, key: &str, value: &str) -> Self {
        self.configuration.limits.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Serves metrics.
    pub(crate) fn metrics(self) -> Self {
        self.metrics_on("127.0.0.1:0")
    }

    /// Serves metrics at this address.
    pub(crate) fn metrics_on(mut self, address: &'static str) -> Self {
        self.metrics = Some(address);
        self
    }

    /// Sends traces to this collector: this part of those that begin here.
    pub(crate) fn traces(mut self, collector: SocketAddr, sample: f64) -> Self {
        self.configuration.traces = Some((collector, sample));
        self
    }

    /// Gives it a data directory.
    pub(crate) fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Starts it, and waits until it listens.
    pub(crate) async fn start(self) -> Plane {
        let directory = tempfile::tempdir().unwrap();
        let process = self.launch(&directory).await;
        Plane { builder: self, directory, process }
    }

    async fn launch(&self, directory: &TempDir) -> Running {
        let tokens = write_secret(directory.path(), "tokens", &format!("# for the tests\ntests {TOKEN}\n"));
        let config = directory.path().join("serve.toml");
        fs::write(&config, self.configuration.to_toml()).unwrap();
        let free = if self.everywhere { "0.0.0.0:0" } else { "127.0.0.1:0" };
        let listen = self.listen.map_or_else(|| free.to_owned(), |address| address.to_string());
        let mut arguments = vec![
            "serve",
            "--config",
            config.to_str().unwrap(),
            "--listen",
            &listen,
            "--token-file",
            tokens.to_str().unwrap(),
        ];
        arguments.extend(self.metrics.iter().flat_map(|address| ["--metrics-listen", address]));
        let data_dir = directory.path().join("data");
        if self.everywhere {
            arguments.push("--allow-plaintext=true");
        }
        if self.durable {
            arguments.extend(["--data-dir", data_dir.to_str().unwrap()]);
        }
        Running::start("the control plane", &arguments).await
    }
}
