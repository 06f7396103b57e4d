//! An agent that asks for leave: what it is answered at once, and what somebody else has to answer first.
//!
//! The library hands a question here, the talk takes it up in its place among what the agent tells, and the answer comes from
//! the worker's task, which has it on disk by then. A turn that is broken off or over needs no answers any more: the agent
//! is told `cancelled`, as the protocol wants it.

use std::sync::Arc;

use agent_client_protocol::V1;
use agent_client_protocol::v1::schema::{
    PermissionOption, PermissionOptionId, PermissionOptionKind, RequestPermissionOutcome, RequestPermissionRequest,
    RequestPermissionResponse, SelectedPermissionOutcome,
};
use tokio::sync::mpsc;

use super::super::Reply;
use super::brief;
use super::update::{call_id, is_told_on};
use super::wire::{MAX_ASKED, Wire};
use crate::engine::profile::Permissions;
use crate::model::{Approval, ApprovalId, ApprovalKind, ApprovalOption};

type Responder = agent_client_protocol::Responder<RequestPermissionResponse, V1>;

/// How many answers may be on their way to the agent: those to what is open, and as many that came too late.
pub(super) const ANSWERS: usize = 2 * Approval::MAX_OPEN;

/// What an agent is answered that asks for leave, where nobody else is asked: always the narrowest of the answers it offers.
pub(super) fn leave(options: &[PermissionOption], permissions: Permissions) -> RequestPermissionOutcome {
    let kinds = match permissions {
        Permissions::Deny | Permissions::Ask => [PermissionOptionKind::RejectOnce, PermissionOptionKind::RejectAlways],
        Permissions::Allow => [PermissionOptionKind::AllowOnce, PermissionOptionKind::AllowAlways],
    };
    let of_kind = |kind| options.iter().find(|option| option.kind == kind);
    selected(kinds.into_iter().find_map(of_kind).map(|option| option.option_id.clone()))
}

fn selected(option: Option<PermissionOptionId>) -> RequestPermissionOutcome {
    match option {
        Some(id) => RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(id)),
        None => RequestPermissionOutcome::Cancelled,
    }
}

/// A question of an agent, as far as it is told on.
#[derive(Debug)]
pub(super) struct Question {
    /// The use of a tool that it is about.
    pub call_id: String,
    /// What that is, where the question says it.
    pub title: Option<String>,
    options: Vec<ApprovalOption>,
    /// The agent's own ids of these.
    its: Vec<PermissionOptionId>,
    /// What it is answered where nobody can be asked.
    refusal: RequestPermissionOutcome,
    responder: Responder,
}

impl Question {
    fn new(asked: RequestPermissionRequest, responder: Responder) -> Self {
        let refusal = leave(&asked.options, Permissions::Deny);
        let (mut options, mut its) = (Vec::<ApprovalOption>::new(), Vec::new());
        for (at, option) in asked.options.into_iter().enumerate() {
            let shown = shown_id(&option.option_id.0, at);
            let is_known = options.iter().any(|known| known.option_id == shown);
            // One that could not be told from another, or only at length, is left out.
            if options.len() < Approval::MAX_OPTIONS && option.option_id.0.len() <= Approval::MAX_OPTION_ID && !is_known
            {
                let label = brief(&option.name, Approval::MAX_LABEL);
                options.push(ApprovalOption { option_id: shown, label, kind: kind(option.kind) });
                its.push(option.option_id);
            }
        }
        Self {
            call_id: call_id(&asked.tool_call.tool_call_id.0),
            title: asked.tool_call.fields.title.map(|title| shown_title(&title)),
            options,
            its,
            refusal,
            responder,
        }
    }

    /// Refuses it, where nobody can be asked.
    pub(super) fn refuse(self) {
        respond(self.responder, self.refusal);
    }

    /// It needs no answer any more.
    pub(super) fn cancel(self) {
        self.answer(RequestPermissionOutcome::Cancelled);
    }

    fn answer(self, outcome: RequestPermissionOutcome) {
        respond(self.responder, outcome);
    }
}

fn respond(responder: Responder, outcome: RequestPermissionOutcome) {
    // A connection that is gone tells so where it is read.
    let _ = responder.respond(RequestPermissionResponse::new(outcome));
}

/// The agent's id of an answer where it can be told on, and one for its place where it cannot.
fn shown_id(its: &str, at: usize) -> Arc<str> {
    if is_told_on(its) { its.into() } else { format!("option-{}", at + 1).into() }
}

