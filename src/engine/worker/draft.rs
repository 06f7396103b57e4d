//! A batch in the making, with what is to be told when it lands.

use super::held::is_told_instead;
use crate::engine::receipts::Receipt;
use crate::engine::row::WorkerRow;
use crate::engine::store::{Batch, NewEvent, WorkerChange};
use crate::model::{Event, WorkerState};

/// A batch in the making.
#[derive(Debug, Default)]
pub(in crate::engine) struct Draft {
    /// In order: durable events, and the passing ones that are told between them.
    pub steps: Vec<Step>,
    pub receipts: Vec<Receipt>,
    /// Events are removed from the front.
    pub trimmed: bool,
    /// The row has changed beside its events.
    pub changes_row: bool,
    /// A run that was lost with its runtime is concluded, also where another one follows: a start waits for it.
    pub concludes_lost: bool,
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

impl Step {
    /// An event that is told and not kept.
    pub(super) fn passing(event: Event) -> Self {
        Self { event, stored: None, said: false }
    }
}

impl Draft {
    /// The batch that makes a worker of this row, if anything is to be committed.
    pub(super) fn batch(&self, row: &WorkerRow, revision: u64) -> Option<Batch> {
        let is_durable = self.trimmed
            || self.changes_row
            || !self.receipts.is_empty()
            || self.steps.iter().any(|it| it.stored.is_some());
        let change = is_durable.then(|| WorkerChange {
            worker_id: row.worker_id().clone(),
            revision,
            events: self.steps.iter().filter_map(|step| step.stored.clone()).collect(),
            row: Box::new(row.clone()),
        })?;
        let vital = self.is_vital(row.state);
        Some(Batch { worker: Some(change), receipts: self.receipts.clone(), vital, ..Batch::default() })
    }

    /// What was staged last came from the program.
    pub(super) fn last_was_said(&mut self) {
        if let Some(step) = self.steps.last_mut() {
            step.said = true;
        }
    }

    /// Whether it ends something, or makes room, and brings nothing that could be large.
    fn is_vital(&self, state: WorkerState) -> bool {
        let ends = state == WorkerState::Stopping || state.is_final() || self.concludes_lost;
        let is_small = |step: &Step| match &step.event {
            Event::ItemAppended(item) => is_told_instead(item),
            Event::InputAccepted { .. } | Event::ToolCall(_) | Event::ApprovalRequested(_) => false,
            _ => true,
        };
        (ends || self.trimmed) && self.steps.iter().all(is_small)
    }
}
