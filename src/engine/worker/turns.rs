//! Which inputs are given to the program, and how their turns begin and end.

use super::again::Program;
use super::inputs::Input;
use super::stage::Stage;
use crate::engine::driver::window;
use crate::engine::profile::Protocol;
use crate::model::{Event, StopMode, TurnEndReason, WorkerState};

impl Stage {
    /// What was accepted before a graceful stop is still given.
    pub(super) fn pick_up(&mut self) {
        let protocol = self.context.protocol;
        // To end an agent breaks off its turn: another one would only be broken off, too.
        let is_wanted = match protocol {
            Protocol::Acp => self.stop.is_none(),
            Protocol::Catalog | Protocol::Lines => self.stop_mode() != Some(StopMode::Force),
        };
        // To one that starts they are not given yet.
        if self.program == Program::Up && !self.over && self.row.state != WorkerState::Starting && is_wanted {
            let mut inputs = std::mem::take(&mut self.inputs);
            inputs.pick_up(window(protocol), |input| self.start_of(input));
            self.inputs = inputs;
        }
    }

    /// The program takes no more inputs: those that wait are for the next one.
    pub(crate) fn over(&mut self) {
        self.over = true;
    }

    pub(super) fn start_of(&mut self, input: &Input) -> u64 {
        self.row.picked_up = input.accepted;
        self.row.last_progress_at = Some(self.now);
        self.append(Event::TurnStarted { turn_id: input.turn_id.clone(), request_id: input.request_id.clone() })
    }

    pub(super) fn end_of(&mut self, input: &Input, reason: TurnEndReason) -> u64 {
        self.settle_of_turn(&input.turn_id);
        self.broken_off.take_if(|turn_id| *turn_id == input.turn_id);
        self.row.turns_ended = input.accepted;
        self.append(Event::TurnEnded { turn_id: input.turn_id.clone(), reason })
    }
}
