//! The hosts that a control plane names: whether they are there, are who they should be, and let it in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Finding;
use super::certificates::until;
use super::tokens::many;
use crate::config::{RemoteRuntimeConfig, default_workspace};
use crate::model::{CallContext, Diagnostic, Host, RuntimeInfo, Severity};
use crate::runtime::WorkerRuntime as _;
use crate::runtime::remote::{Dial as _, RemoteConfig, RemoteRuntime, TcpDial};

/// How long a connection may take: as long as it may for a server.
const CONNECT: Duration = Duration::from_secs(2);
/// How often a host is looked at, each time for a second at most, until it has said who it is.
const LOOKS: usize = 5;

/// All of them at once.
pub(super) async fn of(remotes: &[RemoteRuntimeConfig]) -> Vec<Finding> {
    join_all(remotes.iter().map(of_one)).await.into_iter().flatten().collect()
}

async fn of_one(remote: &RemoteRuntimeConfig) -> Vec<Finding> {
    let what = format!("host {}", remote.runtime_id);
    let place = remote.endpoint.authority().map(ToString::to_string).unwrap_or_default();
    let mut findings = match timeout(CONNECT, reach(&what, &place, remote)).await {
        Ok(Ok(secured)) => secured,
        Ok(Err(failed)) => return vec![failed],
        Err(_) => {
            let advice = "look at firewalls and routes between here and there";
            return vec![Finding::fail(what, format!("{place} does not answer"), advice)];
        }
    };
    let RemoteRuntimeConfig { runtime_id, display_name, endpoint, token, tls, files: _, timeout } = remote.clone();
    let config = RemoteConfig { runtime_id, display_name, endpoint: endpoint.to_string(), token, tls, timeout };
    findings.extend(match RemoteRuntime::new(&config, &Handle::current()) {
        Ok(runtime) => said(what, &place, &runtime).await,
        Err(error) => vec![Finding::fail(what, error.to_string(), "correct its [[remote_runtimes]] entry")],
    });
    findings
}

/// Connects as a control plane would; what there is to say of the certificate that is shown.
async fn reach(what: &str, place: &str, remote: &RemoteRuntimeConfig) -> Result<Vec<Finding>, Finding> {
    let io = TcpDial.dial(&remote.endpoint).await.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "see whether `workplane runtime` runs there, and listens on an address that is reached from here"
            }
            _ => "correct its `endpoint`, or what resolves its name",
        };
        Finding::fail(what, format!("{place} is not reached: {error}"), advice)
    })?;
    let Some(tls) = &remote.tls else { return Ok(Vec::new()) };
    let refused = Arc::default();
    let secured = tls.connect(io, &refused).await.map_err(|_| {
        let why = refused.get().map_or_else(|| "the handshake broke off".to_owned(), |why| why.told(&tls.name()));
        let advice = "see `ca_file`, `server_name` and `client_cert` of its entry, and the certificate of the host";
        Finding::fail(what, format!("TLS with {place} failed: {why}"), advice)
    })?;
    Ok(secured
        .shown()
        .map(|shown| until(&format!("certificate of {}", remote.runtime_id), place, shown))
        .into_iter()
        .collect())
}

/// What a host that is there says of itself.
async fn said(what: String, place: &str, runtime: &RemoteRuntime) -> Vec<Finding> {
    let mut looks = LOOKS;
    let info = loop {
        let info = runtime.describe(&context()).await;
        looks -= 1;
        if info.seen_age.is_some() || trouble(&info.diagnostics).is_some() || looks == 0 {
            break info;
        }
    };
    if let Some(trouble) = trouble(&info.diagnostics) {
        let advice = match trouble.code.as_ref() {
            "remote_runtime_wrong_identity" => "compare its runtime_id here and there: is the endpoint another host's?",
            "remote_runtime_auth_failed" => "",
            "remote_runtime_unsupported" | "remote_runtime_malformed_response" => {
                "see what serves there: this is no `workplane runtime`, or one of another version"
            }
            _ => "look at its log",
        };
        return vec![Finding::fail(what, format!("{place}: {}", trouble.message), advice)];
    }
    if info.seen_age.is_none() {
        return vec![Finding::fail(what, format!("{place} is reached, and says nothing"), "look at its log")];
    }
    let mut findings = vec![is_well(&what, place, &info)];
    let Host { diagnostics, .. } = runtime.host(&context()).await;
    findings.extend(diagnostics.into_iter().filter(|it| it.severity != Severity::Info).map(|told| {
        let skewed = told.code == "host_clock_skew";
        let advice =
            if skewed { "let both keep time by NTP: ages and times are told wrong" } else { "look at its log" };
        Finding::warn(what.clone(), told.message.into_owned(), advice)
    }));
    findings
}

fn is_well(what: &str, place: &str, info: &RuntimeInfo) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    let workers = many(usize::try_from(info.counts.active).unwrap_or(usize::MAX), "worker");
    let features = if info.features.is_empty() { "none".to_owned() } else { info.features.join(", ") };
    let seen = format!("{place} lets us in: version {}, features {features}; {workers} live", info.version);
    if info.version == ours {
        Finding::ok(what, seen)
    } else {
        let advice = format!("this is {ours}: upgrade hosts first, and the control plane last");
        Finding::warn(what, seen, advice)
    }
}

/// Why a host cannot be used.
fn trouble(diagnostics: &[Diagnostic]) -> Option<&Diagnostic> {
    diagnostics.iter().find(|it| it.severity == Severity::Error)
}

fn context() -> CallContext {
    CallContext::internal(default_workspace(), CONNECT)
}
