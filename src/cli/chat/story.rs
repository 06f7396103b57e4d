//! A conversation as it is told: frames in, lines out. It knows which turns are open, what is asked, and how much of an
//! answer has been shown, so that nothing is shown twice: not as pieces and then as an item, nor again after a connection
//! was lost and the stream went on.

use std::collections::HashSet;
use std::io::{self, Write};
use std::time::Duration;

use super::screen::Screen;
use crate::cli::failure::described;
use crate::cli::frame::termination;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{
    Approval, ApprovalSettled, InProgress, ObservationFrame, OutputChannel, Snapshot, Termination, ToolCall,
    TranscriptItem, TranscriptRole, TurnEnded, WorkerState,
};

/// More of an answer than this is not kept to be compared with its item; none that an honest host sends is as long.
const LONGEST: usize = 512 * 1024;

/// Of a worker whose turns are over before it answers, and of one that may have died, more is to come.
const LATER: Duration = Duration::from_secs(1);
/// Of one that does not take its inputs any more, its end is.
const ENDING: Duration = Duration::from_secs(10);
/// The turn that was under way when we came.
const UNNAMED: &str = "";

/// What is known of a conversation.
#[derive(Debug)]
pub(super) struct Story<W> {
    pub(super) screen: Screen<W>,
    /// What it thinks is shown, too.
    thoughts: bool,
    /// Requests of inputs of ours that no event has told of yet.
    given: HashSet<String>,
    /// Items that such inputs become.
    items: HashSet<u64>,
    /// Turns of ours that are not over.
    ours: HashSet<String>,
    /// Turns of anybody's that have begun and are not over.
    begun: HashSet<String>,
    /// What is asked, the oldest first.
    asked: Vec<Question>,
    /// How many options all that was ever asked had: each has a number of its own, so that none is taken for another's that
    /// was shown before.
    numbers: usize,
    /// Which of them was last told as the one to be answered.
    first: String,
    /// Uses of tools of this turn that were told.
    tools: HashSet<String>,
    /// What was shown of the answer since its last item.
    shown: String,
    /// Bytes of the thought that were shown.
    thought: u64,
    /// What was being said at a snapshot, and the event behind which that comes.
    later: Option<(u64, InProgress)>,
    /// For how long it must be silent to have answered.
    pub(super) silence: Duration,
    /// How it ended.
    pub(super) ended: Option<Termination>,
}

/// Something that the worker asks to be allowed.
#[derive(Debug)]
struct Question {
    approval: Approval,
    /// The number of its first option.
    number: usize,
    /// An answer of ours is on its way.
    answered: bool,
}

impl<W: Write> Story<W> {
    pub(super) fn new(screen: Screen<W>, thoughts: bool) -> Self {
        Self {
            screen,
            thoughts,
            given: HashSet::new(),
            items: HashSet::new(),
            ours: HashSet::new(),
            begun: HashSet::new(),
            asked: Vec::new(),
            numbers: 0,
            first: String::new(),
            tools: HashSet::new(),
            shown: String::new(),
            thought: 0,
            later: None,
            silence: Duration::ZERO,
            ended: None,
        }
    }

    /// An input is on its way.
    pub(super) fn gives(&mut self, request_id: String) {
        self.silence = Duration::ZERO;
        self.given.insert(request_id);
    }

    /// An input was not taken.
    pub(super) fn refused(&mut self, request_id: &str) {
        self.given.remove(request_id);
    }

    /// What was to be heard next cannot be read any more: what became of turns is not known.
    pub(super) fn falls_behind(&mut self) -> io::Result<()> {
        self.forget();
        self.screen.note("what was said meanwhile is no longer kept; it goes on from now")
    }

    /// Events are lost: what became of turns and of questions is not known.
    fn forget(&mut self) {
        for open in [&mut self.given, &mut self.ours, &mut self.begun] {
            open.clear();
        }
        self.items.clear();
        self.asked.clear();
        self.first.clear();
        self.breaks_off();
    }

    /// What was being said is not gone on with.
    fn breaks_off(&mut self) {
        self.shown.clear();
        self.thought = 0;
    }

    /// Whether all that was given has had its turn.
    pub(super) fn is_done(&self) -> bool {
        self.given.is_empty() && self.items.is_empty() && self.ours.is_empty()
    }

