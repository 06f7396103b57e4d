//! What is removed from the front of workers' logs, and when: for its age, for the size of one log, or for the size of all.
//! Nothing is ever removed that a live worker still needs, nor the last event there is, which is the end of one that has
//! ended. A reader that stands before what is kept is told of the gap; a new one, that its cursor has expired.

mod known;

use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

pub(super) use known::KnownLogs;

use self::known::Rest;
use super::core::{Engine, Inner, Slot};
use super::frame::Frame;
use super::in_step::in_step;
use super::profile::Protocol;
use super::receipts::given_up;
use super::row::WorkerRow;
use super::store::{Batch, Select, StoreFault, StoredWorker, WorkerChange, event_bytes};
use super::tail::Progress;
use super::worker::{Command, Cut, CutCommand, store_error};
use crate::failpoint::failpoint;
use crate::model::{EventKind, MAX_PAGE_BYTES, Result, WorkerId};

/// How often it is looked for what may go.
const EVERY: Duration = Duration::from_secs(10);
/// How many events are looked at at once.
const PAGE: usize = 1_000;
/// How many logs are weighed before others have their turn.
const AT_A_STRETCH: usize = 1_000;
/// How often the largest logs are evened out in one pass.
const ROUNDS: u32 = 8;

/// What is kept. Unset: all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Events older than this go.
    pub max_age: Option<Duration>,
    /// How many bytes the events of one worker may take.
    pub max_worker_bytes: Option<u64>,
    /// How many bytes the events of all workers may take together: the largest logs are cut first. What cannot be cut does
    /// not count: rows, receipts, bundles, and workers that are quarantined.
    pub max_bytes: Option<u64>,
    /// Workers that ended longer ago than this are deleted.
    pub ended_workers_max_age: Option<Duration>,
}

/// Up to where a log is to be cut.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// Events before this.
    Before(SystemTime),
    /// So many bytes.
    Bytes(u64),
}

/// Looks every now and then for what may go, for as long as the engine is there.
pub(super) async fn run(engine: Weak<Inner>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(engine) = engine.upgrade() else { return };
        in_step(Engine(engine).retain()).await;
    }
}

impl Engine {
    /// Removes what need not be kept by the rules of this engine. What cannot be removed now may be the next time.
    pub async fn retain(&self) {
        let _alone = self.0.retaining.lock().await;
        let Retention { max_age, max_worker_bytes, max_bytes, ended_workers_max_age } = self.0.parts.limits.retention;
        let now = self.0.parts.clock.now();
        {
            let workers = self.0.workers.read();
            self.0.known_logs.keep(|worker_id| workers.contains_key(worker_id));
        }
        if let Some(before) = ended_workers_max_age.and_then(|age| now.checked_sub(age)) {
            self.delete_ended(before).await;
        }
        if let Some(before) = max_age.and_then(|age| now.checked_sub(age)) {
            let is_older = |slot: &Slot| has_more_than_its_last(slot) && slot.tail.view().created_at < before;
            for (worker_id, slot) in self.slots(is_older) {
                self.cut(&worker_id, &slot, Goal::Before(before)).await;
            }
        }
        if let Some(most) = max_worker_bytes {
            for (bytes, worker_id, slot) in self.logs().await {
                let over = bytes.saturating_sub(most);
                if over > 0 && has_more_than_its_last(&slot) {
                    self.cut(&worker_id, &slot, Goal::Bytes(over)).await;
                }
            }
        }
        if let Some(most) = max_bytes {
            self.cut_largest(most).await;
        }
    }

