//! Where a conversation is printed. What a worker says is indented, and can neither steer the terminal nor begin a line
//! where ours begin; lines of ours begin with a mark in the first column.

use std::io::{self, Write};

use crate::cli::output::plain;
use crate::model::is_plain;

/// Someone's terminal, or a pipe.
#[derive(Debug)]
pub(super) struct Screen<W> {
    out: W,
    /// Someone sits in front of it: there is a prompt, and what they type is not printed again.
    pub(super) terminal: bool,
    at: At,
}

/// Where the next character goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A line begins.
    Start,
    /// In a line of the worker's.
    Said,
    /// In a line of what it thinks.
    Thought,
    /// Behind the prompt.
    Prompt,
}

/// What a line of the worker's begins with.
const INDENT: &str = "  ";

impl<W: Write> Screen<W> {
    pub(super) fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, at: At::Start }
    }

    /// A piece of what the worker says.
    pub(super) fn said(&mut self, text: &str) -> io::Result<()> {
        self.piece(text, At::Said)
    }

    /// A piece of what it thinks: dim where that can be.
    pub(super) fn thought(&mut self, text: &str) -> io::Result<()> {
        self.piece(text, At::Thought)
    }

    /// A line of our own; what stands in it of others' steers nothing either.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        self.finish()?;
        writeln!(self.out, "· {}", plain(text))?;
        self.out.flush()
    }

    /// Several lines of our own.
    pub(super) fn notes(&mut self, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|line| self.note(line))
    }

    /// A line that was given to the worker, where nobody has seen it typed.
    pub(super) fn given(&mut self, text: &str) -> io::Result<()> {
        if self.terminal {
            return Ok(());
        }
        self.finish()?;
        writeln!(self.out, "> {}", plain(text))?;
        self.out.flush()
    }

    /// Asks for a line.
    pub(super) fn prompt(&mut self, words: &str) -> io::Result<()> {
        if !self.terminal || self.at == At::Prompt {
            return Ok(());
        }
        self.finish()?;
        write!(self.out, "{words}> ")?;
        self.at = At::Prompt;
        self.out.flush()
    }

    /// A line was typed: the terminal has shown it, and its end, wherever we were.
    pub(super) fn typed(&mut self) -> io::Result<()> {
        if self.terminal {
            if self.at == At::Thought {
                write!(self.out, "\x1b[0m")?;
            }
            self.at = At::Start;
        }
        Ok(())
    }

    /// Ends the line that is being written, and takes the prompt away.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.at {
            At::Start => {}
            At::Said => writeln!(self.out)?,
            At::Thought => writeln!(self.out, "{}", self.dim("\x1b[0m"))?,
            At::Prompt => write!(self.out, "\r\x1b[K")?,
        }
        self.at = At::Start;
        self.out.flush()
    }

    fn piece(&mut self, text: &str, voice: At) -> io::Result<()> {
        if self.at != voice && self.at != At::Start {
            self.finish()?;
        }
        for c in text.chars() {
            match c {
                '\n' => {
                    self.at = voice;
                    self.finish()?;
                }
                // Of no use in the midst of a line but to write over it.
                '\r' => {}
                c => {
                    self.begin(voice)?;
                    if is_plain(c) || c == '\t' {
                        write!(self.out, "{c}")?;
                    } else {
                        write!(self.out, "{}", c.escape_unicode())?;
                    }
                }
            }
        }
        self.out.flush()
    }

    /// Begins a line of the worker's where none is begun.
    fn begin(&mut self, voice: At) -> io::Result<()> {
        if self.at == At::Start {
            let dim = if voice == At::Thought { self.dim("\x1b[2m") } else { "" };
            write!(self.out, "{INDENT}{dim}")?;
            self.at = voice;
        }
        Ok(())
    }

    fn dim(&self, code: &'static str) -> &'static str {
        if self.terminal { code } else { "" }
    }
}

#[cfg(test)]
pub(super) fn printed(screen: Screen<Vec<u8>>) -> String {
    String::from_utf8(screen.out).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(terminal: bool, show: impl FnOnce(&mut Screen<Vec<u8>>)) -> String {
        let mut screen = Screen::new(Vec::new(), terminal);
        show(&mut screen);
        printed(screen)
    }

    #[test]
    fn what_a_worker_says_steers_nothing_and_begins_no_line_of_ours() {
        let text = shown(true, |screen| {
            screen.said("a\x1b[2J\r\n· the worker has ended\n").unwrap();
            screen.said("\u{202E}b").unwrap();
            screen.note("title\n\x07").unwrap();
        });
        assert_eq!(text, "  a\\u{1b}[2J\n  · the worker has ended\n  \\u{202e}b\n· title\\n\\u{7}\n");
    }

    #[test]
    fn thoughts_are_dim_on_a_terminal_and_end_with_their_line() {
        let thoughts = |screen: &mut Screen<Vec<u8>>| {
            screen.thought("hm\nhm").unwrap();
            screen.said("so").unwrap();
            screen.finish().unwrap();
        };
        assert_eq!(shown(true, thoughts), "  \x1b[2mhm\x1b[0m\n  \x1b[2mhm\x1b[0m\n  so\n");
        assert_eq!(shown(false, thoughts), "  hm\n  hm\n  so\n");
    }

    #[test]
    fn a_prompt_gives_way_to_what_comes_and_is_for_a_terminal_only() {
        let prompted = |screen: &mut Screen<Vec<u8>>| {
            screen.prompt("").unwrap();
            screen.prompt("").unwrap();
            screen.said("x\n").unwrap();
            screen.prompt("").unwrap();
            screen.typed().unwrap();
            screen.given("typed").unwrap();
        };
        assert_eq!(shown(true, prompted), "> \r\x1b[K  x\n> ");
        assert_eq!(shown(false, prompted), "  x\n> typed\n");
    }
}
