//! What becomes of a worker whose program is gone: its end, or another run where its profile says so.
//!
//! ```text
//!   its program fails        …landed: STARTING, run_generation + 1        …after a pause       …executed
//!  Up ───────────────▶ exit is known ───────────────────────▶ Awaited ─────────────▶ Executing ──────────▶ Up, RUNNING
//!                                                                │ stopped: at once      │ refused: it has failed again
//! ```
//! The run generation is on disk before anything is executed, so that no two programs ever bear the same. Inputs that were
//! not picked up stay for the next run; those that were are never given again.

use std::time::SystemTime;

use bytes::Bytes;

use super::ending;
use super::stage::Stage;
use crate::engine::driver::Exit;
use crate::engine::restarts::Restarts;
use crate::engine::row::ProcessRecord;
use crate::model::{Event, Termination, TurnEndReason, WorkerState};

/// Whether a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// It runs, or ran and its exit is being recorded; or there is none to run.
    Up,
    /// It is to be started anew, once its pause is over.
    Awaited,
    /// It is being executed.
    Executing,
}

/// What was staged upon an exit, with the sequence of its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exited {
    /// The worker's end.
    Ended(u64),
    /// Another run.
    Again(u64),
}

impl Exited {
    pub(super) const fn at(self) -> u64 {
        match self {
            Self::Ended(at) | Self::Again(at) => at,
        }
    }
}

impl Stage {
    /// Whether its program is gone, with no other run to follow.
    pub(super) fn is_over(&self) -> bool {
        match &self.exit {
            None | Some((_, Some(Exited::Again(_)))) => false,
            Some((_, Some(Exited::Ended(_)))) => true,
            Some((exit, None)) => self.starts_again(exit).is_err(),
        }
    }

    /// How many new starts have been counted, the one that is due included; `None` where none is due.
    pub(crate) fn due(&self) -> Option<(Restarts, usize)> {
        let due = self.program == Program::Awaited && self.exit.is_none() && self.stop.is_none();
        self.context.restarts.filter(|_| due).map(|restarts| (restarts, self.row.restarts.len()))
    }

    /// Its program is being executed.
    pub(crate) fn executing(&mut self) {
        self.program = Program::Executing;
    }

    /// Its program was executed.
    pub(crate) fn executed(&mut self, process: ProcessRecord) {
        self.program = Program::Up;
        self.executed = Some(process);
    }

    /// Its program could not be executed.
    pub(crate) fn refused(&mut self) {
        self.program = Program::Up;
        self.exited(Exit { refused: true, ..Exit::default() });
    }

    /// Its program takes inputs from now on.
    pub(crate) fn ready(&mut self) {
        self.ready = true;
    }

    /// Its program leaves this to the next run.
    pub(crate) fn leaves(&mut self, state: Bytes) {
        self.left = Some(state);
    }

    /// Stages what its program leaves to the next run, where that is another thing than before.
    pub(super) fn keep_left(&mut self) {
        if let Some(left) = self.left.as_ref().filter(|left| **left != self.row.driver) {
            self.row.driver = left.clone();
            self.draft.changes_row = true;
        }
    }

    /// Stages which process it is and that it runs, where that has not been told.
    pub(super) fn tell_running(&mut self) {
        if self.program != Program::Up || self.row.state != WorkerState::Starting {
            return;
        }
        if self.executed.is_some() && self.row.process != self.executed {
            self.row.process = self.executed;
            self.draft.changes_row = true;
        }
        if self.row.process.is_some() && (self.ready || !self.has_turns()) {
            self.change(WorkerState::Running);
        }
    }

    /// Stages what follows from the exit of its program: a new run, or the end.
    pub(super) fn conclude(&mut self, exit: &Exit) -> Exited {
        let starts = self.starts_again(exit);
        self.settle_all();
        // Without a next run all inputs end with it; with one, those that it has not picked up wait for it.
        let unknown = if exit.lost { TurnEndReason::RuntimeLost } else { TurnEndReason::NotDelivered };
        let mut inputs = std::mem::take(&mut self.inputs);
        inputs.stage_last(starts.is_ok(), TurnEndReason::NotDelivered, unknown, |input, reason| {
            self.end_of(input, reason)
        });
        self.inputs = inputs;
        self.row.process = None;
        self.draft.concludes_lost |= exit.lost;
        match starts {
            Ok(starts) => {
                self.row.last_failure = Some(self.termination(exit, self.row.last_sequence + 1));
                self.row.restarts = starts;
                self.row.run_generation += 1;
                self.change(WorkerState::Starting);
                Exited::Again(self.row.last_sequence)
            }
            Err(spent) => Exited::Ended(self.end(exit, spent)),
        }
    }

    /// Whether another run follows: all new starts that count, that one included, or the budget that is spent, if it is
    /// for that.
    fn starts_again(&self, exit: &Exit) -> Result<Vec<SystemTime>, Option<Restarts>> {
        let is_wanted = self.stop.is_none() && self.row.state != WorkerState::Stopping;
        let restarts = self.context.restarts.filter(|_| is_wanted && exit.is_failure()).ok_or(None)?;
        let mut starts = restarts.counted(&self.row.restarts, self.now);
        if starts.len() >= restarts.budget {
            return Err(Some(restarts));
        }
        starts.push(self.now);
        Ok(starts)
    }

    fn end(&mut self, exit: &Exit, spent: Option<Restarts>) -> u64 {
        // The two events that follow: the state, and the end itself.
        let mut termination = self.termination(exit, self.row.last_sequence + 2);
        if let Some(Restarts { budget, window, .. }) = spent {
            let window = humantime::format_duration(window);
            let cause = termination.message;
            termination.message =
                format!("{cause}; it was started anew {budget} times within {window}, and is not again");
        }
        self.row.termination = Some(termination.clone());
        self.change(termination.reason.state());
        self.append(Event::End(termination))
    }

    fn termination(&self, exit: &Exit, last_sequence: u64) -> Termination {
        Termination {
            reason: ending::reason(exit, self.stop.as_ref()),
            exit_code: exit.code,
            signal: exit.signal,
            message: ending::message(exit, self.stop.as_ref()),
            ended_at: self.now,
            run_generation: self.row.run_generation,
            last_sequence,
        }
    }
}
