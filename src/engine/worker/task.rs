//! The loop of a live worker: stage, submit, land, acknowledge, publish.
//!
//! It never waits for a commit before it goes on to the next input: what is submitted is in flight, in order, and is
//! acknowledged and published in order as it lands. So many inputs share one commit, and many commits one sync. When one
//! fails, all that was staged on it fails too: their callers are told, and the task goes back to what the store has.
//!
//! While the store is full, inputs are refused at once, and what the program says is held: it waits at its pipe. A wish to
//! end is staged alone and before all else, so that it fails for no fault but its own; a worker that has ended and
//! whose last words still find no room ends without them, and says how much they were.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::doing::Doing;
use super::draft::Draft;
use super::flight::{
    Answer, InFlight, front, not_running, refuse_answer, refuse_input, said_again, said_bytes, store_error,
};
use super::held::MAX_BYTES;
use super::next_run::NextRun;
use super::stage::Stage;
use super::{Command, CutCommand, InputCommand, StopCommand, interrupt};
use crate::engine::driver::{Link, Report};
use crate::engine::parts::EngineParts;
use crate::engine::profile::Profile;
use crate::engine::row::tell_end_not_stored;
use crate::engine::store::{StoreFault, StoredWorker};
use crate::engine::tail::{Progress, Tail};
use crate::failpoint::failpoint;
use crate::model::{Event, InProgress, InputDelivery, StopMode};

/// How many commits may be in flight; more holds inputs and output back. Each may be that of a single input: with fewer
/// than there are callers, those who are held back miss the next sync.
const MAX_IN_FLIGHT: usize = 128;
/// How many commands or reports are staged at once.
const MAX_STAGED: usize = 64;
/// How long to wait before facts are staged anew after a failed commit; doubled up to a second.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a task is made of.
pub(in crate::engine) struct TaskParts {
    pub engine: Arc<EngineParts>,
    pub tail: Arc<Tail>,
    pub inbox: mpsc::Receiver<Command>,
    pub profile: Arc<Profile>,
    pub link: Option<Link>,
    /// The worker as it has landed.
    pub stage: Stage,
    pub landed: StoredWorker,
}

/// A live worker.
pub(in crate::engine) struct Task {
    pub(super) parts: TaskParts,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) in_progress: Option<InProgress>,
    pub(super) doing: Doing,
    /// What the program was told of its end.
    ordered: Option<StopMode>,
    pub(super) pause: Duration,
    /// When facts are staged anew, after a commit failed for this.
    resume: Option<(Instant, StoreFault)>,
    /// Somebody asked for the end of what had ended already.
    asked: bool,
    pub(super) next_run: Option<NextRun>,
}

impl Task {
    pub(crate) fn new(parts: TaskParts) -> Self {
        Self {
            parts,
            in_flight: VecDeque::new(),
            in_progress: None,
            doing: Doing::new(),
            ordered: None,
            pause: FIRST_PAUSE,
            resume: None,
            asked: false,
            next_run: None,
        }
    }

    /// Runs until the worker's end has landed, or the engine is gone.
    pub(crate) async fn run(mut self) {
        // What was handed to this task may already call for something: an end, or turns.
        self.now();
        self.advance(Vec::new());
        let mut commands = Vec::new();
        let mut reports = Vec::new();
        while !(self.parts.landed.row.state.is_final() && self.in_flight.is_empty()) {
            let room = self.in_flight.len() < MAX_IN_FLIGHT;
            let resume_at = self.resume.map(|(at, _)| at);
            // While the store is full, some commands are answered all the same, and the last words of who ends are heard.
            let takes = room && (resume_at.is_none() || self.is_full());
            let hears = room && self.hears();
            tokio::select! {
                outcome = front(&mut self.in_flight) => match outcome {
                    Ok(_) => {
                        self.land();
                        // A landing makes room for inputs that wait.
                        self.now();
                        self.advance(Vec::new());
                    }
                    Err(fault) => self.fall_back(fault).await,
                },
                () = due(self.parts.stage.question_due()), if room && resume_at.is_none() => self.refuse_overdue(),
                () = due(self.doing.due()) => self.tell_doing(),
                () = sleep_until(resume_at.unwrap_or_else(Instant::now)), if resume_at.is_some() => self.resume(),
                count = self.parts.inbox.recv_many(&mut commands, MAX_STAGED), if takes => {
                    if count == 0 {
                        return;
                    }
                    self.decide(&mut commands);
                }
                () = next_reports(&mut self.parts.link, &mut reports), if hears => self.note(&mut reports),
                executed = NextRun::progress(&mut self.next_run), if room && resume_at.is_none() => match executed {
                    None => self.execute(),
                    Some(executed) => self.executed(executed),
                },
            }
        }
        self.close().await;
    }

