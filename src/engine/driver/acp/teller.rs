//! What an agent tells, as it is told on: pieces of what it says and thinks, an item where it has said something, and
//! the uses of its tools.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::output::{Line, MAX_ITEM, Meter};
use super::super::{Asked, Fact, Report, Utterance};
use super::talk::Why;
use super::update::News;
use crate::model::{
    ApprovalId, ApprovalOption, DeltaChannel, OutputDelta, Role, ToolCall, ToolStatus, TurnEndReason, TurnId,
    truncate_at_char,
};

/// How long a piece waits for more before it is told.
const COALESCE: Duration = Duration::from_millis(20);
/// How much of a piece is told at once without waiting.
const COALESCE_BYTES: usize = 4 * 1024;
/// How long nothing more is told of an agent that goes on.
const ALIVE: Duration = Duration::from_secs(1);
/// How many uses of tools are known at once in a turn; of older ones, more is told under the last title alone.
const MAX_TOOLS: usize = 256;
/// What an event that is kept counts beside what is said in it.
const COST: u64 = 1024;
/// The most of a piece: with all around it, it fits whatever it is told in.
const MAX_PIECE: usize = 64 * 1024;

/// Tells on what an agent tells.
#[derive(Debug)]
pub(super) struct Teller {
    report: mpsc::Sender<Report>,
    turn_id: TurnId,
    /// What it says, as far as it is no item yet.
    said: String,
    /// How much of that was told in pieces.
    told: usize,
    /// What was dropped of it, since it came too fast.
    dropped: u64,
    thought: String,
    /// Bytes of the thought that were told before.
    thought_told: u64,
    due: Option<Instant>,
    tools: VecDeque<ToolCall>,
    meter: Meter,
    updates: u64,
    last: Option<&'static str>,
    /// That it was refused something was told in this turn.
    refusal_told: bool,
    /// When it was told last that it goes on.
    alive_at: Option<Instant>,
}

impl Teller {
    pub(super) fn new(report: mpsc::Sender<Report>) -> Self {
        Self {
            report,
            turn_id: TurnId::from(""),
            said: String::new(),
            told: 0,
            dropped: 0,
            thought: String::new(),
            thought_told: 0,
            due: None,
            tools: VecDeque::new(),
            meter: Meter::new(Instant::now()),
            updates: 0,
            last: None,
            refusal_told: false,
            alive_at: None,
        }
    }

    /// A turn begins.
    pub(super) async fn begin(&mut self, turn_id: TurnId) -> Result<(), Why> {
        self.finish().await?;
        (self.turn_id, self.updates, self.last, self.refusal_told) = (turn_id, 0, None, false);
        self.tools.clear();
        Ok(())
    }

    /// The turn is over.
    pub(super) async fn end(&mut self, reason: TurnEndReason) -> Result<(), Why> {
        self.finish().await?;
        let turn_id = std::mem::replace(&mut self.turn_id, TurnId::from(""));
        self.send(Report::TurnEnded(turn_id, reason)).await
    }

    /// The agent is gone, or as good as that.
    pub(super) async fn over(&self) -> Result<(), Why> {
        self.send(Report::Over).await
    }

    /// What it was at, and did last.
    pub(super) fn doing(&self) -> String {
        let Self { turn_id, updates, .. } = self;
        match self.last {
            Some(last) => format!("it was in {turn_id}, and of {updates} updates the last was {last}"),
            None => format!("it was in {turn_id}, and had told nothing"),
        }
    }

