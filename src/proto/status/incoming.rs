//! A host's status, as an error of ours. What a host says is hostile text: of it only the code, a reason that is ours
//! and fits the code, and a few metadata values that look like identifiers and numbers pass. Its words never do.

use std::error::Error as StdError;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{DOMAIN, code};
use crate::model::{Error, Reason, RuntimeId};

/// What may pass of a host's metadata, and how long it may be. The runtime's id is the one we asked.
const METADATA: [(&str, usize); 10] = [
    ("worker_id", 120),
    ("approval_id", 128),
    ("config_bundle_id", 128),
    ("expected", 64),
    ("actual", 64),
    ("oldest_cursor", 200),
    ("max_workers", 20),
    ("feature", 64),
    ("limit", 20),
    ("max", 20),
];
/// The longest delay that a host may ask for.
const MAX_RETRY: Duration = Duration::from_mins(1);

/// The error behind a call to the host of `runtime_id` that ended with `status` (acceptance 80 to 86).
#[must_use]
pub fn from_status(status: &Status, runtime_id: &RuntimeId) -> Error {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    let said = info.as_ref().and_then(|info| Reason::parse(&info.reason));
    let reason = match said {
        // A status with a source was made here, out of a broken connection.
        Some(reason) if code(reason) == status.code() && status.source().is_none() => trusted(reason),
        _ => by_code(status),
    };
    let mut error = Error::new(reason, sentence(reason)).with("runtime_id", runtime_id);
    if said == Some(reason)
        && let Some(info) = info
    {
        for (key, max) in METADATA {
            if let Some(value) = info.metadata.get(key).filter(|value| is_plain(value, max)) {
                error = error.with(key, value);
            }
        }
        if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
            error = error.retry_after(delay.min(MAX_RETRY));
        }
    }
    match reason {
        Reason::CursorExpired => error.with("recovery", &"observe again without a cursor, or from oldest_cursor"),
        _ => error,
    }
}

/// What a reason of a host means to our caller, who did not speak to the host.
const fn trusted(reason: Reason) -> Reason {
    match reason {
        Reason::Unauthenticated | Reason::PermissionDenied => Reason::RemoteRuntimeAuthFailed,
        Reason::DeadlineExceeded => Reason::RemoteRuntimeTimeout,
        Reason::NotYet => Reason::RemoteRuntimeUnsupported,
        // A host is asked nothing that could have these answers.
        Reason::UnknownRuntime
        | Reason::UnknownHost
        | Reason::RuntimeExists
        | Reason::RuntimeInUse
        | Reason::RemoteRuntimeAuthFailed
        | Reason::RemoteRuntimeNetworkError
        | Reason::RemoteRuntimeWrongIdentity => Reason::RemoteRuntimeMalformedResponse,
        own => own,
    }
}

fn by_code(status: &Status) -> Reason {
    if let Some(source) = status.source() {
        return if is_timeout(source) { Reason::RemoteRuntimeTimeout } else { Reason::RemoteRuntimeNetworkError };
    }
    match status.code() {
        Code::Unavailable | Code::Cancelled => Reason::RemoteRuntimeNetworkError,
        Code::DeadlineExceeded => Reason::RemoteRuntimeTimeout,
        Code::Unauthenticated | Code::PermissionDenied => Reason::RemoteRuntimeAuthFailed,
        Code::NotFound => Reason::UnknownWorker,
        Code::Unimplemented => Reason::RemoteRuntimeUnsupported,
        Code::ResourceExhausted => Reason::Overloaded,
        // What a connection that was cut in the middle of a stream looks like.
        Code::Unknown if status.message().starts_with("h2 protocol error") => Reason::RemoteRuntimeNetworkError,
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss => Reason::RemoteRuntimeMalformedResponse,
    }
}

