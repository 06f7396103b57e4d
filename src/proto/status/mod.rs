//! Errors and statuses: the one table from reason to code, out at each edge, and what a host says, in.

mod broken;
mod call;
mod incoming;
mod outgoing;
mod said;

pub use call::{name_call, reason_of};
pub use incoming::from_status;
pub use outgoing::to_status;
pub use said::Marking;

use tonic::Code;

use crate::model::Reason;

/// The domain of every reason of ours.
pub const DOMAIN: &str = "workplane";

/// The code of a reason (api.md, section 3).
#[must_use]
pub const fn code(reason: Reason) -> Code {
    match reason {
        Reason::InvalidIdentifier
        | Reason::InvalidRequest
        | Reason::CursorMalformed
        | Reason::LimitTooLarge
        | Reason::InvalidPageToken => Code::InvalidArgument,
        Reason::UnknownRuntime
        | Reason::UnknownHost
        | Reason::UnknownWorker
        | Reason::UnknownApproval
        | Reason::ConfigBundleMissing => Code::NotFound,
        Reason::CursorExpired => Code::OutOfRange,
        Reason::RequestIdReused | Reason::RuntimeExists => Code::AlreadyExists,
        Reason::WorkerNotRunning
        | Reason::RuntimeStopped
        | Reason::WrongRuntime
        | Reason::ConfigBundleDigestMismatch
        | Reason::ConfigBundleInUse
        | Reason::InvalidProfileSelector
        | Reason::UnsupportedConfigDeclaration
        | Reason::WorkerStartFailed
        | Reason::WorkerRunning
        | Reason::WorkerBusy
        | Reason::ApprovalSettled
        | Reason::RuntimeInUse
        | Reason::RuntimeCordoned
        | Reason::RemoteRuntimeAuthFailed
        | Reason::RemoteRuntimeWrongIdentity
        | Reason::StaleFence => Code::FailedPrecondition,
        Reason::RemoteRuntimeNetworkError | Reason::Draining => Code::Unavailable,
        Reason::RemoteRuntimeTimeout | Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::RemoteRuntimeUnsupported | Reason::NotYet => Code::Unimplemented,
        Reason::Overloaded | Reason::QuotaExceeded | Reason::StoreFull => Code::ResourceExhausted,
        Reason::RemoteRuntimeMalformedResponse | Reason::StoreError | Reason::Internal => Code::Internal,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::PermissionDenied => Code::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_code_of_the_contract() {
        // acceptance 85, 124
        let table = [
            (
                Code::InvalidArgument,
                "INVALID_IDENTIFIER INVALID_REQUEST CURSOR_MALFORMED LIMIT_TOO_LARGE INVALID_PAGE_TOKEN",
            ),
            (Code::NotFound, "UNKNOWN_RUNTIME UNKNOWN_HOST UNKNOWN_WORKER UNKNOWN_APPROVAL CONFIG_BUNDLE_MISSING"),
            (Code::OutOfRange, "CURSOR_EXPIRED"),
            (Code::AlreadyExists, "REQUEST_ID_REUSED RUNTIME_EXISTS"),
            (
                Code::FailedPrecondition,
                "WORKER_NOT_RUNNING RUNTIME_STOPPED WRONG_RUNTIME CONFIG_BUNDLE_DIGEST_MISMATCH CONFIG_BUNDLE_IN_USE \
                 INVALID_PROFILE_SELECTOR UNSUPPORTED_CONFIG_DECLARATION WORKER_START_FAILED WORKER_RUNNING \
                 WORKER_BUSY APPROVAL_SETTLED RUNTIME_IN_USE RUNTIME_CORDONED REMOTE_RUNTIME_AUTH_FAILED \
                 REMOTE_RUNTIME_WRONG_IDENTITY STALE_FENCE",
            ),
            (Code::Unavailable, "REMOTE_RUNTIME_NETWORK_ERROR DRAINING"),
            (Code::DeadlineExceeded, "REMOTE_RUNTIME_TIMEOUT DEADLINE_EXCEEDED"),
            (Code::Unimplemented, "REMOTE_RUNTIME_UNSUPPORTED NOT_YET"),
            (Code::ResourceExhausted, "OVERLOADED QUOTA_EXCEEDED STORE_FULL"),
            (Code::Internal, "REMOTE_RUNTIME_MALFORMED_RESPONSE STORE_ERROR INTERNAL"),
            (Code::Unauthenticated, "UNAUTHENTICATED"),
            (Code::PermissionDenied, "PERMISSION_DENIED"),
        ];
        let mut seen = 0;
        for (expected, words) in table {
            for word in words.split_whitespace() {
                assert_eq!(code(Reason::parse(word).unwrap()), expected, "{word}");
                seen += 1;
            }
        }
        assert_eq!(seen, Reason::ALL.len());
    }
}
