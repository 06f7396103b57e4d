//! The end of a turn, asked for: the task has it broken off, and the answer waits until its end is durable.

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::core::{Engine, Slot, answered};
use super::receipts::{Claim, Outcome, refused};
use super::stop::place;
use super::store::Select;
use super::worker::{Command, InterruptCommand, not_running, turn_id};
use crate::model::{
    CallContext, Diagnostic, Error, Event, EventKind, InterruptAck, MAX_PAGE_BYTES, Reason, Result, TurnEndReason,
    WorkerId,
};

/// How many events are looked through at once for the end of a turn.
const LOOKED_THROUGH: usize = 256;

impl Engine {
    /// Has the turn that a worker is in broken off. Answers when the turn's end is durable, or, a little before the
    /// deadline, that it has not ended yet. Nothing is killed.
    ///
    /// # Errors
    /// Unknown and ended workers, those that have no turns, a failed store.
    pub async fn interrupt_worker(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<InterruptAck> {
        let hold = match self.0.receipts.claim(ctx, "InterruptWorker").await? {
            Claim::Repeat(Outcome::Interrupted { turn, .. }) => return self.interrupted(ctx, worker_id, turn).await,
            Claim::Repeat(_) => return Err(Error::new(Reason::RequestIdReused, "request_id was used before")),
            Claim::New(hold) => Some(hold),
            Claim::Anonymous => None,
        };
        let slot = match self.check_running().and_then(|()| self.sound(worker_id)) {
            Ok(slot) => slot,
            Err(error) => return Err(refused(hold, error)),
        };
        let Some(permit) = place(ctx, slot.inbox.as_ref()).await? else { return Err(refused(hold, not_running())) };
        let (reply, answer) = oneshot::channel();
        permit.send(Command::Interrupt(InterruptCommand { hold, reply }));
        let turn = answered(ctx, answer).await??;
        self.interrupted(ctx, worker_id, turn).await
    }

    /// The answer once a turn is to end, `turn` being the `input_accepted` event of its input: its end, or that there is
    /// none yet.
    async fn interrupted(&self, ctx: &CallContext, worker_id: &WorkerId, turn: Option<u64>) -> Result<InterruptAck> {
        let Some(turn) = turn else {
            let words = "no turn was running: there was nothing to interrupt";
            return Ok(InterruptAck {
                event_id: None,
                diagnostics: vec![Diagnostic::info("worker_not_in_turn", words)],
            });
        };
        let slot = match self.sound(worker_id) {
            Ok(slot) => slot,
            // It was done, whatever has become of the worker since.
            Err(_) if self.0.receipts.deleted(worker_id).is_some() => return Ok(InterruptAck::default()),
            Err(error) => return Err(error),
        };
        let end = self.end_of_turn(&slot, worker_id, turn);
        if let Ok(event_id) = timeout_at(ctx.shortly_before_deadline(), end).await {
            return Ok(InterruptAck { event_id: event_id?, diagnostics: Vec::new() });
        }
        let words = "the agent was told to break its turn off, and has not done so yet";
        Ok(InterruptAck { event_id: None, diagnostics: vec![Diagnostic::warning("turn_still_ending", words)] })
    }

    /// Waits for the event that ends a turn; none where it is not kept any more.
    async fn end_of_turn(&self, slot: &Slot, worker_id: &WorkerId, turn: u64) -> Result<Option<u64>> {
        let (parts, turn_id) = (&self.0.parts, turn_id(turn));
        let end = |reason| parts.codec.payload(&Event::TurnEnded { turn_id: turn_id.clone(), reason });
        let ends = TurnEndReason::ALL.map(end);
        let mut after = turn;
        loop {
            let view = slot.tail.view();
            while after < view.last_event_id {
                let from = Select::EventsAfter(after);
                let read = parts.store.read(worker_id, from, LOOKED_THROUGH, MAX_PAGE_BYTES).await;
                let frames = read.map_err(|fault| self.read_fault(worker_id, fault))?;
                let is_it = |body| ends.contains(body);
                if let Some(frame) = frames.iter().find(|it| it.kind == EventKind::TurnEnded && is_it(&it.body)) {
                    return Ok(Some(frame.sequence));
                }
                let Some(last) = frames.last() else { return Ok(None) };
                after = last.sequence;
            }
            if view.state.is_final() {
                return Ok(None);
            }
            slot.tail.wait_for(|worker| worker.last_event_id > after).await;
        }
    }
}
