//! What a certificate says of itself (RFC 5280): when it is valid, for which names, and for what. Whether it is true, a
//! handshake finds out.

use std::net::IpAddr;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use super::der::{BOOLEAN, INTEGER, OBJECT, OCTETS, SEQUENCE, any, each, time, value, without};

/// Tags of RFC 5280, 4.1 and 4.2.1.6.
const VERSION: u8 = 0xa0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Extensions: 4.2.1.6, 4.2.1.9, 4.2.1.12.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be known as a server.
    Server,
    /// To be known as a client.
    Client,
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The first moment at which it is valid.
    pub from: SystemTime,
    /// The last one.
    pub until: SystemTime,
    /// Whether it is an authority's: it may sign others.
    pub is_authority: bool,
    /// Whether it names itself as who has signed it.
    pub is_self_issued: bool,
    /// The DNS names and the addresses that it is for.
    pub names: Vec<String>,
    /// What it is for, where it says that.
    purposes: Option<Vec<Purpose>>,
}

impl Purpose {
    /// RFC 5280, 4.2.1.12.
    fn of(object: &[u8]) -> Option<Self> {
        match object.strip_prefix(&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03])? {
            [1] => Some(Self::Server),
            [2] => Some(Self::Client),
            _ => None,
        }
    }

    /// How certificates call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "serverAuth",
            Self::Client => "clientAuth",
        }
    }
}

impl Facts {
    /// Those of a certificate; `None` where they cannot be read.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (whole, _) = value(certificate, SEQUENCE)?;
        let (signed, _) = value(whole, SEQUENCE)?;
        let (_serial, rest) = value(without(signed, VERSION), INTEGER)?;
        let (_algorithm, rest) = value(rest, SEQUENCE)?;
        let (issuer, rest) = value(rest, SEQUENCE)?;
        let (validity, rest) = value(rest, SEQUENCE)?;
        let (subject, rest) = value(rest, SEQUENCE)?;
        let (_key, rest) = value(rest, SEQUENCE)?;
        let (from, rest_of_validity) = time(validity)?;
        let (until, _) = time(rest_of_validity)?;
        let mut facts = Self {
            from,
            until,
            is_authority: false,
            is_self_issued: issuer == subject,
            names: Vec::new(),
            purposes: None,
        };
        let rest = without(without(rest, ISSUER_UNIQUE_ID), SUBJECT_UNIQUE_ID);
        if let Some((extensions, _)) = value(rest, EXTENSIONS) {
            let (extensions, _) = value(extensions, SEQUENCE)?;
            each(extensions)?.into_iter().try_for_each(|(_, extension)| facts.extend(extension))?;
        }
        Some(facts)
    }

    fn extend(&mut self, extension: &[u8]) -> Option<()> {
        let (object, rest) = value(extension, OBJECT)?;
        let (inner, _) = value(without(rest, BOOLEAN), OCTETS)?;
        if object == SUBJECT_ALT_NAME {
            let (names, _) = value(inner, SEQUENCE)?;
            self.names = each(names)?.into_iter().filter_map(|(tag, name)| name_of(tag, name)).collect();
        } else if object == BASIC_CONSTRAINTS {
            let (constraints, _) = value(inner, SEQUENCE)?;
            self.is_authority = any(constraints).is_some_and(|(tag, value, _)| tag == BOOLEAN && value != [0]);
        } else if object == EXTENDED_KEY_USAGE {
            let (purposes, _) = value(inner, SEQUENCE)?;
            self.purposes = Some(each(purposes)?.into_iter().filter_map(|(_, object)| Purpose::of(object)).collect());
        }
        Some(())
    }

    /// Whether it may be shown for this: one that does not say what it is for may be shown for everything.
    #[must_use]
    pub fn is_for(&self, purpose: Purpose) -> bool {
        self.purposes.as_ref().is_none_or(|purposes| purposes.contains(&purpose))
    }
}

/// Whether a certificate is for a server of this name or address, as a client sees it.
#[must_use]
pub fn is_valid_for(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|certificate| rustls::client::verify_server_name(&certificate, name).is_ok())
}

fn name_of(tag: u8, name: &[u8]) -> Option<String> {
    match tag {
        DNS_NAME => str::from_utf8(name).ok().map(str::to_owned),
        IP_ADDRESS => {
            let address = <[u8; 4]>::try_from(name).map(IpAddr::from);
            address.or_else(|_| <[u8; 16]>::try_from(name).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificates;
    use crate::tls::test_certificates::{Authority, Kind};

    fn der(pem: &str) -> CertificateDer<'static> {
        certificates(pem.as_bytes()).unwrap().remove(0)
    }

    fn facts(pem: &str) -> Facts {
        Facts::of(&der(pem)).unwrap()
    }

    #[test]
    fn the_time_of_a_certificate_is_read_in_both_writings() {
        let authority = Authority::new();
        let time = |pem: &str| {
            let Facts { from, until, .. } = facts(pem);
            [from, until].map(|time| humantime::format_rfc3339_seconds(time).to_string())
        };
        // Years from 2050 on are written otherwise.
        let long = time(&authority.certify(&["host"]).certificate);
        assert_eq!(long, ["2000-01-01T00:00:00Z", "4000-01-01T00:00:00Z"]);
        assert_eq!(time(&authority.certify_expired(&["host"]).certificate)[1], "2001-01-01T00:00:00Z");
    }

    #[test]
    fn a_certificate_tells_its_names_and_what_it_is_for() {
        let authority = Authority::new();
        let plain = facts(&authority.certify(&["host.test", "127.0.0.1", "::1"]).certificate);
        assert_eq!(plain.names, ["host.test", "127.0.0.1", "::1"]);
        assert!(!plain.is_authority && !plain.is_self_issued);
        assert!(plain.is_for(Purpose::Server) && plain.is_for(Purpose::Client));
        for (kind, server, client) in [(Kind::Server, true, false), (Kind::Client, false, true)] {
            let one = facts(&authority.certify_for(kind, &["host.test"]).certificate);
            assert_eq!((one.is_for(Purpose::Server), one.is_for(Purpose::Client)), (server, client));
        }
        let below = facts(&authority.certify_for(Kind::Authority, &["host.test"]).certificate);
        assert!(below.is_authority && !below.is_self_issued);
        let root = facts(&authority.pem);
        assert!(root.is_authority && root.is_self_issued && root.names.is_empty());
    }

    #[test]
    fn a_name_fits_as_a_client_sees_it() {
        let certificate = der(&Authority::new().certify(&["*.hosts.test", "10.0.0.1"]).certificate);
        let fits = |name: &str| is_valid_for(&certificate, &ServerName::try_from(name.to_owned()).unwrap());
        assert!(fits("one.hosts.test") && fits("10.0.0.1"));
        assert!(!fits("hosts.test") && !fits("a.one.hosts.test") && !fits("10.0.0.2"));
    }

    #[test]
    fn what_is_cut_off_or_changed_is_no_panic() {
        let pem = Authority::new().certify_for(Kind::Server, &["host", "127.0.0.1"]).certificate;
        let whole = der(&pem).to_vec();
        for end in 0..whole.len() {
            assert_eq!(Facts::of(&CertificateDer::from(whole[..end].to_vec())), None);
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = Facts::of(&CertificateDer::from(changed));
        }
    }
}
