//! Who is let in and what is shown to them, as the files have it now. Whether tokens are asked for and TLS is served at
//! all is decided at the start.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::watch::Group;
use crate::config::{BadFile, Origin, ServerTlsFiles, read_tokens};
use crate::model::TokenTable;
use crate::server::Callers;
use crate::tls::ServerTls;

/// The listener's door.
pub(super) struct Door {
    /// None lets in everybody.
    pub(super) callers: Option<Arc<Callers>>,
    /// None speaks in clear.
    pub(super) tls: Option<Arc<ArcSwap<ServerTls>>>,
    token_file: Option<PathBuf>,
    tls_files: Option<ServerTlsFiles>,
}

/// TLS as a configuration has it.
type Tls = Option<(ServerTlsFiles, ServerTls)>;

impl Door {
    /// That of a configuration, by the file of tokens that is in force and what named it: a variable that was meant for a
    /// client names a server's as well.
    pub(super) fn new(tokens: Option<TokenTable>, token_file: Option<(PathBuf, Origin)>, tls: Tls) -> Self {
        let token_file = token_file.map(|(file, origin)| {
            tracing::info!(file = %file.display(), named_by = %origin, "callers must show a token of this file");
            file
        });
        if token_file.is_none() {
            tracing::info!("no token_file: every caller is let in, on loopback only");
        }
        let (tls_files, tls) = tls.unzip();
        if let Some(files) = &tls_files {
            let (certificate, asks) = (files.identity.certificate.display(), files.client_ca.is_some());
            tracing::info!(%certificate, asks_for_certificates = asks, "TLS is served, and nothing else");
        }
        let callers = tokens.map(|tokens| Arc::new(Callers::new(tokens)));
        let tls = tls.map(|tls| Arc::new(ArcSwap::from_pointee(tls)));
        Self { callers, tls, token_file, tls_files }
    }

    /// Whether it may go on with these certificates.
    ///
    /// # Errors
    /// The time of the one that is shown is over, or has not come.
    pub(super) fn may_exchange(&self, tls: &Tls) -> Result<(), BadFile> {
        match (&self.tls, tls) {
            (Some(ours), Some((files, new))) => files.may_replace(new, &ours.load()),
            _ => Ok(()),
        }
    }

    /// Goes on with what another configuration says.
    pub(super) fn exchange(&mut self, tokens: Option<TokenTable>, token_file: Option<(PathBuf, Origin)>, tls: Tls) {
        match (&self.callers, tokens) {
            (Some(callers), Some(tokens)) => {
                exchange(callers, tokens);
                self.token_file = token_file.map(|(file, _)| file);
            }
            (None, None) => {}
            (Some(_), None) => tracing::warn!("token_file is gone: the tokens stay as they are until a restart"),
            (None, Some(_)) => tracing::warn!("token_file is new: tokens are asked for from the next start on"),
        }
        // That it comes or goes is told with all else that waits for a restart.
        if let (Some(ours), Some((files, tls))) = (&self.tls, tls) {
            ours.store(Arc::new(tls));
            self.tls_files = Some(files);
        }
    }

    /// Its files, for who looks after them.
    pub(super) fn watched(&self) -> Vec<Group> {
        let tokens = self.callers.clone().zip(self.token_file.clone()).map(|(callers, file)| {
            Group::new("token_file", [file.clone()], move || {
                let tokens = read_tokens(&file).map_err(|said| BadFile::of_tokens(&file, said))?;
                let callers = Arc::clone(&callers);
                Ok(Box::new(move || exchange(&callers, tokens)))
            })
        });
        let tls = self.tls.clone().zip(self.tls_files.clone()).map(|(ours, files)| {
            let (shown, certificate) = (Arc::clone(&ours), files.identity.certificate.clone());
            let group = Group::new("tls_cert", files.paths().cloned().collect::<Vec<_>>(), move || {
                let (ours, tls) = (Arc::clone(&ours), files.read()?);
                files.may_replace(&tls, &ours.load())?;
                Ok(Box::new(move || ours.store(Arc::new(tls))))
            });
            group.showing(certificate, move || shown.load().certificate().cloned())
        });
        tokens.into_iter().chain(tls).collect()
    }
}

fn exchange(callers: &Callers, tokens: TokenTable) {
    let (new, gone) = callers.exchange(tokens);
    if new + gone > 0 {
        tracing::info!(new, gone, "other tokens are in force");
    }
}
