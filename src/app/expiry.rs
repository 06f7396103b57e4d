//! Certificates that run out: said when they come in force, and once a day from three weeks before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::tls::{CertificateDer, Facts};

/// Less than this is little time to see to another one.
const SOON: Duration = Duration::from_hours(21 * 24);
/// How often it is said.
const EVERY: Duration = Duration::from_hours(24);

/// How a certificate stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Term {
    /// Its time has not come.
    Early,
    /// There is plenty of it left.
    Good,
    /// There is so much of it left.
    Soon(Duration),
    /// It is over.
    Over,
}

impl Term {
    /// As it is at this moment.
    pub(super) fn at(now: SystemTime, facts: &Facts) -> Self {
        match facts.until.duration_since(now) {
            _ if now < facts.from => Self::Early,
            Err(_) => Self::Over,
            Ok(left) if left < SOON => Self::Soon(left),
            Ok(_) => Self::Good,
        }
    }
}

/// What was said of certificates, by what each is for and its file: two may show another one of the same.
#[derive(Debug, Default)]
pub(super) struct Reminders(BTreeMap<(String, PathBuf), Said>);

/// From when it is valid and until when, and whether it is over.
type Told = (SystemTime, SystemTime, bool);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    of: Told,
    at: Instant,
}

impl Reminders {
    /// Says how the certificate of a file stands, where there is something to say and it is time to say it.
    pub(super) fn tell(&mut self, what: &str, file: &Path, certificate: &CertificateDer<'_>) {
        // One that cannot be read is used by nobody.
        let Some(facts) = Facts::of(certificate) else { return };
        let term = Term::at(SystemTime::now(), &facts);
        if term == Term::Good || !self.is_due(what, file, (facts.from, facts.until, term == Term::Over)) {
            return;
        }
        let file = file.display();
        let [from, until] = [facts.from, facts.until].map(|time| humantime::format_rfc3339_seconds(time).to_string());
        match term {
            Term::Good => {}
            Term::Early => {
                tracing::error!(what, %file, from, "a certificate is not valid yet, and is refused until then");
            }
            Term::Soon(left) => {
                let days = left.as_secs() / EVERY.as_secs();
                tracing::warn!(what, %file, until, days, "a certificate expires soon: put another one in its place");
            }
            Term::Over => {
                tracing::error!(what, %file, until, "a certificate has expired, and is refused: put another one in its place");
            }
        }
    }

    /// Whether it is time to say something of this one, which is said then.
    fn is_due(&mut self, what: &str, file: &Path, of: Told) -> bool {
        let (which, now) = ((what.to_owned(), file.to_owned()), Instant::now());
        if self.0.get(&which).is_some_and(|said| said.of == of && now < said.at + EVERY) {
            return false;
        }
        self.0.insert(which, Said { of, at: now });
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::tls::certificates;
    use crate::tls::test_certificates::Authority;

    #[test]
    fn three_weeks_before_its_end_a_certificate_expires_soon() {
        let now = SystemTime::now();
        let days = |days: u64| Duration::from_hours(24 * days);
        let certified = Authority::new().certify_within(&(now - days(50)..now + days(50)), &["host.test"]);
        let facts = Facts::of(&certificates(certified.certificate.as_bytes()).unwrap()[0]).unwrap();
        let term = |time| Term::at(time, &facts);
        assert_eq!(term(now), Term::Good);
        assert_eq!(term(now + days(28)), Term::Good);
        assert_eq!(term(facts.until - days(20)), Term::Soon(days(20)));
        assert_eq!(term(now + days(51)), Term::Over);
        assert_eq!(term(now - days(51)), Term::Early);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_a_day_of_each_file_and_at_once_of_another_certificate() {
        let mut said = Reminders::default();
        let start = SystemTime::UNIX_EPOCH;
        let (one, over, other) = ((start, start + SOON, false), (start, start + SOON, true), (start, start, false));
        let (here, there) = (Path::new("here.pem"), Path::new("there.pem"));
        let mut is_due = |file, of| said.is_due("server", file, of);
        assert!(is_due(here, one) && !is_due(here, one) && is_due(there, one));
        advance(Duration::from_secs(24 * 3_600 - 1)).await;
        assert!(!is_due(here, one) && !is_due(there, one));
        advance(Duration::from_secs(1)).await;
        assert!(is_due(here, one) && !is_due(here, one));
        assert!(is_due(here, over) && !is_due(here, over), "that it is over is another thing to say");
        assert!(is_due(here, other) && !is_due(here, other));
        assert!(
            said.is_due("client", here, one) && !said.is_due("server", here, other),
            "two may show another one of a file"
        );
    }
}
