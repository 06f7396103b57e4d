//! A worker as it will be once everything submitted has landed. It decides what is accepted, ignored or denied, and
//! turns decisions into batches. Plain data: it waits for nothing and touches nothing.

use std::sync::Arc;
use std::time::SystemTime;

use super::inputs::{Input, Inputs};
use super::{Ending, InputCommand, StopWish};
use crate::engine::driver::{DELIVERY_WINDOW, Delivery, Exit, Utterance};
use crate::engine::frame::FrameCodec;
use crate::engine::profile::Protocol;
use crate::engine::receipts::{Hold, Outcome, Receipt};
use crate::engine::row::WorkerRow;
use crate::engine::store::{Batch, NewEvent, WorkerChange};
use crate::model::{
    Error, Event, EventKind, InputAck, InputDelivery, InputKind, Reason, RequestId, Result, Role, StopMode,
    Termination, TerminationReason, TranscriptItem, TurnEndReason, TurnId, WorkerId, WorkerInput, WorkerState,
};

/// What a catalog worker says to an input (acceptance 92).
const NO_EXECUTION: &str = "Recorded. No program answers here: execution is not connected to this worker, because its \
                            profile runs nothing on this host.";

/// A batch in the making, with what is to be told when it lands.
#[derive(Debug, Default)]
pub(in crate::engine) struct Draft {
    /// In order: durable events, and the passing ones that are told between them.
    pub steps: Vec<Step>,
    pub receipts: Vec<Receipt>,
}

/// One event of a draft.
#[derive(Debug)]
pub(in crate::engine) struct Step {
    pub event: Event,
    /// Its stored form, where it is durable.
    pub stored: Option<NewEvent>,
    /// It was said by the program, and is to be staged anew if it does not land.
    pub said: bool,
}

impl Draft {
    /// Whether anything in it is to be committed.
    pub(crate) fn is_durable(&self) -> bool {
        !self.receipts.is_empty() || self.steps.iter().any(|step| step.stored.is_some())
    }
}

/// What a stage needs from around it.
#[derive(Clone)]
pub(in crate::engine) struct StageContext {
    pub codec: Arc<dyn FrameCodec>,
    pub protocol: Protocol,
    pub input_queue: usize,
}

/// A worker as it will be.
pub(in crate::engine) struct Stage {
    context: StageContext,
    row: WorkerRow,
    /// Batches submitted so far.
    revision: u64,
    inputs: Inputs,
    stop: Option<StopWish>,
    /// How its program is to be ended, as far as that has landed.
    landed_mode: Option<StopMode>,
    /// How its program ended, once it has; with the sequence of the `end` event, once that is staged.
    exit: Option<(Exit, Option<u64>)>,
    draft: Draft,
    now: SystemTime,
}

