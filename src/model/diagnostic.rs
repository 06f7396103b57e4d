//! What a call says beside its answer.

use std::borrow::Cow;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Something is not as it was asked.
    Warning,
    /// Something failed.
    Error,
}

impl From<&str> for Severity {
    /// The severity of a word: `error`, `warning`, and for every other `info`.
    fn from(word: &str) -> Self {
        match word {
            "error" => Self::Error,
            "warning" => Self::Warning,
            _ => Self::Info,
        }
    }
}

/// A stable word a program may match on, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// `snake_case`, stable.
    pub code: Cow<'static, str>,
    /// How much it matters.
    pub severity: Severity,
    /// For people; never a host's own words.
    pub message: Cow<'static, str>,
}

impl Diagnostic {
    /// A diagnostic of severity [`Severity::Info`].
    pub fn info(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), severity: Severity::Info, message: message.into() }
    }

    /// A diagnostic of severity [`Severity::Warning`].
    pub fn warning(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), severity: Severity::Warning, message: message.into() }
    }

    /// A diagnostic of severity [`Severity::Error`].
    pub fn error(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), severity: Severity::Error, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_severity_and_unknown_ones_are_the_least() {
        // acceptance 1
        for (word, severity) in [
            ("error", Severity::Error),
            ("warning", Severity::Warning),
            ("info", Severity::Info),
            ("", Severity::Info),
            ("ERROR", Severity::Info),
        ] {
            assert_eq!(Severity::from(word), severity, "{word}");
        }
        assert!(Severity::Info < Severity::Warning && Severity::Warning < Severity::Error);
    }
}
