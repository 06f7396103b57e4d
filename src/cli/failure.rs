//! What a command failed with, said for people: reason, message, the fields at fault, the ids it is about.

use std::fmt;
use std::io;

use tonic::Status;
use tonic_types::{ErrorInfo, StatusExt};

use super::dial::Mismatch;
use super::output::plain;
use crate::config::ConfigError;
use crate::proto::v1::Diagnostic;

/// The metadata that carries the id of a request whose outcome is unknown.
pub(super) const REQUEST_ID: &str = "workplane-request-id";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was given on the command line, in the environment or in a file cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The control plane answered with an error, or not at all.
    #[error("{}", Explained(.0))]
    Status(Box<Status>),
    /// The control plane refused what was asked.
    #[error("{what}{}", Listed(diagnostics))]
    Refused {
        /// What was refused.
        what: String,
        /// Why.
        diagnostics: Vec<Diagnostic>,
    },
    /// The command did what it was asked to, and what it found is told by the exit code, too.
    #[error("{words}")]
    Verdict {
        /// What the process ends with.
        code: u8,
        /// What was found.
        words: String,
    },
    /// Nothing to be done, in words of ours.
    #[error("{0}")]
    Other(String),
    /// Standard output or input failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    /// What the process ends with: 2 for a wrong command line, what a verdict says, else 1. A reader that has gone away is no failure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Verdict { code, .. } => *code,
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // It was never answered, and why is known.
        match std::error::Error::source(&status).and_then(|source| source.downcast_ref()) {
            Some(Mismatch(words)) => Self::Other(words.clone()),
            None => Self::Status(Box::new(status)),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// A status with all that its details say.
struct Explained<'a>(&'a Status);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        let details = status.get_error_details();
        let info = details.error_info();
        match info {
            Some(info) => write!(f, "{}", plain(&info.reason))?,
            // What a control plane says has a reason.
            None => write!(f, "no control plane answered, or the connection to it broke: {:?}", status.code())?,
        }
        write!(f, ": {}", plain(status.message()))?;
        for violation in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
            let told = format!("{}: {}", violation.field, violation.description);
            if told != status.message() {
                write!(f, "\n  {}", plain(&told))?;
            }
        }
        let mut ids: Vec<_> = info.into_iter().flat_map(|info| &info.metadata).collect();
        ids.sort();
        for (name, value) in ids {
            if let Some(advice) = info.and_then(|info| advice(info, name)) {
                write!(f, "\n  {name}: {advice}")?;
                continue;
            }
            write!(f, "\n  {}: {}", plain(name), plain(value))?;
        }
        if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
            write!(f, "\n  worth trying again in {}", humantime::format_duration(delay))?;
        }
        if let Some(id) = status.metadata().get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
            let id = plain(id);
            write!(f, "\n  whether it was done is not known: the same command with --request-id {id} is safe")?;
        }
        Ok(())
    }
}

/// What helps against it here, in place of what helps a program.
fn advice(info: &ErrorInfo, name: &str) -> Option<&'static str> {
    let has = |key| info.metadata.contains_key(key);
    match (info.reason.as_str(), name) {
        ("CURSOR_EXPIRED", "recovery") if has("oldest_start") => {
            Some("leave out --start, or give it what oldest_start says")
        }
        ("CURSOR_EXPIRED", "recovery") if has("oldest_cursor") => {
            Some("with --beginning in place of --cursor: what is kept; with neither: what comes from now on")
        }
        _ => None,
    }
}

/// Diagnostics, each on a line of its own.
struct Listed<'a>(&'a [Diagnostic]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|diagnostic| write!(f, "\n  {}", described(diagnostic)))
    }
}

/// A diagnostic on one line.
pub(super) fn described(diagnostic: &Diagnostic) -> String {
    let Diagnostic { code, severity: _, message } = diagnostic;
    let severity = diagnostic.severity().as_str_name().rsplit('_').next().unwrap_or_default().to_ascii_lowercase();
    format!("{severity} {}: {}", plain(code), plain(message))
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn an_error_tells_reason_message_fields_and_ids() {
        let mut details = ErrorDetails::new();
        let ids = [("worker_id".to_owned(), "worker-1".to_owned())];
        details.set_error_info("INVALID_REQUEST", "workplane", ids);
        details.add_bad_request_violation("initial_input.content", "must not be blank");
        details.set_retry_info(Some(std::time::Duration::from_secs(2)));
        let mut status = Status::with_error_details(Code::InvalidArgument, "a field is\x1b[31m bad", details);
        status.metadata_mut().insert(REQUEST_ID, "wp-7".parse().unwrap());
        let text = Failure::from(status).to_string();
        assert_eq!(
            text,
            "INVALID_REQUEST: a field is\\u{1b}[31m bad\n  initial_input.content: must not be blank\n  worker_id: worker-1\n  \
             worth trying again in 2s\n  whether it was done is not known: the same command with --request-id wp-7 is safe"
        );
    }

    #[test]
    fn what_has_expired_is_told_with_what_helps_on_a_command_line() {
        for (key, helps) in [("oldest_cursor", "--beginning"), ("oldest_start", "leave out --start")] {
            let ids = [(key.to_owned(), "7".to_owned()), ("recovery".to_owned(), "for programs".to_owned())];
            let details = ErrorDetails::with_error_info(
                "CURSOR_EXPIRED",
                "workplane",
                ids.into_iter().collect::<std::collections::HashMap<_, _>>(),
            );
            let text = Failure::from(Status::with_error_details(Code::OutOfRange, "x", details)).to_string();
            assert!(text.contains(helps) && !text.contains("for programs"), "{text}");
        }
    }

    #[test]
    fn a_wrong_command_line_exits_2_and_any_other_failure_1() {
        // acceptance 125
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
        assert_eq!(Failure::from(Status::not_found("")).exit_code(), 1);
        assert_eq!(Failure::Refused { what: String::new(), diagnostics: Vec::new() }.exit_code(), 1);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
    }
}
