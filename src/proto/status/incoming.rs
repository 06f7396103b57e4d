//! A host's status, as an error of ours. What a host says is hostile text: of it only the code, a reason that is ours
//! and fits the code, and a few values pass, each read as what it is to be. Its words and its ids never do.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::broken::broken;
use super::said::is_said;
use super::{DOMAIN, code};
use crate::model::{BundleDigest, Cursor, Error, Fault, Feature, QUARANTINED, Reason, RuntimeId, WorkerId};

/// Of a transcript: nothing but this can be wrong with where it is to start.
const START_REMOVED: &str = "start is before the first item that is kept";
/// The longest delay that a host may ask for.
const MAX_RETRY: Duration = Duration::from_mins(1);

/// The error behind a call to the host of `runtime_id`, about `worker_id` where it is about one worker, that ended with
/// `status` (acceptance 80 to 86).
#[must_use]
pub fn from_status(status: &Status, runtime_id: &RuntimeId, worker_id: Option<&WorkerId>) -> Error {
    if let Some(source) = status.source() {
        // It was made here, out of an error of the connection.
        let (reason, fault) = broken(source);
        return error(reason, fault).with("runtime_id", runtime_id);
    }
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    let named = info.as_ref().and_then(|info| Reason::parse(&info.reason)).filter(|it| code(*it) == status.code());
    let (reason, fault) = match named {
        // The host is there, and does not know what became of this one.
        Some(reason @ Reason::RemoteRuntimeNetworkError) => (reason, Some(Fault::BrokenOff)),
        Some(reason) => (trusted(reason), None),
        None => unnamed(status),
    };
    let says = |key: &str| info.as_ref().is_some_and(|info| info.metadata.contains_key(key));
    let mut error = match (reason, worker_id) {
        (Reason::StoreError, Some(worker_id)) if says(QUARANTINED) => Error::quarantined(worker_id),
        (Reason::CursorExpired, _) if says("oldest_start") => Error::new(reason, START_REMOVED),
        _ => error(reason, fault),
    };
    error = error.with("runtime_id", runtime_id);
    if let Some(info) = info.filter(|_| named == Some(reason)) {
        for key in values(reason) {
            if let Some(value) = info.metadata.get(*key).and_then(|value| read(key, value, worker_id)) {
                error = error.with(key, &value);
            }
        }
    }
    if reason == Reason::CursorExpired {
        let is_page = error.metadata().iter().any(|(key, _)| *key == "oldest_start");
        let recovery =
            if is_page { "read from oldest_start" } else { "observe again without a cursor, or from oldest_cursor" };
        error = error.with("recovery", &recovery);
    }
    match status.get_details_retry_info().and_then(|info| info.retry_delay) {
        Some(delay) => error.retry_after(delay.min(MAX_RETRY)),
        None => error,
    }
}

/// Ours of this reason.
fn error(reason: Reason, fault: Option<Fault>) -> Error {
    let Some(fault) = fault else { return Error::new(reason, sentence(reason)) };
    let words = match fault {
        Fault::Failed => "the host failed, and gave no reason",
        Fault::Refused => "the host refused the request, and gave no reason",
        Fault::Client => "the call to the host could not be made",
        Fault::BrokenOff => "the host's answer broke off",
        Fault::Untrusted => "no connection to the host came to be that both sides trust",
    };
    Error::new(reason, words).because(fault)
}

/// What passes of a host's metadata for a reason. Ids are not among it: we know what we asked.
const fn values(reason: Reason) -> &'static [&'static str] {
    match reason {
        Reason::ConfigBundleDigestMismatch => &["expected", "actual"],
        Reason::CursorExpired => &["oldest_cursor", "oldest_start"],
        Reason::QuotaExceeded => &["max_workers"],
        Reason::RemoteRuntimeUnsupported => &["feature"],
        Reason::LimitTooLarge => &["limit", "max"],
        _ => &[],
    }
}

/// A value as what it is to be, in our own writing; `None` where it is anything else.
fn read(key: &str, value: &str, worker_id: Option<&WorkerId>) -> Option<String> {
    match key {
        "expected" | "actual" => Some(BundleDigest::new(value).ok()?.to_string()),
        "oldest_cursor" => Some(Cursor::decode(value, worker_id?).ok()?.encode()),
        "feature" => Some(Feature::parse(value)?.as_str().to_owned()),
        _ => Some(value.parse::<u64>().ok()?.to_string()),
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
        | Reason::RemoteRuntimeWrongIdentity => Reason::RemoteRuntimeMalformedResponse,
        own => own,
    }
}