    pub(super) fn now(&mut self) {
        self.parts.stage.at(self.parts.engine.clock.now());
    }

    /// Whether more is heard of the program: while no more of it is in flight than could be held. After a failure that is
    /// once something has landed, or nothing is left to be tried: otherwise each attempt would add to what is held.
    fn hears(&self) -> bool {
        match self.resume {
            None if self.in_flight.iter().map(|batch| batch.said).sum::<usize>() >= MAX_BYTES => false,
            None => self.pause == FIRST_PAUSE || self.in_flight.is_empty(),
            Some(_) => self.is_full() && self.parts.stage.is_ending(),
        }
    }

    /// Whether the last commit found no room, and it is not yet time to try again.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.resume, Some((_, StoreFault::Full)))
    }

    /// Decides on commands: inputs as one batch, and what ends or makes room each as its own.
    fn decide(&mut self, commands: &mut Vec<Command>) {
        self.now();
        let mut answers = Vec::new();
        for command in commands.drain(..) {
            match command {
                Command::Input(input) if self.is_full() => refuse_input(input, store_error(StoreFault::Full)),
                Command::Input(mut input) => match self.parts.stage.input(&mut input) {
                    Ok((ack, receipt)) => {
                        let InputCommand { reply, hold, delivery, .. } = input;
                        answers.push(Answer::Input(reply, ack, hold.zip(receipt)));
                        if delivery == InputDelivery::Interrupt {
                            answers.push(Answer::Interrupt(self.parts.stage.make_way()));
                        }
                    }
                    Err(error) => refuse_input(input, error),
                },
                Command::Answer(answer) if self.is_full() => refuse_answer(answer, store_error(StoreFault::Full)),
                Command::Answer(answer) => answers.push(self.decide_answer(answer)),
                Command::Interrupt(interrupt) => answers.extend(self.interrupt(interrupt)),
                Command::Stop(stop) => {
                    self.advance(std::mem::take(&mut answers));
                    self.end(stop);
                }
                Command::Cut(CutCommand { cut, reply }) => {
                    self.advance(std::mem::take(&mut answers));
                    self.parts.stage.cut(cut);
                    self.advance(vec![Answer::Cut(reply)]);
                }
            }
        }
        self.advance(answers);
    }

    /// Decides on a wish to end.
    fn end(&mut self, StopCommand { wish, hold, reply }: StopCommand) {
        let stage = &mut self.parts.stage;
        let receipt = stage.stop(wish.clone(), hold.as_ref());
        self.asked |= stage.has_exited();
        self.advance(vec![Answer::Stop(wish, reply, hold.zip(receipt))]);
        if self.asked && self.is_full() {
            self.resume();
        }
    }

    /// It is time to stage what is held anew.
    fn resume(&mut self) {
        self.resume = None;
        self.now();
        let mut more = true;
        while more {
            more = self.parts.stage.release(MAX_STAGED);
            self.advance(Vec::new());
        }
    }

    /// Takes in what the driver told.
    fn note(&mut self, reports: &mut Vec<Report>) {
        self.now();
        let stage = &mut self.parts.stage;
        let mut is_over = false;
        for report in reports.drain(..) {
            match report {
                Report::Over => stage.over(),
                Report::TurnEnded(turn_id, reason) => stage.turn_ended(&turn_id, reason),
                Report::Told(fact) => stage.told(fact),
                // What is in the making is told in its place, or not at all.
                Report::Delta(_) if self.resume.is_some() => {}
                Report::Delta(delta) => stage.passing(Event::OutputDelta(delta)),
                Report::Alive => {
                    self.doing.alive(stage.now);
                    self.parts.tail.publish(|view| self.doing.show(view), Progress::Kept, []);
                }
                Report::State(left) => stage.leaves(left),
                Report::Ready => stage.ready(),
                Report::Exited(exit) => {
                    stage.exited(exit);
                    self.parts.link = None;
                    // Nothing more will be said: what is held is tried once more.
                    is_over = self.resume.is_some();
                }
            }
        }
        self.advance(Vec::new());
        if is_over {
            self.resume();
        }
    }

    /// Stages what follows, and submits what was staged.
    pub(super) fn advance(&mut self, answers: Vec<Answer>) {
        self.stage_and_submit(answers);
        self.plan();
    }

    fn stage_and_submit(&mut self, answers: Vec<Answer>) {
        let stage = &mut self.parts.stage;
        stage.advance();
        let stop_mode = stage.stop_mode();
        let (Draft { steps, .. }, batch) = stage.take();
        if steps.is_empty() && answers.is_empty() && batch.is_none() {
            return;
        }
        let row = batch.as_ref().and_then(|batch| Some(batch.worker.as_ref()?.row.clone()));
        let vital = batch.as_ref().is_some_and(|batch| batch.vital);
        let commit = batch.map(|batch| self.parts.engine.store.commit(batch));
        self.in_flight.push_back(InFlight { commit, said: said_bytes(&steps), steps, row, stop_mode, vital, answers });
    }

    /// Tells the program to end, once for each mode.
    pub(super) fn order_end(&mut self, mode: Option<StopMode>) {
        let Some(link) = &mut self.parts.link else { return };
        if self.parts.stage.is_handed_over() || mode == Some(StopMode::Force) {
            // Its input is closed behind the last of them.
            link.deliveries = None;
        }
        if mode.is_some() && self.ordered != mode && self.ordered != Some(StopMode::Force) {
            failpoint!("stop-before-order");
            self.ordered = mode;
            // There is room for each mode once; a driver that is gone needs no order.
            let _ = mode.map(|mode| link.end.try_send(mode));
        }
    }

    /// A commit failed, and all that was staged on it with it: tells who waits, and goes back to what the store has.
    /// What the program said and did is a fact: it is staged anew after a pause.
    async fn fall_back(&mut self, fault: StoreFault) {
        let worker_id = self.parts.landed.row.worker_id().clone();
        if self.pause == FIRST_PAUSE {
            tracing::warn!(%worker_id, %fault, "a commit failed; its callers are told, and the worker goes on");
        } else {
            tracing::debug!(%worker_id, %fault, "a commit failed again");
        }
        if let Some(failed) = self.in_flight.front_mut() {
            failed.commit = None;
        }
        for batch in &mut self.in_flight {
            if let Some(commit) = batch.commit.take() {
                // None of these lands without the first; once awaited, none is on its way any more.
                let _ = commit.await;
            }
        }
        // What is in the store has landed, whatever was said of it; what that is is in memory, too, and need not be read.
        let landed = self.parts.engine.store.revision(&worker_id).unwrap_or_default();
        while self.parts.landed.revision < landed && !self.in_flight.is_empty() {
            self.land();
        }
        let (mut said, mut stops) = (Vec::new(), Vec::new());
        // What ends something and was the first to fail did so for a fault of its own: it is not tried again at once.
        let mut own = self.in_flight.front().is_some_and(|batch| batch.vital);
        let was_vital = own;
        for batch in std::mem::take(&mut self.in_flight) {
            stops.extend(batch.answers.into_iter().filter_map(|answer| answer.failed(fault, own)));
            said.extend(batch.steps.into_iter().filter(|step| step.said).filter_map(|step| said_again(step.event)));
            own = false;
        }
        self.now();
        let StoredWorker { revision, row } = &self.parts.landed;
        self.parts.stage.revert((**row).clone(), *revision, said);
        self.parts.stage.broken_off = interrupt::told(self.parts.link.as_ref());
        self.resume = Some((Instant::now() + self.pause, fault));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.tell_if_lasting(fault);
        let stage = &mut self.parts.stage;
        if fault == StoreFault::Full && !was_vital && stage.has_exited() && (stage.is_ending() || self.asked) {
            stage.give_up();
            self.advance(Vec::new());
        }
        for stop in stops {
            self.end(stop);
        }
    }

    /// Says of a worker whose program is gone that this is not stored, where that lasts: it looks like one that runs.
    fn tell_if_lasting(&self, fault: StoreFault) {
        let lasts = self.pause == LONGEST_PAUSE && fault != StoreFault::Overloaded;
        if lasts && self.parts.stage.has_exited() {
            self.parts.tail.publish(|view| tell_end_not_stored(view, fault), Progress::Kept, []);
        }
    }

    /// The worker has ended: who still asks is told so.
    async fn close(&mut self) {
        self.parts.inbox.close();
        // Also those who have a place already and have not used it yet: nobody keeps one across an await.
        while let Some(command) = self.parts.inbox.recv().await {
            match command {
                Command::Input(input) => refuse_input(input, not_running()),
                Command::Answer(answer) => self.refuse_late(answer),
                Command::Interrupt(interrupt) => interrupt.refuse(not_running()),
                // Whoever asked may have gone.
                Command::Stop(StopCommand { reply, .. }) => _ = reply.send(Ok(())),
                Command::Cut(CutCommand { reply, .. }) => _ = reply.send(Err(not_running())),
            }
        }
    }
}

/// Waits for an instant; for ever, where there is none.
async fn due(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

/// The next reports; never, where there is no driver.
async fn next_reports(link: &mut Option<Link>, reports: &mut Vec<Report>) {
    match link {
        Some(link) => {
            if link.reports.recv_many(reports, MAX_STAGED).await == 0 {
                // A driver reports its exit before it goes; without that, its runtime is going.
                pending::<()>().await;
            }
        }
        None => pending().await,
    }
}
