//! What a worker's task has submitted and not yet told: batches in flight, and who waits for each.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::draft::Step;
use super::interrupt::Interruption;
use super::{AnswerCommand, InputCommand, StopCommand, StopWish};
use crate::engine::driver::{Asked, Fact, Link, Utterance, question_bytes, tool_bytes};
use crate::engine::receipts::{Hold, Receipt, refused};
use crate::engine::row::WorkerRow;
use crate::engine::store::{Commit, StoreFault};
use crate::model::{AnswerAck, Approval, Error, Event, InProgress, InputAck, Reason, Result, Role, StopMode};

/// What was submitted, or only waits for its turn to be told.
pub(super) struct InFlight {
    pub(super) commit: Option<Commit>,
    pub(super) steps: Vec<Step>,
    /// How many bytes of it the program said: what is to be held where it fails.
    pub(super) said: usize,
    /// The worker as it is once this has landed.
    pub(super) row: Option<Box<WorkerRow>>,
    pub(super) stop_mode: Option<StopMode>,
    /// It may use the room that is kept back.
    pub(super) vital: bool,
    pub(super) answers: Vec<Answer>,
}

/// Who is told when a batch lands or fails.
pub(super) enum Answer {
    Input(oneshot::Sender<Result<InputAck>>, InputAck, Option<(Hold, Receipt)>),
    Approval(oneshot::Sender<Result<AnswerAck>>, AnswerAck, Option<(Hold, Receipt)>),
    /// Refused for what is staged before it.
    NotAnswered(oneshot::Sender<Result<AnswerAck>>, Error, Option<Hold>),
    Stop(StopWish, oneshot::Sender<std::result::Result<(), StoreFault>>, Option<(Hold, Receipt)>),
    Interrupt(Interruption),
    Cut(oneshot::Sender<Result<()>>),
}

impl Answer {
    pub(super) fn landed(self, link: Option<&Link>) {
        // A caller that is gone finds its answer by its request id.
        match self {
            Self::Input(reply, ack, held) => {
                answered(held);
                let _ = reply.send(Ok(ack));
            }
            Self::Approval(reply, ack, held) => {
                answered(held);
                let _ = reply.send(Ok(ack));
            }
            Self::NotAnswered(reply, error, hold) => _ = reply.send(Err(refused(hold, error))),
            Self::Stop(_, reply, held) => {
                answered(held);
                let _ = reply.send(Ok(()));
            }
            Self::Interrupt(it) => it.landed(link),
            Self::Cut(reply) => _ = reply.send(Ok(())),
        }
    }

    /// Tells of the failure; but a wish to end that failed only with what it was staged on is given back, where it is
    /// known that nothing of it was kept.
    pub(super) fn failed(self, fault: StoreFault, own: bool) -> Option<StopCommand> {
        let is_known = !matches!(fault, StoreFault::Unknown(_));
        // As above.
        match self {
            Self::Input(reply, _, held) => _ = reply.send(Err(not_answered(held, fault))),
            Self::Approval(reply, _, held) => _ = reply.send(Err(not_answered(held, fault))),
            Self::NotAnswered(reply, _, hold) => _ = reply.send(Err(refused(hold, store_error(fault)))),
            Self::Stop(wish, reply, held) if !own && is_known => {
                return Some(StopCommand { wish, hold: held.map(|(hold, _)| hold), reply });
            }
            Self::Stop(_, reply, held) => {
                let _ = not_answered(held, fault);
                let _ = reply.send(Err(fault));
            }
            Self::Interrupt(it) => it.failed(fault),
            Self::Cut(reply) => _ = reply.send(Err(store_error(fault))),
        }
        None
    }
}

fn answered(held: Option<(Hold, Receipt)>) {
    if let Some((hold, receipt)) = held {
        hold.answered(receipt);
    }
}

pub(super) fn not_answered(answer: Option<(Hold, Receipt)>, fault: StoreFault) -> Error {
    let (hold, _) = answer.unzip();
    let error = not_landed(hold.as_ref(), fault);
    refused(hold, error)
}

/// What a caller is told whose commit failed; its hold learns whether that is in doubt.
pub(in crate::engine) fn not_landed(hold: Option<&Hold>, fault: StoreFault) -> Error {
    if let (Some(hold), StoreFault::Unknown(doubt)) = (hold, fault) {
        hold.doubted(doubt);
    }
    store_error(fault)
}

/// What a caller is told of a store's fault.
pub(in crate::engine) fn store_error(fault: StoreFault) -> Error {
    let (reason, message) = match fault {
        StoreFault::Full => (Reason::StoreFull, "the store has no room"),
        StoreFault::Failed | StoreFault::OutOfOrder => (Reason::StoreError, "the store failed; nothing was done"),
        StoreFault::Unknown(_) => {
            (Reason::RemoteRuntimeNetworkError, "the store failed before it was known to be done")
        }
        StoreFault::Overloaded => (Reason::Overloaded, "too many requests wait for the store"),
        StoreFault::Damaged => (Reason::StoreError, "what is stored of this worker was damaged"),
    };
    Error::new(reason, message).retry_after(Duration::from_secs(1))
}

/// What a caller is told of a worker that has ended.
pub(in crate::engine) fn not_running() -> Error {
    Error::new(Reason::WorkerNotRunning, "the worker has ended or is ending")
}

pub(super) fn refuse_answer(answer: AnswerCommand, error: Error) {
    // As above.
    let _ = answer.reply.send(Err(refused(answer.hold, error)));
}

pub(super) fn refuse_input(input: InputCommand, error: Error) {
    // Whoever asked may have gone.
    let _ = input.reply.send(Err(refused(input.hold, error)));
}

/// What is in the making once `event` has landed.
pub(super) fn in_progress(before: Option<InProgress>, event: &Event) -> Option<InProgress> {
    match event {
        Event::OutputDelta(delta) => Some(InProgress::extended(before, delta)),
        Event::ItemAppended(item) if item.role == Role::Assistant => None,
        // What was only thought becomes no item.
        Event::TurnEnded { turn_id, .. } => before.filter(|it| it.turn_id != *turn_id),
        _ => before,
    }
}

/// How many bytes the program said of these.
pub(super) fn said_bytes(steps: &[Step]) -> usize {
    let bytes = |step: &Step| match &step.event {
        Event::ItemAppended(item) if step.said => item.content.len(),
        Event::ToolCall(call) if step.said => tool_bytes(call),
        Event::ApprovalRequested(asked) if step.said => question_bytes(&asked.title, &asked.options),
        _ => 0,
    };
    steps.iter().map(bytes).sum()
}

pub(super) fn said_again(event: Event) -> Option<Fact> {
    match event {
        Event::ItemAppended(item) => Some(Fact::Said(Utterance {
            role: item.role,
            content: item.content,
            turn_id: item.turn_id,
            continues: item.continues,
            truncated_bytes: item.truncated_bytes,
        })),
        Event::ToolCall(call) => Some(Fact::Tool(call)),
        Event::ApprovalRequested(asked) => {
            let Approval { approval_id, turn_id, title, options, requested_at: _ } = Arc::unwrap_or_clone(asked);
            Some(Fact::Asked(Asked { approval_id, turn_id, title, options }))
        }
        _ => None,
    }
}

/// The outcome of the oldest batch; never, where there is none.
pub(super) async fn front(in_flight: &mut VecDeque<InFlight>) -> Result<u64, StoreFault> {
    match in_flight.front_mut() {
        Some(InFlight { commit: Some(commit), .. }) => commit.await,
        Some(InFlight { commit: None, .. }) => Ok(0),
        None => pending().await,
    }
}
