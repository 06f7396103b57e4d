//! A program's output as items: bytes in, lines out, every one of them bounded.

use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

use super::Utterance;
use crate::model::{Role, TurnId, truncate_at_char};

/// The longest line that is kept whole, in bytes; what is beyond is dropped and counted.
const MAX_LINE: usize = 256 * 1024;
/// The largest item, in bytes; longer lines become several.
pub(super) const MAX_ITEM: usize = 128 * 1024;
/// How much output is kept per second; more is dropped and counted.
const RATE: u64 = 4 * 1024 * 1024;
/// How much may come at once before the rate counts.
const BURST: u64 = 8 * RATE;

/// Cuts a byte stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    dropped: u64,
}

/// One line, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub bytes: Vec<u8>,
    /// How many more bytes it had.
    pub dropped: u64,
}

impl Lines {
    /// Takes in what was read, and gives out the lines that it completes.
    pub(super) fn push(&mut self, mut read: &[u8], mut complete: impl FnMut(Line)) {
        while let Some(end) = read.iter().position(|&byte| byte == b'\n') {
            self.extend(&read[..end]);
            complete(self.take());
            read = &read[end + 1..];
        }
        self.extend(read);
    }

    /// The last line, if the stream did not end with a newline.
    pub(super) fn finish(&mut self) -> Option<Line> {
        (!self.line.is_empty() || self.dropped > 0).then(|| self.take())
    }

    /// The line that is not complete yet.
    pub(super) fn partial(&self) -> &[u8] {
        &self.line
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.line.len();
        let kept = bytes.len().min(room);
        self.line.extend_from_slice(&bytes[..kept]);
        self.dropped += (bytes.len() - kept) as u64;
    }

    fn take(&mut self) -> Line {
        Line { bytes: std::mem::take(&mut self.line), dropped: std::mem::take(&mut self.dropped) }
    }
}

/// Says how much of a program's output is kept.
#[derive(Debug)]
pub(super) struct Meter {
    allowance: u64,
    since: Instant,
    dropped: u64,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self { allowance: BURST, since: now, dropped: 0 }
    }

    /// Lets a line pass, with what was dropped before it counted to it; `None` where it comes too fast.
    pub(super) fn pass(&mut self, line: Line, now: Instant) -> Option<Line> {
        let cost = line.bytes.len() as u64 + 1;
        if !self.spend(cost, now) {
            self.dropped += cost + line.dropped;
            return None;
        }
        Some(Line { dropped: line.dropped + std::mem::take(&mut self.dropped), ..line })
    }

    /// Whether so much may pass now.
    pub(super) fn spend(&mut self, cost: u64, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since);
        if earned >= Duration::from_millis(10) {
            let earned = u64::try_from(earned.as_millis()).unwrap_or(u64::MAX).saturating_mul(RATE / 1000);
            self.allowance = self.allowance.saturating_add(earned).min(BURST);
            self.since = now;
        }
        let left = self.allowance.checked_sub(cost);
        self.allowance = left.unwrap_or(self.allowance);
        left.is_some()
    }

    /// What was dropped and not told yet.
    pub(super) fn finish(&mut self) -> Option<Line> {
        (self.dropped > 0).then(|| Line { bytes: Vec::new(), dropped: std::mem::take(&mut self.dropped) })
    }
}

/// What a line of JSON may say.
#[derive(Deserialize)]
struct Spoken {
    content: String,
    role: Option<String>,
}

/// What a line says: a JSON object with a text `content` says that, any other line is its own content. More than an
/// item holds becomes consecutive items, all but the last with `continues`.
pub(super) fn utterances(line: Line) -> impl Iterator<Item = Utterance> {
    let (role, content) = speak(line.bytes);
    let mut rest = Some(content);
    let mut dropped = line.dropped;
    std::iter::from_fn(move || {
        let mut content = rest.take()?;
        let cut = truncate_at_char(&content, MAX_ITEM).len();
        if cut < content.len() {
            rest = Some(content.split_off(cut));
        }
        let continues = rest.is_some();
        let truncated_bytes = if continues { 0 } else { std::mem::take(&mut dropped) };
        Some(Utterance { role, content, turn_id: TurnId::from(""), continues, truncated_bytes })
    })
}

