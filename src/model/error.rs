//! The one error that crosses rooms: a reason, a sentence, and the ids it is about.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::id::InvalidIdentifier;

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $class:ident;)*) => {
        /// Why a call failed: the words of api.md, section 3.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word on the wire, as in `UNKNOWN_WORKER`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What kind of refusal it is.
            #[must_use]
            pub const fn class(self) -> ErrorClass {
                match self { $(Self::$name => ErrorClass::$class,)* }
            }

            /// The same word in lower case, as the code of a diagnostic.
            #[must_use]
            pub fn code(self) -> String {
                self.as_str().to_ascii_lowercase()
            }

            /// The reason that a word on the wire stands for.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }
        }
    };
}

/// What a refusal is about (api.md, 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// What was asked: in the public API answered in-band, as `REJECTED`.
    Asked,
    /// The identity of a thing, or the form of the request.
    Identity,
    /// The condition of the system.
    Condition,
    /// It cannot be known whether it was done: the same request may be sent again.
    Unknown,
}

reasons! {
    /// An identifier breaks its rule.
    InvalidIdentifier = "INVALID_IDENTIFIER", Identity;
    /// A field breaks its rule.
    InvalidRequest = "INVALID_REQUEST", Identity;
    /// A cursor that was never handed out, or is another worker's.
    CursorMalformed = "CURSOR_MALFORMED", Identity;
    /// More items were asked for than a page may have.
    LimitTooLarge = "LIMIT_TOO_LARGE", Identity;
    /// A page token that was never handed out, or is another list's.
    InvalidPageToken = "INVALID_PAGE_TOKEN", Identity;
    /// No runtime of this id.
    UnknownRuntime = "UNKNOWN_RUNTIME", Identity;
    /// No host of this id.
    UnknownHost = "UNKNOWN_HOST", Identity;
    /// No worker of this id in this runtime.
    UnknownWorker = "UNKNOWN_WORKER", Identity;
    /// No approval of this id.
    UnknownApproval = "UNKNOWN_APPROVAL", Identity;
    /// No bundle of this id and digest.
    ConfigBundleMissing = "CONFIG_BUNDLE_MISSING", Asked;
    /// A cursor of another incarnation, of the future, or before the first kept event.
    CursorExpired = "CURSOR_EXPIRED", Identity;
    /// The request id was used for another request.
    RequestIdReused = "REQUEST_ID_REUSED", Identity;
    /// A runtime of this id is registered.
    RuntimeExists = "RUNTIME_EXISTS", Identity;
    /// The worker has ended or is ending.
    WorkerNotRunning = "WORKER_NOT_RUNNING", Asked;
    /// The runtime has been stopped.
    RuntimeStopped = "RUNTIME_STOPPED", Condition;
    /// The thing belongs to another runtime.
    WrongRuntime = "WRONG_RUNTIME", Identity;
    /// The bundle has another digest.
    ConfigBundleDigestMismatch = "CONFIG_BUNDLE_DIGEST_MISMATCH", Asked;
    /// The bundle is used by a worker.
    ConfigBundleInUse = "CONFIG_BUNDLE_IN_USE", Asked;
    /// The profile is not declared.
    InvalidProfileSelector = "INVALID_PROFILE_SELECTOR", Asked;
    /// The bundle declares what this runtime cannot honour.
    UnsupportedConfigDeclaration = "UNSUPPORTED_CONFIG_DECLARATION", Asked;
    /// The program could not be executed.
    WorkerStartFailed = "WORKER_START_FAILED", Asked;
    /// The worker is still running.
    WorkerRunning = "WORKER_RUNNING", Asked;
    /// The worker is busy with another turn.
    WorkerBusy = "WORKER_BUSY", Asked;
    /// The approval was settled before.
    ApprovalSettled = "APPROVAL_SETTLED", Asked;
    /// The runtime has live workers.
    RuntimeInUse = "RUNTIME_IN_USE", Asked;
    /// The runtime takes no new workers.
    RuntimeCordoned = "RUNTIME_CORDONED", Condition;
    /// The host refused the control plane's credential.
    RemoteRuntimeAuthFailed = "REMOTE_RUNTIME_AUTH_FAILED", Condition;
    /// The host is not the runtime that is registered.
    RemoteRuntimeWrongIdentity = "REMOTE_RUNTIME_WRONG_IDENTITY", Condition;
    /// A fence lower than the highest known.
    StaleFence = "STALE_FENCE", Condition;
    /// The host could not be reached, the connection broke, or a runtime or its store failed before it was known to be done.
    RemoteRuntimeNetworkError = "REMOTE_RUNTIME_NETWORK_ERROR", Unknown;
    /// The server is shutting down.
    Draining = "DRAINING", Condition;
    /// The host did not answer in time.
    RemoteRuntimeTimeout = "REMOTE_RUNTIME_TIMEOUT", Unknown;
    /// The caller's deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", Unknown;
    /// The host lacks a feature that the call needs.
    RemoteRuntimeUnsupported = "REMOTE_RUNTIME_UNSUPPORTED", Condition;
    /// The method comes with a later version.
    NotYet = "NOT_YET", Condition;
    /// Too many requests, or a full queue.
    Overloaded = "OVERLOADED", Condition;
    /// A limit of the caller's is reached.
    QuotaExceeded = "QUOTA_EXCEEDED", Condition;
    /// The store has no room.
    StoreFull = "STORE_FULL", Condition;
    /// The host's answer breaks the protocol.
    RemoteRuntimeMalformedResponse = "REMOTE_RUNTIME_MALFORMED_RESPONSE", Unknown;
    /// The store failed.
    StoreError = "STORE_ERROR", Condition;
    /// A fault of the server itself, such as a panic.
    Internal = "INTERNAL", Unknown;
    /// No valid credential.
    Unauthenticated = "UNAUTHENTICATED", Condition;
    /// The caller may not do this.
    PermissionDenied = "PERMISSION_DENIED", Condition;
}

