//! What is said of a worker in each situation that it can be in.

use super::findings::{Answer, Finding, Situation};
use super::*;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{
    Diagnostic, RuntimeKind, RuntimeStatus, StateChanged, Termination, TerminationReason, TurnEnded, TurnStarted,
    WorkerState,
};

const NOW: u64 = 1_000;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn stamp(second: u64) -> prost_types::Timestamp {
    at(second).into()
}

/// A worker of a host that answers, with this activity.
fn situation(activity: WorkerActivity) -> Situation {
    let worker = Worker {
        state: WorkerState::Running.into(),
        activity: activity.into(),
        run_generation: 1,
        created_at: Some(stamp(100)),
        last_progress_at: Some(stamp(940)),
        ..Worker::default()
    };
    let runtime = Runtime {
        kind: RuntimeKind::Remote.into(),
        status: RuntimeStatus::Running.into(),
        seen_age: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        ..Runtime::default()
    };
    let (approvals, recent) = (Vec::new(), Vec::new());
    Situation { worker: Some(worker), runtime, approvals, recent, now: at(NOW) }
}

impl Situation {
    fn with(mut self, change: impl FnOnce(&mut Worker)) -> Self {
        change(self.worker.as_mut().unwrap());
        self
    }

    fn event(mut self, second: u64, payload: Payload) -> Self {
        self.recent.push(ObservationFrame {
            observed_at: Some(stamp(second)),
            payload: Some(payload),
            ..ObservationFrame::default()
        });
        self
    }

    fn lost(mut self) -> Self {
        self.runtime.status = RuntimeStatus::Unavailable.into();
        self.runtime.seen_age = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        self.with(|worker| {
            worker.stale = true;
            worker.seen_age = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        })
    }

    fn found(&self, name: &str) -> Finding {
        self.findings().into_iter().find(|finding| finding.name == name).unwrap()
    }

    fn answers(&self) -> [Answer; 5] {
        self.findings().map(|finding| finding.answer)
    }
}

fn diagnostic(code: &str) -> Diagnostic {
    Diagnostic { code: code.to_owned(), severity: 2, message: format!("{code}, and why") }
}

use Answer::{No, NotKnown, Waits, Yes};

#[test]
fn an_idle_worker_is_alive_and_has_nothing_to_do() {
    let turn = TurnEnded { turn_id: "turn-1".to_owned(), reason: "end_turn".to_owned() };
    let idle = situation(WorkerActivity::Idle).event(900, Payload::TurnEnded(turn));
    assert_eq!(idle.answers(), [Yes, Yes, No, No, No]);
    assert_eq!(idle.verdict().code, 0);
    assert_eq!(idle.found("working").since, Some(at(900)));
    assert_eq!(idle.found("progressing").since, Some(at(940)));
    assert_eq!(idle.found("alive").since, Some(at(100)), "its first run began as it did");
    assert_eq!(idle.found("reachable").since, Some(at(NOW - 2)));
}

#[test]
fn a_busy_worker_is_told_with_what_it_is_at_and_since_when() {
    let turn = TurnStarted { turn_id: "turn-2".to_owned(), ..TurnStarted::default() };
    let busy = situation(WorkerActivity::Busy).event(910, Payload::TurnStarted(turn));
    assert_eq!(busy.answers(), [Yes, Yes, Yes, Yes, No]);
    assert_eq!((busy.found("working").since, busy.found("working").evidence), (Some(at(910)), "in turn-2".to_owned()));
    let busy = busy.with(|worker| {
        worker.activity_detail = "tool: Read it".to_owned();
        worker.activity_since = Some(stamp(930));
    });
    let working = busy.found("working");
    assert_eq!((working.since, working.evidence.as_str()), (Some(at(930)), "tool: Read it, in turn-2"));
    assert_eq!(busy.verdict().code, 0);
}

#[test]
fn one_that_waits_says_for_what() {
    let mut waiting = situation(WorkerActivity::Waiting);
    waiting.approvals.push(Approval {
        approval_id: "approval-1".to_owned(),
        title: "Delete it".to_owned(),
        requested_at: Some(stamp(950)),
        ..Approval::default()
    });
    assert_eq!(waiting.answers(), [Yes, Yes, Waits, Waits, No]);
    assert_eq!(waiting.verdict().code, 3);
    let working = waiting.found("working");
    assert_eq!((working.since, working.evidence.as_str()), (Some(at(950)), "for leave (approval-1): Delete it"));
}

#[test]
fn one_that_has_stalled_does_not_progress_and_is_alive() {
    let stalled = situation(WorkerActivity::Busy).with(|worker| worker.diagnostics.push(diagnostic("stalled")));
    assert_eq!(stalled.answers(), [Yes, Yes, Yes, No, No]);
    assert_eq!(stalled.verdict().code, 3);
    assert_eq!(stalled.found("progressing").evidence, "stalled, and why");
}

