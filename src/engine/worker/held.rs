//! What a program said and the store did not take: it is held, in order, until the store takes something again.

use std::collections::VecDeque;

use super::stage::Stage;
use crate::engine::driver::{Fact, Utterance};
use crate::model::{Event, Role, TranscriptItem, TurnId};

/// How much is held while the worker ends, in bytes. Before that the program itself waits, and so it does while as much is
/// in flight: what is put back is that at most, and the reports that were taken up together with the last of it.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What stands in a transcript instead of what could not be stored; its size is in `truncated_bytes`.
const INSTEAD: &str = "What was said here could not be stored: the store was full.";

/// Held output.
#[derive(Debug, Default)]
pub(super) struct Held {
    said: VecDeque<Fact>,
    bytes: usize,
    /// What came when no more could be held.
    dropped: u64,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty() && self.dropped == 0
    }

    /// Something new was said.
    pub(super) fn push(&mut self, fact: Fact) {
        // What is told is told whole up to a point, and nothing after it.
        if self.dropped > 0 || self.bytes + fact.held_bytes() > MAX_BYTES {
            self.dropped += size(&fact);
        } else {
            self.bytes += fact.held_bytes();
            self.said.push_back(fact);
        }
    }

    /// This was said before all that is held, and did not land.
    pub(super) fn put_back(&mut self, said: Vec<Fact>) {
        for fact in said.into_iter().rev() {
            self.bytes += fact.held_bytes();
            self.said.push_front(fact);
        }
    }

    /// The next to be staged.
    pub(super) fn pop(&mut self) -> Option<Fact> {
        let Some(next) = self.said.pop_front() else {
            return (self.dropped > 0).then(|| instead(std::mem::take(&mut self.dropped)));
        };
        self.bytes -= next.held_bytes();
        Some(next)
    }

    /// Gives all of it up: what is said instead.
    pub(super) fn give_up(&mut self) -> Option<Fact> {
        let lost = self.dropped + self.said.iter().map(size).sum::<u64>();
        *self = Self::default();
        (lost > 0).then(|| instead(lost))
    }
}

impl Stage {
    /// The program said or did something.
    pub(crate) fn told(&mut self, fact: Fact) {
        if self.holding { self.held.push(fact) } else { self.fact(fact) }
    }

    /// Stages what the program said or did.
    fn fact(&mut self, fact: Fact) {
        // Of an agent, it is the driver that remarks something.
        let is_remark = matches!(&fact, Fact::Said(it) if it.role == Role::System && self.has_turns());
        if !is_remark {
            self.row.last_progress_at = Some(self.now);
        }
        match fact {
            Fact::Said(utterance) => self.item(utterance, true),
            Fact::Tool(call) => {
                self.append(Event::ToolCall(call));
                self.draft.last_was_said();
            }
            Fact::Asked(asked) => self.ask(asked),
        }
    }

    /// Stages what is held, at most `count` of it: whether there is more.
    pub(crate) fn release(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let Some(fact) = self.held.pop() else { break };
            self.fact(fact);
        }
        self.holding = !self.held.is_empty();
        self.holding
    }

    /// Gives up what is held, and says so in its place.
    pub(crate) fn give_up(&mut self) {
        if let Some(instead) = self.held.give_up() {
            self.fact(instead);
        }
        self.holding = false;
    }
}

/// Whether an item only stands for what could not be stored.
pub(super) fn is_told_instead(item: &TranscriptItem) -> bool {
    item.truncated_bytes > 0 && item.content == INSTEAD
}

fn instead(lost: u64) -> Fact {
    let (content, turn_id) = (INSTEAD.to_owned(), TurnId::from(""));
    Fact::Said(Utterance { role: Role::System, content, turn_id, continues: false, truncated_bytes: lost })
}

/// What a fact stands for, in bytes.
fn size(fact: &Fact) -> u64 {
    let Fact::Said(utterance) = fact else { return fact.held_bytes() as u64 };
    let own = if utterance.truncated_bytes > 0 && utterance.content == INSTEAD { 0 } else { utterance.content.len() };
    own as u64 + utterance.truncated_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ToolCall, ToolStatus};

    fn said(content: &str) -> Fact {
        let turn_id = TurnId::from("");
        let (role, content) = (Role::Assistant, content.to_owned());
        Fact::Said(Utterance { role, content, turn_id, continues: false, truncated_bytes: 0 })
    }

    fn words(fact: Fact) -> (String, u64) {
        let Fact::Said(it) = fact else { panic!("something was said: {fact:?}") };
        (it.content, it.truncated_bytes)
    }

    #[test]
    fn uses_of_tools_of_which_nothing_is_said_take_room_too() {
        let call = ToolCall {
            turn_id: TurnId::from(""),
            call_id: "1".into(),
            title: String::new(),
            status: ToolStatus::Pending,
        };
        let mut held = Held::default();
        (0..MAX_BYTES / 64).for_each(|_| held.push(Fact::Tool(call.clone())));
        assert!(held.bytes <= MAX_BYTES && held.dropped > 0);
    }

    #[test]
    fn what_is_given_up_is_counted_once_however_often() {
        let mut held = Held::default();
        held.push(said("abc"));
        held.put_back(vec![said("de")]);
        let told = held.give_up().unwrap();
        assert_eq!(words(told.clone()).1, 5);
        held.put_back(vec![told]);
        held.push(said("f"));
        assert_eq!(words(held.give_up().unwrap()).1, 6);
        assert!(held.is_empty() && held.give_up().is_none());
    }

    #[test]
    fn what_is_held_comes_out_in_order_and_the_rest_is_counted_behind_it() {
        let mut held = Held::default();
        let large = "x".repeat(MAX_BYTES - 1);
        for content in ["b", &large, "cd", "e"] {
            held.push(said(content));
        }
        held.put_back(vec![said("a")]);
        let out: Vec<_> = std::iter::from_fn(|| held.pop()).map(words).collect();
        let expected = [("a", 0), ("b", 0), (&*large, 0), (INSTEAD, 3)].map(|(text, lost)| (text.to_owned(), lost));
        assert!(out == expected && held.is_empty());
    }
}
