//! A worker's end, asked for: the task ends it, and the answer waits until the end is durable.

use tokio::sync::{mpsc, oneshot};

use super::core::{Engine, answered};
use super::receipts::{Claim, refused};
use super::tail::Tail;
use super::worker::{Command, Ending, StopCommand, StopWish, store_error};
use crate::model::{
    CallContext, Diagnostic, Error, Reason, Result, StopAck, StopWorker, TerminalIntent, Worker, WorkerId,
};

impl Engine {
    /// Ends a worker. Answers when its end is durable, or, a little before the deadline, that it is still stopping.
    ///
    /// # Errors
    /// Unknown workers, a failed store.
    pub async fn stop_worker(&self, ctx: &CallContext, request: StopWorker) -> Result<StopAck> {
        let (method, ending, default) = match request.intent {
            TerminalIntent::Stop => ("StopWorker", Ending::Stopped, "worker stopped"),
            TerminalIntent::Cancel => ("CancelWorker", Ending::Cancelled, "worker cancelled"),
        };
        let hold = match self.0.receipts.claim(ctx, method).await? {
            Claim::Repeat(_) => return self.ended(ctx, &request.worker_id).await,
            Claim::New(hold) => Some(hold),
            Claim::Anonymous => None,
        };
        let slot = match self.sound(&request.worker_id) {
            Ok(slot) => slot,
            Err(error) => return Err(refused(hold, error)),
        };
        let message = if request.reason.trim().is_empty() { default.to_owned() } else { request.reason };
        // Without a task it has ended: there is nothing to do, and its end is the answer.
        if let Some(permit) = place(ctx, slot.inbox.as_ref()).await? {
            let (reply, answer) = oneshot::channel();
            let wish = StopWish { ending, message, mode: request.mode };
            permit.send(Command::Stop(StopCommand { wish, hold, reply }));
            answered(ctx, answer).await?.map_err(store_error)?;
        }
        Ok(ended(ctx, &slot.tail).await)
    }

    /// What a repeated stop is answered with: also where the worker has been deleted since.
    async fn ended(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<StopAck> {
        match (self.slot(worker_id), self.0.receipts.deleted(worker_id)) {
            (Ok(slot), _) => Ok(ended(ctx, &slot.tail).await),
            (Err(_), Some(last)) => Ok(stopped(&self.view(&last))),
            (Err(unknown), None) => Err(unknown),
        }
    }
}

/// The end of a worker that was asked to end, or what it is shortly before the deadline.
async fn ended(ctx: &CallContext, tail: &Tail) -> StopAck {
    let end =
        tokio::time::timeout_at(ctx.shortly_before_deadline(), tail.wait_for(|worker| worker.state.is_final())).await;
    match end {
        Ok(worker) => stopped(&worker),
        Err(_) => StopAck {
            event_id: None,
            state: tail.view().state,
            diagnostics: vec![Diagnostic::info(
                "worker_still_stopping",
                "the worker was told to end and has not ended yet",
            )],
        },
    }
}

/// The end of a worker that has ended, as an answer.
fn stopped(worker: &Worker) -> StopAck {
    let event_id = worker.termination.as_ref().map(|termination| termination.last_sequence);
    StopAck { event_id, state: worker.state, diagnostics: Vec::new() }
}

/// A place in the inbox of a worker's task, waited for: nobody who wants a worker to end is turned away. `None` where it
/// has ended.
pub(super) async fn place<'a>(
    ctx: &CallContext,
    inbox: Option<&'a mpsc::Sender<Command>>,
) -> Result<Option<mpsc::Permit<'a, Command>>> {
    let Some(inbox) = inbox else { return Ok(None) };
    match tokio::time::timeout_at(ctx.deadline, inbox.reserve()).await {
        Ok(permit) => Ok(permit.ok()),
        Err(_) => Err(Error::new(Reason::DeadlineExceeded, "the deadline passed before the worker could be told")),
    }
}
