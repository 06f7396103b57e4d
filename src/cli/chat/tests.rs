//! What is shown of a conversation, frame by frame.

use tonic::transport::Endpoint;

use super::screen::{Screen, printed};
use super::story::Story;
use super::*;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{
    Approval, ApprovalOption, ApprovalRequested, ApprovalSettled, Gap, InProgress, InputAccepted, ItemAppended,
    ObservationFrame, OutputChannel, OutputDelta, Snapshot, StateChanged, ToolCall, TranscriptItem, TranscriptRole,
    TurnEnded, TurnStarted, Worker, WorkerState,
};

struct Told(Story<Vec<u8>>);

impl Told {
    fn on(terminal: bool) -> Self {
        Self(Story::new(Screen::new(Vec::new(), terminal), true))
    }

    fn tell(&mut self, sequence: u64, payload: Payload) -> &mut Self {
        self.0.tell(&ObservationFrame { sequence, payload: Some(payload), ..Default::default() }).unwrap();
        self
    }

    fn delta(&mut self, offset: u64, text: &str) -> &mut Self {
        let channel = OutputChannel::Output.into();
        self.tell(0, Payload::OutputDelta(OutputDelta { channel, offset, text: text.to_owned(), ..Default::default() }))
    }

    fn item(&mut self, sequence: u64, role: TranscriptRole, content: &str) -> &mut Self {
        let turn_id = "turn-1".to_owned();
        let item =
            TranscriptItem { sequence, role: role.into(), content: content.to_owned(), turn_id, ..Default::default() };
        self.tell(sequence, Payload::ItemAppended(ItemAppended { item: Some(item) }))
    }

    fn snapshot(&mut self, last: u64, next: u64, offset: u64, text: &str) -> &mut Self {
        let worker = Some(Worker { last_event_id: last, ..Default::default() });
        let channel = OutputChannel::Output.into();
        let in_progress = Some(InProgress { channel, offset, text: text.to_owned(), ..Default::default() });
        self.tell(0, Payload::Snapshot(Snapshot { worker, next_sequence: next, in_progress, ..Default::default() }))
    }

    fn printed(self) -> String {
        printed(self.0.screen)
    }
}

use TranscriptRole::{Assistant, User};

#[test]
fn an_answer_is_shown_once_as_pieces_or_as_an_item() {
    let mut told = Told::on(false);
    told.delta(0, "one ").delta(4, "two\n").delta(8, "three").item(5, Assistant, "one two\nthree");
    told.item(6, Assistant, "a whole one");
    told.delta(0, "be").item(7, Assistant, "begun");
    assert_eq!(told.printed(), "  one two\n  three\n  a whole one\n  begun\n");
}

#[test]
fn what_was_missed_comes_with_the_item_and_what_was_seen_does_not_come_again() {
    let mut told = Told::on(false);
    // A hole: what is behind it waits for the item.
    told.delta(0, "one ").delta(8, "three ").item(5, Assistant, "one two three four");
    // Pieces that overlap with what was shown.
    told.delta(0, "ab").delta(1, "bcé").delta(0, "a").item(6, Assistant, "abcéd");
    assert_eq!(told.printed(), "  one two three four\n  abcéd\n");
}

#[test]
fn a_stream_that_goes_on_shows_the_rest_of_an_answer() {
    let mut told = Told::on(false);
    told.delta(0, "one ").snapshot(4, 5, 0, "one two ").delta(8, "three").item(5, Assistant, "one two three");
    // Items came meanwhile: what is in progress belongs behind them.
    told.delta(0, "a").snapshot(7, 6, 0, "c").item(6, Assistant, "ab").item(7, Assistant, "b");
    told.delta(1, "d").item(8, Assistant, "cd");
    assert_eq!(told.printed(), "  one two three\n  ab\n  b\n  cd\n");
}

#[test]
fn an_answer_that_is_kept_otherwise_is_shown_as_it_is_kept() {
    let mut told = Told::on(false);
    told.delta(0, "one").item(5, Assistant, "two");
    assert_eq!(told.printed(), "  one\n· the answer as it is kept:\n  two\n");
}

