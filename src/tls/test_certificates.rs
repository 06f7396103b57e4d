//! Certificates for tests: authorities, and what they sign. It uses nothing of this crate, so that the tests of the whole
//! binary have it too.

use std::ops::Range;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// An authority of its own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What a certificate says that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, and so everything.
    Any,
    /// Servers alone.
    Server,
    /// Clients alone.
    Client,
    /// An authority.
    Authority,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate that no authority has signed: it did it itself.
    pub(crate) fn alone(name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        Certified { certificate, key: key.serialize_pem() }
    }

    /// A certificate for these names and addresses.
    pub(crate) fn certify(&self, names: &[&str]) -> Certified {
        self.certify_for(Kind::Any, names)
    }

    /// One that says what it is for.
    pub(crate) fn certify_for(&self, kind: Kind, names: &[&str]) -> Certified {
        self.sign(names, kind, &(year(2000)..year(4000)))
    }

    /// One whose time is over.
    pub(crate) fn certify_expired(&self, names: &[&str]) -> Certified {
        self.certify_within(&(year(2000)..year(2001)), names)
    }

    /// One that is valid in this time.
    pub(crate) fn certify_within(&self, time: &Range<SystemTime>, names: &[&str]) -> Certified {
        self.sign(names, Kind::Any, time)
    }

    fn sign(&self, names: &[&str], kind: Kind, time: &Range<SystemTime>) -> Certified {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) = (time.start.into(), time.end.into());
        match kind {
            Kind::Any => {}
            Kind::Server => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            Kind::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Kind::Authority => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Certified { certificate, key: key.serialize_pem() }
    }
}

fn year(year: i32) -> SystemTime {
    date_time_ymd(year, 1, 1).into()
}
