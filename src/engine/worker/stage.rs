//! A worker as it will be once everything submitted has landed. It decides what is accepted, ignored or denied, and
//! turns decisions into batches. Plain data: it waits for nothing and touches nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::again::{Exited, Program};
use super::draft::{Draft, Step};
use super::flight::not_running;
use super::held::Held;
use super::inputs::{Input, Inputs};
use super::interrupt::not_interruptible;
use super::questions::Questions;
use super::{Cut, InputCommand, StopWish};
use crate::engine::driver::{Delivery, Exit, Fact, Utterance};
use crate::engine::frame::{FrameCodec, StoredInput};
use crate::engine::profile::Protocol;
use crate::engine::receipts::{Hold, Outcome, Receipt};
use crate::engine::restarts::Restarts;
use crate::engine::row::{ProcessRecord, WorkerRow};
use crate::engine::store::{Batch, NewEvent};
use crate::model::{
    Error, Event, EventKind, InputAck, InputDelivery, InputKind, Reason, RequestId, Result, Role, StopMode,
    TranscriptItem, TurnEndReason, TurnId, WorkerId, WorkerInput, WorkerState,
};

/// What a catalog worker says to an input (acceptance 92).
const NO_EXECUTION: &str = "Recorded. No program answers here: execution is not connected to this worker, because its \
                            profile runs nothing on this host.";

/// What a stage needs from around it.
#[derive(Clone)]
pub(in crate::engine) struct StageContext {
    pub codec: Arc<dyn FrameCodec>,
    pub protocol: Protocol,
    pub input_queue: usize,
    /// After how long what its program asks is refused.
    pub approval_timeout: Duration,
    /// How its program is started anew when it failed, where its profile says so.
    pub restarts: Option<Restarts>,
}

/// A worker as it will be.
pub(in crate::engine) struct Stage {
    pub(super) context: StageContext,
    pub(super) row: WorkerRow,
    /// Batches submitted so far.
    revision: u64,
    pub(super) inputs: Inputs,
    pub(super) questions: Questions,
    /// The turn that is to be broken off: its driver refuses by itself what is asked in it.
    pub(super) broken_off: Option<TurnId>,
    pub(super) stop: Option<StopWish>,
    /// How its program is to be ended, as far as that has landed.
    landed_mode: Option<StopMode>,
    pub(super) program: Program,
    /// Its process, once it was executed anew.
    pub(super) executed: Option<ProcessRecord>,
    /// Its program has said that it takes inputs, where it is one that says so.
    pub(super) ready: bool,
    /// What its program leaves to the next run.
    pub(super) left: Option<Bytes>,
    /// It takes no more inputs, and is about to end.
    pub(super) over: bool,
    /// How its program ended, once it has; with what was staged upon it, once that is.
    pub(super) exit: Option<(Exit, Option<Exited>)>,
    /// What the program said since the store took nothing; the end comes behind it.
    pub(super) held: Held,
    pub(super) holding: bool,
    pub(super) draft: Draft,
    pub(super) now: SystemTime,
}

impl Stage {
    /// A worker as the store has it.
    pub(crate) fn new(context: StageContext, row: WorkerRow, revision: u64) -> Self {
        Self {
            context,
            row,
            revision,
            inputs: Inputs::default(),
            questions: Questions::default(),
            broken_off: None,
            stop: None,
            landed_mode: None,
            program: Program::Up,
            executed: None,
            ready: false,
            left: None,
            over: false,
            exit: None,
            held: Held::default(),
            holding: false,
            draft: Draft::default(),
            now: SystemTime::UNIX_EPOCH,
        }
    }

    /// Sets the time that events from here on bear.
    pub(crate) fn at(&mut self, now: SystemTime) {
        self.now = now;
    }

    pub(crate) fn row(&self) -> &WorkerRow {
        &self.row
    }

    /// The first events of a new worker, and its first input with them.
    pub(crate) fn birth(&mut self, input: Option<(WorkerInput, Option<RequestId>)>, hold: Option<&Hold>) {
        self.change(WorkerState::Starting);
        if !self.has_turns() {
            self.change(WorkerState::Running);
        }
        if let Some((input, request_id)) = input {
            self.accept(input, request_id);
        }
        self.receipt(hold, Outcome::Created);
    }

    /// Whether it takes what it is given: it has not ended, and is not about to.
    pub(super) fn is_taking(&self) -> bool {
        matches!(self.row.state, WorkerState::Starting | WorkerState::Running) && !self.is_over()
    }