#[test]
fn of_one_whose_host_cannot_be_reached_nothing_is_known_but_what_was() {
    let lost = situation(WorkerActivity::Busy).lost();
    assert_eq!(lost.answers(), [No, NotKnown, NotKnown, NotKnown, NotKnown]);
    assert_eq!(lost.verdict().code, 5);
    assert_eq!(lost.found("alive").since, Some(at(NOW - 60)));
    assert_eq!(lost.found("alive").evidence, "it was running (run 1) when last heard of");
    assert_eq!(lost.found("working").evidence, "its activity was busy when last heard of");

    let unheard = Situation { worker: None, ..situation(WorkerActivity::Idle).lost() };
    assert_eq!(unheard.answers(), [No, NotKnown, NotKnown, NotKnown, NotKnown]);
    assert_eq!(unheard.verdict().code, 5);
}

#[test]
fn an_end_is_known_also_where_the_host_is_not_reached() {
    let ended = |state: WorkerState, reason: TerminationReason| {
        situation(WorkerActivity::Unspecified).with(|worker| {
            worker.state = state.into();
            worker.termination = Some(Termination {
                reason: reason.into(),
                signal: Some(9),
                message: "gone".to_owned(),
                ended_at: Some(stamp(970)),
                run_generation: 2,
                last_sequence: 17,
                ..Termination::default()
            });
        })
    };
    let failed = ended(WorkerState::Failed, TerminationReason::Killed);
    assert_eq!(failed.answers(), [Yes, No, No, No, Yes]);
    assert_eq!(failed.verdict().code, 4);
    let how = failed.found("ended");
    assert_eq!((how.since, how.evidence.as_str()), (Some(at(970)), "killed, signal 9: gone (run 2, event 17)"));
    assert_eq!(failed.lost().answers(), [No, No, No, No, Yes]);
    let stopped = ended(WorkerState::Stopped, TerminationReason::Stopped);
    assert_eq!((stopped.answers(), stopped.verdict().code), ([Yes, No, No, No, Yes], 0));
}

#[test]
fn what_the_store_cannot_say_is_not_made_up() {
    let quarantined =
        situation(WorkerActivity::Unspecified).with(|it| it.diagnostics.push(diagnostic("worker_quarantined")));
    assert_eq!((quarantined.found("alive").answer, quarantined.verdict().code), (NotKnown, 5));
    let gone = situation(WorkerActivity::Idle).with(|it| it.diagnostics.push(diagnostic("worker_end_not_stored")));
    assert_eq!((gone.found("alive").answer, gone.verdict().code), (No, 4));
}

#[test]
fn a_later_run_began_when_its_state_changed_and_else_that_is_not_known() {
    let second = || situation(WorkerActivity::Busy).with(|worker| worker.run_generation = 2);
    assert_eq!(second().found("alive").since, None);
    let changed = Payload::StateChanged(StateChanged { state: WorkerState::Running.into() });
    assert_eq!(second().event(800, changed).found("alive").since, Some(at(800)));
}

#[test]
fn no_sign_of_life_is_no_claim_of_progress() {
    let silent = situation(WorkerActivity::Busy).with(|worker| worker.last_progress_at = None);
    assert_eq!(silent.found("progressing").answer, NotKnown);
    let long_ago = situation(WorkerActivity::Busy).with(|worker| worker.last_progress_at = Some(stamp(NOW - 61)));
    assert_eq!((long_ago.found("progressing").answer, long_ago.verdict().code), (NotKnown, 0));
}

#[test]
fn an_age_is_never_below_nothing() {
    assert_eq!(age(Some(at(NOW + 5)), at(NOW)), "0s");
    assert_eq!(age(Some(at(NOW - 61)), at(NOW)), "1m 1s");
    assert_eq!(age(None, at(NOW)), "");
    assert_eq!((short("é".repeat(5).as_str(), 3), short("abc", 3)), ("ééé…".to_owned(), "abc".to_owned()));
}

#[test]
fn one_between_two_runs_is_not_alive_and_says_why() {
    let starting = |run| {
        situation(WorkerActivity::Unspecified).with(|worker| {
            worker.state = WorkerState::Starting.into();
            worker.run_generation = run;
        })
    };
    let crashing = starting(3).with(|worker| worker.diagnostics.push(diagnostic("worker_run_failed")));
    assert_eq!((crashing.found("alive").answer, crashing.verdict().code), (No, 3));
    assert_eq!(crashing.found("alive").evidence, "between runs, run 3: worker_run_failed, and why");
    assert_eq!((starting(1).found("alive").answer, starting(1).verdict().code), (No, 0));
}
