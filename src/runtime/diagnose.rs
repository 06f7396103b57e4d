//! Failures of runtimes as diagnostics: the codes of acceptance.md (rows 59, 80 to 82), with our own words.

use crate::model::{Diagnostic, Error, Fault, Reason, RuntimeId, RuntimeKind, Severity};

/// The diagnostic for a failure of a runtime of this kind.
#[must_use]
pub fn diagnose(kind: RuntimeKind, runtime_id: &RuntimeId, error: &Error) -> Diagnostic {
    let (code, severity, words) = match kind {
        RuntimeKind::Embedded => embedded(error.reason()),
        RuntimeKind::Remote => error.fault().map_or_else(|| remote(error.reason()), unexplained),
    };
    // The numbers of a refused limit are the caller's own and ours.
    let words = if error.reason() == Reason::LimitTooLarge { error.message() } else { words };
    Diagnostic { code: code.into(), severity, message: format!("runtime {runtime_id}: {words}").into() }
}

/// Acceptance 59.
fn embedded(reason: Reason) -> (&'static str, Severity, &'static str) {
    use Severity::{Error, Warning};
    match reason {
        Reason::RuntimeStopped | Reason::Draining => ("embedded_runtime_stopped", Warning, "it was stopped"),
        Reason::WrongRuntime | Reason::CursorExpired => {
            ("embedded_runtime_wrong_identity", Warning, "this belongs to another runtime")
        }
        Reason::UnknownWorker => ("embedded_worker_not_found", Warning, "it has no such worker"),
        Reason::LimitTooLarge => ("embedded_runtime_limit_too_large", Warning, "the limit is too large"),
        Reason::StoreError | Reason::StoreFull => {
            ("embedded_runtime_store_error", Error, "its store could not do this")
        }
        Reason::RemoteRuntimeTimeout | Reason::DeadlineExceeded | Reason::RemoteRuntimeNetworkError => {
            ("embedded_runtime_state_unavailable", Error, "it did not answer")
        }
        Reason::Internal => ("embedded_runtime_state_unavailable", Error, "it failed"),
        _ => ("embedded_runtime_invalid_request", Warning, "it refused the request"),
    }
}

/// Acceptance 80, 81, 82.
fn remote(reason: Reason) -> (&'static str, Severity, &'static str) {
    use Severity::{Error, Warning};
    match reason {
        Reason::RemoteRuntimeTimeout | Reason::DeadlineExceeded => {
            ("remote_runtime_timeout", Error, "its host did not answer in time")
        }
        Reason::RemoteRuntimeNetworkError | Reason::Draining => {
            ("remote_runtime_network_error", Error, "its host could not be reached")
        }
        Reason::RemoteRuntimeMalformedResponse => {
            ("remote_runtime_malformed_response", Error, "its host's answer breaks the protocol")
        }
        Reason::RemoteRuntimeWrongIdentity | Reason::WrongRuntime => {
            ("remote_runtime_wrong_identity", Error, "its host is another runtime")
        }
        Reason::RemoteRuntimeAuthFailed | Reason::Unauthenticated | Reason::PermissionDenied => {
            ("remote_runtime_auth_failed", Error, AUTH_FAILED)
        }
        Reason::UnknownWorker => ("remote_worker_not_found", Warning, "its host has no such worker"),
        Reason::ConfigBundleMissing => ("remote_config_bundle_not_found", Warning, "its host has no such bundle"),
        Reason::RemoteRuntimeUnsupported | Reason::NotYet => {
            ("remote_runtime_unsupported", Warning, "its host cannot do this")
        }
        Reason::StoreError | Reason::Internal => ("remote_runtime_http_error", Error, "its host failed"),
        _ => ("remote_runtime_http_rejected", Warning, "its host refused the request"),
    }
}

const AUTH_FAILED: &str = "its host refused the credential: compare the token_file of its [[remote_runtimes]] entry with \
                           the one that the host names in its log";

const UNTRUSTED: &str = "it and its host do not trust each other over TLS: the control plane's log says why";