impl Stage {
    /// A worker as the store has it.
    pub(crate) fn new(context: StageContext, row: WorkerRow, revision: u64) -> Self {
        Self {
            context,
            row,
            revision,
            inputs: Inputs::default(),
            stop: None,
            landed_mode: None,
            exit: None,
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
        self.change(WorkerState::Running);
        if let Some((input, request_id)) = input {
            self.accept(input, request_id);
        }
        self.receipt(hold, Outcome::Created);
    }

    /// Decides on an input: taken, or the reason why not.
    pub(crate) fn input(&mut self, command: &mut InputCommand) -> Result<(InputAck, Option<Receipt>)> {
        if !matches!(self.row.state, WorkerState::Starting | WorkerState::Running) || self.exit.is_some() {
            return Err(Error::new(Reason::WorkerNotRunning, "the worker has ended or is ending"));
        }
        if command.delivery == InputDelivery::Interrupt {
            // A turn of theirs is the writing of a line: there is nothing to break off.
            return Err(Error::new(Reason::RemoteRuntimeUnsupported, "this worker's protocol knows no interruption")
                .with("feature", &"INPUT_DELIVERY_INTERRUPT"));
        }
        if command.delivery == InputDelivery::Reject && !self.inputs.is_empty() {
            return Err(Error::new(Reason::WorkerBusy, "the worker has inputs before this one"));
        }
        if self.inputs.waiting() >= self.context.input_queue {
            let delay = std::time::Duration::from_millis(100);
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
        match &mut self.stop {
            Some(first) if wish.mode == StopMode::Force => first.mode = StopMode::Force,
            Some(_) => {}
            None if self.row.state.is_final() || self.exit.is_some() => {}
            None => {
                self.stop = Some(wish);
                self.change(WorkerState::Stopping);
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

    /// The program said something.
    pub(crate) fn said(&mut self, utterance: Utterance) {
        self.item(utterance, true);
    }

    /// Something happened that is told and not kept.
    pub(crate) fn passing(&mut self, event: Event) {
        self.draft.steps.push(Step { event, stored: None, said: false });
    }

    /// A turn is over.
    pub(crate) fn turn_ended(&mut self, turn_id: &TurnId, reason: TurnEndReason) {
        self.inputs.ended(turn_id, reason);
    }

    /// The program is gone, and all it said was staged.
    pub(crate) fn exited(&mut self, exit: Exit) {
        self.exit.get_or_insert((exit, None));
    }

    /// Stages what follows from all that is known: turns that ended, turns that begin, the end.
    pub(crate) fn advance(&mut self) {
        let mut inputs = std::mem::take(&mut self.inputs);
        inputs.stage_ends(|input, reason| self.end_of(input, reason));
        let lost = match &self.exit {
            // What was accepted before a graceful stop is still given.
            None if self.stop_mode() != Some(StopMode::Force) => {
                inputs.pick_up(DELIVERY_WINDOW, |input| self.start_of(input));
                None
            }
            None | Some((_, Some(_))) => None,
            Some((exit, None)) => Some(exit.lost),
        };
        if let Some(lost) = lost {
            let unknown = if lost { TurnEndReason::RuntimeLost } else { TurnEndReason::NotDelivered };
            inputs.stage_last(TurnEndReason::NotDelivered, unknown, |input, reason| self.end_of(input, reason));
            self.end();
        }
        self.inputs = inputs;
    }

    fn start_of(&mut self, input: &Input) -> u64 {
        self.row.picked_up = input.accepted;
        self.append(Event::TurnStarted { turn_id: input.turn_id.clone(), request_id: input.request_id.clone() })
    }

    fn end_of(&mut self, input: &Input, reason: TurnEndReason) -> u64 {
        self.row.turns_ended = input.accepted;
        self.append(Event::TurnEnded { turn_id: input.turn_id.clone(), reason })
    }

    /// Takes in an input of the run before, by its `input_accepted` event. It is not given again: its turn ends with
    /// this worker.
    pub(crate) fn restore_input(&mut self, accepted: u64) {
        let started = accepted <= self.row.picked_up;
        self.inputs.push(Input::restored(accepted, started));
    }

    fn end(&mut self) {
        let Some((exit, at @ None)) = &mut self.exit else { return };
        let reason = match &self.stop {
            _ if exit.lost => TerminationReason::RuntimeLost,
            _ if exit.unheard => TerminationReason::ProtocolError,
            Some(wish) => match wish.ending {
                Ending::Stopped => TerminationReason::Stopped,
                Ending::Cancelled => TerminationReason::Cancelled,
                Ending::Drained => TerminationReason::Drained,
            },
            None if exit.signal.is_some() => TerminationReason::Killed,
            None => TerminationReason::Exited,
        };
        // The two events that follow: the state, and the end itself.
        let last_sequence = self.row.last_sequence + 2;
        *at = Some(last_sequence);
        let termination = Termination {
            reason,
            exit_code: exit.code,
            signal: exit.signal,
            message: message(exit, self.stop.as_ref()),
            ended_at: self.now,
            run_generation: self.row.run_generation,
            last_sequence,
        };
        self.row.process = None;
        self.row.termination = Some(termination.clone());
        self.change(reason.state());
        self.append(Event::End(termination));
    }

    /// The batch of what was staged since the last one, with its steps, if there is anything to commit.
    pub(crate) fn take(&mut self) -> (Draft, Option<Batch>) {
        let draft = std::mem::take(&mut self.draft);
        if !draft.is_durable() {
            return (draft, None);
        }
        let change = WorkerChange {
            worker_id: self.row.worker_id().clone(),
            revision: self.revision,
            events: draft.steps.iter().filter_map(|step| step.stored.clone()).collect(),
            row: Box::new(self.row.clone()),
        };
        let batch = Batch { worker: Some(change), receipts: draft.receipts.clone(), ..Batch::default() };
        self.revision += 1;
        (draft, Some(batch))
    }

    /// All up to `last` has landed.
    pub(crate) fn landed(&mut self, last: u64, stop_mode: Option<StopMode>, hand_over: impl FnMut(Delivery)) {
        self.landed_mode = stop_mode;
        self.inputs.landed(last, hand_over);
    }

    /// Nothing that was staged on `row` will land: goes back to it. What the program said, the turns that ended and the
    /// exit are facts, and are staged anew.
    pub(crate) fn revert(&mut self, row: WorkerRow, revision: u64, said: impl IntoIterator<Item = Utterance>) {
        let last = row.last_sequence;
        self.inputs.revert(last);
        if !matches!(row.state, WorkerState::Stopping) && !row.state.is_final() {
            self.stop = None;
        }
        if let Some((_, end)) = &mut self.exit
            && end.is_some_and(|at| at > last)
        {
            *end = None;
        }
        let asked_to_end = self.exit.as_ref().is_some_and(|(exit, _)| !exit.lost);
        if self.context.protocol == Protocol::Catalog && self.stop.is_none() && asked_to_end {
            self.exit = None;
        }
        if let Some(wish) = &mut self.stop {
            wish.mode = self.landed_mode.unwrap_or(StopMode::Graceful);
        }
        self.row = row;
        self.revision = revision;
        self.draft = Draft::default();
        for utterance in said {
            self.said(utterance);
        }
    }

    fn receipt(&mut self, hold: Option<&Hold>, outcome: impl FnOnce(WorkerId) -> Outcome) -> Option<Receipt> {
        let receipt = hold?.receipt(outcome(self.row.worker_id().clone()), self.now);
        self.draft.receipts.push(receipt.clone());
        Some(receipt)
    }

    fn change(&mut self, state: WorkerState) {
        self.row.state = state;
        self.append(Event::StateChanged(state));
    }

    fn item(&mut self, utterance: Utterance, said: bool) {
        self.row.transcript_length += 1;
        self.row.last_progress_at = Some(self.now);
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
        if said {
            self.row.said_items += 1;
        }
        self.append(Event::ItemAppended(item));
        if let Some(step) = self.draft.steps.last_mut() {
            step.said = said;
        }
    }

    fn append(&mut self, event: Event) -> u64 {
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

/// The cause of death in words: who asked and why, or what the program left behind.
fn message(exit: &Exit, stop: Option<&StopWish>) -> String {
    match (stop, exit.code, exit.signal) {
        _ if exit.lost => "the runtime went away while the worker ran".to_owned(),
        _ if exit.unheard => "what the program wrote could not be read to the end".to_owned(),
        (Some(wish), ..) => wish.message.clone(),
        _ if !exit.stderr.is_empty() => exit.stderr.clone(),
        (None, Some(code), _) => format!("the program exited with code {code}"),
        (None, None, Some(signal)) => format!("the program was killed by signal {signal}"),
        (None, None, None) => "the program is gone, and the system does not say how it ended".to_owned(),
    }
}