#[test]
fn who_joins_in_the_midst_of_a_long_answer_gets_it_with_its_item() {
    let mut told = Told::on(false);
    told.snapshot(4, 5, 3, "def").delta(6, "g").item(5, Assistant, "abcdefg");
    assert_eq!(told.printed(), "  abcdefg\n");
}

#[test]
fn a_tool_is_told_when_it_begins_and_when_it_is_over() {
    let mut told = Told::on(false);
    for status in ["pending", "in_progress", "in_progress", "completed"] {
        let (call_id, title) = ("c".to_owned(), "Read\x1b[2J it".to_owned());
        told.tell(1, Payload::ToolCall(ToolCall { call_id, title, status: status.to_owned(), ..Default::default() }));
    }
    assert_eq!(told.printed(), "· tool: Read\\u{1b}[2J it (pending)\n· tool: Read\\u{1b}[2J it (completed)\n");
}

#[test]
fn a_question_is_answered_by_its_number_and_by_nothing_else() {
    let mut told = Told::on(true);
    let option = |id: &str, label: &str| ApprovalOption {
        option_id: id.to_owned(),
        label: label.to_owned(),
        ..Default::default()
    };
    let approval = Approval {
        approval_id: "approval-1".to_owned(),
        title: "Delete\nit".to_owned(),
        options: vec![option("yes-id", "Yes"), option("no-id", "No")],
        ..Default::default()
    };
    told.0.asks(approval.clone()).unwrap();
    told.tell(1, Payload::ApprovalRequested(ApprovalRequested { approval: Some(approval) }));
    let chosen = |option: &str| Some(("approval-1".to_owned(), option.to_owned()));
    for (typed, choice) in [("1", chosen("yes-id")), (" 2 ", chosen("no-id"))] {
        assert_eq!(told.0.choice(typed), choice, "{typed}");
    }
    for nothing in ["0", "3", "-1", "", "Yes", "yes-id", "99999999999999999999999"] {
        assert_eq!(told.0.choice(nothing), None, "{nothing}");
    }
    told.0.prompt().unwrap();
    told.0.answers("approval-1", true);
    assert!(told.0.question().is_none() && told.0.choice("1").is_none());
    let settled = |option: &str| ApprovalSettled {
        approval_id: "approval-1".to_owned(),
        option_id: option.to_owned(),
        caller: "ada".to_owned(),
    };
    told.tell(2, Payload::ApprovalSettled(settled("no-id")));
    let shown = "· may it? Delete\\nit (approval-1)\n·   1) Yes (meaning not known)\n·   2) No (meaning not known)\n\
                 approval-1, answer 1-2> \r\x1b[K\
                 · approval-1 was answered by ada: No\n";
    assert_eq!(told.printed(), shown);
}

#[test]
fn what_was_given_is_done_when_its_turn_is_over() {
    let mut told = Told::on(false);
    told.0.gives("r-1".to_owned());
    assert!(!told.0.is_done() && !told.0.in_turn());
    let accepted = |id: &str, item| InputAccepted { request_id: id.to_owned(), transcript_sequence: item };
    told.tell(1, Payload::InputAccepted(accepted("r-1", 2)));
    assert!(!told.0.is_done(), "its item is still to come");
    told.item(2, User, "mine");
    assert!(!told.0.is_done());
    let turn_id = || "turn-1".to_owned();
    told.tell(3, Payload::TurnStarted(TurnStarted { turn_id: turn_id(), ..Default::default() }));
    assert!(told.0.in_turn());
    told.tell(4, Payload::TurnEnded(TurnEnded { turn_id: turn_id(), reason: "cancelled".to_owned() }));
    assert!(told.0.is_done() && !told.0.in_turn());
    // Somebody else's is told, and nothing of ours.
    told.tell(5, Payload::InputAccepted(accepted("r-2", 6))).item(6, User, "theirs");
    assert!(told.0.is_done());
    told.0.gives("r-3".to_owned());
    told.0.refused("r-3");
    assert!(told.0.is_done());
    assert_eq!(told.printed(), "> mine\n· the turn has ended: cancelled\n· input: theirs\n");
}

