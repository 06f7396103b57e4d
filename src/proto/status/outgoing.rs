//! An error, as a caller gets it.

use std::collections::HashMap;
use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{DOMAIN, code};
use crate::model::{Error, Reason};

/// When to come back where the error itself does not say.
const RETRY: Duration = Duration::from_secs(1);

/// The status of an error: its code, its own sentence, and the details of api.md, section 3.
#[must_use]
pub fn to_status(error: &Error) -> Status {
    let metadata = error.metadata().iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    let mut details =
        ErrorDetails::with_error_info(error.reason().as_str(), DOMAIN, metadata.collect::<HashMap<_, _>>());
    for violation in error.fields() {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    let retry = error.retry_delay().or_else(|| is_worth_a_retry(error.reason()).then_some(RETRY));
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    Status::with_error_details(code(error.reason()), error.message(), details)
}

/// Whether the same request may well succeed a little later.
const fn is_worth_a_retry(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Overloaded
            | Reason::Draining
            | Reason::RemoteRuntimeNetworkError
            | Reason::RemoteRuntimeTimeout
            | Reason::DeadlineExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_worth_a_retry_says_when_and_no_other_does() {
        // acceptance 85
        let worth = ["UNAVAILABLE", "DEADLINE_EXCEEDED"];
        for reason in Reason::ALL {
            let status = to_status(&Error::new(*reason, "no"));
            let code = format!("{:?}", status.code());
            let unavailable = worth.iter().any(|word| word.replace('_', "").eq_ignore_ascii_case(&code));
            let said = status.get_details_retry_info().is_some();
            assert_eq!(said, unavailable || *reason == Reason::Overloaded, "{reason:?}");
        }
    }

    #[test]
    fn an_error_carries_its_reason_ids_fields_and_delay() {
        // acceptance 85, 124
        let status = to_status(&Error::unknown_worker(&"r", &"w"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("UNKNOWN_WORKER", "workplane"));
        assert_eq!((info.metadata["runtime_id"].as_str(), info.metadata["worker_id"].as_str()), ("r", "w"));
        assert!(status.get_details_retry_info().is_none());

        let status = to_status(&Error::field("role", "is required").scope("intent"));
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "intent.role");

        let overloaded = Error::new(Reason::Overloaded, "full").retry_after(Duration::from_millis(50));
        let delay = |error| to_status(&error).get_details_retry_info().unwrap().retry_delay;
        assert_eq!(delay(overloaded), Some(Duration::from_millis(50)));
        assert_eq!(delay(Error::new(Reason::Draining, "soon gone")), Some(RETRY));
    }
}
