//! What is known of a worker, as five findings: reachable, alive, working, progressing, ended.
//!
//! Each has an answer, since when it holds, and what it rests on. Nothing here asks anybody: all that was heard goes in,
//! and where nothing was heard the answer is that it is not known.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use crate::cli::frame::{activity_word, state_word, termination};
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{
    Approval, Diagnostic, ObservationFrame, Runtime, RuntimeKind, RuntimeStatus, Worker, WorkerActivity, WorkerState,
};

/// All that was heard of a worker.
pub(super) struct Situation {
    /// None: its host cannot be reached, and the control plane has not heard of it.
    pub(super) worker: Option<Worker>,
    pub(super) runtime: Runtime,
    /// What it waits to be allowed.
    pub(super) approvals: Vec<Approval>,
    /// Its last events, the latest last.
    pub(super) recent: Vec<ObservationFrame>,
    /// Now, by the host's clock where that is known.
    pub(super) now: SystemTime,
}

/// How a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// It stands still until somebody answers it.
    Waits,
    NotKnown,
}

impl Answer {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Waits => "waits",
            Self::NotKnown => "not known",
        }
    }
}

/// One answer with what it rests on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) answer: Answer,
    /// When this came to be, or was last heard. None: not known.
    pub(super) since: Option<SystemTime>,
    /// In words, some of which may be the worker's.
    pub(super) evidence: String,
}

/// What a program is told by the exit code, and a person in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: u8,
    pub(super) words: &'static str,
}

impl Situation {
    /// The five, in the order in which one asks them.
    pub(super) fn findings(&self) -> [Finding; 5] {
        let heard = self.worker.as_ref();
        let of = |name, find: fn(&Self, &Worker) -> Found| {
            let unheard = (Answer::NotKnown, None, "the control plane has not heard of this worker".to_owned());
            let (answer, since, evidence) = heard.map_or(unheard, |worker| find(self, worker));
            Finding { name, answer, since, evidence }
        };
        let (answer, since, evidence) = self.reachable();
        [
            Finding { name: "reachable", answer, since, evidence },
            of("alive", Self::alive),
            of("working", Self::working),
            of("progressing", Self::progressing),
            of("ended", Self::ended),
        ]
    }

    /// The sum of it.
    pub(super) fn verdict(&self) -> Verdict {
        let (code, words) = match &self.worker {
            Some(worker) if worker.state() == WorkerState::Failed => (4, "it has failed"),
            Some(worker) if has(worker, END_NOT_STORED).is_some() => (4, "its program is gone"),
            Some(worker) if worker.termination.is_some() => (0, "it has ended as it was asked to"),
            Some(worker) if has(worker, QUARANTINED).is_some() => (5, "its records cannot be read"),
            Some(worker) if self.is_reached(worker) => match worker.activity() {
                WorkerActivity::Waiting => (3, "it waits for an answer"),
                _ if worker.state() == WorkerState::Starting => match has(worker, RUN_FAILED) {
                    Some(_) => (3, "it is between runs: its program failed, and is to be started again"),
                    None => (0, "it is not up yet"),
                },
                _ if has(worker, STALLED).is_some() => (3, "it has stalled"),
                _ => (0, "nothing is amiss"),
            },
            _ => (5, "its host cannot be reached: how it is now is not known"),
        };
        Verdict { code, words }
    }

    fn is_reached(&self, worker: &Worker) -> bool {
        !worker.stale && self.runtime_answers()
    }

    fn runtime_answers(&self) -> bool {
        matches!(self.runtime.status(), RuntimeStatus::Running | RuntimeStatus::Stopped)
    }

    fn reachable(&self) -> Found {
        if self.runtime.kind() == RuntimeKind::Embedded {
            return (Answer::Yes, Some(self.now), "its runtime is in the control plane, which answered".to_owned());
        }
        let seen = self.runtime.seen_age.and_then(|age| Duration::try_from(age).ok());
        let seen = seen.and_then(|age| self.now.checked_sub(age));
        if self.worker.as_ref().map_or(self.runtime_answers(), |worker| self.is_reached(worker)) {
            return (Answer::Yes, seen, "its host answers".to_owned());
        }
        let heard = if seen.is_some() { "its host was last heard of then" } else { "its host was never heard of" };
        let why = self.runtime.diagnostics.first().map(|why| format!(": {}", why.message)).unwrap_or_default();
        (Answer::No, seen, format!("{heard}{why}"))
    }

    fn alive(&self, worker: &Worker) -> Found {
        let (state, run) = (state_word(worker.state()), worker.run_generation);
        if let Some(end) = &worker.termination {
            return (Answer::No, time(end.ended_at), state);
        }
        if let Some(gone) = has(worker, END_NOT_STORED) {
            return (Answer::No, None, gone.message.clone());
        }
        if let Some(unread) = has(worker, QUARANTINED) {
            return (Answer::NotKnown, None, unread.message.clone());
        }
        if !self.is_reached(worker) {
            return (
                Answer::NotKnown,
                self.last_seen(worker),
                format!("it was {state} (run {run}) when last heard of"),
            );
        }
        let changed = self.latest(|payload| matches!(payload, Payload::StateChanged(_)));
        // A first run began as the worker did.
        let created = || (run <= 1).then(|| time(worker.created_at)).flatten();
        if worker.state() == WorkerState::Starting {
            let why = has(worker, RUN_FAILED).map_or("it is not up yet", |failed| &failed.message);
            let when = if has(worker, RUN_FAILED).is_some() { "between runs" } else { &state };
            return (Answer::No, changed.or_else(created), format!("{when}, run {run}: {why}"));
        }
        (Answer::Yes, changed.or_else(created), format!("{state}, run {run}"))
    }