#[test]
fn a_turn_that_was_under_way_before_we_came_can_be_interrupted() {
    let mut told = Told::on(false);
    told.0.joins(true);
    assert!(told.0.in_turn());
    told.tell(4, Payload::TurnEnded(TurnEnded { turn_id: "turn-9".to_owned(), reason: "end_turn".to_owned() }));
    assert!(!told.0.in_turn());
}

/// A conversation with a worker of a control plane that is not there, in which all has been typed; whether somebody sees it.
async fn all_typed(terminal: bool, errand: impl AsyncFnOnce(&mut Conversation<Vec<u8>>)) -> Result<(), Failure> {
    let nobody = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let client = Arc::new(Client::open(nobody, Duration::from_secs(30)));
    let (errands, runs) = Errands::to(&client, "r", "w");
    let story = Story::new(Screen::new(Vec::new(), terminal), true);
    let mut chat = Conversation::new(client, errands, story, false);
    errand(&mut chat).await;
    let ((_, typed), (_hearing, heard)) = (mpsc::channel(1), mpsc::channel(1));
    chat.hold(typed, heard, runs).await
}

#[tokio::test(start_paused = true)]
async fn a_pipe_waits_for_what_is_on_its_way() {
    let left = all_typed(false, async |chat| chat.errands.answer("approval-1".to_owned(), "yes".to_owned()));
    let failure = left.await.expect_err("it left while the answer was on its way, or as if that had been done");
    assert!(failure.exit_code() == 1 && failure.to_string().ends_with("whether it was done is not known"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_a_terminal_is_told_what_may_not_have_been_sent() {
    let before = Instant::now();
    let left = all_typed(true, async |chat| {
        chat.typed("hello".to_owned()).await.unwrap();
        chat.errands.interrupt();
    });
    let failure = left.await.unwrap_err();
    assert_eq!(failure.to_string(), "2 of the inputs, answers and interruptions may not have been sent");
    assert_eq!((failure.exit_code(), before.elapsed().as_secs()), (1, PARTING.as_secs()));
}

fn question(number: u32) -> Payload {
    let option = ApprovalOption { label: "Yes".to_owned(), kind: "allow_always".to_owned(), ..Default::default() };
    let (approval_id, title) = (format!("approval-{number}"), format!("Do {number}"));
    let approval = Approval { approval_id, title, options: vec![option], ..Default::default() };
    Payload::ApprovalRequested(ApprovalRequested { approval: Some(approval) })
}

#[test]
fn of_two_questions_the_prompt_says_which_is_answered_and_the_second_is_told_again() {
    let mut told = Told::on(true);
    told.tell(1, question(1)).tell(2, question(2));
    told.0.prompt().unwrap();
    told.0.screen.typed().unwrap();
    told.0.answers("approval-1", true);
    assert_eq!(told.0.choice("1"), None, "what was typed for one means nothing for another");
    told.0.prompt().unwrap();
    let asked = |number| format!("· may it? Do {number} (approval-{number})\n·   {number}) Yes (allow_always)\n");
    let prompt = |number| format!("approval-{number}, answer {number}-{number}> ");
    assert_eq!(told.printed(), [asked(1), asked(2), prompt(1), asked(2), prompt(2)].concat());
}

#[test]
fn what_was_asked_before_events_were_lost_is_not_asked_any_more() {
    let mut told = Told::on(true);
    told.0.joins(true);
    told.tell(1, question(1)).tell(9, Payload::Gap(Gap { from_sequence: 2, to_sequence: 9, ..Default::default() }));
    assert!(told.0.question().is_none() && told.0.is_done() && !told.0.in_turn());
    told.tell(10, question(2)).0.falls_behind().unwrap();
    assert!(told.0.question().is_none());
}

#[test]
fn the_answer_of_another_run_is_shown_once_and_on_a_line_of_its_own() {
    let mut told = Told::on(false);
    told.delta(0, "one two");
    told.tell(1, Payload::StateChanged(StateChanged { state: WorkerState::Starting.into() }));
    told.delta(0, "three").item(5, Assistant, "three four");
    assert_eq!(told.printed(), "  one two\n  three four\n");
}
