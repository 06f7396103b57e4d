//! The end of a turn, asked for: its worker goes on with what comes next. The wish is stored where it has a request id,
//! then the program is told, once; that the turn has ended is told by its event.

use tokio::sync::oneshot;

use super::flight::{Answer, not_answered, not_running, store_error};
use super::inputs::turn_id;
use super::stage::Stage;
use super::task::Task;
use crate::engine::driver::Link;
use crate::engine::profile::Protocol;
use crate::engine::receipts::{Hold, Outcome, Receipt, refused};
use crate::engine::store::StoreFault;
use crate::model::{Error, Reason, Result, TurnId};

/// What is answered to who asks: the `input_accepted` event of the turn's input, where a turn was running.
type Reply = oneshot::Sender<Result<Option<u64>>>;

/// A wish that a turn ends, and who waits until it is on its way.
#[derive(Debug)]
pub(in crate::engine) struct InterruptCommand {
    pub hold: Option<Hold>,
    pub reply: Reply,
}

/// A turn that is to be broken off once what was staged before has landed.
pub(super) struct Interruption {
    turn: Option<u64>,
    /// Nobody, where it only makes way for an input.
    asked: Option<(Reply, Option<(Hold, Receipt)>)>,
}

impl InterruptCommand {
    pub(super) fn refuse(self, error: Error) {
        // Whoever asked may have gone.
        let _ = self.reply.send(Err(refused(self.hold, error)));
    }
}

impl Interruption {
    pub(super) fn landed(self, link: Option<&Link>) {
        let Self { turn, asked } = self;
        let interrupt = link.and_then(|link| link.interrupt.as_ref());
        if let Some((turn, interrupt)) = turn.zip(interrupt) {
            interrupt.send_replace(Some(turn_id(turn)));
        }
        let Some((reply, held)) = asked else { return };
        if let Some((hold, receipt)) = held {
            hold.answered(receipt);
        }
        // As above.
        let _ = reply.send(Ok(turn));
    }

    pub(super) fn failed(self, fault: StoreFault) {
        if let Some((reply, held)) = self.asked {
            // As above.
            let _ = reply.send(Err(not_answered(held, fault)));
        }
    }
}

/// The turn that the driver was told to break off.
pub(super) fn told(link: Option<&Link>) -> Option<TurnId> {
    link?.interrupt.as_ref()?.borrow().clone()
}

impl Stage {
    /// Whether its turns can be broken off.
    pub(super) fn has_turns(&self) -> bool {
        // A turn of lines is the writing of one.
        self.context.protocol == Protocol::Acp
    }

    /// The turn that is running, to be broken off to make way for an input.
    pub(super) fn make_way(&mut self) -> Interruption {
        Interruption { turn: self.broken_off(), asked: None }
    }

    /// The turn that is running. What was asked in it needs no answer any more.
    fn broken_off(&mut self) -> Option<u64> {
        let turn = self.turn();
        if let Some(turn_id) = turn.map(turn_id) {
            self.settle_of_turn(&turn_id);
            self.broken_off = Some(turn_id);
        }
        turn
    }

    fn turn(&self) -> Option<u64> {
        (self.row.turns_ended < self.row.picked_up).then_some(self.row.picked_up)
    }

    fn interrupt(&mut self, hold: Option<&Hold>) -> Result<(Option<u64>, Option<Receipt>)> {
        if !self.is_taking() {
            return Err(not_running());
        }
        if !self.has_turns() {
            return Err(not_interruptible());
        }
        let turn = self.broken_off();
        Ok((turn, self.receipt(hold, |worker_id| Outcome::Interrupted { worker_id, turn })))
    }
}

impl Task {
    /// Decides on a wish that a turn ends; what is refused is answered at once.
    pub(super) fn interrupt(&mut self, command: InterruptCommand) -> Option<Answer> {
        if self.is_full() {
            command.refuse(store_error(StoreFault::Full));
            return None;
        }
        match self.parts.stage.interrupt(command.hold.as_ref()) {
            Ok((turn, receipt)) => {
                let InterruptCommand { hold, reply } = command;
                Some(Answer::Interrupt(Interruption { turn, asked: Some((reply, hold.zip(receipt))) }))
            }
            Err(error) => {
                command.refuse(error);
                None
            }
        }
    }
}

/// What is said of a worker that has no turns to be broken off.
pub(super) fn not_interruptible() -> Error {
    Error::new(Reason::RemoteRuntimeUnsupported, "this worker cannot be interrupted")
}
