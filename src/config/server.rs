//! What both roles have in common: where they listen, who may call, what they log.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{ConfigError, Given, Origin};
use super::flags::ServerFlags;
use super::host::duration;
use super::layers::Layers;
use super::log::LogConfig;
use super::secret::read_tokens;
use super::tls::{IdentityFiles, ServerTlsFiles};
use super::traces::{TracesConfig, read_traces};
use crate::model::TokenTable;
use crate::tls::ServerTls;

const DRAIN_PAUSE: Duration = Duration::from_secs(2);
/// A drain has 30 s in all.
const MAX_DRAIN_PAUSE: Duration = Duration::from_secs(10);

/// Where a role listens, who may call it, and what it logs.
#[derive(Debug)]
pub struct ServerConfig {
    /// The address; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Who may call; without a file everybody, on loopback only.
    pub tokens: Option<TokenTable>,
    /// Which file they are of, and what named it: a flag, a variable or a place in the configuration.
    pub token_file: Option<(PathBuf, Origin)>,
    /// What it shows over TLS, and the files that is of; in clear without.
    pub tls: Option<(ServerTlsFiles, ServerTls)>,
    /// Whether tokens may cross a network in clear.
    pub allow_plaintext: bool,
    /// How long it goes on as before when it is to end, for balancers to see that it is not serving. 2 s.
    pub drain_pause: Duration,
    /// Where metrics are served, without a token; nowhere where there is none. Port 0 picks a free one, which is logged.
    pub metrics_listen: Option<SocketAddr>,
    /// Where traces are sent, if anywhere.
    pub traces: Option<TracesConfig>,
    /// Where all state is kept; in memory where there is none.
    pub data_dir: Option<PathBuf>,
    /// What is logged, and how.
    pub log: LogConfig,
}

impl ServerConfig {
    /// Reads and checks the common part.
    pub(super) fn read(
        layers: &mut Layers<'_, '_>,
        flags: &ServerFlags,
        directory: &Path,
        default_listen: SocketAddr,
    ) -> Result<Self, ConfigError> {
        let listen = layers.text("listen", flags.listen.as_ref())?;
        let token_file = layers.text("token_file", flags.token_file.as_ref())?;
        let allow_plaintext =
            layers.boolean("allow_plaintext", flags.allow_plaintext)?.is_some_and(|given| given.value);
        let drain_pause = match layers.text("drain_pause", None)? {
            Some(given) => duration(&given, Duration::ZERO..=MAX_DRAIN_PAUSE)?,
            None => DRAIN_PAUSE,
        };
        let metrics_listen = layers.text("metrics_listen", flags.metrics_listen.as_ref())?;
        let traces = read_traces(layers.file)?;
        let data_dir = layers.text("data_dir", flags.data_dir.as_ref())?;
        let data_dir = data_dir.map(|given| resolve(&given, directory));
        let log = LogConfig::read(layers, flags)?;
        let address = listen.as_ref().map_or(Ok(default_listen), |given| given.parse(|text| parse_listen(text)))?;
        let metrics_listen = metrics_listen.map(|given| metrics_address(&given, address)).transpose()?;
        let tokens = token_file.as_ref().map(|given| given.parse(|_| read_tokens(&resolve(given, directory))));
        let tokens = tokens.transpose()?;
        let tls = read_tls(layers, flags, directory)?;
        let token_file = token_file.map(|given| (resolve(&given, directory), given.origin));
        let config = Self {
            listen: address,
            tokens,
            token_file,
            tls,
            allow_plaintext,
            drain_pause,
            metrics_listen,
            traces,
            data_dir,
            log,
        };
        match listen {
            Some(given) => config.check_exposure().map_err(|problem| given.refuse(problem))?,
            // The default is a loopback address.
            None => debug_assert!(is_loopback(config.listen.ip())),
        }
        Ok(config)
    }

    /// Beyond loopback there is no serving without a token, also where clients show certificates: those say nobody's name.
    /// And no token in clear unless that was asked for.
    fn check_exposure(&self) -> Result<(), &'static str> {
        if is_loopback(self.listen.ip()) {
            Ok(())
        } else if self.tokens.is_none() {
            Err("only loopback addresses are served without a token_file")
        } else if self.tls.is_none() && !self.allow_plaintext {
            Err("tokens would cross the network in clear: give tls_cert and tls_key, or set allow_plaintext = true")
        } else {
            Ok(())
        }
    }
}

/// Whether an address is this machine's own, also when it is IPv4 in the form of IPv6.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The three files of TLS.
fn read_tls(
    layers: &mut Layers<'_, '_>,
    flags: &ServerFlags,
    directory: &Path,
) -> Result<Option<(ServerTlsFiles, ServerTls)>, ConfigError> {
    let certificate = layers.text("tls_cert", flags.tls_cert.as_ref())?;
    let key = layers.text("tls_key", flags.tls_key.as_ref())?;
    let client_ca = layers.text("tls_client_ca", flags.tls_client_ca.as_ref())?;
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(certificate), None) => return Err(certificate.refuse("needs tls_key beside it")),
        (None, Some(key)) => return Err(key.refuse("needs tls_cert beside it")),
        (None, None) => {
            return client_ca.map_or(Ok(None), |given| Err(given.refuse("needs tls_cert and tls_key beside it")));
        }
    };
    let path = |given: &Given<String>| resolve(given, directory);
    let identity = IdentityFiles { certificate: path(&certificate), key: path(&key) };
    let files = ServerTlsFiles { identity, client_ca: client_ca.as_ref().map(path) };
    let tls = files.read().map_err(|bad| bad.blame(&certificate, &[Some(&key), client_ca.as_ref()], directory))?;
    Ok(Some((files, tls)))
}

fn parse_listen(text: &str) -> Result<SocketAddr, &'static str> {
    let problem = "must be an address and a port, as in 127.0.0.1:7400 or [::1]:7400";
    match text.strip_prefix("localhost:") {
        Some(port) => port.parse().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(|_| problem),
        None => text.parse().map_err(|_| problem),
    }
}

/// Where metrics are served: not where calls are.
fn metrics_address(given: &Given<String>, listen: SocketAddr) -> Result<SocketAddr, ConfigError> {
    let address = given.parse(|text| parse_listen(text))?;
    // An address of all takes the port of each.
    let is_all = address.ip().is_unspecified() || listen.ip().is_unspecified();
    let is_same = address.port() == listen.port() && (is_all || address.ip() == listen.ip());
    if is_same && address.port() != 0 {
        return Err(given.refuse(format!("is the address of `listen` ({listen}): name another port")));
    }
    Ok(address)
}

/// A path as it is meant: one in a file starts from the file's directory, any other from the working directory.
pub(super) fn resolve(given: &Given<String>, directory: &Path) -> PathBuf {
    match given.origin {
        Origin::File { .. } => directory.join(&given.value),
        Origin::Flag(_) | Origin::Environment(_) => PathBuf::from(&given.value),
    }
}
