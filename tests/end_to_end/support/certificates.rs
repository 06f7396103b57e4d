//! Certificates in files: an authority, and what it signs.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use workplane::tls::{ClientTls, ServerName, certificates, private_key, roots};

use super::write_secret;

#[path = "../../../src/tls/test_certificates.rs"]
mod made;

pub(crate) use made::Kind;
use made::{Authority, Certified};

/// An authority with a directory for what it signs.
pub(crate) struct Certificates {
    authority: Authority,
    directory: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        fs::write(directory.path().join("ca.pem"), &authority.pem).unwrap();
        Self { authority, directory }
    }

    /// The path of a file.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// The same for a command line or a configuration.
    pub(crate) fn named(&self, file: &str) -> String {
        self.path(file).to_str().unwrap().to_owned()
    }

    /// Writes a certificate for these names into `FILE.pem` and its key into `FILE.key`, each at once.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) {
        self.write(file, &self.authority.certify(names));
    }

    /// The same of one whose time is over.
    pub(crate) fn issue_expired(&self, file: &str, names: &[&str]) {
        self.write(file, &self.authority.certify_expired(names));
    }

    /// The same of one that is valid in this time.
    pub(crate) fn issue_within(&self, file: &str, time: &Range<SystemTime>, names: &[&str]) {
        self.write(file, &self.authority.certify_within(time, names));
    }

    /// The same of one that says what it is for.
    pub(crate) fn issue_for(&self, file: &str, kind: Kind, names: &[&str]) {
        self.write(file, &self.authority.certify_for(kind, names));
    }

    /// The same of one that no authority has signed.
    pub(crate) fn issue_alone(&self, file: &str, name: &str) {
        self.write(file, &Authority::alone(name));
    }

    fn write(&self, file: &str, certified: &Certified) {
        for (suffix, text) in [("pem", &certified.certificate), ("key", &certified.key)] {
            let new = write_secret(self.directory.path(), "new", text);
            fs::rename(new, self.path(&format!("{file}.{suffix}"))).unwrap();
        }
    }

    /// What a server is told to serve TLS with such a certificate.
    pub(crate) fn served(&self, file: &str) -> [(String, String); 2] {
        [("tls_cert", "pem"), ("tls_key", "key")]
            .map(|(key, suffix)| (key.to_owned(), self.named(&format!("{file}.{suffix}"))))
    }

    /// What a control plane is told of a host that it must trust by this authority.
    pub(crate) fn trusted(&self) -> Vec<(String, String)> {
        vec![("ca_file".to_owned(), self.named("ca.pem"))]
    }

    /// What a control plane is told to show a host.
    pub(crate) fn shown(&self, file: &str) -> Vec<(String, String)> {
        [("client_cert", "pem"), ("client_key", "key")]
            .map(|(key, suffix)| (key.to_owned(), self.named(&format!("{file}.{suffix}"))))
            .to_vec()
    }

    /// Connections to what listens at `address`, as soon as they are needed: it must have this name.
    pub(crate) fn channel(&self, address: SocketAddr, name: &str, shows: Option<&str>) -> Channel {
        self.channel_showing(address, name, shows.map(|file| (self, file)))
    }

    /// The same, with a certificate that another authority may have signed.
    pub(crate) fn channel_showing(&self, address: SocketAddr, name: &str, shows: Option<(&Self, &str)>) -> Channel {
        let identity = shows.map(|(of, file)| {
            let read = |suffix: &str| fs::read(of.path(&format!("{file}.{suffix}"))).unwrap();
            (certificates(&read("pem")).unwrap(), private_key(&read("key")).unwrap())
        });
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientTls::new(roots(self.authority.pem.as_bytes()).unwrap(), name, identity).unwrap();
        let connector = tower::service_fn(move |_| {
            let tls = tls.clone();
            async move {
                let io = TcpStream::connect(address).await?;
                tls.connect(io, &Arc::default()).await.map(TokioIo::new)
            }
        });
        Endpoint::from_shared(format!("http://{address}")).unwrap().connect_with_connector_lazy(connector)
    }
}
