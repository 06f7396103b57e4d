//! The hosts that a control plane names: whether they are there, are who they should be, and let it in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Finding;
use super::certificates::term;
use super::tokens::many;
use crate::config::{RemoteRuntimeConfig, default_workspace};
use crate::model::{CallContext, Diagnostic, Host, RuntimeInfo, Severity};
use crate::runtime::WorkerRuntime as _;
use crate::runtime::remote::{Dial as _, RemoteConfig, RemoteRuntime, TcpDial};
use crate::tls::{ClientTls, Plain, Refused};

/// How long a connection may take: as long as it may for a server.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a host may take to its first word, which comes at once.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// How often a host is looked at, each time for a second at most, until it has said who it is.
const LOOKS: usize = 5;

/// All of them at once.
pub(super) async fn of(remotes: &[RemoteRuntimeConfig]) -> Vec<Finding> {
    join_all(remotes.iter().map(of_one)).await.into_iter().flatten().collect()
}

async fn of_one(remote: &RemoteRuntimeConfig) -> Vec<Finding> {
    let what = format!("host {}", remote.runtime_id);
    let place = remote.endpoint.authority().map(ToString::to_string).unwrap_or_default();
    let mut findings = match timeout(CONNECT + FIRST_WORD, reach(&what, &place, remote)).await {
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
    let refused = Arc::default();
    let Some(tls) = &remote.tls else {
        let mut io = Plain::new(io, &refused);
        heard(&mut io).await;
        return refused.get().map_or_else(|| Ok(Vec::new()), |why| Err(mismatch(what, place, *why, remote)));
    };
    let mut secured = tls.connect(io, &refused).await.map_err(|_| {
        let broken = || Finding::fail(what, format!("TLS with {place} broke off"), "look at its log");
        refused.get().map_or_else(broken, |why| mismatch(what, place, *why, remote))
    })?;
    let shown = secured.shown().map(|shown| term(&format!("certificate of {}", remote.runtime_id), place, shown));
    // A host that does not take our certificate may say so only now.
    heard(&mut secured).await;
    refused.get().map_or_else(|| Ok(shown.into_iter().collect()), |why| Err(mismatch(what, place, *why, remote)))
}

/// Waits for the first word of a host, which a server of HTTP/2 says by itself once it was greeted.
async fn heard(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let greeted = async {
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        io.flush().await?;
        io.read(&mut [0; 16]).await
    };
    // What it says is looked at below; one that says nothing is told of later on.
    _ = timeout(FIRST_WORD, greeted).await;
}

/// Here and there TLS is not meant alike: what to change here.
fn mismatch(what: &str, place: &str, why: Refused, remote: &RemoteRuntimeConfig) -> Finding {
    let name = remote.tls.as_ref().map(ClientTls::name).unwrap_or_default();
    let advice = match why {
        Refused::Secured => format!(
            "set `endpoint = \"https://{place}\"` in its entry, and `ca_file` unless this machine trusts its authority"
        ),
        Refused::InClear => format!(
            "set `endpoint = \"http://{place}\"` in its entry, without ca_file and the like, or give the host tls_cert and \
             tls_key"
        ),
        Refused::OtherName => format!(
            "set `server_name` in its entry to a name that its certificate has, or give the host one for {name}"
        ),
        Refused::Certificate(_) => {
            "set `ca_file` in its entry to the authority that signed the host's certificate, or \
                                    exchange that one: tls_cert of the host"
                .to_owned()
        }
        Refused::Asked => "set `client_cert` and `client_key` in its entry: the host has tls_client_ca, and wants a \
                           certificate of it"
            .to_owned(),
        Refused::Ours => "set `client_cert` in its entry to a certificate for clients that an authority of the host's \
                          tls_client_ca has signed"
            .to_owned(),
        Refused::NoCertificate | Refused::Because(_) => "see what serves there, and its log".to_owned(),
    };
    Finding::fail(what, format!("TLS with {place} failed: {}", why.told(&name)), advice)
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
