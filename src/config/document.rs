//! A TOML file, read value by value, so that every refusal names its line and field, and no key goes unread unnoticed.
//!
//! It knows TOML and nothing of what the values mean.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Given, Origin};

/// A file's text and name; empty where there is no file.
#[derive(Debug)]
pub(super) struct Document {
    name: Arc<str>,
    text: String,
}

impl Document {
    /// No file: every value is absent.
    pub(super) fn none() -> Self {
        Self::from_text("", String::new())
    }

    pub(super) fn from_text(name: &str, text: String) -> Self {
        Self { name: name.into(), text }
    }

    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self::from_text(&name, text)),
            Err(error) => {
                let origin = Origin::File { file: name.into(), line: 0, field: String::new() };
                Err(ConfigError::new(&origin, format!("the file cannot be read: {error}")))
            }
        }
    }

    /// The directory that relative paths in the file start from.
    pub(super) fn directory(&self) -> PathBuf {
        Path::new(&*self.name).parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Parses it and hands its root section to `read`, then refuses what `read` did not ask for.
    pub(super) fn with_root<T>(
        &self,
        read: impl FnOnce(&mut Section<'_>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let table = DeTable::parse(&self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            ConfigError::new(&self.origin(offset, String::new()), one_line(error.message()))
        })?;
        let mut root = Section::new(self, String::new(), 0, table.get_ref());
        let value = read(&mut root)?;
        root.finish()?;
        Ok(value)
    }

    fn origin(&self, offset: usize, field: String) -> Origin {
        let before = self.text.get(..offset).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        Origin::File { file: self.name.clone(), line, field }
    }
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

/// One table of a file. Every key that is asked for is a known one; [`Section::finish`] refuses all others.
pub(super) struct Section<'a> {
    document: &'a Document,
    path: String,
    offset: usize,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

type Found<T> = Result<Option<T>, ConfigError>;

impl<'a> Section<'a> {
    fn new(document: &'a Document, path: String, offset: usize, table: &'a DeTable<'a>) -> Self {
        Self { document, path, offset, table, known: Vec::new() }
    }

    /// The error for a key that must be there.
    pub(super) fn missing(&self, key: &str) -> ConfigError {
        ConfigError::new(&self.document.origin(self.offset, self.field(key)), "is required")
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Found<Given<String>> {
        self.scalar(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Found<Given<bool>> {
        self.scalar(key, "true or false", as_bool)
    }

    /// A whole number that is not negative.
    pub(super) fn number(&mut self, key: &'static str) -> Found<Given<u64>> {
        self.scalar(key, "a whole number, 0 or more", |value| {
            let number = value.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        })
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(&mut self, key: &'static str) -> Found<Given<f64>> {
        self.scalar(key, "a number from 0 to 1", |value| {
            let text = value.as_float().map(|float| float.as_str().to_owned());
            let text = text.or_else(|| value.as_integer().map(|integer| integer.as_str().to_owned()))?;
            text.parse().ok().filter(|number| (0.0..=1.0).contains(number))
        })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Found<Given<Vec<String>>> {
        self.scalar(key, "a list of texts", |value| {
            value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
        })
    }

    /// A table of texts.
    pub(super) fn text_map(&mut self, key: &'static str) -> Found<Given<BTreeMap<String, String>>> {
        self.scalar(key, "a table of texts", |value| {
            let entries = value.as_table()?.iter();
            entries
                .map(|(key, value)| Some((key.get_ref().to_string(), value.get_ref().as_str()?.to_owned())))
                .collect()
        })
    }

    /// A table of its own. The caller finishes it.
    pub(super) fn section(&mut self, key: &'static str) -> Found<Section<'a>> {
        let Some((offset, value)) = self.find(key) else { return Ok(None) };
        self.as_section(self.field(key), offset, value).map(Some)
    }

    /// The tables of a list (`[[key]]`). The caller finishes each.
    pub(super) fn list(&mut self, key: &'static str) -> Result<Vec<Section<'a>>, ConfigError> {
        let Some((offset, value)) = self.find(key) else { return Ok(Vec::new()) };
        let field = self.field(key);
        let Some(items) = value.get_ref().as_array() else {
            return Err(ConfigError::new(&self.document.origin(offset, field), "must be a list of tables"));
        };
        let items = items.iter().enumerate();
        items.map(|(at, item)| self.as_section(format!("{field}[{at}]"), item.span().start, item)).collect()
    }

    /// The tables of a table (`[key.NAME]`), by name. The caller finishes each.
    pub(super) fn named(&mut self, key: &'static str) -> Result<Vec<(Given<String>, Section<'a>)>, ConfigError> {
        let Some(section) = self.section(key)? else { return Ok(Vec::new()) };
        let entries = section.table.iter().map(|(name, value)| {
            let offset = name.span().start;
            let field = format!("{}.{}", section.path, quoted(name.get_ref()));
            let origin = section.document.origin(offset, field.clone());
            let entry = section.as_section(field, offset, value)?;
            Ok((Given { value: name.get_ref().to_string(), origin }, entry))
        });
        entries.collect()
    }

    /// Refuses the first key that nobody asked for.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let unknown = self.table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref()));
        let Some(first) = unknown.min_by_key(|key| key.span().start) else { return Ok(()) };
        let origin = self.document.origin(first.span().start, self.field(&quoted(first.get_ref())));
        Err(ConfigError::new(&origin, format!("is not known here; known are: {}", self.known.join(", "))))
    }

    fn scalar<T>(
        &mut self,
        key: &'static str,
        form: &str,
        take: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Found<Given<T>> {
        let Some((offset, value)) = self.find(key) else { return Ok(None) };
        let origin = self.document.origin(offset, self.field(key));
        match take(value.get_ref()) {
            Some(value) => Ok(Some(Given { value, origin })),
            None => Err(ConfigError::new(&origin, format!("must be {form}"))),
        }
    }

    fn find(&mut self, key: &'static str) -> Option<(usize, &'a Spanned<DeValue<'a>>)> {
        self.known.push(key);
        let (key, value) = self.table.get_key_value(key)?;
        Some((key.span().start, value))
    }

    fn as_section(
        &self,
        path: String,
        offset: usize,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Result<Section<'a>, ConfigError> {
        match value.get_ref().as_table() {
            Some(table) => Ok(Self::new(self.document, path, offset, table)),
            None => Err(ConfigError::new(&self.document.origin(offset, path), "must be a table")),
        }
    }

    fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

// A function, for the lifetimes: the method is one of a single lifetime.
fn as_bool(value: &DeValue<'_>) -> Option<bool> {
    value.as_bool()
}

/// A key as TOML would write it.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if bare { key.to_owned() } else { format!("{key:?}") }
}
