//! The configuration files that the binaries are started with.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a profile runs.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    protocol: &'static str,
    input: Option<&'static str>,
    command: Vec<String>,
    env: Vec<(String, String)>,
    restart: Option<&'static str>,
    permissions: Option<&'static str>,
    approval_timeout: Option<&'static str>,
}

impl Profile {
    /// A program that reads JSON lines.
    pub(crate) fn json<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self::lines(None, command)
    }

    /// A program that reads plain lines.
    pub(crate) fn text<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self::lines(Some("text"), command)
    }

    /// A shell script that reads plain lines.
    pub(crate) fn script(script: &str) -> Self {
        Self::text(["sh", "-c", script])
    }

    /// Nothing runs.
    pub(crate) fn catalog() -> Self {
        Self {
            protocol: "catalog",
            input: None,
            command: Vec::new(),
            env: Vec::new(),
            restart: None,
            permissions: None,
            approval_timeout: None,
        }
    }

    /// An agent of the Agent Client Protocol.
    pub(crate) fn acp<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self { protocol: "acp", ..Self::lines(None, command) }
    }

    /// What an agent is answered that asks for leave.
    pub(crate) fn permissions(mut self, answer: &'static str) -> Self {
        self.permissions = Some(answer);
        self
    }

    /// After how long what an agent asks is refused.
    pub(crate) fn approval_timeout(mut self, timeout: &'static str) -> Self {
        self.approval_timeout = Some(timeout);
        self
    }

    /// Adds to the program's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it anew when it has failed.
    pub(crate) fn restarting(mut self) -> Self {
        self.restart = Some("on-failure");
        self
    }

    /// Whether a program runs.
    pub(crate) fn runs(&self) -> bool {
        !self.command.is_empty()
    }

    fn lines<S: Into<String>>(input: Option<&'static str>, command: impl IntoIterator<Item = S>) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        Self {
            protocol: "lines",
            input,
            command,
            env: Vec::new(),
            restart: None,
            permissions: None,
            approval_timeout: None,
        }
    }
}

/// Where a remote runtime is, as a control plane's file says it.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) runtime_id: String,
    pub(crate) address: SocketAddr,
    pub(crate) token_file: PathBuf,
    /// What is said of TLS; in clear where nothing is.
    pub(crate) tls: Vec<(String, String)>,
}

/// What a file says. Names and values of tests need no escapes beyond those that Rust and TOML share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configuration {
    /// Values of the root, all of them texts.
    pub(crate) root: Vec<(String, String)>,
    pub(crate) profiles: Vec<(String, Profile)>,
    pub(crate) remotes: Vec<Remote>,
    /// Of the listener, as they stand in the file.
    pub(crate) limits: Vec<(String, String)>,
    /// Where traces are sent, and what part of them.
    pub(crate) traces: Option<(SocketAddr, f64)>,
}

impl Configuration {
    pub(crate) fn to_toml(&self) -> String {
        let remotes = self.remotes.iter().map(Remote::to_toml);
        let profiles = self.profiles.iter().map(|(name, profile)| profile.to_toml(name));
        let limits = self.limits.iter().map(|(key, value)| format!("{key} = {value}\n"));
        // No balancer stands before a test.
        let root = texts(&self.root) + "drain_pause = \"0s\"\n\n[limits]\n";
        let traces = self
            .traces
            .map(|(collector, sample)| format!("[traces]\nendpoint = \"http://{collector}\"\nsample = {sample:?}\n\n"));
        let limits = limits.chain(["\n".to_owned()]);
        [root].into_iter().chain(limits).chain(traces).chain(remotes).chain(profiles).collect()
    }
}

impl Remote {
    fn to_toml(&self) -> String {
        let Self { runtime_id, address, token_file, tls } = self;
        let scheme = if tls.is_empty() { "http" } else { "https" };
        let token_file = token_file.to_str().expect("a temporary path is UTF-8");
        format!(
            "[[remote_runtimes]]\nruntime_id = {runtime_id:?}\ndisplay_name = \"Host {runtime_id}\"\n\
             endpoint = \"{scheme}://{address}\"\ntoken_file = {token_file:?}\n{}\n",
            texts(tls)
        )
    }
}

impl Profile {
    fn to_toml(&self, name: &str) -> String {
        let mut lines = vec![format!("[profiles.{name:?}]"), format!("protocol = {:?}", self.protocol)];
        if self.runs() {
            lines.push(format!("command = {:?}", self.command));
        }
        lines.extend(self.input.map(|input| format!("input = {input:?}")));
        lines.extend(self.permissions.map(|answer| format!("permissions = {answer:?}")));
        lines.extend(self.approval_timeout.map(|timeout| format!("approval_timeout = {timeout:?}")));
        lines.extend(self.restart.map(|restart| format!("restart = {restart:?}")));
        let env: Vec<_> = self.env.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
        if !env.is_empty() {
            lines.push(format!("env = {{ {} }}", env.join(", ")));
        }
        lines.join("\n") + "\n\n"
    }
}

fn texts(values: &[(String, String)]) -> String {
    let lines: Vec<_> = values.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
    lines.concat()
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    path
}
