//! How a worker's command is run and spoken to. A driver knows one protocol; it knows nothing of events, sequences or
//! the store: the worker's task orders, the driver reports.
//!
//! `catalog` has no driver: nothing runs.

mod acp;
mod child;
mod lines;
mod output;
mod pipe;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use tokio::sync::{mpsc, watch};

pub(super) use child::Exit;
use child::Launched;

use super::process::{Machine, Run};
use super::profile::{Profile, Protocol};
use super::row::ProcessRecord;
use crate::model::{
    ApprovalId, ApprovalOption, InputKind, OutputDelta, Role, StopMode, ToolCall, TurnEndReason, TurnId,
};

/// How many inputs may be on their way to a program of lines at once.
const DELIVERY_WINDOW: usize = 64;
/// How many reports may wait for the worker's task; more hold the program's output back.
const REPORTS: usize = 32;

/// Something a worker said: one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Utterance {
    pub role: Role,
    pub content: String,
    pub turn_id: TurnId,
    pub continues: bool,
    pub truncated_bytes: u64,
}

/// What a program said or did, which is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// An item.
    Said(Utterance),
    /// It uses a tool.
    Tool(ToolCall),
    /// It asks something that somebody has to answer.
    Asked(Asked),
}

/// A question of a program. The driver knows it by its id when the answer comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub approval_id: ApprovalId,
    pub turn_id: TurnId,
    pub title: String,
    pub options: Vec<ApprovalOption>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub approval_id: ApprovalId,
    /// One of its options; none where it is refused without one.
    pub option_id: Option<Arc<str>>,
}

impl Fact {
    /// What it takes to hold it, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Said(utterance) => utterance.content.len(),
            Self::Tool(call) => tool_bytes(call),
            Self::Asked(asked) => question_bytes(&asked.title, &asked.options),
        }
    }
}

/// What it takes to hold the use of a tool, in bytes: never nothing, however little is said of it.
pub(super) fn tool_bytes(call: &ToolCall) -> usize {
    size_of::<ToolCall>() + call.call_id.len() + call.title.len()
}

/// What it takes to hold a question, in bytes.
pub(super) fn question_bytes(title: &str, options: &[ApprovalOption]) -> usize {
    let option = |it: &ApprovalOption| size_of::<ApprovalOption>() + it.option_id.len() + it.label.len();
    size_of::<Asked>() + title.len() + options.iter().map(option).sum::<usize>()
}

/// An input on its way to the program.
#[derive(Debug)]
pub(super) struct Delivery {
    pub turn_id: TurnId,
    pub kind: InputKind,
    pub content: String,
    /// Its place in the transcript.
    pub sequence: u64,
}

/// What a driver tells. `Exited` is the last.
#[derive(Debug)]
pub(super) enum Report {
    /// The program takes no more inputs: what it was not given is for the next one.
    Over,
    /// The turn is over.
    TurnEnded(TurnId, TurnEndReason),
    /// The program said or did something.
    Told(Fact),
    /// The program is saying something.
    Delta(OutputDelta),
    /// The program goes on, and what it did is not told.
    Alive,
    /// What the next run needs to know of this one.
    State(Bytes),
    /// The program takes inputs now. Only told where it does not do so from its start.
    Ready,
    /// The program is gone, and all it said was reported.
    Exited(Exit),
}

/// The two ways to a running driver, and the one back.
#[derive(Debug)]
pub(super) struct Link {
    /// Inputs, in order. Dropped, the program's input is closed once the last of them is written.
    pub deliveries: Option<mpsc::Sender<Delivery>>,
    /// Answers to what it asks; none where it asks nothing.
    pub answers: Option<mpsc::Sender<Reply>>,
    /// The turn that is to be broken off; none where it has no turns that could be.
    pub interrupt: Option<watch::Sender<Option<TurnId>>>,
    /// How to end.
    pub end: mpsc::Sender<StopMode>,
    /// What the driver tells.
    pub reports: mpsc::Receiver<Report>,
    /// The program's process.
    pub process: ProcessRecord,
}

/// What a driver is started with.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub profile: &'a Profile,
    pub run: Run,
    pub machine: &'a Machine,
    /// What the run before has left for this one; empty where it left nothing.
    pub state: Bytes,
    /// How many questions the runs before have asked.
    pub asked: u64,
    pub grace: Duration,
    pub handle: &'a tokio::runtime::Handle,
}

/// The program could not be executed. The cause is for the log; a caller learns only that it is so.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartFault {
    /// The profile names no program.
    #[error("the profile names no program")]
    NoCommand,
    /// The system refused.
    #[error("the program cannot be executed: {0}")]
    Refused(#[from] std::io::Error),
}

/// Executes the program of a profile and starts to speak with it.
pub(super) async fn start(start: Start<'_>) -> Result<Link, StartFault> {
    match start.profile.protocol {
        Protocol::Catalog => Err(StartFault::NoCommand),
        Protocol::Lines => lines::start(start).await,
        Protocol::Acp => acp::start(start).await,
    }
}

/// How many inputs may be on their way to a program at once.
pub(super) const fn window(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Catalog | Protocol::Lines => DELIVERY_WINDOW,
        // An agent works on one prompt at a time.
        Protocol::Acp => acp::WINDOW,
    }
}

impl Start<'_> {
    /// Executes the program.
    async fn launch(&self) -> Result<Launched, StartFault> {
        let (profile, run, machine) = (self.profile.clone(), self.run.clone(), self.machine.clone());
        let launched = self.handle.spawn_blocking(move || Launched::launch(&profile, &run, &machine)).await;
        launched.map_err(|_| std::io::Error::other("the runtime is shutting down"))?
    }
}

impl StartFault {
    /// Whether the machine has no room for another program now, whichever it is: descriptors, processes or memory.
    pub(super) fn is_exhaustion(&self) -> bool {
        let Self::Refused(error) = self else { return false };
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_room_is_told_from_a_program_that_is_not_there() {
        let refused = |errno: Errno| StartFault::from(std::io::Error::from(errno)).is_exhaustion();
        assert!([Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM].into_iter().all(refused));
        assert!(![Errno::NOENT, Errno::ACCESS, Errno::NOEXEC].into_iter().any(refused));
        assert!(!StartFault::NoCommand.is_exhaustion());
    }
}
