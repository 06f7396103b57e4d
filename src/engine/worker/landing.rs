//! What has landed: memory follows the disk, and readers and callers are told.

use tokio::time::Instant;

use super::draft::Step;
use super::flight::{InFlight, in_progress};
use super::task::{FIRST_PAUSE, Task};
use crate::engine::frame::Published;
use crate::engine::tail::Progress;
use crate::failpoint::failpoint;
use crate::model::WorkerState;

impl Task {
    /// The oldest batch has landed: memory follows the disk, readers and callers are told, the program is handed what
    /// is due.
    pub(super) fn land(&mut self) {
        let Some(InFlight { mut steps, row, stop_mode, answers, commit: _, said: _, vital: _ }) =
            self.in_flight.pop_front()
        else {
            return;
        };
        failpoint!("worker-before-publish");
        let last = self.parts.landed.row.last_sequence;
        if let Some(row) = row {
            self.parts.landed.revision += 1;
            self.parts.landed.row = row;
            self.pause = FIRST_PAUSE;
        }
        for step in &steps {
            self.in_progress = in_progress(self.in_progress.take(), &step.event);
        }
        let row = &self.parts.landed.row;
        let now = (self.parts.engine.clock.now(), Instant::now());
        self.doing.landed(row, steps.iter().map(|step| &step.event), now);
        steps.extend(self.doing.news(now.1).map(Step::passing));
        let (row, doing) = (&self.parts.landed.row, &self.doing);
        let progress = self.in_progress.clone().map_or(Progress::Done, Progress::Now);
        let show = |view: &mut _| {
            row.refresh(view);
            doing.show(view);
        };
        self.parts.tail.publish(show, progress, self.published(&steps, last));
        failpoint!("worker-before-answer");
        for answer in answers {
            answer.landed(self.parts.link.as_ref());
        }
        let deliveries = self.parts.link.as_ref().and_then(|link| link.deliveries.clone());
        self.parts.stage.landed(row.last_sequence, stop_mode, |delivery| {
            // There is room for all that are under way; a driver that is gone says so by its exit.
            let _ = deliveries.as_ref().map(|deliveries| deliveries.try_send(delivery));
        });
        self.hand_answers();
        if self.parts.landed.row.state == WorkerState::Stopping {
            self.order_end(stop_mode);
        }
    }

    /// The frames of events that have landed, or that pass behind one; `last` is the sequence of the one before.
    fn published<'s>(&'s self, steps: &'s [Step], mut last: u64) -> impl ExactSizeIterator<Item = Published> + use<'s> {
        let engine = &self.parts.engine;
        let worker_id = self.parts.landed.row.worker_id();
        steps.iter().map(move |step| {
            let (observed_at, body) = match &step.stored {
                Some(stored) => {
                    last = stored.sequence;
                    (stored.observed_at, stored.body.clone())
                }
                None => (engine.clock.now(), engine.codec.payload(&step.event)),
            };
            engine.published(worker_id, last, step.event.kind(), observed_at, &body)
        })
    }

    /// It is time to tell what it does.
    pub(super) fn tell_doing(&mut self) {
        let steps: Vec<_> = self.doing.news(Instant::now()).map(Step::passing).into_iter().collect();
        let last = self.parts.landed.row.last_sequence;
        self.parts.tail.publish(|view| self.doing.show(view), Progress::Kept, self.published(&steps, last));
    }
}