fn is_timeout(source: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(source);
    while let Some(error) = next {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn is_plain(value: &str, max: usize) -> bool {
    (1..=max).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.'))
}

/// What is said of a host's refusal, whatever it said itself.
const fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidIdentifier => "the host refused an identifier",
        Reason::InvalidRequest => "the host refused a field of the request",
        Reason::CursorMalformed => "the cursor is not one that was handed out for this worker",
        Reason::LimitTooLarge => "the limit is larger than the host allows",
        Reason::InvalidPageToken => "the page token is no longer known to the host; begin again without it",
        Reason::UnknownWorker => "no such worker in this runtime",
        Reason::UnknownApproval => "no such approval",
        Reason::ConfigBundleMissing => "the runtime does not have this bundle",
        Reason::CursorExpired => "the cursor is of another incarnation, of the future, or before what is kept",
        Reason::RequestIdReused => "the request id was used for another request",
        Reason::WorkerNotRunning => "the worker has ended or is ending",
        Reason::RuntimeStopped => "the runtime has been stopped",
        Reason::WrongRuntime => "the worker or cursor belongs to another runtime",
        Reason::ConfigBundleDigestMismatch => "the runtime has this bundle with another digest",
        Reason::ConfigBundleInUse => "a worker uses this bundle",
        Reason::InvalidProfileSelector => "the profile is not declared",
        Reason::UnsupportedConfigDeclaration => "the bundle declares what this runtime cannot honour",
        Reason::WorkerStartFailed => "the worker's program could not be executed",
        Reason::WorkerRunning => "the worker is still running",
        Reason::WorkerBusy => "the worker is busy with another turn",
        Reason::ApprovalSettled => "the approval was settled before",
        Reason::RuntimeCordoned => "the runtime takes no new workers",
        Reason::RemoteRuntimeAuthFailed => "the host refused the control plane's credential",
        Reason::RemoteRuntimeWrongIdentity => "the host is not the runtime that is registered",
        Reason::StaleFence => "another control plane has taken over",
        Reason::RemoteRuntimeNetworkError => "the host cannot be reached, or the connection broke",
        Reason::Draining => "the host is shutting down",
        Reason::RemoteRuntimeTimeout | Reason::DeadlineExceeded => "the host did not answer in time",
        Reason::RemoteRuntimeUnsupported | Reason::NotYet => "the host does not support this call",
        Reason::Overloaded => "the host takes no more for now",
        Reason::QuotaExceeded => "a quota of the host is exceeded",
        Reason::StoreFull => "the host's store is full",
        Reason::StoreError => "the host's store failed",
        Reason::RemoteRuntimeMalformedResponse
        | Reason::UnknownRuntime
        | Reason::UnknownHost
        | Reason::RuntimeExists
        | Reason::RuntimeInUse
        | Reason::Unauthenticated
        | Reason::PermissionDenied => "the host's answer breaks the protocol",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::proto::status::to_status;

    fn heard(status: &Status) -> Error {
        from_status(status, &RuntimeId::new("remote:primary").unwrap())
    }

    #[test]
    fn a_reason_of_ours_passes_unchanged_and_its_words_never_do() {
        // acceptance 62, 83
        let spoken = Error::new(Reason::WorkerNotRunning, "see /run/sessions/x.sock, token=hunter2")
            .with("worker_id", &"worker-1")
            .with("runtime_id", &"another")
            .with("path", &"/etc/passwd");
        let error = heard(&to_status(&spoken));
        assert_eq!(error.reason(), Reason::WorkerNotRunning);
        assert_eq!(error.message(), "the worker has ended or is ending");
        let metadata = [("runtime_id", "remote:primary".to_owned()), ("worker_id", "worker-1".to_owned())];
        assert_eq!(error.metadata(), metadata);
    }

    #[test]
    fn metadata_that_is_not_plain_is_dropped() {
        // acceptance 83
        for bad in ["", "a b", "a/b", "é", "a\n", &"x".repeat(121)] {
            let error = heard(&to_status(&Error::new(Reason::UnknownWorker, "no").with("worker_id", &bad)));
            assert_eq!(error.metadata().len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn a_reason_that_does_not_fit_its_code_is_not_believed() {
        let details =
            tonic_types::ErrorDetails::with_error_info("WORKER_BUSY", DOMAIN, HashMap::<String, String>::new());
        let lie = Status::with_error_details(Code::Unavailable, "no", details);
        assert_eq!(heard(&lie).reason(), Reason::RemoteRuntimeNetworkError);
    }

    #[test]
    fn a_host_that_refuses_our_credential_is_no_refusal_of_the_callers() {
        // acceptance 81, 86
        for status in [
            Status::unauthenticated("no"),
            Status::permission_denied("no"),
            to_status(&Error::new(Reason::Unauthenticated, "no")),
        ] {
            let error = heard(&status);
            assert_eq!(error.reason(), Reason::RemoteRuntimeAuthFailed);
            assert_eq!(to_status(&error).code(), Code::FailedPrecondition);
        }
    }

    #[test]
    fn what_gives_no_reason_is_read_by_its_code() {
        // acceptance 80, 81
        for (status, reason) in [
            (Status::unavailable("x"), Reason::RemoteRuntimeNetworkError),
            (Status::deadline_exceeded("x"), Reason::RemoteRuntimeTimeout),
            (Status::not_found("x"), Reason::UnknownWorker),
            (Status::unimplemented("x"), Reason::RemoteRuntimeUnsupported),
            (Status::unknown("h2 protocol error: error reading a body"), Reason::RemoteRuntimeNetworkError),
            (Status::unknown("x"), Reason::RemoteRuntimeMalformedResponse),
            (Status::internal("x"), Reason::RemoteRuntimeMalformedResponse),
            (Status::invalid_argument("x"), Reason::RemoteRuntimeMalformedResponse),
            (Status::new(Code::Ok, "x"), Reason::RemoteRuntimeMalformedResponse),
        ] {
            assert_eq!(heard(&status).reason(), reason, "{status:?}");
        }
    }

    #[test]
    fn a_broken_connection_is_a_network_error_whatever_its_code() {
        // acceptance 80
        let mut status = Status::internal("x");
        status.set_source(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        assert_eq!(heard(&status).reason(), Reason::RemoteRuntimeNetworkError);
    }

    #[test]
    fn every_reason_of_ours_is_heard_as_one_of_ours() {
        for reason in Reason::ALL {
            let error = heard(&to_status(&Error::new(*reason, "secret words")));
            assert!(!error.message().contains("secret"), "{reason:?}");
            assert!(error.reason() == *reason || error.reason() == trusted(*reason), "{reason:?}");
        }
    }
}
