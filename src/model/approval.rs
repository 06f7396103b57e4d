//! Questions of a worker that somebody has to answer before its turn goes on.

use std::sync::Arc;
use std::time::SystemTime;

use super::context::Caller;
use super::error::Error;
use super::event::TurnId;
use super::id::{ApprovalId, WorkerId};

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalKind {
    /// Yes, this time.
    AllowOnce,
    /// Yes, from now on.
    AllowAlways,
    /// No, this time.
    RejectOnce,
    /// No, from now on.
    RejectAlways,
    /// It is not known.
    Other,
}

impl ApprovalKind {
    /// Every kind there is.
    pub const ALL: [Self; 5] = [Self::AllowOnce, Self::AllowAlways, Self::RejectOnce, Self::RejectAlways, Self::Other];

    /// The word on the wire; none for one that is not known.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowOnce => "allow_once",
            Self::AllowAlways => "allow_always",
            Self::RejectOnce => "reject_once",
            Self::RejectAlways => "reject_always",
            Self::Other => "",
        }
    }

    /// What a word on the wire means.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Other)
    }
}

/// One answer that a question can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalOption {
    /// What an answer names it by: 1 to 128 visible characters of ASCII.
    pub option_id: Arc<str>,
    /// Its name for people, in the worker's words.
    pub label: String,
    /// What it means.
    pub kind: ApprovalKind,
}

/// A question of a worker that somebody has to answer before its turn goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id, unique for the worker.
    pub approval_id: ApprovalId,
    /// The turn that waits for it.
    pub turn_id: TurnId,
    /// What is asked, in the worker's words.
    pub title: String,
    /// The answers it can be given.
    pub options: Vec<ApprovalOption>,
    /// When it was asked, by the host's clock.
    pub requested_at: SystemTime,
}

impl Approval {
    /// The most questions of one worker that wait at once.
    pub const MAX_OPEN: usize = 16;
    /// The most answers that one can be given.
    pub const MAX_OPTIONS: usize = 16;
    /// The longest title, in bytes.
    pub const MAX_TITLE: usize = 1_024;
    /// The longest name of an answer, in bytes.
    pub const MAX_LABEL: usize = 128;
    /// The longest id of an answer, in bytes.
    pub const MAX_OPTION_ID: usize = 128;

    /// The answer that refuses and binds least, where there is one.
    #[must_use]
    pub fn narrowest_refusal(&self) -> Option<&ApprovalOption> {
        let kinds = [ApprovalKind::RejectOnce, ApprovalKind::RejectAlways];
        kinds.into_iter().find_map(|kind| self.options.iter().find(|option| option.kind == kind))
    }
}

/// A question has its answer, or needs none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Which.
    pub approval_id: ApprovalId,
    /// The answer; none where what asked it is over.
    pub option_id: Option<Arc<str>>,
    /// Who gave it; nobody where it was not answered in time, or needs no answer any more.
    pub caller: Option<Caller>,
}

/// An answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerApproval {
    /// Whose question.
    pub worker_id: WorkerId,
    /// Which.
    pub approval_id: ApprovalId,
    /// The id of one of its options.
    pub decision: String,
}

impl AnswerApproval {
    /// What is wrong with a decision that is none of the question's options.
    #[must_use]
    pub fn not_offered() -> Error {
        Error::field("decision", "must be the option_id of one of its options")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_refusal_is_no_for_this_time() {
        use ApprovalKind::{AllowAlways, AllowOnce, Other, RejectAlways, RejectOnce};
        let refusal = |kinds: &[ApprovalKind]| {
            let option = |kind: &ApprovalKind| ApprovalOption {
                option_id: format!("{kind:?}").into(),
                label: String::new(),
                kind: *kind,
            };
            let approval = Approval {
                approval_id: ApprovalId::numbered(1),
                turn_id: "t".into(),
                title: String::new(),
                options: kinds.iter().map(option).collect(),
                requested_at: SystemTime::UNIX_EPOCH,
            };
            approval.narrowest_refusal().map(|option| option.kind)
        };
        assert_eq!(refusal(&[AllowOnce, RejectAlways, RejectOnce]), Some(RejectOnce));
        assert_eq!(refusal(&[AllowAlways, RejectAlways, Other]), Some(RejectAlways));
        assert_eq!(refusal(&[AllowOnce, AllowAlways, Other]), None);
        assert_eq!(ApprovalKind::ALL.map(|kind| ApprovalKind::parse(kind.as_str())), ApprovalKind::ALL);
        assert_eq!(ApprovalKind::parse("shrug"), Other);
    }
}