/// Acceptance 80, 81: a failure of a host without a reason.
const fn unexplained(fault: Fault) -> (&'static str, Severity, &'static str) {
    match fault {
        Fault::Failed => ("remote_runtime_http_error", Severity::Error, "its host failed"),
        Fault::Refused => ("remote_runtime_http_rejected", Severity::Warning, "its host refused the request"),
        Fault::Client => ("remote_runtime_client_error", Severity::Error, "the call to its host could not be made"),
        Fault::BrokenOff => ("remote_runtime_network_error", Severity::Error, "its host's answer broke off"),
        Fault::Untrusted => ("remote_runtime_network_error", Severity::Error, UNTRUSTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(kind: RuntimeKind, reason: Reason) -> (String, Severity) {
        let id = RuntimeId::new("r").unwrap();
        let diagnostic = diagnose(kind, &id, &Error::new(reason, "words of a host: /var/lib/secret.sock"));
        assert!(!diagnostic.message.contains("secret"), "{diagnostic:?}");
        (diagnostic.code.into_owned(), diagnostic.severity)
    }

    #[test]
    fn failures_of_the_embedded_runtime_have_their_codes() {
        // acceptance 59
        for (reason, expected, severity) in [
            (Reason::RuntimeStopped, "embedded_runtime_stopped", Severity::Warning),
            (Reason::WrongRuntime, "embedded_runtime_wrong_identity", Severity::Warning),
            (Reason::CursorExpired, "embedded_runtime_wrong_identity", Severity::Warning),
            (Reason::UnknownWorker, "embedded_worker_not_found", Severity::Warning),
            (Reason::InvalidRequest, "embedded_runtime_invalid_request", Severity::Warning),
            (Reason::ConfigBundleMissing, "embedded_runtime_invalid_request", Severity::Warning),
            (Reason::ConfigBundleDigestMismatch, "embedded_runtime_invalid_request", Severity::Warning),
            (Reason::UnsupportedConfigDeclaration, "embedded_runtime_invalid_request", Severity::Warning),
            (Reason::InvalidProfileSelector, "embedded_runtime_invalid_request", Severity::Warning),
            (Reason::StoreError, "embedded_runtime_store_error", Severity::Error),
            (Reason::Internal, "embedded_runtime_state_unavailable", Severity::Error),
            (Reason::StoreFull, "embedded_runtime_store_error", Severity::Error),
            (Reason::RemoteRuntimeNetworkError, "embedded_runtime_state_unavailable", Severity::Error),
        ] {
            assert_eq!(code(RuntimeKind::Embedded, reason), (expected.to_owned(), severity), "{reason:?}");
        }
    }

    #[test]
    fn a_limit_that_is_too_large_is_told_with_its_numbers() {
        // acceptance 59
        let id = RuntimeId::new("r").unwrap();
        let too_large = Error::new(Reason::LimitTooLarge, "limit: 300 is more than the maximum of 256");
        let diagnostic = diagnose(RuntimeKind::Embedded, &id, &too_large);
        assert_eq!(
            (diagnostic.code.as_ref(), diagnostic.severity),
            ("embedded_runtime_limit_too_large", Severity::Warning)
        );
        assert!(diagnostic.message.contains("300") && diagnostic.message.contains("256"));
    }

    #[test]
    fn failures_of_a_remote_runtime_have_their_codes() {
        // acceptance 80, 81, 82, 83
        for (reason, expected, severity) in [
            (Reason::RemoteRuntimeTimeout, "remote_runtime_timeout", Severity::Error),
            (Reason::RemoteRuntimeNetworkError, "remote_runtime_network_error", Severity::Error),
            (Reason::RemoteRuntimeMalformedResponse, "remote_runtime_malformed_response", Severity::Error),
            (Reason::RemoteRuntimeAuthFailed, "remote_runtime_auth_failed", Severity::Error),
            (Reason::UnknownWorker, "remote_worker_not_found", Severity::Warning),
            (Reason::RemoteRuntimeUnsupported, "remote_runtime_unsupported", Severity::Warning),
            (Reason::StoreError, "remote_runtime_http_error", Severity::Error),
            (Reason::Internal, "remote_runtime_http_error", Severity::Error),
            (Reason::WorkerNotRunning, "remote_runtime_http_rejected", Severity::Warning),
            (Reason::ConfigBundleMissing, "remote_config_bundle_not_found", Severity::Warning),
        ] {
            assert_eq!(code(RuntimeKind::Remote, reason), (expected.to_owned(), severity), "{reason:?}");
        }
    }

    #[test]
    fn a_host_that_gives_no_reason_has_failed_or_refused_and_is_not_malformed() {
        // acceptance 80, 81
        let id = RuntimeId::new("r").unwrap();
        for (fault, expected, severity) in [
            (Fault::Failed, "remote_runtime_http_error", Severity::Error),
            (Fault::Refused, "remote_runtime_http_rejected", Severity::Warning),
            (Fault::Client, "remote_runtime_client_error", Severity::Error),
            (Fault::BrokenOff, "remote_runtime_network_error", Severity::Error),
            (Fault::Untrusted, "remote_runtime_network_error", Severity::Error),
        ] {
            let error = Error::new(Reason::RemoteRuntimeMalformedResponse, "no").because(fault);
            let diagnostic = diagnose(RuntimeKind::Remote, &id, &error);
            assert_eq!((diagnostic.code.as_ref(), diagnostic.severity), (expected, severity), "{fault:?}");
        }
    }
}