/// What lies behind the failure of a call to a host, where its reason alone does not say (acceptance 80, 81). It chooses
/// diagnostics and what becomes of a connection, and never goes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The host failed, and gave no reason.
    Failed,
    /// The host refused, and gave no reason.
    Refused,
    /// The call could not be made: the failure is on this side of it.
    Client,
    /// This one answer broke off or is not known, and the connection that it was to come on goes on.
    BrokenOff,
    /// One side does not trust the other's certificate, or does not speak TLS: no connection came to be.
    Untrusted,
}

/// A field that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path from the request, as in `intent.ticket_role.role`.
    pub field: String,
    /// What the rule is.
    pub description: String,
}

/// The key of the metadata that says of a `STORE_ERROR` that it is one worker's.
pub const QUARANTINED: &str = "quarantined";

/// Why a call failed. Its message is ours: no path, address, credential, or words of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    reason: Reason,
    message: Cow<'static, str>,
    metadata: Vec<(&'static str, String)>,
    fields: Vec<FieldViolation>,
    retry_after: Option<Duration>,
    fault: Option<Fault>,
}

impl Error {
    /// An error with nothing but its reason and a sentence for people.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            reason,
            message: message.into(),
            metadata: Vec::new(),
            fields: Vec::new(),
            retry_after: None,
            fault: None,
        }))
    }

    /// A bad field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::field_as(Reason::InvalidRequest, field, description)
    }

    /// A bad field whose rule has a reason of its own.
    pub fn field_as(reason: Reason, field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        let mut error = Self::new(reason, format!("{field}: {description}"));
        error.0.fields.push(FieldViolation { field, description });
        error
    }

    /// No such worker.
    #[must_use]
    pub fn unknown_worker(runtime_id: &impl fmt::Display, worker_id: &impl fmt::Display) -> Self {
        Self::new(Reason::UnknownWorker, "no such worker in this runtime")
            .with("runtime_id", runtime_id)
            .with("worker_id", worker_id)
    }

    /// A worker whose records were damaged.
    #[must_use]
    pub fn quarantined(worker_id: &impl fmt::Display) -> Self {
        let message = "the worker is quarantined, since its records were damaged: all that can be done with it is to \
                       delete it (`workplane workers delete`); whoever runs its host can copy what is readable \
                       (`workplane store salvage`)";
        Self::new(Reason::StoreError, message).with("worker_id", worker_id).with(QUARANTINED, &true)
    }

    /// No such runtime.
    #[must_use]
    pub fn unknown_runtime(runtime_id: &impl fmt::Display) -> Self {
        Self::new(Reason::UnknownRuntime, "no such runtime").with("runtime_id", runtime_id)
    }

    /// A method that a later version brings.
    #[must_use]
    pub fn not_yet(method: &'static str) -> Self {
        Self::new(Reason::NotYet, format!("{method} is not served by this version yet"))
    }

    /// Adds an id the error is about; a key that is there already keeps its value.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &impl fmt::Display) -> Self {
        if !self.0.metadata.iter().any(|(known, _)| *known == key) {
            self.0.metadata.push((key, value.to_string()));
        }
        self
    }

    /// Says when it is worth trying again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Says what lies behind it.
    #[must_use]
    pub fn because(mut self, fault: Fault) -> Self {
        self.0.fault = Some(fault);
        self
    }

    /// The same error, its bad fields seen from further out: `scope` is put in front of each path.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        for violation in &mut self.0.fields {
            violation.field = format!("{scope}.{}", violation.field);
            self.0.message = format!("{}: {}", violation.field, violation.description).into();
        }
        self
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The ids it is about, in the order they were added.
    #[must_use]
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.0.metadata
    }

    /// The bad fields.
    #[must_use]
    pub fn fields(&self) -> &[FieldViolation] {
        &self.0.fields
    }

    /// When it is worth trying again.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What lies behind the failure of a call to a host, where the reason does not say.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.0.fault
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason.as_str(), self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<InvalidIdentifier> for Error {
    fn from(invalid: InvalidIdentifier) -> Self {
        Self::field_as(Reason::InvalidIdentifier, invalid.kind.field(), invalid.rule())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_its_own_word() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::parse("NO_SUCH_REASON"), None);
    }

    #[test]
    fn scopes_build_the_path_from_the_inside() {
        let error = Error::field("role", "is required").scope("ticket_role").scope("intent");
        assert_eq!(error.fields()[0].field, "intent.ticket_role.role");
        assert_eq!(error.message(), "intent.ticket_role.role: is required");
    }
}
