//! What a live worker does, as it is told: whether it works, at what and since when, and when it last showed that it goes
//! on. None of it is stored: what it rests on is, and what passed is only told to who listens.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::engine::row::WorkerRow;
use crate::model::{Activity, ActivityChange, DeltaChannel, Event, ToolCall, ToolStatus, Worker};

/// How long particulars that are news wait behind what was told last: what changes faster is not read, either.
const COALESCE: Duration = Duration::from_millis(250);

const WORKING: &str = "working";
const THINKING: &str = "thinking";
const ANSWERING: &str = "answering";

/// What a live worker does.
#[derive(Debug)]
pub(super) struct Doing {
    activity: Activity,
    detail: String,
    since: Option<SystemTime>,
    /// The use of a tool that the detail tells of.
    call: Option<Arc<str>>,
    /// When something was told last.
    told_at: Option<Instant>,
    /// When it is time to tell what is not told yet.
    due: Option<Instant>,
    /// When it last showed that it goes on, in ways that are not stored.
    progress_at: Option<SystemTime>,
}

impl Doing {
    /// A worker that was at nothing yet.
    pub(super) fn new() -> Self {
        let (activity, detail) = (Activity::Idle, String::new());
        Self { activity, detail, since: None, call: None, told_at: None, due: None, progress_at: None }
    }