    fn slots(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<(WorkerId, Slot)> {
        let workers = self.0.workers.read();
        let slots = workers.iter().filter(|(_, slot)| wanted(slot));
        slots.map(|(worker_id, slot)| (worker_id.clone(), slot.clone())).collect()
    }

    async fn delete_ended(&self, before: SystemTime) {
        let is_old = |slot: &Slot| {
            let view = slot.tail.view();
            !slot.quarantined && view.termination.as_ref().is_some_and(|end| end.ended_at < before)
        };
        for (worker_id, _) in self.slots(is_old) {
            if let Err(error) = self.erase(&worker_id, None).await
                && self.0.known_logs.warns(&worker_id)
            {
                tracing::warn!(%worker_id, %error, "a worker that ended long ago could not be deleted yet");
            }
        }
    }

    /// Cuts the largest logs down to one level, so that all of it takes `most` bytes at most: whose log is below that
    /// level keeps it whole, however much its neighbours say.
    async fn cut_largest(&self, most: u64) {
        // Logs that cannot be cut any further now.
        let mut stuck = BTreeSet::new();
        for _ in 0..ROUNDS {
            let mut logs = self.logs().await;
            let over = logs.iter().map(|(bytes, ..)| bytes).sum::<u64>().saturating_sub(most);
            if over == 0 {
                return;
            }
            logs.retain(|(_, worker_id, slot)| has_more_than_its_last(slot) && !stuck.contains(worker_id));
            let level = level(logs.iter().map(|(bytes, ..)| *bytes).collect(), over);
            for (bytes, worker_id, slot) in logs {
                if bytes > level && !self.cut(&worker_id, &slot, Goal::Bytes(bytes - level)).await {
                    stuck.insert(worker_id);
                }
            }
        }
    }

    /// Every worker whose log can be cut, with what its events take.
    async fn logs(&self) -> Vec<(u64, WorkerId, Slot)> {
        let mut logs = Vec::new();
        for (nth, (worker_id, slot)) in self.slots(|slot| !slot.quarantined).into_iter().enumerate() {
            logs.push((self.0.parts.store.worker_bytes(&worker_id), worker_id, slot));
            if nth % AT_A_STRETCH == 0 {
                tokio::task::yield_now().await;
            }
        }
        logs
    }

    /// Cuts a worker's log: whether anything was removed.
    async fn cut(&self, worker_id: &WorkerId, slot: &Slot, goal: Goal) -> bool {
        let known = &self.0.known_logs;
        if !known.may_win(worker_id, slot, goal) {
            return false;
        }
        let cut = self.try_cut(worker_id, slot, goal).await;
        match &cut {
            Err(error) if known.warns(worker_id) => {
                tracing::warn!(%worker_id, %error, "old events could not be removed yet");
            }
            Err(_) | Ok(false) => {}
            Ok(true) => {
                known.done(worker_id);
                tracing::debug!(%worker_id, first_sequence = slot.tail.view().first_sequence, "old events were removed");
            }
        }
        cut.unwrap_or(false)
    }

    async fn try_cut(&self, worker_id: &WorkerId, slot: &Slot, goal: Goal) -> Result<bool> {
        let stored = self.0.parts.store.worker(worker_id).await.map_err(|fault| self.read_fault(worker_id, fault))?;
        let Some(StoredWorker { revision, mut row }) = stored else { return Ok(false) };
        let (cut, rest) = self.find_cut(&row, goal).await?;
        if let Some(rest) = rest {
            self.0.known_logs.note(worker_id, cut.first_sequence, row.last_sequence, rest);
        }
        if cut.first_sequence == row.first_sequence {
            return Ok(false);
        }
        failpoint!("retention-before-cut");
        if let Some(inbox) = &slot.inbox {
            let (reply, answer) = oneshot::channel();
            // A task that is gone has ended its worker: there is a next time.
            let told = inbox.send(Command::Cut(CutCommand { cut, reply })).await.is_ok();
            return if told { answer.await.unwrap_or_else(|_| Err(given_up())).map(|()| true) } else { Ok(false) };
        }
        row.first_sequence = cut.first_sequence;
        row.removed_items = cut.removed_items;
        let change = WorkerChange { worker_id: worker_id.clone(), revision, events: Vec::new(), row: row.clone() };
        let batch = Batch { worker: Some(change), vital: true, ..Batch::default() };
        self.0.parts.store.commit(batch).await.map_err(store_error)?;
        failpoint!("retention-after-cut");
        slot.tail.publish(|view| row.refresh(view), Progress::Kept, []);
        Ok(true)
    }

    /// How far a log can be cut towards a goal, and why no further, where that is known.
    async fn find_cut(&self, row: &WorkerRow, goal: Goal) -> Result<(Cut, Option<Rest>)> {
        if let (Some(end), Goal::Before(before)) = (&row.termination, goal)
            && end.ended_at < before
        {
            return Ok((Cut { first_sequence: row.last_sequence, removed_items: row.transcript_length }, None));
        }
        let nothing = Cut { first_sequence: row.first_sequence, removed_items: row.removed_items };
        let (mut cut, mut won) = (nothing, 0);
        loop {
            let select = Select::EventsAfter(cut.first_sequence - 1);
            let frames = match self.0.parts.store.read(row.worker_id(), select, PAGE, MAX_PAGE_BYTES).await {
                Ok(frames) if frames.is_empty() => return Ok((nothing, None)),
                Ok(frames) => frames,
                Err(StoreFault::Damaged) => {
                    // What can be read may go; beside the worker it is told where the damage is.
                    self.read_fault(row.worker_id(), StoreFault::Damaged);
                    return Ok((cut, Some(Rest::Damaged)));
                }
                Err(fault) => return Err(store_error(fault)),
            };
            for frame in frames {
                if is_needed(row, &frame) {
                    return Ok((cut, Some(Rest::Needed)));
                }
                if goal.is_reached(&frame, won) {
                    return Ok((cut, Some(Rest::Since(frame.observed_at))));
                }
                won += event_bytes(frame.body.len());
                cut.first_sequence = frame.sequence + 1;
                cut.removed_items += u64::from(frame.kind == EventKind::ItemAppended);
            }
        }
    }
}

impl Goal {
    /// Whether what stands before this event is enough.
    fn is_reached(self, frame: &Frame, won: u64) -> bool {
        match self {
            Self::Before(before) => frame.observed_at >= before,
            Self::Bytes(bytes) => won >= bytes,
        }
    }
}

/// Whether more of a worker's events is kept than the last, which stays.
fn has_more_than_its_last(slot: &Slot) -> bool {
    let view = slot.tail.view();
    !slot.quarantined && view.first_sequence < view.last_event_id
}

/// Whether an event must stay: the last one, and from the first input of a live worker on whose turn has not ended.
fn is_needed(row: &WorkerRow, frame: &Frame) -> bool {
    let has_turns = row.origin.display_hint != Protocol::Catalog.as_str() && !row.state.is_final();
    let waits = has_turns && frame.kind == EventKind::InputAccepted && frame.sequence > row.turns_ended;
    frame.sequence >= row.last_sequence || waits
}

/// The highest level to which logs can be cut so that at least `over` bytes are won.
fn level(mut logs: Vec<u64>, over: u64) -> u64 {
    logs.sort_unstable_by(|a, b| b.cmp(a));
    let mut sum = 0_u64;
    for (count, bytes) in (1_u64..).zip(&logs) {
        sum += bytes;
        let next = usize::try_from(count).ok().and_then(|at| logs.get(at)).copied().unwrap_or(0);
        let level = sum.saturating_sub(over) / count;
        if level >= next {
            return level;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_are_cut_first_and_alike() {
        assert_eq!(level(vec![10, 100, 40], 50), 50);
        assert_eq!(level(vec![10, 100, 40], 100), 20);
        assert_eq!(level(vec![10, 100, 40], 140), 3);
        assert_eq!(level(vec![10, 100, 40], 1_000), 0);
        assert_eq!(level(Vec::new(), 1), 0);
    }

    proptest! {
        #[test]
        fn a_level_wins_enough_and_a_higher_one_does_not(logs in proptest::collection::vec(0_u64..1_000, 0..20), over in 1_u64..5_000) {
            let won = |level: u64| logs.iter().map(|log| log.saturating_sub(level)).sum::<u64>();
            let level = level(logs.clone(), over);
            prop_assert!(won(level) >= over.min(won(0)));
            prop_assert!(won(level + 1) < over);
        }
    }
}
