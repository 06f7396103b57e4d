//! `workplane doctor`: looks at what a server would be started with, through the same code as the start, and says of each
//! thing what was seen and what to do. It changes nothing: what it writes to time a disk it removes.

mod certificates;
mod disk;
mod hosts;
mod machine;
mod tokens;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::{DoctorCommand, DoctorRole, Failure, line, plain, print_json};
use crate::config::{
    ConfigError, EmbeddedConfig, RuntimeConfig, RuntimeFlags, ServeConfig, ServeFlags, ServerConfig, ServerFlags,
    process_environment,
};
use crate::engine::store::DirRole;
use crate::engine::{EngineLimits, Profiles};
use crate::model::RuntimeId;
use crate::server::Edge;

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
    seen: String,
    /// What to do; empty where nothing is to be done.
    advice: String,
}

impl Finding {
    fn ok(what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, what: what.into(), seen: seen.into(), advice: String::new() }
    }

    fn warn(what: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, advice: advice.into(), ..Self::ok(what, seen) }
    }

    fn fail(what: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(what, seen, advice) }
    }

    fn print(&self) -> std::io::Result<()> {
        let verdict = match self.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        let advice = if self.advice.is_empty() { String::new() } else { format!("; {}", self.advice) };
        line(&format!("{verdict} {}: {}{}", plain(&self.what), plain(&self.seen), plain(&advice)))
    }
}

/// Looks, and prints what it found.
///
/// # Errors
/// [`Failure::Other`] where something would keep a server from serving.
pub async fn doctor(command: DoctorCommand) -> Result<(), Failure> {
    let findings = match &command.role {
        DoctorRole::Serve(flags) => serve(flags).await,
        DoctorRole::Runtime(flags) => runtime(flags),
    };
    if command.json() {
        print_json(&serde_json::to_value(&findings).map_err(std::io::Error::from)?)?;
    } else {
        findings.iter().try_for_each(Finding::print)?;
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        failed => Err(Failure::Other(format!("{failed} of {} checks failed", findings.len()))),
    }
}

async fn serve(flags: &ServeFlags) -> Vec<Finding> {
    let config = match ServeConfig::load(flags, &process_environment) {
        Ok(config) => config,
        Err(refused) => return vec![not_loaded(&refused)],
    };
    let ServeConfig { server, edge, workspace_id: _, embedded, remotes } = &config;
    let (runtime_id, host) = match embedded {
        Some(EmbeddedConfig { runtime_id, profiles, limits }) => (Some(runtime_id), Some((profiles, limits))),
        None => (None, None),
    };
    let seen = match embedded {
        Some(_) => format!("an embedded runtime and {} on other hosts", remotes.len()),
        None => format!("no embedded runtime, and {} on other hosts", remotes.len()),
    };
    let mut findings = vec![loaded(&flags.server, &seen)];
    findings.extend(tokens::of(server));
    findings.extend(tokens::shown(server, remotes));
    findings.extend(certificates::of_remotes(remotes));
    findings.extend(common(server, edge, DirRole::ControlPlane, runtime_id, host));
    findings.extend(hosts::of(remotes).await);
    findings
}

fn runtime(flags: &RuntimeFlags) -> Vec<Finding> {
    let config = match RuntimeConfig::load(flags, &process_environment) {
        Ok(config) => config,
        Err(refused) => return vec![not_loaded(&refused)],
    };
    let RuntimeConfig { server, edge, runtime_id, display_name: _, profiles, limits } = &config;
    let seen = match runtime_id {
        Some(id) => format!("the runtime {id}"),
        None => "a runtime without a runtime_id, which makes one up".to_owned(),
    };
    let mut findings = vec![loaded(&flags.server, &seen)];
    findings.extend(tokens::of(server));
    findings.extend(common(server, edge, DirRole::Host, runtime_id.as_ref(), Some((profiles, limits))));
    findings
}

/// What is looked at for either role; the last of it is what runs here, where anything does.
fn common(
    server: &ServerConfig,
    edge: &Edge,
    role: DirRole,
    runtime_id: Option<&RuntimeId>,
    host: Option<(&Profiles, &EngineLimits)>,
) -> Vec<Finding> {
    let mut findings = certificates::of(server);
    let (of_disk, in_use) = disk::of(server.data_dir.as_deref(), role, runtime_id);
    findings.extend(of_disk);
    findings.push(listens("listen", server.listen, in_use));
    findings.extend(server.metrics_listen.map(|address| listens("metrics_listen", address, in_use)));
    findings.extend(machine::of(edge, host.map(|(_, limits)| limits)));
    findings.extend(host.into_iter().flat_map(|(profiles, _)| machine::programs(profiles)));
    findings
}

fn loaded(flags: &ServerFlags, seen: &str) -> Finding {
    let file = flags.config.clone().or_else(|| process_environment("WORKPLANE_CONFIG").map(PathBuf::from));
    let file = file.map_or_else(|| "no file is named".to_owned(), |file| file.display().to_string());
    Finding::ok("configuration", format!("{file}: {seen}"))
}

fn not_loaded(refused: &ConfigError) -> Finding {
    Finding::fail("configuration", refused.to_string(), "correct that, and look again: nothing else was looked at")
}

/// Whether the address is free; `in_use` says that the server it is for may well run.
fn listens(what: &'static str, address: SocketAddr, in_use: bool) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(what, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && in_use => {
            let seen = format!("{address} is taken, and so is the data directory: the server runs");
            Finding::ok(what, seen)
        }
        Err(error) => {
            let advice = match error.kind() {
                std::io::ErrorKind::AddrInUse => "see who listens there (ss -ltnp), or name another port",
                std::io::ErrorKind::PermissionDenied => "name a port from 1024 on",
                std::io::ErrorKind::AddrNotAvailable => "name an address that this machine has",
                _ => "name another address",
            };
            Finding::fail(what, format!("{address}: {error}"), advice)
        }
    }
}
