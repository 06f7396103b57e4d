//! What one worker was told, and whether it has exactly that.

use workplane::proto::v1::{OperationState, SendInputRequest, TranscriptItem, TranscriptRole};

use crate::load::asked;
use crate::support::{Frame, Worker};
use crate::watcher::Watcher;

/// What became of an input, once somebody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is this item of the transcript, by this event.
    Accepted { item: u64, event: u64 },
    /// Nothing of it happened: the worker had ended.
    Refused,
}

/// An input that was sent until somebody answered.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) lane: usize,
    pub(crate) request: SendInputRequest,
    pub(crate) outcome: Outcome,
}

/// A worker, what it was told, and who watched it.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) worker: Worker,
    /// Whether its program says each line that it is told.
    echoes: bool,
    pub(crate) sent: Vec<Sent>,
    watcher: Watcher,
}

impl Book {
    /// Of a worker to which nothing was said yet. It is watched from its first event on.
    pub(crate) fn open(worker: Worker, echoes: bool) -> Self {
        let watcher = Watcher::new(worker.clone());
        Self { worker, echoes, sent: Vec::new(), watcher }
    }

    /// Whether it is of this runtime and this kind.
    pub(crate) fn is_of(&self, runtime_id: &str, echoes: bool) -> bool {
        (self.worker.runtime_id.as_str(), self.echoes) == (runtime_id, echoes)
    }

    /// How many inputs it took.
    pub(crate) fn accepted(&self) -> usize {
        self.sent.iter().filter(|sent| sent.outcome != Outcome::Refused).count()
    }

    /// Holds the worker against this book: nothing lost, nothing doubled, nothing out of order, byte for byte, in the
    /// transcript as for who watched it all along.
    pub(crate) async fn check(&self) {
        let last = asked("a worker", || self.worker.try_get()).await.last_event_id;
        let mut items = asked("a transcript", || self.worker.try_transcript(256)).await;
        items.retain(|item| item.event_id <= last);
        self.check_inputs(&items);
        self.check_echoes(&items);
        let seen = self.watcher.up_to(last).await;
        let again = Watcher::new(self.worker.clone()).up_to(last).await;
        let id = &self.worker.worker_id;
        let bytes = |frames: &'_ [Frame]| frames.iter().map(|frame| frame.bytes.clone()).collect::<Vec<_>>();
        assert!(bytes(&seen) == bytes(&again), "{id}: who watched saw other events than there are");
        assert!(seen.iter().filter_map(|frame| frame.item()).eq(&items), "{id}: the transcript is not what was seen");
    }

    /// How many of the inputs that it took are in a transcript, which must be the first ones.
    pub(crate) fn beginning(&self, items: &[TranscriptItem]) -> usize {
        let mut accepted: Vec<_> = self.sent.iter().filter_map(Sent::accepted).collect();
        accepted.sort_unstable();
        let users = items.iter().filter(|item| item.role() == TranscriptRole::User);
        let users: Vec<_> = users.map(|item| (item.sequence, item.event_id - 1, item.content.as_str())).collect();
        assert!(accepted.starts_with(&users), "{}: it has what it never acknowledged", self.worker.worker_id);
        users.len()
    }

    fn check_inputs(&self, items: &[TranscriptItem]) {
        let id = &self.worker.worker_id;
        assert!(items.iter().map(|item| item.sequence).eq(1..=items.len() as u64), "{id}: items are missing");
        assert_eq!(self.beginning(items), self.accepted(), "{id}: what it acknowledged is not there");
        let lanes = self.sent.iter().map(|sent| sent.lane).max().map_or(0, |most| most + 1);
        for lane in 0..lanes {
            let sequences = self.sent.iter().filter(|sent| sent.lane == lane).filter_map(Sent::accepted);
            assert!(sequences.is_sorted_by(|a, b| a.0 < b.0), "{id}: lane {lane} is out of order");
        }
    }

    /// What its program says is what it was told, in order; what it was told last it may not have said.
    fn check_echoes(&self, items: &[TranscriptItem]) {
        if !self.echoes {
            return;
        }
        let mut users = items.iter().filter(|item| item.role() == TranscriptRole::User);
        for said in items.iter().filter(|item| item.role() == TranscriptRole::Assistant) {
            let id = &self.worker.worker_id;
            assert!(users.any(|user| user.content == said.content), "{id}: it said what it was not told: {said:?}");
        }
    }

    /// Sends some of what it took again: the answer must be the first one.
    pub(crate) async fn repeat(&self, some: usize) {
        let accepted: Vec<_> = self.sent.iter().filter(|sent| sent.outcome != Outcome::Refused).collect();
        let step = accepted.len().div_ceil(some).max(1);
        for sent in accepted.iter().rev().step_by(step) {
            let answer = asked("a repeat", || self.worker.try_send(sent.request.clone())).await;
            assert_eq!(Outcome::of(&answer), sent.outcome, "{}: another answer to a repeat", sent.request.request_id);
        }
    }

    /// Whether it has ended.
    pub(crate) async fn has_ended(&self) -> bool {
        asked("the worker", || self.worker.try_get()).await.termination.is_some()
    }
}

impl Outcome {
    pub(crate) fn of(answer: &workplane::proto::v1::SendInputResponse) -> Self {
        match answer.state() {
            OperationState::Accepted => Self::Accepted { item: answer.transcript_sequence(), event: answer.event_id() },
            _ => Self::Refused,
        }
    }
}

impl Sent {
    fn accepted(&self) -> Option<(u64, u64, &str)> {
        match self.outcome {
            Outcome::Accepted { item, event } => Some((item, event, &self.request.content)),
            Outcome::Refused => None,
        }
    }
}
