//! Follows one worker's frames: checks that each is the one that must come next, and keeps what they lead to.

use std::time::SystemTime;

use bytes::Bytes;
use prost::Message as _;

use super::gap::Gap;
use crate::engine::{Envelope, FrameCodec as _, Progress, Published};
use crate::model::{
    Activity, ActivityChange, Cursor, CursorFault, Error, Event, EventKind, InProgress, Incarnation, Result, RuntimeId,
    Termination, Worker, WorkerId, WorkerState,
};
use crate::proto::host_client::{Said, Standing, malformed, said, standing, wrong_identity};
use crate::proto::{ProtoCodec, convert, walk};

/// A reader of a host's frames of one worker.
#[derive(Debug)]
pub(super) struct Follower {
    runtime_id: RuntimeId,
    worker_id: WorkerId,
    incarnation: Incarnation,
    /// The last durable event that came.
    last: u64,
    /// The last transcript item that came.
    items: u64,
    in_progress: Option<InProgress>,
}

/// What a frame means for the relay.
#[derive(Debug)]
pub(super) enum Step {
    /// It belongs to the connection: it goes no further.
    Passing,
    /// It goes on to the readers.
    Publish(Box<Publication>),
}

/// A frame that goes on, and what it changes.
#[derive(Debug)]
pub(super) struct Publication {
    /// The frame with its original bytes.
    pub frame: Published,
    /// What becomes of what is in progress.
    pub progress: Progress,
    change: Change,
    at: SystemTime,
}

#[derive(Debug)]
enum Change {
    Nothing,
    State(WorkerState),
    Progress,
    Items(u64, bool),
    Activity(Activity, Box<str>, Option<SystemTime>),
    End(Box<Termination>),
}

impl Follower {
    /// One that expects the events after `last`.
    pub(super) fn new(runtime_id: &RuntimeId, worker_id: &WorkerId, incarnation: Incarnation, last: u64) -> Self {
        let (runtime_id, worker_id) = (runtime_id.clone(), worker_id.clone());
        Self { runtime_id, worker_id, incarnation, last, items: 0, in_progress: None }
    }

    /// The cursor after the last durable event that came.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor::new(self.incarnation, &self.worker_id, self.last)
    }

    /// The host does not keep the events after our cursor any more: the frame that says so, and we stand behind it.
    pub(super) fn missing(&mut self, refused: &Error) -> Option<Published> {
        let (runtime_id, worker_id, incarnation) = (&self.runtime_id, &self.worker_id, self.incarnation);
        let gap = Gap { runtime_id, worker_id, incarnation, after: self.last }.of(refused, u64::MAX - 1)?;
        self.last = gap.sequence;
        Some(gap)
    }

    /// The first frame of a stream that starts now: it says where the worker stands.
    pub(super) fn begin(&mut self, frame: &Bytes) -> Result<Standing> {
        let walked = self.walk(frame)?;
        let begun = self.snapshot(&walked)?;
        if begun.next_sequence != begun.worker.last_event_id.saturating_add(1) {
            return Err(malformed("snapshot.next_sequence"));
        }
        self.last = begun.worker.last_event_id;
        self.items = begun.worker.transcript_length;
        self.in_progress.clone_from(&begun.in_progress);
        self.at_its_place(&walked)?;
        Ok(begun)
    }

    /// The first frame of a stream that goes on after our cursor. What is being said is known from it only where no
    /// event was missed; what the worker does is told to nobody again, and is given back with it.
    pub(super) fn resume(&mut self, frame: &Bytes) -> Result<(Progress, Worker)> {
        let walked = self.walk(frame)?;
        self.at_its_place(&walked)?;
        let resumed = self.snapshot(&walked)?;
        if resumed.next_sequence != self.last.saturating_add(1) || resumed.worker.last_event_id < self.last {
            return Err(malformed("snapshot.next_sequence"));
        }
        self.in_progress = resumed.in_progress.filter(|_| resumed.worker.last_event_id == self.last);
        Ok((self.in_progress.clone().map_or(Progress::Done, Progress::Now), resumed.worker))
    }

    /// The frame that tells what the worker does `now`, where that is another thing than `before`.
    pub(super) fn turned(&self, before: &Worker, now: &Worker) -> Option<Published> {
        let of = |worker: &Worker| (worker.activity, worker.activity_detail.clone(), worker.activity_since);
        if of(before) == of(now) || now.state.is_final() {
            return None;
        }
        let observed_at = SystemTime::now();
        let (activity, detail) = (now.activity, now.activity_detail.to_string());
        let since = now.activity_since.unwrap_or(observed_at);
        let body = ProtoCodec.payload(&Event::ActivityChanged(ActivityChange { activity, detail, since }));
        let Self { runtime_id, worker_id, last, .. } = self;
        let (cursor, kind) = (self.cursor(), EventKind::ActivityChanged);
        let wire = ProtoCodec.frame(&Envelope { runtime_id, worker_id, cursor, observed_at, kind }, &body);
        Some(Published { sequence: *last, kind, wire })
    }

    /// Any later frame.
    pub(super) fn take(&mut self, frame: Bytes) -> Result<Step> {
        let walked = self.walk(&frame)?;
        let kind = walked.kind;
        let meaning = said(kind, &walked.body)?;
        if let Said::Gap { from, to } = meaning {
            if from != self.last.saturating_add(1) || to < from {
                return Err(malformed("gap"));
            }
            self.last = to;
        } else if kind.is_durable() {
            self.last = self.last.checked_add(1).ok_or_else(|| malformed("sequence"))?;
        }
        self.at_its_place(&walked)?;
        let at = prost_types::Timestamp::decode(walked.observed_at.clone()).ok();
        let at = at.as_ref().and_then(convert::system_time).ok_or_else(|| malformed("observed_at"))?;
        let (change, progress) = match meaning {
            Said::Passing => return Ok(Step::Passing),
            Said::Other | Said::Gap { .. } => (Change::Nothing, Progress::Kept),
            Said::State(state) => (Change::State(state), Progress::Kept),
            Said::Progress => (Change::Progress, Progress::Kept),
            Said::Item { sequence, event_id, by_worker } => self.item(sequence, event_id, by_worker)?,
            Said::Delta(delta) => {
                let now = InProgress::extended(self.in_progress.take(), &delta);
                self.in_progress = Some(now.clone());
                (Change::Progress, Progress::Now(now))
            }
            Said::Activity(activity, detail, since) => (Change::Activity(activity, detail, since), Progress::Kept),
            Said::End(termination) => (Change::End(Box::new(termination)), Progress::Done),
        };
        let frame = Published { sequence: self.last, kind, wire: frame };
        Ok(Step::Publish(Box::new(Publication { frame, progress, change, at })))
    }

    fn item(&mut self, sequence: u64, event_id: u64, by_worker: bool) -> Result<(Change, Progress)> {
        if sequence <= self.items || event_id != self.last {
            return Err(malformed("item_appended.item.sequence"));
        }
        self.items = sequence;
        if by_worker {
            self.in_progress = None;
        }
        Ok((Change::Items(sequence, by_worker), if by_worker { Progress::Done } else { Progress::Kept }))
    }

    /// The envelope, of this worker.
    fn walk<'a>(&self, frame: &'a Bytes) -> Result<walk::Walked<'a>> {
        let walked = walk::frame(frame).map_err(|fault| {
            tracing::warn!(runtime_id = %self.runtime_id, worker_id = %self.worker_id, %fault, "a host's frame is malformed");
            malformed("a frame")
        })?;
        if walked.runtime_id != self.runtime_id.as_str() {
            return Err(wrong_identity());
        }
        if walked.worker_id != self.worker_id.as_str() {
            return Err(malformed("a frame of another worker"));
        }
        Ok(walked)
    }

    fn snapshot(&self, walked: &walk::Walked<'_>) -> Result<Standing> {
        if walked.kind != EventKind::Snapshot {
            return Err(malformed("a stream that does not begin with a snapshot"));
        }
        let standing = standing(&walked.body, &self.runtime_id)?;
        if standing.worker.worker_id == self.worker_id { Ok(standing) } else { Err(malformed("snapshot.worker")) }
    }

    /// Sequence and cursor of the frame are those of the last durable event.
    fn at_its_place(&self, walked: &walk::Walked<'_>) -> Result<()> {
        let cursor = Cursor::decode(walked.cursor, &self.worker_id).map_err(|fault| match fault {
            CursorFault::Malformed => malformed("cursor"),
            CursorFault::OtherWorker => malformed("a cursor of another worker"),
        })?;
        let right = walked.sequence == self.last && cursor == self.cursor();
        if right { Ok(()) } else { Err(malformed("a frame out of sequence")) }
    }
}