    fn working(&self, worker: &Worker) -> Found {
        if let Some(gone) = self.past(worker) {
            return gone;
        }
        match worker.activity() {
            WorkerActivity::Idle => {
                let ended = || self.latest(|payload| matches!(payload, Payload::TurnEnded(_)));
                let since = time(worker.activity_since).or_else(ended);
                (Answer::No, since, "idle: it waits for input".to_owned())
            }
            WorkerActivity::Waiting => self.approvals.first().map_or_else(
                || (Answer::Waits, None, "for an answer".to_owned()),
                |it| (Answer::Waits, time(it.requested_at), format!("for leave ({}): {}", it.approval_id, it.title)),
            ),
            WorkerActivity::Busy => self.busy(worker),
            WorkerActivity::Unspecified if worker.state() == WorkerState::Starting => {
                (Answer::No, time(worker.created_at), "it is not up yet".to_owned())
            }
            WorkerActivity::Unspecified => (Answer::NotKnown, None, "its host does not say".to_owned()),
        }
    }

    /// What it is at; where its host does not say, as precisely as its last events do.
    fn busy(&self, worker: &Worker) -> Found {
        let mut turn = None;
        for frame in &self.recent {
            if let Some(Payload::TurnStarted(started)) = &frame.payload {
                turn = Some((time(frame.observed_at), &started.turn_id));
            }
        }
        let (since, turn) = turn.map_or((None, "a turn that began before its last events"), |(at, id)| (at, id));
        let detail = &worker.activity_detail;
        let evidence = if detail.is_empty() { format!("in {turn}") } else { format!("{detail}, in {turn}") };
        (Answer::Yes, time(worker.activity_since).or(since), evidence)
    }

    fn progressing(&self, worker: &Worker) -> Found {
        if let Some(gone) = self.past(worker) {
            return gone;
        }
        let last = time(worker.last_progress_at);
        if let Some(stalled) = has(worker, STALLED) {
            return (Answer::No, last, stalled.message.clone());
        }
        match (worker.activity(), last) {
            (WorkerActivity::Waiting, _) => (Answer::Waits, last, "it goes on when it is answered".to_owned()),
            (WorkerActivity::Busy, Some(at)) if self.now.duration_since(at).unwrap_or_default() > FRESH => {
                (Answer::NotKnown, last, "silent since then: it may think, or hang".to_owned())
            }
            (WorkerActivity::Busy, Some(_)) => (Answer::Yes, last, "its last sign of life".to_owned()),
            (WorkerActivity::Idle, Some(_)) => (Answer::No, last, "it has nothing to do".to_owned()),
            (_, None) => (Answer::NotKnown, None, "no sign of it since its runtime started".to_owned()),
            (_, Some(_)) => (Answer::NotKnown, last, "its last sign of life".to_owned()),
        }
    }

    fn ended(&self, worker: &Worker) -> Found {
        if let Some(end) = &worker.termination {
            let how = termination(end);
            let evidence = format!("{how} (run {}, event {})", end.run_generation, end.last_sequence);
            return (Answer::Yes, time(end.ended_at), evidence);
        }
        if self.is_reached(worker) {
            return (Answer::No, None, String::new());
        }
        (Answer::NotKnown, self.last_seen(worker), "it had not when last heard of".to_owned())
    }

    /// What is to be said of a worker that does nothing any more, or of which that is not known.
    fn past(&self, worker: &Worker) -> Option<Found> {
        if let Some(end) = &worker.termination {
            return Some((Answer::No, time(end.ended_at), "it has ended".to_owned()));
        }
        let activity = activity_word(worker.activity());
        (!self.is_reached(worker)).then(|| {
            (Answer::NotKnown, self.last_seen(worker), format!("its activity was {activity} when last heard of"))
        })
    }

    fn last_seen(&self, worker: &Worker) -> Option<SystemTime> {
        let age = worker.seen_age.and_then(|age| Duration::try_from(age).ok());
        age.and_then(|age| self.now.checked_sub(age)).or_else(|| time(worker.last_seen_at))
    }

    /// When the latest event that is `wanted` happened.
    fn latest(&self, wanted: impl Fn(&Payload) -> bool) -> Option<SystemTime> {
        let is_wanted = |frame: &&ObservationFrame| frame.payload.as_ref().is_some_and(&wanted);
        self.recent.iter().rev().find(is_wanted).and_then(|frame| time(frame.observed_at))
    }
}

/// An answer, since when, and why.
type Found = (Answer, Option<SystemTime>, String);

/// For how long a sign of life says that it gets on.
const FRESH: Duration = Duration::from_mins(1);
const RUN_FAILED: &str = "worker_run_failed";
const STALLED: &str = "stalled";
const QUARANTINED: &str = "worker_quarantined";
const END_NOT_STORED: &str = "worker_end_not_stored";

fn has<'a>(worker: &'a Worker, code: &str) -> Option<&'a Diagnostic> {
    worker.diagnostics.iter().find(|diagnostic| diagnostic.code == code)
}

pub(super) fn time(stamp: Option<Timestamp>) -> Option<SystemTime> {
    stamp.and_then(|stamp| SystemTime::try_from(stamp).ok())
}
