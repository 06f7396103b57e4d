//! What operators see: logs here, metrics in [`scrape`], traces in [`export`].
//!
//! Logs are on standard error: one event, one line, with nothing in it that could pass for another line or steer a terminal.
//!
//! What may be logged is the business of those who log; this only sees to the form.

pub mod export;
pub mod scrape;

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};
use crate::model::{is_plain, truncate_at_char};

/// The longest line, in bytes.
const MAX_LINE: usize = 8 * 1024;

/// The libraries beneath are quiet, unless a directive of `RUST_LOG` names one of them: it comes later and wins. What h2 warns
/// of is what a peer does, as often as that likes.
const QUIET: &str = "h2=error,hyper=warn,hyper_util=warn,tonic=warn,tower=warn";
/// And in no case do they say more than this: at their lower levels they print what passes through them, a host's words,
/// say, which are in no log.
const LIBRARIES: LevelFilter = LevelFilter::INFO;

/// Starts to log as `config` says. Panics are told as events, by their place alone: their words may hold content.
pub fn init(config: &LogConfig) {
    let lines = Lines { format: config.format, output: io::stderr };
    let logs = tracing_subscriber::fmt().with_env_filter(filter(config)).with_ansi(false).with_writer(lines);
    let started = match config.format {
        LogFormat::Text => logs.finish().with(capped()).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).finish().with(capped()).try_init(),
    };
    // Refused when a process starts a second one, as a test may: the first stays.
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "a task panicked");
        }));
    }
}

/// What is asked for.
fn filter(config: &LogConfig) -> EnvFilter {
    EnvFilter::new(format!("{QUIET},{}", config.filter))
}

/// What is given at most.
fn capped() -> Targets {
    Targets::new()
        .with_default(LIBRARIES)
        .with_target("workplane", LevelFilter::TRACE)
        // It names what an agent sent: its ids and methods.
        .with_target("agent_client_protocol", LevelFilter::OFF)
}

/// Makes every event one clean line. The formatter writes an event at once, so that one write is one event.
struct Lines<F> {
    format: LogFormat,
    output: F,
}

impl<'a, W: Write, F: Fn() -> W + 'static> MakeWriter<'a> for Lines<F> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { format: self.format, output: (self.output)() }
    }
}

struct Line<W> {
    format: LogFormat,
    output: W,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = one_line(text.strip_suffix('\n').unwrap_or(&text), self.format);
        self.output.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

fn one_line(event: &str, format: LogFormat) -> String {
    let mut line = escape(event, format);
    if line.len() >= MAX_LINE {
        line = match format {
            LogFormat::Text => format!("{}…", truncate_at_char(&line, MAX_LINE - 4)),
            // Cut, it would be JSON no more.
            LogFormat::Json => format!(r#"{{"level":"WARN","message":"an event of {} bytes left out"}}"#, line.len()),
        };
    }
    line.push('\n');
    line
}

/// Writes what could break a line, steer a terminal or turn the direction of text as its number.
fn escape(event: &str, format: LogFormat) -> String {
    let mut line = String::with_capacity(event.len() + 1);
    for c in event.chars() {
        if is_plain(c) {
            line.push(c);
        } else if format == LogFormat::Json {
            // All such characters lie in the first plane, so that four digits are enough.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.extend(c.escape_unicode());
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let output = Shared::default();
        let make = output.clone();
        let logs =
            tracing_subscriber::fmt().with_ansi(false).with_writer(Lines { format, output: move || make.clone() });
        match format {
            LogFormat::Text => tracing::subscriber::with_default(logs.finish(), log),
            LogFormat::Json => tracing::subscriber::with_default(logs.json().flatten_event(true).finish(), log),
        }
        let bytes = output.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let hostile = "a\nINFO forged\r\x1b[31m\u{202E}\u{9b}\u{2028}é";
        let text = logged(LogFormat::Text, || tracing::info!(hostile, "seen\n{hostile}"));
        assert_eq!(text.lines().count(), 1);
        assert!(text.trim_end().chars().all(is_plain) && text.contains('é'), "{text:?}");
        let json = logged(LogFormat::Json, || tracing::info!(hostile, "seen"));
        assert!(json.trim_end().chars().all(is_plain), "{json:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["hostile"], hostile);
    }

    #[test]
    fn libraries_do_not_say_what_passes_through_them_whatever_is_asked_for() {
        let output = Shared::default();
        let make = output.clone();
        let config = LogConfig { filter: "trace,h2=trace,h2::codec=trace".to_owned(), ..LogConfig::default() };
        let logs = tracing_subscriber::fmt().with_env_filter(filter(&config)).with_writer(move || make.clone());
        tracing::subscriber::with_default(logs.finish().with(capped()), || {
            tracing::debug!(target: "h2::codec::framed_read", "secret");
            tracing::trace!(target: "anything", "secret");
            tracing::info!(target: "h2", "harmless");
            tracing::trace!(target: "workplane::server", "ours");
        });
        let said = String::from_utf8(output.0.lock().clone()).unwrap();
        assert!(!said.contains("secret") && said.contains("harmless") && said.contains("ours"), "{said}");
    }

    #[test]
    fn a_line_has_an_end() {
        let long = "é".repeat(20_000);
        let text = logged(LogFormat::Text, || tracing::info!(long, "seen"));
        assert!(text.len() <= MAX_LINE && text.ends_with("…\n"));
        let json = logged(LogFormat::Json, || tracing::info!(long, "seen"));
        assert!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap()["message"].as_str().unwrap().contains("left out")
        );
    }
}