    /// When the next piece is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) async fn take(&mut self, news: News) -> Result<(), Why> {
        self.updates += 1;
        self.last = Some(news.words());
        match news {
            News::Said(text) => {
                self.tell_thought().await?;
                self.thought_told = 0;
                if let Some(text) = self.pass(text) {
                    self.said.push_str(&text);
                    self.cut().await?;
                    self.grown(self.said.len() - self.told).await?;
                }
            }
            News::Thought(text) => {
                self.tell_said().await?;
                if let Some(text) = self.pass(text) {
                    self.thought.push_str(&text);
                    self.grown(self.thought.len()).await?;
                }
            }
            News::Tool { call_id, title, status } => self.tool(call_id, title, status).await?,
            News::Other => {}
        }
        self.alive().await
    }

    /// Tells that it goes on, now and then: also where nothing else is told.
    async fn alive(&mut self) -> Result<(), Why> {
        let now = Instant::now();
        if self.alive_at.is_some_and(|last| now < last + ALIVE) {
            return Ok(());
        }
        self.alive_at = Some(now);
        self.send(Report::Alive).await
    }

    /// Says something of our own in the turn.
    pub(super) async fn remark(&mut self, content: String) -> Result<(), Why> {
        self.finish().await?;
        self.item(Role::System, content, false, 0).await
    }

    /// The title of a tool's use, as far as it is known.
    pub(super) fn title(&self, call_id: &str) -> Option<String> {
        self.tools.iter().find(|call| *call.call_id == *call_id).map(|call| call.title.clone())
    }

    /// It asks something that somebody has to answer.
    pub(super) async fn asks(
        &mut self,
        approval_id: ApprovalId,
        title: String,
        options: Vec<ApprovalOption>,
    ) -> Result<(), Why> {
        self.finish().await?;
        self.last = Some("a question");
        self.spend().await;
        let turn_id = self.turn_id.clone();
        self.send(Report::Told(Fact::Asked(Asked { approval_id, turn_id, title, options }))).await
    }

    /// It asked something that nobody could be asked, and was refused: once a turn.
    pub(super) async fn refused(&mut self, why: &str) -> Result<(), Why> {
        if std::mem::replace(&mut self.refusal_told, true) {
            return Ok(());
        }
        self.remark(format!("The agent asked for leave and was refused without anybody being asked: {why}.")).await
    }

    /// Tells the pieces that wait.
    pub(super) async fn tell(&mut self) -> Result<(), Why> {
        self.due = None;
        self.tell_thought().await?;
        self.tell_said().await
    }

    /// Makes an item of what was said.
    pub(super) async fn finish(&mut self) -> Result<(), Why> {
        self.tell().await?;
        self.thought_told = 0;
        self.dropped += self.meter.finish().map_or(0, |line| line.dropped);
        if self.said.is_empty() && self.dropped == 0 {
            return Ok(());
        }
        let (content, dropped) = (std::mem::take(&mut self.said), std::mem::take(&mut self.dropped));
        self.told = 0;
        self.item(Role::Assistant, content, false, dropped).await
    }

    /// What is left of a text once it counted.
    fn pass(&mut self, text: String) -> Option<String> {
        let line = self.meter.pass(Line { bytes: text.into_bytes(), dropped: 0 }, Instant::now())?;
        self.dropped += line.dropped;
        String::from_utf8(line.bytes).ok()
    }

    async fn grown(&mut self, waiting: usize) -> Result<(), Why> {
        if waiting >= COALESCE_BYTES {
            return self.tell().await;
        }
        if waiting > 0 {
            self.due.get_or_insert(Instant::now() + COALESCE);
        }
        Ok(())
    }

    /// Makes items of what is more than one holds.
    async fn cut(&mut self) -> Result<(), Why> {
        while self.said.len() > MAX_ITEM {
            let cut = truncate_at_char(&self.said, MAX_ITEM).len();
            let rest = self.said.split_off(cut);
            self.tell_said().await?;
            let content = std::mem::replace(&mut self.said, rest);
            self.told = 0;
            self.item(Role::Assistant, content, true, 0).await?;
        }
        Ok(())
    }

    async fn tell_said(&mut self) -> Result<(), Why> {
        if self.told == self.said.len() {
            return Ok(());
        }
        let told = std::mem::replace(&mut self.told, self.said.len());
        self.pieces(DeltaChannel::Output, told as u64, &self.said[told..]).await
    }

    async fn tell_thought(&mut self) -> Result<(), Why> {
        if self.thought.is_empty() {
            return Ok(());
        }
        let (offset, thought) = (self.thought_told, std::mem::take(&mut self.thought));
        self.thought_told += thought.len() as u64;
        self.pieces(DeltaChannel::Thought, offset, &thought).await
    }

    async fn tool(&mut self, id: String, title: Option<String>, status: Option<ToolStatus>) -> Result<(), Why> {
        let known = self.tools.iter().position(|call| *call.call_id == *id).and_then(|at| self.tools.remove(at));
        let call = ToolCall {
            turn_id: self.turn_id.clone(),
            call_id: Arc::from(id),
            title: title.or_else(|| Some(known.as_ref()?.title.clone())).unwrap_or_default(),
            status: status.or(known.as_ref().map(|call| call.status)).unwrap_or(ToolStatus::Pending),
        };
        self.tools.push_back(call.clone());
        if self.tools.len() > MAX_TOOLS {
            self.tools.pop_front();
        }
        if known.as_ref() == Some(&call) {
            return Ok(());
        }
        self.finish().await?;
        // It is kept, and none is left out: a tool would seem to be at work for ever.
        self.spend().await;
        self.send(Report::Told(Fact::Tool(call))).await
    }

    /// Counts what is kept beside what is said. An agent that goes on too fast waits.
    async fn spend(&mut self) {
        while !self.meter.spend(COST, Instant::now()) {
            sleep(COALESCE).await;
        }
    }

    async fn pieces(&self, channel: DeltaChannel, mut offset: u64, mut rest: &str) -> Result<(), Why> {
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(truncate_at_char(rest, MAX_PIECE).len());
            let (turn_id, text) = (self.turn_id.clone(), piece.to_owned());
            self.send(Report::Delta(OutputDelta { turn_id, channel, offset, text })).await?;
            (offset, rest) = (offset + piece.len() as u64, behind);
        }
        Ok(())
    }

    async fn item(&mut self, role: Role, content: String, continues: bool, truncated_bytes: u64) -> Result<(), Why> {
        self.spend().await;
        let turn_id = self.turn_id.clone();
        self.send(Report::Told(Fact::Said(Utterance { role, content, turn_id, continues, truncated_bytes }))).await
    }

    async fn send(&self, report: Report) -> Result<(), Why> {
        // The worker's task is gone only if the whole runtime is.
        self.report.send(report).await.map_err(|_| Why::Unheard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More uses of tools at once than the meter lets pass, each begun and done: also the last of them is told to be done.
    #[tokio::test(start_paused = true)]
    async fn however_fast_tools_are_used_none_seems_to_be_at_work_for_ever() {
        const USES: usize = 40_000;
        let (report, mut reports) = mpsc::channel(16);
        let telling = async move {
            let mut teller = Teller::new(report);
            for n in 0..USES {
                for status in [ToolStatus::InProgress, ToolStatus::Completed] {
                    let news = News::Tool { call_id: n.to_string(), title: None, status: Some(status) };
                    teller.take(news).await.unwrap();
                }
            }
        };
        let counting = async {
            let mut done = 0;
            while let Some(report) = reports.recv().await {
                match report {
                    Report::Told(Fact::Tool(call)) => done += usize::from(call.status == ToolStatus::Completed),
                    Report::Alive => {}
                    other => panic!("{other:?}"),
                }
            }
            done
        };
        let ((), done) = tokio::join!(telling, counting);
        assert_eq!(done, USES);
    }

    /// What is told of this news, and how long that takes.
    async fn told(news: impl IntoIterator<Item = News>) -> (Vec<Report>, Duration) {
        let (report, mut reports) = mpsc::channel(16);
        let start = Instant::now();
        let telling = async move {
            let mut teller = Teller::new(report);
            for news in news {
                teller.take(news).await.unwrap();
            }
            teller.finish().await.unwrap();
        };
        let hearing = async {
            let mut told = Vec::new();
            while let Some(report) = reports.recv().await {
                told.push(report);
            }
            told
        };
        let ((), told) = tokio::join!(telling, hearing);
        (told, start.elapsed())
    }

    fn tool(status: ToolStatus) -> News {
        News::Tool { call_id: "a".to_owned(), title: None, status: Some(status) }
    }

    fn items(told: &[Report]) -> Vec<&str> {
        let item = |report| if let &Report::Told(Fact::Said(ref it)) = report { Some(&*it.content) } else { None };
        told.iter().filter_map(item).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn however_much_is_thought_at_once_no_piece_of_it_is_large() {
        let thought = "xé".repeat(700_000);
        let (told, _) = told([News::Thought(thought.clone())]).await;
        let mut all = String::new();
        for report in told {
            let Report::Delta(delta) = report else { continue };
            assert_eq!((delta.channel, delta.offset), (DeltaChannel::Thought, all.len() as u64));
            assert!(delta.text.len() <= 64 * 1024, "{} bytes", delta.text.len());
            all += &delta.text;
        }
        assert!(all == thought);
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_that_says_nothing_new_of_a_tool_does_not_cut_the_answer() {
        let said = |text: &str| News::Said(text.to_owned());
        let again = || tool(ToolStatus::InProgress);
        let (told, _) = told([said("a"), again(), said("b"), again(), said("c")]).await;
        assert_eq!(items(&told), ["a", "bc"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_counts_however_little_is_said_in_it() {
        let news = (0..20_000).flat_map(|n| {
            let status = if n % 2 == 0 { ToolStatus::InProgress } else { ToolStatus::Completed };
            [News::Said("x".to_owned()), tool(status)]
        });
        let (told, took) = told(news).await;
        assert_eq!(items(&told).len(), 20_000);
        // The uses of the tool alone are what may come at once; the items with them are more.
        assert!(took > Duration::from_secs(1), "{took:?}");
    }
}
