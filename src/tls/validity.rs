//! Until when a certificate is valid: RFC 5280, 4.1, read no further than to there.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

/// Tags of DER.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The last moment at which a certificate is valid; `None` where it cannot be read.
#[must_use]
pub fn valid_until(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (whole, _) = value(certificate, SEQUENCE)?;
    let (signed, _) = value(whole, SEQUENCE)?;
    let signed = value(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, signed) = value(signed, INTEGER)?;
    let (_algorithm, signed) = value(signed, SEQUENCE)?;
    let (_issuer, signed) = value(signed, SEQUENCE)?;
    let (validity, _) = value(signed, SEQUENCE)?;
    let (_, not_after) = time(validity)?;
    let (text, _) = time(not_after)?;
    humantime::parse_rfc3339(&text).ok()
}

/// The value of this tag that the bytes begin with, and what follows.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if *first == tag { rest.split_at_checked(length) } else { None }
}

/// The time that the bytes begin with, as RFC 3339 has it, and what follows.
fn time(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (text, rest) = value(bytes, GENERALIZED_TIME).or_else(|| value(bytes, UTC_TIME))?;
    let text = str::from_utf8(text).ok()?;
    let text = match (text.len(), text.as_bytes().first()?) {
        // Of two digits, those from 50 on are of the century before.
        (13, b'5'..=b'9') => format!("19{text}"),
        (13, _) => format!("20{text}"),
        _ => text.to_owned(),
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, hour) =
        ([part(0, 4)?, part(4, 6)?, part(6, 8)?].join("-"), [part(8, 10)?, part(10, 12)?, part(12, 14)?]);
    Some((format!("{date}T{}Z", hour.join(":")), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificates;
    use crate::tls::test_certificates::Authority;

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_writings() {
        let authority = Authority::new();
        let until = |pem: &str| {
            let until = valid_until(&certificates(pem.as_bytes()).unwrap()[0]).unwrap();
            humantime::format_rfc3339_seconds(until).to_string()
        };
        // Years from 2050 on are written otherwise.
        assert_eq!(until(&authority.certify(&["host"]).certificate), "4000-01-01T00:00:00Z");
        assert_eq!(until(&authority.certify_expired(&["host"]).certificate), "2001-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_cut_off_or_changed_is_no_panic() {
        let pem = Authority::new().certify(&["host"]).certificate;
        let whole = certificates(pem.as_bytes()).unwrap().remove(0).to_vec();
        for end in 0..whole.len() {
            assert_eq!(valid_until(&CertificateDer::from(whole[..end].to_vec())), None);
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = valid_until(&CertificateDer::from(changed));
        }
    }
}
