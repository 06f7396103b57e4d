//! What commands print: tables and indented fields for people, JSON with the contract's own field names for programs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::SystemTime;

use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::failure::{Failure, described};
use crate::model::is_plain;
use crate::proto::DESCRIPTORS;
use crate::proto::v1::Diagnostic;

/// In what form a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the messages of the API, with its field names.
    Json,
}

/// A message of package `workplane.v1` as JSON, with every field of the contract. Whole numbers are numbers; what is
/// absent is left out.
pub(super) fn json(name: &str, message: &impl Message) -> io::Result<Value> {
    json_of_bytes(name, &message.encode_to_vec())
}

/// As [`json`], of an encoded message.
pub(super) fn json_of_bytes(name: &str, message: &[u8]) -> io::Result<Value> {
    let name = format!("workplane.v1.{name}");
    let descriptor = DESCRIPTORS.as_ref().and_then(|pool| pool.get_message_by_name(&name));
    let descriptor = descriptor.ok_or_else(|| io::Error::other("a message that the contract does not have"))?;
    let message = DynamicMessage::decode(descriptor, message).map_err(io::Error::other)?;
    let options =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false).skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).map_err(io::Error::other)
}

/// Prints one line to standard output.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.write_all(b"\n")?;
    output.flush()
}

/// Prints a value over many lines.
pub(crate) fn print_json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Prints diagnostics to standard error.
pub(super) fn print_diagnostics(diagnostics: &[Diagnostic]) -> io::Result<()> {
    let mut output = io::stderr().lock();
    diagnostics.iter().try_for_each(|diagnostic| writeln!(output, "{}", described(diagnostic)))
}

/// Prints a message as indented fields.
pub(super) fn print_fields(value: &Value) -> io::Result<()> {
    let mut text = String::new();
    write_fields(&mut text, value, 0);
    line(text.trim_end())
}

fn write_fields(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let entries: Vec<(&str, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        Value::Array(items) => items.iter().map(|value| ("-", value)).collect(),
        _ => return,
    };
    for (name, value) in entries {
        text.push_str(&indent);
        text.push_str(&plain(name));
        if name != "-" {
            text.push(':');
        }
        match value {
            Value::Object(_) | Value::Array(_) => {
                text.push('\n');
                write_fields(text, value, depth + 1);
            }
            Value::String(word) => {
                text.push(' ');
                text.push_str(&plain(word));
                text.push('\n');
            }
            other => {
                // A String takes all.
                let _ = writeln!(text, " {other}");
            }
        }
    }
}

/// A label that says more than the id it stands beside; else nothing.
pub(super) fn own_label<'a>(label: &'a str, id: &str) -> &'a str {
    if label == id { "" } else { label }
}

/// What is said where an id, or anything else, stands in place of a command's word.
pub(super) fn get_is_meant(command: &str, words: &[String]) -> Failure {
    let word = words.first().map(String::as_str).unwrap_or_default();
    let word = plain(word);
    Failure::Usage(format!(
        "unrecognized subcommand '{word}': to show one, `workplane {command} get {word}`; to list all, `workplane {command}`"
    ))
}

/// Rows under headings, in columns as wide as they need to be.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        self.rows.push(
            cells.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { plain(cell).into() }).collect(),
        );
    }

    pub(super) fn print(&self) -> io::Result<()> {
        line(self.text().trim_end())
    }

    fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |at: usize| self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text with everything that could steer a terminal written as its number; tabs stay, the end of a line is `\n`.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push('\t'),
            c if is_plain(c) => safe.push(c),
            c => safe.extend(c.escape_unicode()),
        }
    }
    safe.into()
}

/// The last word of an enum value's name, in lower case: `running` of `WORKER_STATE_RUNNING`.
pub(super) fn word(value: &str, prefix: &str) -> String {
    value.strip_prefix(prefix).unwrap_or(value).trim_start_matches('_').to_ascii_lowercase()
}

/// A time to the second, in UTC.
pub(super) fn time(stamp: Option<prost_types::Timestamp>) -> String {
    let time = stamp.and_then(|stamp| SystemTime::try_from(stamp).ok());
    time.map_or_else(|| "-".to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::TranscriptItem;

    #[test]
    fn nothing_a_worker_says_steers_a_terminal() {
        assert_eq!(plain("a\tb\x1b[2J\r\nc\u{9b}\u{202E}é"), "a\tb\\u{1b}[2J\\r\\nc\\u{9b}\\u{202e}é");
    }

    #[test]
    fn columns_line_up_and_what_is_empty_is_a_dash() {
        let mut table = Table::new(&["ID", "STATE"]);
        table.row(["worker-1", ""]);
        table.row(["é", "x"]);
        assert_eq!(table.text(), "ID        STATE\nworker-1  -\né         x\n");
    }

    #[test]
    fn json_has_the_contracts_names_and_numbers() {
        let item = TranscriptItem { sequence: 7, content: "\x1b".to_owned(), role: 2, ..TranscriptItem::default() };
        let value = json("TranscriptItem", &item).unwrap();
        assert_eq!(value["sequence"], 7);
        assert_eq!(value["role"], "TRANSCRIPT_ROLE_ASSISTANT");
        assert_eq!(value["truncated_bytes"], 0);
        assert_eq!(value["content"], "\x1b");
        assert!(value.get("created_at").is_none());
    }

    #[test]
    fn fields_are_indented() {
        let mut text = String::new();
        write_fields(&mut text, &serde_json::json!({"a": 1, "b": {"c": "x\ny"}, "d": ["e", {"f": true}]}), 0);
        assert_eq!(text, "a: 1\nb:\n  c: x\\ny\nd:\n  - e\n  -\n    f: true\n");
    }
}