/// A title in which nothing is left out in silence: somebody decides by it.
fn shown_title(its: &str) -> String {
    const CUT: &str = " …";
    let mut title = brief(its, Approval::MAX_TITLE - CUT.len());
    if its.len() > Approval::MAX_TITLE - CUT.len() {
        title.push_str(CUT);
    }
    title
}

fn kind(from: PermissionOptionKind) -> ApprovalKind {
    match from {
        PermissionOptionKind::AllowOnce => ApprovalKind::AllowOnce,
        PermissionOptionKind::AllowAlways => ApprovalKind::AllowAlways,
        PermissionOptionKind::RejectOnce => ApprovalKind::RejectOnce,
        PermissionOptionKind::RejectAlways => ApprovalKind::RejectAlways,
        // A kind that a later version of the library knows.
        _ => ApprovalKind::Other,
    }
}

/// Where the library hands questions over.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    permissions: Permissions,
    questions: mpsc::Sender<Box<Question>>,
}

impl Desk {
    /// Answers a question, or hands it over.
    pub(super) fn take(&self, asked: RequestPermissionRequest, responder: Responder) {
        match self.permissions {
            Permissions::Deny | Permissions::Allow => respond(responder, leave(&asked.options, self.permissions)),
            Permissions::Ask => {
                if let Err(left) = self.questions.try_send(Box::new(Question::new(asked, responder))) {
                    // There is room for all that were let through: the talk is over.
                    left.into_inner().cancel();
                }
            }
        }
    }
}

/// What comes up.
#[derive(Debug)]
pub(super) enum Heard {
    /// The agent asks.
    Question(Box<Question>),
    /// It is answered.
    Reply(Reply),
}

/// The questions of one run of an agent.
#[derive(Debug)]
pub(super) struct Leave {
    questions: mpsc::Receiver<Box<Question>>,
    answers: mpsc::Receiver<Reply>,
    wire: Arc<Wire>,
    open: Vec<(ApprovalId, Box<Question>)>,
    /// How many were asked, those of the runs before included.
    asked: u64,
}

impl Leave {
    /// With `asked` questions of the runs before.
    pub(super) fn new(
        permissions: Permissions,
        answers: mpsc::Receiver<Reply>,
        wire: Arc<Wire>,
        asked: u64,
    ) -> (Desk, Self) {
        let (sender, questions) = mpsc::channel(MAX_ASKED);
        (Desk { permissions, questions: sender }, Self { questions, answers, wire, open: Vec::new(), asked })
    }

    /// What comes up next; never, once nothing can.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            biased;
            Some(reply) = self.answers.recv() => Heard::Reply(reply),
            Some(question) = self.questions.recv() => Heard::Question(question),
            else => std::future::pending().await,
        }
    }

    /// Leaves a question open until it is answered: its id, and the answers it can be given. Where it cannot be, the agent is
    /// refused, and why is told.
    pub(super) fn open(
        &mut self,
        mut question: Box<Question>,
    ) -> Result<(ApprovalId, Vec<ApprovalOption>), &'static str> {
        let why = if question.options.is_empty() {
            Some("it offered no answer that could be told")
        } else if !self.wire.keep(question.responder.id()) {
            Some("no more of its questions can wait for an answer")
        } else {
            None
        };
        if let Some(why) = why {
            question.refuse();
            return Err(why);
        }
        // An id of the agent's own, however long.
        question.refusal = RequestPermissionOutcome::Cancelled;
        self.asked += 1;
        let (approval_id, options) = (ApprovalId::numbered(self.asked), question.options.clone());
        self.open.push((approval_id.clone(), question));
        Ok((approval_id, options))
    }

    /// Gives the agent an answer. One to a question that needs none any more comes too late.
    pub(super) fn settle(&mut self, Reply { approval_id, option_id }: Reply) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == approval_id) else { return };
        let (_, question) = self.open.swap_remove(at);
        let chosen = question.options.iter().position(|option| Some(&option.option_id) == option_id.as_ref());
        let outcome = selected(chosen.and_then(|at| question.its.get(at).cloned()));
        question.answer(outcome);
    }

    /// Nothing that was asked until now needs an answer any more.
    pub(super) fn cancel(&mut self) {
        while let Ok(question) = self.questions.try_recv() {
            question.cancel();
        }
        for (_, question) in self.open.drain(..) {
            question.cancel();
        }
    }

    /// Nor does what is asked from now on.
    pub(super) fn close(&mut self) {
        self.questions.close();
        self.cancel();
    }
}