    /// These events have landed, and have led to `row`.
    pub(super) fn landed<'e>(
        &mut self,
        row: &WorkerRow,
        events: impl IntoIterator<Item = &'e Event>,
        (at, now): (SystemTime, Instant),
    ) {
        let before = (self.activity, self.detail.clone());
        for event in events {
            self.event(event, at);
        }
        let is_new = std::mem::replace(&mut self.activity, row.activity()) != self.activity;
        if self.activity == Activity::Idle {
            (self.detail, self.call) = (String::new(), None);
        } else if self.detail.is_empty() {
            WORKING.clone_into(&mut self.detail);
        }
        if row.state.is_final() {
            // Nothing is told behind the end.
            self.due = None;
        } else if (self.activity, &self.detail) != (before.0, &before.1) {
            self.since = Some(at);
            let soonest = self.told_at.filter(|_| !is_new).map_or(now, |told| (told + COALESCE).max(now));
            self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
        }
    }

    fn event(&mut self, event: &Event, at: SystemTime) {
        match event {
            Event::TurnStarted { .. } => WORKING.clone_into(&mut self.detail),
            Event::OutputDelta(delta) => {
                let words = if delta.channel == DeltaChannel::Thought { THINKING } else { ANSWERING };
                words.clone_into(&mut self.detail);
                self.alive(at);
            }
            Event::ToolCall(call) => self.tool(call),
            _ => {}
        }
    }

    fn tool(&mut self, call: &ToolCall) {
        match call.status {
            ToolStatus::Pending | ToolStatus::InProgress => {
                self.detail = format!("tool: {}", call.title);
                self.call = Some(Arc::clone(&call.call_id));
            }
            ToolStatus::Completed | ToolStatus::Failed if self.call.as_ref() == Some(&call.call_id) => {
                WORKING.clone_into(&mut self.detail);
                self.call = None;
            }
            ToolStatus::Completed | ToolStatus::Failed => {}
        }
    }

    /// It showed that it goes on.
    pub(super) fn alive(&mut self, at: SystemTime) {
        self.progress_at = Some(at);
    }

    /// When it is time to tell what is not told yet.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be told now, once.
    pub(super) fn news(&mut self, now: Instant) -> Option<Event> {
        self.due.filter(|due| *due <= now)?;
        (self.due, self.told_at) = (None, Some(now));
        let (activity, detail, since) = (self.activity, self.detail.clone(), self.since?);
        Some(Event::ActivityChanged(ActivityChange { activity, detail, since }))
    }

    /// Brings a view of the worker up to it.
    pub(super) fn show(&self, worker: &mut Worker) {
        worker.last_progress_at = worker.last_progress_at.max(self.progress_at);
        if worker.state.is_final() {
            (worker.activity_detail, worker.activity_since) = (Box::default(), None);
        } else if *worker.activity_detail != *self.detail || worker.activity_since != self.since {
            (worker.activity_detail, worker.activity_since) = (self.detail.as_str().into(), self.since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::agent_row;
    use crate::model::{OutputDelta, TurnId, WorkerState};

    const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

    fn in_turn() -> WorkerRow {
        WorkerRow { state: WorkerState::Running, picked_up: 3, last_accepted: Some(3), ..agent_row() }
    }

    fn piece(channel: DeltaChannel) -> Event {
        Event::OutputDelta(OutputDelta { turn_id: TurnId::from("turn-3"), channel, offset: 0, text: "x".to_owned() })
    }

    fn tool(id: &str, status: ToolStatus) -> Event {
        let (turn_id, title) = (TurnId::from("turn-3"), format!("Read {id}"));
        Event::ToolCall(ToolCall { turn_id, call_id: id.into(), title, status })
    }

    fn told(event: Option<Event>) -> Option<(Activity, String)> {
        match event {
            Some(Event::ActivityChanged(change)) => Some((change.activity, change.detail)),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn an_agent_works_from_one_turn_to_the_next_as_long_as_there_is_one() {
        let of = |state, picked_up, turns_ended, last_accepted| {
            WorkerRow { state, picked_up, turns_ended, last_accepted: Some(last_accepted), ..agent_row() }.activity()
        };
        assert_eq!(of(WorkerState::Running, 0, 0, 0), Activity::Idle);
        assert_eq!(of(WorkerState::Running, 3, 0, 3), Activity::Busy);
        assert_eq!(of(WorkerState::Running, 3, 3, 7), Activity::Busy, "the next is about to begin");
        assert_eq!(of(WorkerState::Running, 7, 7, 7), Activity::Idle);
        assert_eq!(of(WorkerState::Starting, 3, 3, 7), Activity::Idle, "nothing begins yet");
        assert_eq!(of(WorkerState::Stopping, 3, 3, 7), Activity::Idle, "nothing begins any more");
        assert_eq!(of(WorkerState::Stopping, 7, 3, 7), Activity::Busy);
        assert_eq!(of(WorkerState::Failed, 7, 3, 7), Activity::Idle);
    }

    #[test]
    fn a_change_of_activity_is_told_at_once_and_particulars_after_a_while() {
        let (mut doing, start) = (Doing::new(), Instant::now());
        let row = in_turn();
        let started = Event::TurnStarted { turn_id: TurnId::from("turn-3"), request_id: None };
        doing.landed(&row, [&started], (EPOCH, start));
        assert_eq!(told(doing.news(start)), Some((Activity::Busy, WORKING.to_owned())));
        for channel in [DeltaChannel::Thought, DeltaChannel::Output] {
            doing.landed(&row, [&piece(channel)], (EPOCH, start));
            assert_eq!(told(doing.news(start)), None);
        }
        let due = doing.due().unwrap();
        assert_eq!(due, start + COALESCE);
        assert_eq!(told(doing.news(due)), Some((Activity::Busy, ANSWERING.to_owned())));
        doing.landed(&row, [&piece(DeltaChannel::Output)], (EPOCH, due));
        assert_eq!(doing.due(), None, "nothing is new");
        let idle = WorkerRow { turns_ended: 3, ..row };
        doing.landed(&idle, [], (EPOCH, due));
        assert_eq!(told(doing.news(due)), Some((Activity::Idle, String::new())));
    }

    #[test]
    fn a_tool_is_told_of_until_it_is_done() {
        let (mut doing, now, row) = (Doing::new(), Instant::now(), in_turn());
        let mut after = |event| {
            doing.landed(&row, [&event], (EPOCH, now));
            doing.detail.clone()
        };
        assert_eq!(after(tool("a", ToolStatus::InProgress)), "tool: Read a");
        assert_eq!(after(tool("b", ToolStatus::Pending)), "tool: Read b");
        assert_eq!(after(tool("a", ToolStatus::Completed)), "tool: Read b");
        assert_eq!(after(tool("b", ToolStatus::Failed)), WORKING);
    }

    #[test]
    fn a_program_of_lines_is_not_known_to_be_at_anything() {
        let mut doing = Doing::new();
        let origin = crate::engine::row::WorkerOrigin { display_hint: "lines", ..(*agent_row().origin).clone() };
        let row = WorkerRow { origin: origin.into(), ..in_turn() };
        doing.landed(&row, [&piece(DeltaChannel::Output)], (EPOCH, Instant::now()));
        assert_eq!((doing.activity, doing.detail.as_str(), doing.due()), (Activity::Idle, "", None));
        assert_eq!(doing.progress_at, Some(EPOCH));
    }

    #[test]
    fn nothing_is_told_behind_the_end() {
        let (mut doing, now) = (Doing::new(), Instant::now());
        doing.landed(&in_turn(), [], (EPOCH, now));
        doing.landed(&WorkerRow { state: WorkerState::Failed, ..in_turn() }, [], (EPOCH, now));
        assert_eq!(doing.due(), None);
    }
}
