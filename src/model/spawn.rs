//! What may be asked of a runtime: new workers, inputs, ends.

use std::collections::BTreeMap;

use super::bundle_digest::BundleDigest;
use super::error::{Error, Result};
use super::id::{BundleId, WorkerId};

/// The largest input, in bytes of UTF-8.
pub const MAX_INPUT_BYTES: usize = 128 * 1024;
const MAX_LABELS: usize = 16;
const MAX_LABEL_KEY: usize = 63;
const MAX_LABEL_VALUE: usize = 256;

/// Who speaks in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum InputKind {
    /// The worker's user.
    #[default]
    User,
    /// An instruction beside the conversation.
    System,
}

/// What to do with an input when the worker is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InputDelivery {
    /// Put it behind what waits.
    Queue,
    /// End the turn and take this next.
    Interrupt,
    /// Refuse it.
    Reject,
}

/// An input: 1 byte to 128 KiB of UTF-8, not blank.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerInput {
    kind: InputKind,
    content: String,
}

impl WorkerInput {
    /// Checks the content.
    ///
    /// # Errors
    /// Names the field `content` when it is blank or too large.
    pub fn new(kind: InputKind, content: String) -> Result<Self> {
        if content.len() > MAX_INPUT_BYTES {
            return Err(Error::field("content", format!("must be at most {MAX_INPUT_BYTES} bytes")));
        }
        if content.trim().is_empty() {
            return Err(Error::field("content", "must not be blank"));
        }
        Ok(Self { kind, content })
    }

    /// Who speaks.
    #[must_use]
    pub fn kind(&self) -> InputKind {
        self.kind
    }

    /// The text.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The text, without a copy.
    #[must_use]
    pub fn into_content(self) -> String {
        self.content
    }
}

impl std::fmt::Debug for WorkerInput {
    /// Tells the length: content never gets into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkerInput({:?}, {} bytes)", self.kind, self.content.len())
    }
}

/// Which of the host's profiles a worker runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProfileSelector {
    /// The one the runtime chooses.
    RuntimeDefault,
    /// One that every runtime knows by this name, as in `builtin:coder`.
    Builtin(String),
    /// One that a bundle declares.
    Named(String),
}

impl ProfileSelector {
    const MAX_NAME: usize = 128;

    /// A selector with its name checked: 1 to 128 characters of `[A-Za-z0-9._:/-]`.
    ///
    /// # Errors
    /// Names the field `builtin` or `named`.
    pub fn builtin(name: String) -> Result<Self> {
        Self::check("builtin", &name)?;
        Ok(Self::Builtin(name))
    }

    /// As [`ProfileSelector::builtin`], for a declared one.
    ///
    /// # Errors
    /// Names the field `named`.
    pub fn named(name: String) -> Result<Self> {
        Self::check("named", &name)?;
        Ok(Self::Named(name))
    }

    fn check(field: &str, name: &str) -> Result<()> {
        let good = (1..=Self::MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-'));
        if good { Ok(()) } else { Err(Error::field(field, "must be 1 to 128 characters of [A-Za-z0-9._:/-]")) }
    }

    /// How it is shown: its name, or `runtime_default`.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::RuntimeDefault => "runtime_default",
            Self::Builtin(name) | Self::Named(name) => name,
        }
    }
}

/// A bundle by its id and digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleRef {
    /// Its id.
    pub id: BundleId,
    /// Its digest.
    pub digest: BundleDigest,
}

/// A capability that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityRequest {
    /// Its name; not blank.
    pub name: String,
    /// For people.
    pub reason: Option<String>,
}

/// What a worker is made for, as a host is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerIntent {
    /// A helper beside people.
    Assistant {
        /// For people.
        purpose: Option<String>,
    },
    /// One piece of work.
    Task {
        /// What is to be reached; not blank.
        objective: String,
    },
    /// A part in a larger work.
    Role {
        /// Which part; not blank.
        role: String,
        /// For people.
        purpose: Option<String>,
    },
}

impl WorkerIntent {
    /// The worker's role, as shown (acceptance 48).
    #[must_use]
    pub fn role_label(&self) -> String {
        let hint = match self {
            Self::Assistant { purpose } => purpose.as_deref().unwrap_or("assistant"),
            Self::Task { objective } => objective,
            Self::Role { role, .. } => role,
        };
        super::text::display_hint(hint)
    }
}

/// When a spawn counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// When a socket is ready: no runtime here offers one.
    SocketReady,
    /// When the program runs and so many transcript items have come from it.
    RunAccepted {
        /// How many.
        expected_segments: u32,
    },
}

