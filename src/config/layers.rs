//! Flag before environment before file: the one place that knows this order.

use super::document::Section;
use super::error::{ConfigError, Given, Origin};

/// Looks up a variable of the environment; handed in, so that a test has its own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    // Not UTF-8: made so, rather than taken for absent; what it then names is refused in its own words.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The root of a file with the environment above it.
pub(super) struct Layers<'s, 'a> {
    pub(super) file: &'s mut Section<'a>,
    environment: Environment<'s>,
}

impl<'s, 'a> Layers<'s, 'a> {
    pub(super) fn new(file: &'s mut Section<'a>, environment: Environment<'s>) -> Self {
        Self { file, environment }
    }

    /// The text called `key`: the flag's, else the variable's, else the file's.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        flag: Option<&String>,
    ) -> Result<Option<Given<String>>, ConfigError> {
        // The file's value is looked at in any case: a wrong one is refused even where it is overruled.
        let in_file = self.file.text(key)?;
        let flag = flag.map(|value| Given { value: value.clone(), origin: flag_named(key) });
        let given = flag.or_else(|| self.variable(key)).or(in_file);
        match given {
            Some(given) if given.value.is_empty() => Err(given.refuse("must not be empty")),
            given => Ok(given),
        }
    }

    /// The switch called `key`, by the same order.
    pub(super) fn boolean(
        &mut self,
        key: &'static str,
        flag: Option<bool>,
    ) -> Result<Option<Given<bool>>, ConfigError> {
        let in_file = self.file.boolean(key)?;
        if let Some(value) = flag {
            return Ok(Some(Given { value, origin: flag_named(key) }));
        }
        let Some(variable) = self.variable(key) else { return Ok(in_file) };
        let value = variable.parse(|text| match text.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("must be true or false"),
        })?;
        Ok(Some(Given { value, origin: variable.origin }))
    }

    /// A variable that is set and not empty, by its whole name.
    pub(super) fn foreign_variable(&self, name: &str) -> Option<Given<String>> {
        let value = (self.environment)(name).filter(|value| !value.is_empty())?;
        Some(Given { value, origin: Origin::Environment(name.to_owned()) })
    }

    fn variable(&self, key: &str) -> Option<Given<String>> {
        self.foreign_variable(&format!("WORKPLANE_{}", key.to_ascii_uppercase()))
    }
}

fn flag_named(key: &str) -> Origin {
    Origin::Flag(format!("--{}", key.replace('_', "-")))
}