    /// Decides on an input: taken, or the reason why not.
    pub(crate) fn input(&mut self, command: &mut InputCommand) -> Result<(InputAck, Option<Receipt>)> {
        if !self.is_taking() {
            return Err(not_running());
        }
        if command.delivery == InputDelivery::Interrupt && !self.has_turns() {
            return Err(not_interruptible().with("feature", &"INPUT_DELIVERY_INTERRUPT"));
        }
        if command.delivery == InputDelivery::Reject && !self.inputs.is_empty() {
            return Err(Error::new(Reason::WorkerBusy, "the worker has inputs before this one"));
        }
        if self.inputs.waiting() >= self.context.input_queue {
            let delay = Duration::from_millis(100);
            return Err(Error::new(Reason::Overloaded, "the worker's input queue is full").retry_after(delay));
        }
        // The command keeps a copy of nothing: a refused batch is answered with an error, and its caller has the input.
        let ack = self.accept(command.input.clone(), command.request_id.clone());
        let (transcript_sequence, event_id) = (ack.transcript_sequence, ack.event_id);
        let outcome = |worker_id| Outcome::Input { worker_id, transcript_sequence, event_id };
        let receipt = self.receipt(command.hold.as_ref(), outcome);
        Ok((ack, receipt))
    }

    fn accept(&mut self, input: WorkerInput, request_id: Option<RequestId>) -> InputAck {
        let item = self.row.transcript_length + 1;
        let kind = input.kind();
        let event = Event::InputAccepted { request_id: request_id.clone(), transcript_sequence: item };
        let accepted = self.append(event);
        self.row.last_accepted = Some(accepted);
        let content = input.into_content();
        let runs = self.context.protocol != Protocol::Catalog;
        let entry = Input::new(accepted, item, request_id, kind, if runs { content.clone() } else { String::new() });
        let turn_id = if runs { entry.turn_id.clone() } else { TurnId::from("") };
        let role = match kind {
            InputKind::User => Role::User,
            InputKind::System => Role::System,
        };
        self.item(Utterance { role, content, turn_id, continues: false, truncated_bytes: 0 }, false);
        if runs {
            self.inputs.push(entry);
        } else if kind == InputKind::User {
            let content = NO_EXECUTION.to_owned();
            let turn_id = TurnId::from("");
            let answer = Utterance { role: Role::Assistant, content, turn_id, continues: false, truncated_bytes: 0 };
            self.item(answer, false);
        }
        InputAck { transcript_sequence: item, event_id: accepted, diagnostics: Vec::new() }
    }

    /// Decides on a wish to end: the first one counts, a later one can only make it faster. A repeated receipt is
    /// committed all the same, so that its request is known.
    pub(crate) fn stop(&mut self, wish: StopWish, hold: Option<&Hold>) -> Option<Receipt> {
        let receipt = self.receipt(hold, Outcome::Stopping);
        let is_over = self.row.state.is_final() || self.is_over();
        match &mut self.stop {
            Some(first) if wish.mode == StopMode::Force => first.mode = StopMode::Force,
            Some(_) => {}
            None if is_over => {}
            None => {
                self.stop = Some(wish);
                self.change(WorkerState::Stopping);
                self.settle_all();
                if self.context.protocol == Protocol::Catalog {
                    self.exited(Exit::default());
                }
            }
        }
        receipt
    }

    /// How its program is to be ended, once that the wish has landed.
    pub(crate) fn stop_mode(&self) -> Option<StopMode> {
        self.stop.as_ref().map(|wish| wish.mode)
    }