fn speak(bytes: Vec<u8>) -> (Role, String) {
    if may_be_json(&bytes)
        && let Ok(Spoken { content, role }) = serde_json::from_slice(&bytes)
    {
        let role = if role.as_deref() == Some("system") { Role::System } else { Role::Assistant };
        return (role, content);
    }
    let content = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(invalid) => String::from_utf8_lossy(invalid.as_bytes()).into_owned(),
    };
    (Role::Assistant, content)
}

/// Whether a line could turn out to be an object: such a line is not told in pieces.
pub(super) fn may_be_json(line: &[u8]) -> bool {
    line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(line: &[u8]) -> Vec<Utterance> {
        utterances(Line { bytes: line.to_vec(), dropped: 0 }).collect()
    }

    #[test]
    fn an_object_with_a_text_content_says_that() {
        let item = &said(br#" {"content": "hi\n", "role": "system"}"#)[0];
        assert_eq!((item.role, item.content.as_str()), (Role::System, "hi\n"));
        for verbatim in [r#"{"content": 7}"#, "{", "plain", "", "[1]", r#"{"text": "x"}"#] {
            let item = &said(verbatim.as_bytes())[0];
            assert_eq!((item.role, item.content.as_str()), (Role::Assistant, verbatim));
        }
    }

    #[test]
    fn long_lines_become_consecutive_items_cut_at_a_character() {
        let items = said("é".repeat(MAX_ITEM - 1).as_bytes());
        assert_eq!(items.iter().map(|item| item.continues).collect::<Vec<_>>(), [true, false]);
        assert_eq!(items.iter().map(|item| item.content.len()).sum::<usize>(), 2 * (MAX_ITEM - 1));
        let odd = said(format!("a{}", "é".repeat(MAX_ITEM)).as_bytes());
        assert_eq!(odd.iter().map(|item| item.content.as_str()).collect::<String>().len(), 1 + 2 * MAX_ITEM);
        assert!(odd.iter().all(|item| item.content.len() <= MAX_ITEM));
    }

    #[test]
    fn what_is_beyond_a_line_is_counted() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for _ in 0..5 {
            lines.push(&vec![b'x'; 64 * 1024], |line| out.push(line));
        }
        lines.push(b"\nshort", |line| out.push(line));
        assert_eq!((out[0].bytes.len(), out[0].dropped), (MAX_LINE, 64 * 1024));
        assert_eq!(lines.finish(), Some(Line { bytes: b"short".to_vec(), dropped: 0 }));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn what_comes_too_fast_is_dropped_and_told() {
        let now = Instant::now();
        let mut meter = Meter::new(now);
        let line = |bytes: usize| Line { bytes: vec![b'x'; bytes], dropped: 0 };
        let big = usize::try_from(BURST).unwrap() - 1;
        assert!(meter.pass(line(big), now).is_some());
        assert_eq!(meter.pass(line(9), now), None);
        assert_eq!(meter.pass(line(9), now + Duration::from_secs(1)).unwrap().dropped, 10);
        assert_eq!(meter.finish(), None);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_read(text in "[a-zé\n]{0,200}", cuts in proptest::collection::vec(1_usize..9, 1..40)) {
            let mut lines = Lines::default();
            let (mut out, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                lines.push(now, |line| out.push(line.bytes));
                rest = later;
            }
            out.extend(lines.finish().map(|line| line.bytes));
            let mut expected: Vec<_> = text.split('\n').map(|line| line.as_bytes().to_vec()).collect();
            if expected.last().is_some_and(Vec::is_empty) { expected.pop(); }
            prop_assert_eq!(out, expected);
        }
    }
}