impl Publication {
    /// Brings a view of the worker to where this frame leads.
    pub(super) fn apply(&self, worker: &mut Worker) {
        worker.last_event_id = self.frame.sequence;
        match &self.change {
            Change::Nothing => {}
            // A final state is taken over with the end, which comes with it: nothing is to be told after it.
            Change::State(state) if state.is_final() => {}
            Change::State(state) => {
                // A worker is born before anyone can follow it: what starts now is another run.
                worker.run_generation += u64::from(*state == WorkerState::Starting);
                worker.state = *state;
                worker.can_accept_input = matches!(state, WorkerState::Starting | WorkerState::Running);
            }
            Change::Progress => worker.last_progress_at = Some(self.at),
            Change::Items(sequence, by_worker) => {
                worker.transcript_length = *sequence;
                if *by_worker {
                    worker.last_progress_at = Some(self.at);
                }
            }
            Change::Activity(activity, detail, since) => {
                (worker.activity, worker.activity_since) = (*activity, *since);
                worker.activity_detail.clone_from(detail);
            }
            Change::End(termination) => {
                worker.state = termination.reason.state();
                (worker.activity, worker.activity_detail) = (Activity::Idle, Box::default());
                worker.can_accept_input = false;
                worker.termination = Some((**termination).clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;
    use crate::runtime::fake::worker;

    #[test]
    fn what_a_worker_turned_to_while_its_host_was_away_is_told_once() {
        let before = worker("r", "w-1");
        let follower = Follower::new(&before.runtime_id, &before.worker_id, Incarnation::generate(), 7);
        assert_eq!(follower.turned(&before, &before), None);
        let since = Some(SystemTime::UNIX_EPOCH);
        let busy = Worker {
            activity: Activity::Busy,
            activity_detail: "thinking".into(),
            activity_since: since,
            ..before.clone()
        };
        let told = follower.turned(&before, &busy).unwrap();
        assert_eq!((told.sequence, told.kind), (7, EventKind::ActivityChanged));
        let frame = v1::ObservationFrame::decode(told.wire).unwrap();
        let Some(v1::observation_frame::Payload::ActivityChanged(change)) = frame.payload else { panic!("{frame:?}") };
        assert_eq!((change.activity(), change.detail.as_str()), (v1::WorkerActivity::Busy, "thinking"));
        assert_eq!(follower.turned(&busy, &busy), None);
        let ended = Worker { state: WorkerState::Failed, ..before };
        assert_eq!(follower.turned(&busy, &ended), None, "its end tells that");
    }
}
