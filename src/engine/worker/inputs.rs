//! The inputs of one worker on their way from acceptance to the program: plain data.
//!
//! ```text
//!            turn_started staged      …landed: handed over      turn_ended staged     …landed: gone
//!  Waiting ──────────────────────▶ Starting ─────────────▶ Delivering ────────────▶ Ending ──────────▶
//!     ▲          commit failed         │                       ▲       commit failed   │
//!     └────────────────────────────────┘                       └───────────────────────┘
//! ```
//! Every step is known by the sequence of its event, so that what landed and what did not follows from one number: the
//! worker's last landed sequence. An input whose acceptance did not land is gone, and its caller was told so.

use std::collections::VecDeque;

use crate::engine::driver::Delivery;
use crate::engine::frame::StoredInput;
use crate::model::{InputKind, RequestId, TurnEndReason, TurnId};

/// The turn of the input whose `input_accepted` event has this sequence.
pub(in crate::engine) fn turn_id(accepted: u64) -> TurnId {
    TurnId::from(format!("turn-{accepted}"))
}

/// An input that was accepted.
#[derive(Debug)]
pub(super) struct Input {
    /// The sequence of its `input_accepted` event.
    pub accepted: u64,
    /// Its place in the transcript.
    pub item: u64,
    pub turn_id: TurnId,
    pub request_id: Option<RequestId>,
    pub kind: InputKind,
    /// Given away when it is handed over.
    pub content: String,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    /// With the sequence of `turn_started`.
    Starting(u64),
    /// Handed over; with the end that was reported, once it was.
    Delivering(Option<TurnEndReason>),
    /// With the sequence of `turn_ended`, and that of `turn_started` where that has not landed either.
    Ending(u64, TurnEndReason, Option<u64>),
}

impl Input {
    pub(super) fn new(
        accepted: u64,
        item: u64,
        request_id: Option<RequestId>,
        kind: InputKind,
        content: String,
    ) -> Self {
        Self { accepted, item, turn_id: turn_id(accepted), request_id, kind, content, phase: Phase::Waiting }
    }

    /// An input of a run that is over, with what is stored of it where it may be given to another.
    pub(crate) fn restored(accepted: u64, started: bool, stored: Option<StoredInput>) -> Self {
        let phase = if started { Phase::Delivering(None) } else { Phase::Waiting };
        let StoredInput { item, request_id, kind, content } = stored.unwrap_or_default();
        Self { phase, ..Self::new(accepted, item, request_id, kind, content) }
    }
}

/// The inputs of one worker, oldest first.
#[derive(Debug, Default)]
pub(super) struct Inputs(VecDeque<Input>);

impl Inputs {
    pub(super) fn push(&mut self, input: Input) {
        self.0.push_back(input);
    }