/// A caller's own marks on a worker: at most 16, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Checks keys (1 to 63 bytes) and values (up to 256 bytes) of `[A-Za-z0-9._/-]`.
    ///
    /// # Errors
    /// Names the field `labels`, and the key at fault.
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self> {
        let allowed =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-'));
        if labels.len() > MAX_LABELS {
            return Err(Error::field("labels", format!("must be at most {MAX_LABELS}")));
        }
        for (key, value) in &labels {
            if key.is_empty() || key.len() > MAX_LABEL_KEY || !allowed(key) {
                return Err(Error::field("labels", "a key must be 1 to 63 bytes of [A-Za-z0-9._/-]"));
            }
            if value.len() > MAX_LABEL_VALUE || !allowed(value) {
                return Err(Error::field(
                    format!("labels[{key}]"),
                    "a value must be at most 256 bytes of [A-Za-z0-9._/-]",
                ));
            }
        }
        Ok(Self(labels))
    }

    /// The marks.
    #[must_use]
    pub fn into_inner(self) -> BTreeMap<String, String> {
        self.0
    }

    /// The marks, to look at.
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// A worker to be made.
#[derive(Debug, Clone)]
pub struct CreateWorker {
    /// What for.
    pub intent: WorkerIntent,
    /// What it runs.
    pub profile: ProfileSelector,
    /// The bundle it is made with.
    pub config_bundle: Option<BundleRef>,
    /// What it may do.
    pub requested_capabilities: Vec<CapabilityRequest>,
    /// Refs of workspaces; passed on, not looked into.
    pub workspace_refs: Vec<String>,
    /// Refs of mounts; passed on, not looked into.
    pub mount_refs: Vec<String>,
    /// A wish for its label.
    pub requested_worker_name: Option<String>,
    /// Its first input, committed with it.
    pub initial_input: Option<WorkerInput>,
    /// When it counts as done.
    pub acceptance: Acceptance,
    /// The caller's own marks.
    pub labels: Labels,
}

/// An input for a worker.
#[derive(Debug, Clone)]
pub struct SendInput {
    /// Which worker.
    pub worker_id: WorkerId,
    /// What.
    pub input: WorkerInput,
    /// How.
    pub delivery: InputDelivery,
}

/// How a worker is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopMode {
    /// Its input is closed, then it is asked, then it is killed.
    Graceful,
    /// It is killed.
    Force,
}

/// As what a worker is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TerminalIntent {
    /// `STOPPED`.
    Stop,
    /// `CANCELLED`.
    Cancel,
}

/// The end of a worker.
#[derive(Debug, Clone)]
pub struct StopWorker {
    /// Which worker.
    pub worker_id: WorkerId,
    /// As what.
    pub intent: TerminalIntent,
    /// Why, for people; empty for the default words.
    pub reason: String,
    /// How.
    pub mode: StopMode,
}

/// The end of a worker's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteWorker {
    /// Which worker.
    pub worker_id: WorkerId,
    /// End it first where it has not ended.
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_and_oversized_inputs_are_refused() {
        // acceptance 89
        for bad in ["", " \n\t", &"x".repeat(MAX_INPUT_BYTES + 1)] {
            let refused = WorkerInput::new(InputKind::User, bad.to_owned()).unwrap_err();
            assert_eq!(refused.fields()[0].field, "content");
        }
        assert!(WorkerInput::new(InputKind::User, "x".repeat(MAX_INPUT_BYTES)).is_ok());
    }

    #[test]
    fn a_worker_shows_what_it_is_for_and_what_it_runs() {
        // acceptance 48
        let assistant = |purpose: Option<&str>| WorkerIntent::Assistant { purpose: purpose.map(str::to_owned) };
        assert_eq!(assistant(None).role_label(), "assistant");
        assert_eq!(assistant(Some("reads/mail\n")).role_label(), "readsmail");
        assert_eq!(WorkerIntent::Task { objective: "o".repeat(100) }.role_label(), "o".repeat(80));
        assert_eq!(WorkerIntent::Role { role: "coder".to_owned(), purpose: None }.role_label(), "coder");
        assert_eq!(ProfileSelector::RuntimeDefault.label(), "runtime_default");
        assert_eq!(ProfileSelector::named("mine".to_owned()).unwrap().label(), "mine");
    }

    #[test]
    fn labels_are_bounded_and_name_the_key_at_fault() {
        let one = |k: &str, v: &str| Labels::new(BTreeMap::from([(k.to_owned(), v.to_owned())]));
        assert!(one("team/a", "b.c_d-1").is_ok());
        assert_eq!(one("", "b").unwrap_err().fields()[0].field, "labels");
        assert_eq!(one("k", "b c").unwrap_err().fields()[0].field, "labels[k]");
        let many = (0..17).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(Labels::new(many).unwrap_err().fields()[0].field, "labels");
    }
}
