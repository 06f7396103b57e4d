//! A live worker: one task that owns all of its state.
//!
//! - [`stage`]: what the worker is once everything submitted has landed; it decides, and is plain data.
//! - [`again`]: what becomes of it when its program is gone.
//! - [`next_run`]: another run of its program on its way.
//! - [`held`]: what the program said while the store took nothing.
//! - [`doing`]: whether it works, at what and since when.
//! - [`draft`]: a batch in the making.
//! - [`inputs`]: the inputs on their way from acceptance to the program.
//! - [`questions`]: what the program asks that somebody has to answer.
//! - [`flight`]: the batches that were submitted, and who waits for each.
//! - [`interrupt`]: the end of a turn, asked for.
//! - [`task`]: the loop that stages and submits.
//! - [`landing`]: what has landed is acknowledged and published.

mod again;
mod doing;
mod draft;
mod ending;
mod flight;
mod held;
mod inputs;
mod interrupt;
mod landing;
mod next_run;
mod questions;
mod stage;
mod task;
#[cfg(test)]
mod tests;
mod turns;

use tokio::sync::oneshot;

use super::receipts::Hold;
use super::store::StoreFault;
use crate::model::{
    AnswerAck, AnswerApproval, Caller, InputAck, InputDelivery, RequestId, Result, StopMode, WorkerInput,
};

pub(super) use flight::{not_landed, not_running, store_error};
pub(super) use inputs::turn_id;
pub(super) use interrupt::InterruptCommand;
pub(super) use questions::not_open;
pub(super) use stage::{Stage, StageContext};
pub(super) use task::{Task, TaskParts};

/// What a worker's task is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Take an input.
    Input(InputCommand),
    /// Settle what was asked.
    Answer(AnswerCommand),
    /// End.
    Stop(StopCommand),
    /// End the turn that is running, and go on.
    Interrupt(InterruptCommand),
    /// Remove events from the front.
    Cut(CutCommand),
}

/// An input, and who waits for its answer.
#[derive(Debug)]
pub(super) struct InputCommand {
    pub input: WorkerInput,
    pub delivery: InputDelivery,
    pub request_id: Option<RequestId>,
    pub hold: Option<Hold>,
    pub reply: oneshot::Sender<Result<InputAck>>,
}

/// An answer to what the worker asks, and who waits until it is durable.
#[derive(Debug)]
pub(super) struct AnswerCommand {
    pub answer: AnswerApproval,
    pub caller: Caller,
    pub hold: Option<Hold>,
    pub reply: oneshot::Sender<Result<AnswerAck>>,
}

/// A wish that the worker ends, and who waits until it is durable.
#[derive(Debug)]
pub(super) struct StopCommand {
    pub wish: StopWish,
    pub hold: Option<Hold>,
    /// Nothing but its store keeps it from ending.
    pub reply: oneshot::Sender<std::result::Result<(), StoreFault>>,
}

/// What is to be removed from the front, and who waits until it is.
#[derive(Debug)]
pub(super) struct CutCommand {
    pub cut: Cut,
    pub reply: oneshot::Sender<Result<()>>,
}

/// How far a worker's events are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// The first event that is kept.
    pub first_sequence: u64,
    /// How many items were removed, those before included.
    pub removed_items: u64,
}

/// As what a worker is to end, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StopWish {
    pub ending: Ending,
    pub message: String,
    pub mode: StopMode,
}

/// As what a worker that was asked to end does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Stopped,
    Cancelled,
    Drained,
}