    /// How many are accepted and not picked up.
    pub(super) fn waiting(&self) -> usize {
        self.0.iter().rev().take_while(|input| input.phase == Phase::Waiting).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether none is left to be handed over.
    pub(super) fn is_handed_over(&self) -> bool {
        !self.0.iter().any(|input| matches!(input.phase, Phase::Waiting | Phase::Starting(_)))
    }

    /// Picks up waiting inputs, oldest first, while fewer than `window` are under way. `stage` is told each and returns
    /// the sequence of its `turn_started`.
    pub(super) fn pick_up(&mut self, window: usize, mut stage: impl FnMut(&Input) -> u64) {
        let under_way = self.0.len() - self.waiting();
        let first = under_way;
        for input in self.0.iter_mut().skip(first).take(window.saturating_sub(under_way)) {
            input.phase = Phase::Starting(stage(input));
        }
    }

    /// Whether the program works on this turn.
    pub(super) fn is_under_way(&self, turn_id: &TurnId) -> bool {
        self.0.iter().any(|input| input.turn_id == *turn_id && input.phase == Phase::Delivering(None))
    }

    /// Notes that a turn is over.
    pub(super) fn ended(&mut self, turn_id: &TurnId, reason: TurnEndReason) {
        if let Some(input) = self.0.iter_mut().find(|input| input.turn_id == *turn_id) {
            input.phase = Phase::Delivering(Some(reason));
        }
    }

    /// Stages the ends that were reported: `stage` returns the sequence of `turn_ended`.
    pub(super) fn stage_ends(&mut self, mut stage: impl FnMut(&Input, TurnEndReason) -> u64) {
        for input in &mut self.0 {
            if let Phase::Delivering(Some(reason)) = input.phase {
                input.phase = Phase::Ending(stage(input, reason), reason, None);
            }
        }
    }

    /// Ends every turn that is not over, as the program itself has ended: what was not handed over is `not_started`, what
    /// was and is not reported is `unknown`. With `keep`, what was not picked up goes on waiting.
    pub(super) fn stage_last(
        &mut self,
        keep: bool,
        not_started: TurnEndReason,
        unknown: TurnEndReason,
        mut stage: impl FnMut(&Input, TurnEndReason) -> u64,
    ) {
        for input in &mut self.0 {
            let (reason, started) = match input.phase {
                Phase::Ending(..) => continue,
                Phase::Waiting if keep => continue,
                Phase::Waiting => (not_started, Some(u64::MAX)),
                Phase::Starting(at) => (not_started, Some(at)),
                Phase::Delivering(reported) => (reported.unwrap_or(unknown), None),
            };
            input.phase = Phase::Ending(stage(input, reason), reason, started);
        }
    }

    /// All events up to `last` have landed: hands over what may go to the program, and forgets what is done.
    pub(super) fn landed(&mut self, last: u64, mut hand_over: impl FnMut(Delivery)) {
        for input in &mut self.0 {
            if let Phase::Starting(at) = input.phase
                && at <= last
            {
                input.phase = Phase::Delivering(None);
                hand_over(Delivery {
                    turn_id: input.turn_id.clone(),
                    kind: input.kind,
                    content: std::mem::take(&mut input.content),
                    sequence: input.item,
                });
            }
        }
        self.0.retain(|input| !matches!(input.phase, Phase::Ending(at, ..) if at <= last));
    }

    /// Nothing after `last` will land: takes every step back that is after it.
    pub(super) fn revert(&mut self, last: u64) {
        self.0.retain(|input| input.accepted <= last);
        for input in &mut self.0 {
            match input.phase {
                Phase::Starting(at) if at > last => input.phase = Phase::Waiting,
                // What was never handed over may go to the next run, if there is one after all.
                Phase::Ending(at, _, Some(started)) if at > last && started > last => input.phase = Phase::Waiting,
                Phase::Ending(at, reason, _) if at > last => input.phase = Phase::Delivering(Some(reason)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn input(accepted: u64) -> Input {
        Input::new(accepted, accepted, None, InputKind::User, format!("{accepted}"))
    }

    #[test]
    fn an_input_goes_to_the_program_once_its_turn_has_landed() {
        let mut inputs = Inputs::default();
        inputs.push(input(1));
        inputs.pick_up(64, |_| 3);
        let mut handed = Vec::new();
        inputs.landed(2, |delivery| handed.push(delivery.sequence));
        assert!(handed.is_empty());
        inputs.landed(3, |delivery| handed.push(delivery.sequence));
        assert_eq!(handed, [1]);
        inputs.ended(&TurnId::from("turn-1"), TurnEndReason::Written);
        inputs.stage_ends(|_, _| 4);
        inputs.landed(4, |_| panic!("handed over twice"));
        assert!(inputs.is_empty());
    }

    #[test]
    fn an_input_whose_turn_has_not_begun_waits_on_when_the_end_of_its_run_does_not_land() {
        for (landed, waiting) in [(2, 2), (3, 1)] {
            let mut inputs = Inputs::default();
            inputs.push(input(1));
            inputs.push(input(2));
            inputs.pick_up(1, |_| 3);
            let mut last = 3;
            inputs.stage_last(false, TurnEndReason::NotDelivered, TurnEndReason::RuntimeLost, |_, _| {
                last += 1;
                last
            });
            inputs.revert(landed);
            assert_eq!(inputs.waiting(), waiting, "{landed}");
        }
    }

    /// What may happen to the inputs of a worker.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Accept,
        PickUp,
        Report,
        Land,
        Fail,
    }

    proptest! {
        /// Whatever commits fail: each input whose acceptance landed is handed over exactly once, in order, and each
        /// that was handed over ends exactly once.
        #[test]
        fn no_failure_loses_or_doubles_an_input(steps in proptest::collection::vec(
            prop_oneof![Just(Step::Accept), Just(Step::PickUp), Just(Step::Report), Just(Step::Land), Just(Step::Fail)], 0..200)) {
            let mut inputs = Inputs::default();
            let (mut landed, mut staged) = (0_u64, 0_u64);
            let (mut accepted, mut handed, mut reported): (Vec<u64>, Vec<u64>, usize) = Default::default();
            let finish = [Step::Land, Step::PickUp, Step::Land, Step::Report, Step::Land].repeat(60);
            for step in steps.into_iter().chain(finish) {
                match step {
                    Step::Accept => { staged += 1; accepted.push(staged); inputs.push(input(staged)); }
                    Step::PickUp => inputs.pick_up(4, |_| { staged += 1; staged }),
                    Step::Report => {
                        for sequence in &handed[reported..] {
                            inputs.ended(&TurnId::from(format!("turn-{sequence}")), TurnEndReason::Written);
                        }
                        reported = handed.len();
                        inputs.stage_ends(|_, _| { staged += 1; staged });
                    }
                    Step::Land => { landed = staged; inputs.landed(landed, |delivery| handed.push(delivery.sequence)); }
                    Step::Fail => { accepted.retain(|at| *at <= landed); staged = landed; inputs.revert(landed); }
                }
            }
            prop_assert!(inputs.is_empty());
            prop_assert_eq!(handed, accepted);
        }
    }
}
