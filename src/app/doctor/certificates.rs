//! Certificates: until when they are valid. That they can be used otherwise, the configuration has seen to.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Finding;
use crate::config::{RemoteRuntimeConfig, ServerConfig};
use crate::tls::{CertificateDer, certificates, valid_until};

/// Less than this is little time to see to another one.
const SOON: Duration = Duration::from_hours(21 * 24);

/// Those that this server shows, and by which it knows its clients.
pub(super) fn of(server: &ServerConfig) -> Vec<Finding> {
    let Some((files, _)) = &server.tls else { return Vec::new() };
    let shown = in_file("tls_cert", &files.identity.certificate);
    shown.into_iter().chain(files.client_ca.iter().flat_map(|file| in_file("tls_client_ca", file))).collect()
}

/// Those that are shown to hosts, and by which these are known.
pub(super) fn of_remotes(remotes: &[RemoteRuntimeConfig]) -> Vec<Finding> {
    let of_one = |remote: &RemoteRuntimeConfig| {
        let (id, files) = (remote.runtime_id.clone(), remote.files.tls.clone());
        let ca = files.iter().flat_map(|files| &files.ca).flat_map(|file| in_file(&format!("ca_file of {id}"), file));
        let shown = files.iter().flat_map(|files| &files.identity);
        let shown = shown.flat_map(|own| in_file(&format!("client_cert of {id}"), &own.certificate));
        ca.chain(shown).collect::<Vec<_>>()
    };
    remotes.iter().flat_map(of_one).collect()
}

fn in_file(what: &str, file: &Path) -> Vec<Finding> {
    let all = std::fs::read(file).ok().and_then(|pem| certificates(&pem).ok()).unwrap_or_default();
    // Of a chain or a bundle, the one that ends first.
    let first =
        all.iter().filter_map(|certificate| Some((valid_until(certificate)?, certificate))).min_by_key(|it| it.0);
    first.map(|(_, certificate)| until(what, &file.display().to_string(), certificate)).into_iter().collect()
}

/// Until when a certificate is valid, which `of` has.
pub(super) fn until(what: &str, of: &str, certificate: &CertificateDer<'_>) -> Finding {
    let Some(until) = valid_until(certificate) else {
        return Finding::warn(what, format!("{of}: until when is not to be read"), "look with openssl x509 -enddate");
    };
    let seen = format!("{of}: valid until {}", humantime::format_rfc3339_seconds(until));
    match until.duration_since(SystemTime::now()) {
        Err(_) => {
            Finding::fail(what, seen, "it has expired: put another one in its place, which is taken without a restart")
        }
        Ok(left) if left < SOON => Finding::warn(what, seen, "put another one in its place in time"),
        Ok(_) => Finding::ok(what, seen),
    }
}