    /// Whether a turn is under way, of whoever's input.
    pub(super) fn in_turn(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Whether a turn is under way where we come in.
    pub(super) fn joins(&mut self, in_turn: bool) {
        if in_turn {
            self.begun.insert(UNNAMED.to_owned());
        }
    }

    /// What was said before, to who joins.
    pub(super) fn before(&mut self, items: &[TranscriptItem]) -> io::Result<()> {
        items.iter().try_for_each(|item| self.item(item))
    }

    pub(super) fn tell(&mut self, frame: &ObservationFrame) -> io::Result<()> {
        match &frame.payload {
            Some(Payload::Snapshot(snapshot)) => self.snapshot(snapshot)?,
            Some(Payload::InputAccepted(input)) => {
                if self.given.remove(&input.request_id) {
                    self.items.insert(input.transcript_sequence);
                }
            }
            Some(Payload::ItemAppended(appended)) => {
                self.item(appended.item.as_ref().unwrap_or(&TranscriptItem::default()))?;
            }
            Some(Payload::OutputDelta(delta)) => self.delta(delta.channel(), delta.offset, &delta.text)?,
            Some(Payload::TurnStarted(turn)) => {
                self.begun.insert(turn.turn_id.clone());
                self.tools.clear();
            }
            Some(Payload::TurnEnded(turn)) => self.turn_ended(turn)?,
            Some(Payload::ToolCall(call)) => self.tool(call)?,
            Some(Payload::ApprovalRequested(asked)) => self.asks(asked.approval.clone().unwrap_or_default())?,
            Some(Payload::ApprovalSettled(settled)) => self.settled(settled)?,
            Some(Payload::Diagnostic(diagnostic)) => self.screen.note(&described(diagnostic))?,
            Some(Payload::Gap(gap)) => {
                self.forget();
                self.screen
                    .note(&format!("events {} to {} are gone: {}", gap.from_sequence, gap.to_sequence, gap.reason))?;
            }
            Some(Payload::End(end)) => self.ends(end.termination.clone().unwrap_or_default())?,
            // Another run goes on with nothing that the one before it was saying.
            Some(Payload::StateChanged(changed)) if changed.state() == WorkerState::Starting => {
                self.breaks_off();
                self.screen.finish()?;
            }
            Some(Payload::StateChanged(_) | Payload::ActivityChanged(_) | Payload::Heartbeat(_)) | None => {}
        }
        self.catch_up(frame.sequence)
    }

    /// What was being said at the snapshot follows the events that it has seen and we have not.
    fn snapshot(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let last = snapshot.worker.as_ref().map_or(0, |worker| worker.last_event_id);
        self.later = snapshot.in_progress.clone().map(|saying| (last, saying));
        if let Some(how) = ended_before(snapshot) {
            return self.ends(how.clone());
        }
        if snapshot.next_sequence > last { self.catch_up(last) } else { Ok(()) }
    }

    fn ends(&mut self, how: Termination) -> io::Result<()> {
        self.screen.note(&format!("the worker has ended: {}", termination(&how)))?;
        self.ended = Some(how);
        Ok(())
    }

    fn catch_up(&mut self, sequence: u64) -> io::Result<()> {
        match self.later.take_if(|(last, _)| *last <= sequence) {
            Some((_, saying)) => self.delta(saying.channel(), saying.offset, &saying.text),
            None => Ok(()),
        }
    }

    /// Shows what of a piece was not shown before. Behind a hole nothing is: its item has all of it.
    fn delta(&mut self, channel: OutputChannel, offset: u64, text: &str) -> io::Result<()> {
        if channel == OutputChannel::Thought {
            return self.think(offset, text);
        }
        if let Some(new) = unseen(self.shown.len() as u64, offset, text)
            && self.shown.len() + new.len() <= LONGEST
        {
            self.shown.push_str(new);
            self.screen.said(new)?;
        }
        Ok(())
    }

    fn think(&mut self, offset: u64, text: &str) -> io::Result<()> {
        if offset == 0 {
            self.thought = 0;
        }
        let Some(new) = unseen(self.thought, offset, text) else { return Ok(()) };
        self.thought += new.len() as u64;
        if self.thoughts { self.screen.thought(new) } else { Ok(()) }
    }

    fn item(&mut self, item: &TranscriptItem) -> io::Result<()> {
        match item.role() {
            TranscriptRole::User => return self.input(item),
            TranscriptRole::System => self.screen.note(&item.content)?,
            TranscriptRole::Assistant | TranscriptRole::Unspecified => self.answer(item)?,
        }
        match item.truncated_bytes {
            0 => Ok(()),
            bytes => self.screen.note(&format!("{bytes} bytes of it were dropped")),
        }
    }

    /// Shows what of an answer was not shown in pieces.
    fn answer(&mut self, item: &TranscriptItem) -> io::Result<()> {
        let shown = std::mem::take(&mut self.shown);
        if let Some(rest) = item.content.strip_prefix(&shown) {
            self.screen.said(rest)?;
        } else if let Some(more) = shown.strip_prefix(&item.content) {
            more.clone_into(&mut self.shown);
        } else {
            // What is stored counts.
            self.screen.note("the answer as it is kept:")?;
            self.screen.said(&item.content)?;
        }
        if item.continues { Ok(()) } else { self.screen.finish() }
    }

    fn input(&mut self, item: &TranscriptItem) -> io::Result<()> {
        if !self.items.remove(&item.sequence) {
            return self.screen.note(&format!("input: {}", item.content));
        }
        if item.turn_id.is_empty() {
            self.silence = LATER;
        } else {
            self.ours.insert(item.turn_id.clone());
        }
        self.screen.given(&item.content)
    }

    fn turn_ended(&mut self, turn: &TurnEnded) -> io::Result<()> {
        self.ours.remove(&turn.turn_id);
        self.begun.remove(&turn.turn_id);
        self.begun.remove(UNNAMED);
        self.silence = match turn.reason.as_str() {
            "written" | "failed" => LATER,
            "NOT_DELIVERED" | "RUNTIME_LOST" => ENDING,
            _ => Duration::ZERO,
        };
        match turn.reason.as_str() {
            "written" => Ok(()),
            "end_turn" => self.screen.finish(),
            reason => self.screen.note(&format!("the turn has ended: {reason}")),
        }
    }

    /// A line when it begins, and one when it is over.
    fn tool(&mut self, call: &ToolCall) -> io::Result<()> {
        let over = matches!(call.status.as_str(), "completed" | "failed");
        if self.tools.insert(call.call_id.clone()) || over {
            self.screen.note(&format!("tool: {} ({})", call.title, call.status))?;
        }
        Ok(())
    }

    /// Something is asked; who joins may hear of it twice.
    pub(super) fn asks(&mut self, approval: Approval) -> io::Result<()> {
        if self.asked.iter().any(|it| it.approval.approval_id == approval.approval_id) {
            return Ok(());
        }
        if self.question().is_none() {
            self.first.clone_from(&approval.approval_id);
        }
        let number = self.numbers + 1;
        self.numbers += approval.options.len();
        self.show(&approval, number)?;
        self.asked.push(Question { approval, number, answered: false });
        Ok(())
    }

    fn show(&mut self, approval: &Approval, first: usize) -> io::Result<()> {
        self.screen.note(&format!("may it? {} ({})", approval.title, approval.approval_id))?;
        for (number, option) in (first..).zip(&approval.options) {
            let kind = if option.kind.is_empty() { "meaning not known" } else { &option.kind };
            self.screen.note(&format!("  {number}) {} ({kind})", option.label))?;
        }
        Ok(())
    }

    fn settled(&mut self, settled: &ApprovalSettled) -> io::Result<()> {
        let ApprovalSettled { approval_id, option_id, caller } = settled;
        let at = self.asked.iter().position(|it| it.approval.approval_id == *approval_id);
        let options = at.map(|at| self.asked.remove(at).approval.options).unwrap_or_default();
        let label = options.iter().find(|option| option.option_id == *option_id).map_or(option_id, |it| &it.label);
        let how = match (option_id.as_str(), caller.as_str()) {
            ("", _) => "needs no answer any more".to_owned(),
            (_, "") => format!("was answered by the runtime: {label}"),
            _ => format!("was answered by {caller}: {label}"),
        };
        self.screen.note(&format!("{approval_id} {how}"))
    }

    /// What is to be answered first.
    pub(super) fn question(&self) -> Option<&Approval> {
        self.open().next().map(|it| &it.approval)
    }

    fn open(&self) -> impl Iterator<Item = &Question> {
        self.asked.iter().filter(|it| !it.answered)
    }

    /// The option that a line means, by its number alone: what else means consent, the agent would have the say in.
    pub(super) fn choice(&self, typed: &str) -> Option<(String, String)> {
        let number: usize = typed.trim().parse().ok()?;
        self.open().find_map(|Question { approval, number: first, .. }| {
            let option = approval.options.get(number.checked_sub(*first)?)?;
            Some((approval.approval_id.clone(), option.option_id.clone()))
        })
    }

    /// An answer is on its way, or came to nothing.
    pub(super) fn answers(&mut self, approval_id: &str, answered: bool) {
        if let Some(question) = self.asked.iter_mut().find(|it| it.approval.approval_id == approval_id) {
            question.answered = answered;
        }
    }

    /// Asks for what is to be typed next, where something is.
    pub(super) fn prompt(&mut self) -> io::Result<()> {
        let question = self.open().next().map(|it| (it.approval.clone(), it.number));
        match question {
            Some((asked, number)) => {
                let Approval { approval_id, options, .. } = &asked;
                if *approval_id != self.first {
                    self.show(&asked, number)?;
                    self.first.clone_from(approval_id);
                }
                self.screen.prompt(&format!("{approval_id}, answer {number}-{}", number + options.len() - 1))
            }
            None if !self.in_turn() && self.is_done() => self.screen.prompt(""),
            None => Ok(()),
        }
    }
}

/// How the worker ended, where its end has been told and nothing follows the snapshot.
pub(super) fn ended_before(snapshot: &Snapshot) -> Option<&Termination> {
    let worker = snapshot.worker.as_ref().filter(|worker| snapshot.next_sequence > worker.last_event_id)?;
    worker.termination.as_ref()
}

/// What of a piece comes behind the first `seen` bytes; none where there is a hole between, or nothing is new.
fn unseen(seen: u64, offset: u64, text: &str) -> Option<&str> {
    let known = usize::try_from(seen.checked_sub(offset)?).ok()?;
    text.get(known..).filter(|new| !new.is_empty())
}
