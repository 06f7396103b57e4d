//! Refusals because of what was asked are answered in-band: this turns an error into such an answer, or leaves it.

use std::sync::Arc;

use super::Operation;
use crate::model::{Diagnostic, Error, ErrorClass, Reason, Result, RuntimeKind, Severity};
use crate::runtime::{WorkerRuntime, diagnose};

/// `REJECTED` with the adapter's code and then the reason's own, for a refusal because of what was asked; the error
/// itself for everything else (acceptance 59, 60, 81).
pub(super) fn in_band<T>(runtime: &Arc<dyn WorkerRuntime>, error: Error) -> Result<Operation<T>> {
    if runtime.kind() == RuntimeKind::Embedded && error.reason() == Reason::RemoteRuntimeUnsupported {
        let words = "this runtime cannot do that";
        return Ok(Operation::Unsupported(vec![Diagnostic::info("runtime_capability_unsupported", words)]));
    }
    if error.reason().class() != ErrorClass::Asked {
        return Err(error);
    }
    let first = diagnose(runtime.kind(), runtime.id(), &error);
    let second =
        Diagnostic { code: error.reason().code().into(), severity: Severity::Warning, message: words(error.reason()) };
    Ok(Operation::Rejected(vec![first, second]))
}

/// What a reason means, for people. Never the runtime's own words, which may be a host's.
fn words(reason: Reason) -> std::borrow::Cow<'static, str> {
    match reason {
        Reason::ConfigBundleMissing => "the runtime has no bundle of this id and digest",
        Reason::ConfigBundleDigestMismatch => "the runtime has this bundle with another digest",
        Reason::ConfigBundleInUse => "a worker uses this bundle",
        Reason::InvalidProfileSelector => "the profile is not declared",
        Reason::UnsupportedConfigDeclaration => "the bundle declares what the runtime cannot honour",
        Reason::WorkerStartFailed => "the program could not be executed",
        Reason::WorkerRunning => "the worker is still running",
        Reason::WorkerNotRunning => "the worker has ended or is ending",
        Reason::WorkerBusy => "the worker is busy with another turn",
        Reason::ApprovalSettled => "the approval was settled before",
        Reason::RuntimeInUse => "the runtime has live workers",
        _ => "the request was refused",
    }
    .into()
}
