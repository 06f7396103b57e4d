//! Certificates: when they are valid, what they are for, and for which names. That they can be read, and fit their keys, the
//! configuration has seen to.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::SystemTime;

use super::Finding;
use crate::app::expiry::Term;
use crate::config::{RemoteRuntimeConfig, ServerConfig};
use crate::tls::{CertificateDer, Facts, Purpose, ServerName, certificates, is_valid_for};

/// Those that this server shows, and by which it knows its clients.
pub(super) fn of(server: &ServerConfig) -> Vec<Finding> {
    let Some((files, _)) = &server.tls else { return Vec::new() };
    let mut findings = shown("tls_cert", &files.identity.certificate, Purpose::Server);
    findings.extend(names("tls_cert", &files.identity.certificate, server.listen));
    findings.extend(files.client_ca.iter().flat_map(|file| authorities("tls_client_ca", file)));
    findings
}

/// Those that are shown to hosts, and by which these are known.
pub(super) fn of_remotes(remotes: &[RemoteRuntimeConfig]) -> Vec<Finding> {
    let of_one = |remote: &RemoteRuntimeConfig| {
        let (id, files) = (&remote.runtime_id, remote.files.tls.iter());
        let ca = files.clone().flat_map(|files| &files.ca);
        let ca = ca.flat_map(|file| authorities(&format!("ca_file of {id}"), file));
        let ours = files.flat_map(|files| &files.identity);
        let ours = ours.flat_map(|own| shown(&format!("client_cert of {id}"), &own.certificate, Purpose::Client));
        ca.chain(ours).collect::<Vec<_>>()
    };
    remotes.iter().flat_map(of_one).collect()
}

fn in_file(file: &Path) -> Vec<CertificateDer<'static>> {
    std::fs::read(file).ok().and_then(|pem| certificates(&pem).ok()).unwrap_or_default()
}

/// A chain that is shown, as whom its purpose says.
fn shown(what: &str, file: &Path, purpose: Purpose) -> Vec<Finding> {
    let (chain, of) = (in_file(file), file.display().to_string());
    // Of a chain, the one that ends first.
    let first = chain.iter().min_by_key(|it| Facts::of(it).map(|facts| facts.until));
    let mut findings: Vec<_> = first.map(|certificate| term(what, &of, certificate)).into_iter().collect();
    let Some(facts) = chain.first().and_then(Facts::of) else { return findings };
    let mut fail = |seen: &str, advice: String| findings.push(Finding::fail(what, format!("{of}: {seen}"), advice));
    if facts.is_authority {
        let advice = "let it sign another one, with basicConstraints=CA:FALSE, and show that".to_owned();
        fail("it is an authority's (CA:TRUE), and the other side may refuse it for that, as workplane does", advice);
    }
    if !facts.is_for(purpose) {
        let name = purpose.name();
        let advice = format!("make it with extendedKeyUsage={name}, or without any");
        fail(&format!("its extendedKeyUsage has no {name}: the other side refuses it"), advice);
    }
    findings
}

/// Whether clients find in a certificate what they look for: the name that they dialled.
fn names(what: &str, file: &Path, listen: SocketAddr) -> Option<Finding> {
    let (chain, of) = (in_file(file), file.display());
    let certificate = chain.first()?;
    let names = Facts::of(certificate)?.names;
    if names.is_empty() {
        let seen = format!("{of}: it has no subjectAltName, and clients look at no other name");
        return Some(Finding::fail(what, seen, "make it with subjectAltName=DNS:NAME, or IP:ADDRESS"));
    }
    let is_for = |name: ServerName<'_>| is_valid_for(certificate, &name);
    let ip = listen.ip();
    let fits = is_for(ip.into())
        || ip.is_unspecified()
        || if ip.to_canonical().is_loopback() {
            ServerName::try_from("localhost").is_ok_and(is_for)
        } else {
            // What a name leads to is not known here.
            names.iter().any(|name| name.parse::<IpAddr>().is_err())
        };
    if fits {
        return None;
    }
    let seen = format!("{of}: it is for {}, and clients that dial {ip} refuse it", names.join(", "));
    let advice =
        format!("add IP:{ip} to its subjectAltName, or have clients look for a name that it has (server_name)");
    Some(Finding::warn(what, seen, advice))
}

/// Certificates that others are known by.
fn authorities(what: &str, file: &Path) -> Vec<Finding> {
    let of = file.display();
    let all: Vec<_> = in_file(file).iter().filter_map(Facts::of).collect();
    // One that has signed itself vouches for itself.
    let vouch = all.iter().filter(|facts| facts.is_authority || facts.is_self_issued).count();
    if vouch < all.len() {
        let seen = format!("{of}: {} of {} in it are no authority's (CA:TRUE)", all.len() - vouch, all.len());
        let advice = "name the certificate of the authority, and not one that it has signed";
        return vec![if vouch == 0 { Finding::fail(what, seen, advice) } else { Finding::warn(what, seen, advice) }];
    }
    let Some(first) = all.iter().min_by_key(|facts| facts.until) else { return Vec::new() };
    let seen = format!("{of}: valid until {}", day(first.until));
    vec![match Term::at(SystemTime::now(), first) {
        Term::Good => Finding::ok(what, seen),
        // A connection does not end for it: the dates of those that are trusted by name are nobody's to check.
        _ => Finding::warn(what, seen, "put the authority's next one beside it, or in its place"),
    }]
}

/// Until when a certificate is valid, which `of` has.
pub(super) fn term(what: &str, of: &str, certificate: &CertificateDer<'_>) -> Finding {
    let Some(facts) = Facts::of(certificate) else {
        return Finding::warn(what, format!("{of}: until when is not to be read"), "look with openssl x509 -enddate");
    };
    let seen = format!("{of}: valid until {}", day(facts.until));
    match Term::at(SystemTime::now(), &facts) {
        Term::Good => Finding::ok(what, seen),
        Term::Soon(_) => Finding::warn(what, seen, "put another one in its place in time"),
        Term::Early => {
            let seen = format!("{of}: not valid before {}", day(facts.from));
            Finding::fail(what, seen, "see whether the clock here is right, and that of who made it")
        }
        Term::Over => {
            Finding::fail(what, seen, "it has expired: put another one in its place, which is taken without a restart")
        }
    }
}

fn day(time: SystemTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_seconds(time)
}
