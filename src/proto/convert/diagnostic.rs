//! Diagnostics for the wire.

use crate::model::{Diagnostic, Severity};
use crate::proto::v1;

/// A diagnostic.
#[must_use]
pub fn diagnostic(from: Diagnostic) -> v1::Diagnostic {
    let Diagnostic { code, severity, message } = from;
    let severity = match severity {
        Severity::Info => v1::DiagnosticSeverity::Info,
        Severity::Warning => v1::DiagnosticSeverity::Warning,
        Severity::Error => v1::DiagnosticSeverity::Error,
    };
    v1::Diagnostic { code: code.into_owned(), severity: severity.into(), message: message.into_owned() }
}

/// All of them.
#[must_use]
pub fn diagnostics(from: Vec<Diagnostic>) -> Vec<v1::Diagnostic> {
    from.into_iter().map(diagnostic).collect()
}
