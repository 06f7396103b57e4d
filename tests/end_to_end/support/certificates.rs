//! Certificates in files: an authority, and what it signs.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use workplane::tls::{ClientTls, ServerName, certificates, private_key, roots};

use super::write_secret;

#[path = "../../../src/tls/test_certificates.rs"]
mod made;

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

    /// Connections to what listens at `address`, as soon as they are needed: it must have this name.
    pub(crate) fn channel(&self, address: SocketAddr, name: &str, shows: Option<&str>) -> Channel {
        let read = |file: String| fs::read(self.path(&file)).unwrap();
        let identity = shows.map(|file| {
            let (chain, key) = (read(format!("{file}.pem")), read(format!("{file}.key")));
            (certificates(&chain).unwrap(), private_key(&key).unwrap())
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
