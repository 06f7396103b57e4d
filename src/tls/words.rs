//! What a failed handshake means, for people.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why a handshake failed. What a certificate says of itself is left out: it is the other side's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The other side does not speak TLS.
    InClear,
    /// The other side speaks TLS, and was spoken to in clear.
    Secured,
    /// The certificate that was shown is not one of who was meant.
    OtherName,
    /// What else is wrong with the certificate that was shown.
    Certificate(&'static str),
    /// The other side showed none.
    NoCertificate,
    /// The other side asks for one, and was shown none.
    Asked,
    /// The other side refused the one that it was shown.
    Ours,
    /// All else, in words.
    Because(&'static str),
}

impl Refused {
    /// Why TLS refused, where that is what an error is about.
    #[must_use]
    pub fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(Self::of(found));
            }
            // The source of an I/O error is that of the error which it wraps.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            cause = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }

    /// The same as a sentence; `name` is who was meant.
    #[must_use]
    pub fn told(self, name: &str) -> String {
        let words = match self {
            Self::OtherName => return format!("certificate is not valid for {name}"),
            Self::InClear => "the other side does not speak TLS",
            Self::Secured => "the other side speaks TLS, and was spoken to in clear",
            Self::NoCertificate => "the other side showed no certificate",
            Self::Asked => "the other side asks for a client certificate",
            Self::Ours => "the other side refused the certificate that it was shown",
            Self::Certificate(words) | Self::Because(words) => words,
        };
        words.to_owned()
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::OtherName,
            Error::InvalidCertificate(refused) => Self::Certificate(certificate(refused)),
            Error::AlertReceived(alert) => alerted(*alert),
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => Self::InClear,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => {
                Self::Because("the other side speaks no version that is spoken here")
            }
            _ => Self::Because("the handshake failed"),
        }
    }
}

fn certificate(refused: &CertificateError) -> &'static str {
    match refused {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate is not valid yet",
        // The second one is of an authority that has the name of one that is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate is of no authority that is trusted here"
        }
        CertificateError::Revoked => "certificate was revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for this purpose"
        }
        _ => "certificate cannot be used",
    }
}

/// What the other side says of us.
fn alerted(alert: AlertDescription) -> Refused {
    match alert {
        AlertDescription::CertificateRequired => Refused::Asked,
        AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::UnknownCA
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => Refused::Ours,
        AlertDescription::NoApplicationProtocol => Refused::Because("the other side does not speak HTTP/2"),
        _ => Refused::Because("the other side ended the handshake"),
    }
}
