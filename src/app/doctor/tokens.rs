//! Token files: who may call, what is shown to hosts, and that the two are not the same.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::Finding;
use crate::config::{RemoteRuntimeConfig, ServerConfig};

/// Who may call this server. That the file can be read by nobody else, the configuration has seen to.
pub(super) fn of(server: &ServerConfig) -> Vec<Finding> {
    const WHAT: &str = "token_file";
    let (Some((path, origin)), Some(tokens)) = (&server.token_file, &server.tokens) else {
        let advice = "name a token_file unless all who can reach loopback on this machine may call";
        return vec![Finding::warn(WHAT, "none is named: every caller is let in, on loopback only", advice)];
    };
    let (mode, count) = (mode_of(path), tokens.count());
    let seen = format!("{} (named by {origin}): mode {mode}, {}", path.display(), many(count, "token"));
    let mut findings = vec![Finding::ok(WHAT, seen)];
    if server.allow_plaintext && server.tls.is_none() {
        let advice = "give tls_cert and tls_key, unless the network is trusted or a proxy ends TLS";
        findings.push(Finding::warn("allow_plaintext", "tokens may cross a network in clear", advice));
    }
    findings
}

/// What is shown to hosts: one that also opens this server is known to each of them.
pub(super) fn shown(server: &ServerConfig, remotes: &[RemoteRuntimeConfig]) -> Vec<Finding> {
    let Some(tokens) = &server.tokens else { return Vec::new() };
    let is_ours = |remote: &&RemoteRuntimeConfig| {
        remote.token.as_ref().is_some_and(|token| tokens.caller(token.expose_secret().as_bytes()).is_some())
    };
    let shared = remotes.iter().filter(is_ours).map(|remote| {
        let what = format!("token of {}", remote.runtime_id);
        let seen = "what is shown to this host opens the control plane as well";
        Finding::warn(
            what,
            seen,
            "make a token of its own for the host: whoever has the host has the control plane, too",
        )
    });
    shared.collect()
}

fn mode_of(path: &Path) -> String {
    let mode = std::fs::metadata(path).map(|found| found.mode() & 0o7777);
    mode.map_or_else(|error| error.to_string(), |mode| format!("{mode:04o}"))
}

/// A number of things.
pub(super) fn many(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