/// What a status means that has no reason of ours, by its code (acceptance 80, 81).
fn unnamed(status: &Status) -> (Reason, Option<Fault>) {
    match status.code() {
        Code::Unavailable => (Reason::RemoteRuntimeNetworkError, None),
        Code::Cancelled => (Reason::RemoteRuntimeNetworkError, Some(Fault::BrokenOff)),
        Code::DeadlineExceeded => (Reason::RemoteRuntimeTimeout, None),
        Code::Unauthenticated | Code::PermissionDenied => (Reason::RemoteRuntimeAuthFailed, None),
        Code::NotFound => (Reason::UnknownWorker, None),
        Code::Unimplemented => (Reason::RemoteRuntimeUnsupported, None),
        // Not the host's: what it sent could not be read.
        _ if !is_said(status) => (Reason::RemoteRuntimeMalformedResponse, None),
        Code::ResourceExhausted => (Reason::Overloaded, None),
        Code::Internal | Code::Unknown | Code::DataLoss => {
            (Reason::RemoteRuntimeMalformedResponse, Some(Fault::Failed))
        }
        Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted | Code::OutOfRange => {
            (Reason::RemoteRuntimeMalformedResponse, Some(Fault::Refused))
        }
        Code::Ok => (Reason::RemoteRuntimeMalformedResponse, None),
    }
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
        Reason::Internal => "the host failed",
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

    use super::super::said::said;
    use super::*;
    use crate::model::Incarnation;
    use crate::proto::status::to_status;

    const KEYS: [&str; 13] = [
        "worker_id",
        "runtime_id",
        "approval_id",
        "config_bundle_id",
        "request_id",
        "error_id",
        "expected",
        "actual",
        "oldest_cursor",
        "max_workers",
        "feature",
        "limit",
        "max",
    ];

    fn worker() -> WorkerId {
        WorkerId::new("worker-1").unwrap()
    }

    fn heard(status: &Status) -> Error {
        from_status(status, &RuntimeId::new("remote:primary").unwrap(), Some(&worker()))
    }

    /// Of this reason, with every value that a host could send.
    fn telling(reason: Reason, value: impl Fn(&str) -> String) -> Status {
        to_status(&KEYS.iter().fold(Error::new(reason, "no"), |error, key| error.with(key, &value(key))))
    }

    #[test]
    fn a_reason_of_ours_passes_unchanged_and_its_words_never_do() {
        // acceptance 62, 83
        let spoken = Error::new(Reason::WorkerNotRunning, "see /run/sessions/x.sock, token=hunter2")
            .with("worker_id", &"worker-of-another")
            .with("runtime_id", &"another")
            .with("path", &"/etc/passwd");
        let error = heard(&to_status(&spoken));
        assert_eq!(error.reason(), Reason::WorkerNotRunning);
        assert_eq!(error.message(), "the worker has ended or is ending");
        assert_eq!(error.metadata(), [("runtime_id", "remote:primary".to_owned())]);
    }

    #[test]
    fn values_of_a_host_pass_as_what_they_are_to_be_or_not_at_all() {
        // acceptance 83
        for reason in Reason::ALL {
            for value in ["token-hunter2", "", "-1", "18446744073709551616", "/etc/passwd", "config_bundles2"] {
                let error = heard(&telling(*reason, |_| value.to_owned()));
                let ours = |(key, _): &&(&str, String)| matches!(*key, "runtime_id" | "recovery");
                assert_eq!(error.metadata().iter().filter(ours).count(), error.metadata().len(), "{error:?}");
            }
        }
        let cursor = Cursor::new(Incarnation::generate(), &worker(), 7).encode();
        let digest = "5".repeat(64);
        for (reason, key, value) in [
            (Reason::ConfigBundleDigestMismatch, "expected", digest.as_str()),
            (Reason::ConfigBundleDigestMismatch, "actual", &digest),
            (Reason::CursorExpired, "oldest_cursor", &cursor),
            (Reason::QuotaExceeded, "max_workers", "64"),
            (Reason::RemoteRuntimeUnsupported, "feature", "config_bundles"),
            (Reason::LimitTooLarge, "limit", "300"),
            (Reason::LimitTooLarge, "max", "256"),
        ] {
            let error = heard(&telling(reason, |_| value.to_owned()));
            assert!(error.metadata().contains(&(key, value.to_owned())), "{error:?}");
        }
    }

    #[test]
    fn a_start_that_was_removed_and_a_worker_that_is_quarantined_are_told_as_what_they_are() {
        let removed = Error::new(Reason::CursorExpired, "x").with("oldest_start", &7);
        assert_eq!(heard(&to_status(&removed)).message(), START_REMOVED);
        assert!(heard(&to_status(&Error::new(Reason::CursorExpired, "x"))).message().contains("another incarnation"));
        let own = Error::quarantined(&worker());
        assert_eq!(heard(&to_status(&own)).message(), own.message());
        assert_eq!(heard(&to_status(&Error::new(Reason::StoreError, "x"))).message(), "the host's store failed");
    }

    #[test]
    fn a_cursor_of_another_worker_is_dropped() {
        let other = Cursor::new(Incarnation::generate(), &WorkerId::new("worker-2").unwrap(), 7);
        let error = heard(&telling(Reason::CursorExpired, |_| other.encode()));
        assert!(error.metadata().iter().all(|(key, _)| *key != "oldest_cursor"), "{error:?}");
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
    fn what_gives_no_reason_or_an_unknown_outcome_is_read_by_its_code() {
        // acceptance 80, 81
        const NO_REASON: Reason = Reason::RemoteRuntimeMalformedResponse;
        for (status, reason, fault) in [
            (Status::unavailable("x"), Reason::RemoteRuntimeNetworkError, None),
            (
                to_status(&Error::new(Reason::RemoteRuntimeNetworkError, "x")),
                Reason::RemoteRuntimeNetworkError,
                Some(Fault::BrokenOff),
            ),
            (Status::cancelled("x"), Reason::RemoteRuntimeNetworkError, Some(Fault::BrokenOff)),
            (Status::deadline_exceeded("x"), Reason::RemoteRuntimeTimeout, None),
            (Status::not_found("x"), Reason::UnknownWorker, None),
            (Status::unimplemented("x"), Reason::RemoteRuntimeUnsupported, None),
            (Status::resource_exhausted("x"), Reason::Overloaded, None),
            (Status::unknown("x"), NO_REASON, Some(Fault::Failed)),
            (Status::internal("x"), NO_REASON, Some(Fault::Failed)),
            (Status::data_loss("x"), NO_REASON, Some(Fault::Failed)),
            (Status::invalid_argument("x"), NO_REASON, Some(Fault::Refused)),
            (Status::failed_precondition("x"), NO_REASON, Some(Fault::Refused)),
            (Status::out_of_range("x"), NO_REASON, Some(Fault::Refused)),
            (Status::already_exists("x"), NO_REASON, Some(Fault::Refused)),
            (Status::aborted("x"), NO_REASON, Some(Fault::Refused)),
            (Status::new(Code::Ok, "x"), NO_REASON, None),
        ] {
            let error = heard(&said(status));
            assert_eq!((error.reason(), error.fault()), (reason, fault));
        }
    }

    #[test]
    fn what_could_not_be_read_is_malformed_whatever_code_it_was_given_here() {
        // acceptance 80
        for status in [Status::internal("x"), Status::out_of_range("x"), Status::unknown("x")] {
            let error = heard(&status);
            assert_eq!((error.reason(), error.fault()), (Reason::RemoteRuntimeMalformedResponse, None));
        }
    }

    #[test]
    fn a_broken_connection_is_a_network_error_whatever_its_code() {
        // acceptance 80
        let mut status = Status::internal("x");
        status.set_source(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        let error = heard(&status);
        assert_eq!((error.reason(), error.fault()), (Reason::RemoteRuntimeNetworkError, None));
    }

    #[test]
    fn a_hosts_delay_is_kept_up_to_a_minute() {
        let asked = |delay| {
            let details = tonic_types::ErrorDetails::with_retry_info(Some(delay));
            heard(&said(Status::with_error_details(Code::Unavailable, "x", details))).retry_delay()
        };
        assert_eq!(asked(Duration::from_secs(3)), Some(Duration::from_secs(3)));
        assert_eq!(asked(Duration::from_hours(1)), Some(MAX_RETRY));
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