    /// Whether every input has been handed over: nothing more will be.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.inputs.is_handed_over()
    }

    /// Whether it was asked to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether its program is gone.
    pub(crate) fn has_exited(&self) -> bool {
        self.exit.is_some()
    }

    /// Removes events from the front, as was decided on what has landed.
    pub(crate) fn cut(&mut self, cut: Cut) {
        if cut.first_sequence > self.row.first_sequence {
            self.row.first_sequence = cut.first_sequence;
            self.row.removed_items = cut.removed_items;
            self.draft.trimmed = true;
        }
    }

    /// Something happened that is told and not kept.
    pub(crate) fn passing(&mut self, event: Event) {
        self.draft.steps.push(Step::passing(event));
    }

    /// A turn is over.
    pub(crate) fn turn_ended(&mut self, turn_id: &TurnId, reason: TurnEndReason) {
        self.inputs.ended(turn_id, reason);
    }

    /// The program is gone, and all it said was staged.
    pub(crate) fn exited(&mut self, exit: Exit) {
        self.exit.get_or_insert((exit, None));
    }

    /// Stages what follows from all that is known: turns that ended, that it runs anew, turns that begin, its end.
    pub(crate) fn advance(&mut self) {
        // What was said in a turn comes before its end.
        if self.held.is_empty() {
            let mut inputs = std::mem::take(&mut self.inputs);
            inputs.stage_ends(|input, reason| self.end_of(input, reason));
            self.inputs = inputs;
        }
        if self.stop.is_some() && self.program == Program::Awaited {
            // No program is there to be waited for.
            self.exited(Exit::default());
        }
        self.keep_left();
        match &self.exit {
            None => {
                self.tell_running();
                self.pick_up();
            }
            // What it said comes before its end.
            Some((exit, None)) if self.held.is_empty() => {
                let exit = exit.clone();
                let staged = self.conclude(&exit);
                self.exit = Some((exit, Some(staged)));
            }
            Some(_) => {}
        }
    }

    /// Takes in an input of the run before. One that was picked up is not given again: its turn ends with that run.
    pub(crate) fn restore_input(&mut self, accepted: u64, stored: Option<StoredInput>) {
        // What cannot be read back cannot be given, either.
        let started = accepted <= self.row.picked_up || stored.is_none();
        self.inputs.push(Input::restored(accepted, started, stored));
    }

    /// The batch of what was staged since the last one, with its steps, if there is anything to commit.
    pub(crate) fn take(&mut self) -> (Draft, Option<Batch>) {
        let draft = std::mem::take(&mut self.draft);
        let Some(batch) = draft.batch(&self.row, self.revision) else { return (draft, None) };
        self.revision += 1;
        (draft, Some(batch))
    }

    /// All up to `last` has landed.
    pub(crate) fn landed(&mut self, last: u64, stop_mode: Option<StopMode>, hand_over: impl FnMut(Delivery)) {
        self.landed_mode = stop_mode;
        if let Some((_, Some(Exited::Again(at)))) = self.exit
            && at <= last
        {
            self.exit = None;
            self.executed = None;
            self.ready = false;
            self.over = false;
            self.program = Program::Awaited;
        }
        self.inputs.landed(last, hand_over);
    }

    /// Nothing that was staged on `row` will land: goes back to it. What the program said, the turns that ended and the
    /// exit are facts, and are staged anew: what was said once it is released.
    pub(crate) fn revert(&mut self, row: WorkerRow, revision: u64, said: Vec<Fact>) {
        let last = row.last_sequence;
        self.inputs.revert(last);
        self.questions.revert(last);
        if !matches!(row.state, WorkerState::Stopping) && !row.state.is_final() {
            self.stop = None;
        }
        if let Some((_, staged)) = &mut self.exit
            && staged.is_some_and(|staged| staged.at() > last)
        {
            *staged = None;
        }
        let asked_to_end = self.exit.as_ref().is_some_and(|(exit, _)| !exit.lost);
        let runs_nothing = self.context.protocol == Protocol::Catalog || self.program == Program::Awaited;
        if runs_nothing && self.stop.is_none() && asked_to_end {
            self.exit = None;
        }
        if let Some(wish) = &mut self.stop {
            wish.mode = self.landed_mode.unwrap_or(StopMode::Graceful);
        }
        self.row = row;
        self.revision = revision;
        self.draft = Draft::default();
        self.held.put_back(said);
        self.holding = true;
    }

    pub(super) fn receipt(
        &mut self,
        hold: Option<&Hold>,
        outcome: impl FnOnce(WorkerId) -> Outcome,
    ) -> Option<Receipt> {
        let receipt = hold?.receipt(outcome(self.row.worker_id().clone()), self.now);
        self.draft.receipts.push(receipt.clone());
        Some(receipt)
    }

    pub(super) fn change(&mut self, state: WorkerState) {
        self.row.state = state;
        self.append(Event::StateChanged(state));
    }

    pub(super) fn item(&mut self, utterance: Utterance, said: bool) {
        self.row.transcript_length += 1;
        let Utterance { role, content, turn_id, continues, truncated_bytes } = utterance;
        let item = TranscriptItem {
            sequence: self.row.transcript_length,
            role,
            content,
            event_id: self.row.last_sequence + 1,
            created_at: self.now,
            turn_id,
            continues,
            truncated_bytes,
        };
        self.append(Event::ItemAppended(item));
        if said {
            self.row.said_items += 1;
            self.draft.last_was_said();
        }
    }

    pub(super) fn append(&mut self, event: Event) -> u64 {
        let kind = event.kind();
        debug_assert!(kind.is_durable() && kind != EventKind::Gap, "{kind:?} has no sequence");
        self.row.last_sequence += 1;
        let sequence = self.row.last_sequence;
        let body = self.context.codec.payload(&event);
        let stored = NewEvent { sequence, kind, observed_at: self.now, body };
        self.draft.steps.push(Step { event, stored: Some(stored), said: false });
        sequence
    }
}
