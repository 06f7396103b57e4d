//! Refusals because of what was asked are answered in-band: this turns an error into such an answer, or leaves it.

use std::borrow::Cow;
use std::sync::Arc;

use super::Operation;
use crate::model::{
    BundleDigest, Diagnostic, Error, ErrorClass, Reason, Result, RuntimeKind, Severity, TerminalIntent,
};
use crate::runtime::{WorkerRuntime, diagnose};

/// Under these keys an error says what was asked for.
pub(super) const PROFILE: &str = "profile";
pub(super) const BUNDLE: &str = "config_bundle_id";

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
    let second = Diagnostic { code: error.reason().code().into(), severity: Severity::Warning, message: words(&error) };
    Ok(Operation::Rejected(vec![first, second]))
}

/// A call that a runtime may lack (acceptance 37, 40, 42).
#[derive(Debug, Clone, Copy)]
pub(super) enum Lacking {
    /// Of a worker for this, by the word for it.
    Spawn(&'static str),
    Input,
    Stop(TerminalIntent),
    Answer,
    Interrupt,
    Delete,
    Transcript,
}

impl Lacking {
    /// [`in_band`], where what is lacking is told by its own code.
    pub(super) fn in_band<T>(self, runtime: &Arc<dyn WorkerRuntime>, error: Error) -> Result<Operation<T>> {
        if matches!(self, Self::Interrupt) && error.reason() == Reason::RemoteRuntimeUnsupported {
            // Not every worker has turns, wherever it runs.
            return Ok(Operation::Unsupported(self.diagnostics()));
        }
        Ok(match in_band(runtime, error)? {
            Operation::Unsupported(_) => Operation::Unsupported(self.diagnostics()),
            other => other,
        })
    }

    fn diagnostics(self) -> Vec<Diagnostic> {
        let unsupported = match self {
            Self::Spawn(_) => "worker_spawn_unsupported",
            Self::Input | Self::Stop(_) | Self::Answer | Self::Interrupt | Self::Delete | Self::Transcript => {
                "runtime_capability_unsupported"
            }
        };
        let first = match self {
            Self::Spawn(intent) => Diagnostic::info(
                "worker_spawn_resolver_pending",
                format!("nothing here resolves the spawn of a {intent} worker"),
            ),
            Self::Input => Diagnostic::info("worker_input_pending", "nothing here takes input for workers"),
            Self::Stop(TerminalIntent::Stop) => Diagnostic::info("worker_stop_pending", "nothing here stops workers"),
            Self::Stop(TerminalIntent::Cancel) => {
                Diagnostic::info("worker_cancel_pending", "nothing here cancels workers")
            }
            Self::Answer => Diagnostic::info("worker_approvals_pending", "nothing here asks for approvals"),
            Self::Interrupt => {
                Diagnostic::info("worker_interrupt_pending", "nothing here interrupts workers like this")
            }
            Self::Delete => Diagnostic::info("worker_delete_pending", "nothing here deletes workers"),
            Self::Transcript => Diagnostic::info("worker_transcript_pending", "nothing here keeps transcripts"),
        };
        vec![first, Diagnostic::info(unsupported, "this runtime cannot do that")]
    }
}

/// What a reason means, for people. Never the runtime's own words, which may be a host's.
fn words(error: &Error) -> Cow<'static, str> {
    match error.reason() {
        Reason::ConfigBundleMissing => "the runtime has no bundle of this id and digest",
        Reason::ConfigBundleDigestMismatch => return digests(error),
        Reason::ConfigBundleInUse => "a worker uses this bundle",
        Reason::InvalidProfileSelector => return undeclared(error),
        Reason::UnsupportedConfigDeclaration => "the bundle declares what the runtime cannot honour",
        Reason::WorkerStartFailed => "the program could not be executed",
        Reason::WorkerRunning => "the worker has not ended: stop it first, or delete it with `force`",
        Reason::WorkerNotRunning => "the worker has ended or is ending",
        Reason::WorkerBusy => "the worker is busy with another turn",
        Reason::ApprovalSettled => "the approval was settled before",
        Reason::RuntimeInUse => "the runtime has live workers",
        _ => "the request was refused",
    }
    .into()
}

/// The profile, and the bundle that does not declare it. Both are what was asked for.
fn undeclared(error: &Error) -> Cow<'static, str> {
    let find = |name| error.metadata().iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    match (find(PROFILE), find(BUNDLE)) {
        (Some(profile), Some(bundle)) => format!("the bundle {bundle} does not declare the profile {profile}").into(),
        (Some(profile), None) => {
            format!("the profile {profile} is not builtin, and no bundle was named that declares it").into()
        }
        (None, _) => "the profile is not declared".into(),
    }
}

/// Both digests where they are known (acceptance 104). A host's are digests, or are not shown.
fn digests(error: &Error) -> Cow<'static, str> {
    let find = |name| {
        let value = error.metadata().iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        value.and_then(|value| BundleDigest::new(value).ok())
    };
    match (find("expected"), find("actual")) {
        (Some(expected), Some(actual)) => format!("the bundle's digest was to be {expected}, and is {actual}").into(),
        _ => "the bundle has another digest".into(),
    }
}
