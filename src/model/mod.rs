//! The nouns of workplane in Rust, and what makes one valid.
//!
//! Nothing here does I/O or knows the wire: no tonic, no prost. Every value that carries a rule is made by a
//! constructor that checks it, so that what the other rooms hold is valid by its type.

mod approval;
mod bundle;
mod bundle_digest;
mod bundle_text;
mod context;
mod cursor;
mod diagnostic;
mod error;
mod event;
mod id;
mod intent;
mod outcome;
mod page;
mod runtime;
mod spawn;
mod text;
mod token;
mod trace;
mod transcript;
mod worker;

pub use approval::{AnswerApproval, Approval, ApprovalKind, ApprovalOption, Settlement};
pub use bundle::{
    BundleContent, BundleSummary, ConfigBundle, Declaration, DeclarationKind, ProfileDescriptor, Provenance,
};
pub use bundle_digest::BundleDigest;
pub use context::{CallContext, Caller, Fingerprint};
pub use cursor::{Cursor, CursorFault, Incarnation};
pub use diagnostic::{Diagnostic, Severity};
pub use error::{Error, ErrorClass, Fault, FieldViolation, QUARANTINED, Reason, Result};
pub use event::{
    Activity, ActivityChange, DeltaChannel, Event, EventKind, GapReason, InProgress, OutputDelta, ToolCall, ToolStatus,
    TurnEndReason, TurnId,
};
pub use id::{
    ApprovalId, BundleId, HostId, IdKind, InvalidIdentifier, RequestId, RuntimeId, WorkerId, WorkspaceId, derive_id,
};
pub use intent::{SpawnIntent, SpawnWorker, TicketWorkerRole};
pub use outcome::{
    AnswerAck, BundlePage, Created, DeleteAck, InputAck, InterruptAck, StopAck, TranscriptPage, WorkerPage,
};
pub use page::{DEFAULT_PAGE_SIZE, MAX_PAGE_BYTES, MAX_PAGE_SIZE, page_size};
pub use runtime::{
    Feature, Host, RuntimeCapabilities, RuntimeInfo, RuntimeKind, RuntimeStatus, SourceKind, SourceStatus, WorkerCounts,
};
pub use spawn::{
    Acceptance, BundleRef, CapabilityRequest, CreateWorker, DeleteWorker, InputDelivery, InputKind, Labels,
    MAX_INPUT_BYTES, ProfileSelector, SendInput, StopMode, StopWorker, TerminalIntent, WorkerInput, WorkerIntent,
};
pub use text::{display_hint, is_plain, truncate_at_char};
pub use token::{TokenDigest, TokenTable, TokenTableError};
pub use trace::{TRACEPARENT, TraceContext, TraceParent};
pub use transcript::{Role, TRANSCRIPT_PAGE_MAX, TranscriptItem, transcript_limit};
pub use worker::{ImplementationKind, Termination, TerminationReason, Worker, WorkerFilter, WorkerState, Workspace};
