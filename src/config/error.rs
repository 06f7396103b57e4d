//! A configuration error: where the value stands, and what is wrong with it in plain words.

use std::fmt;
use std::sync::Arc;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file. The field is its path, as in `remote_runtimes[1].endpoint`; empty for the file as a whole.
    File {
        /// The file, as it was named.
        file: Arc<str>,
        /// From 1; 0 where the file has no line to blame.
        line: usize,
        /// Which value.
        field: String,
    },
    /// A flag, as in `--listen`.
    Flag(String),
    /// A variable of the environment, as in `WORKPLANE_LISTEN`.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Environment(name) => f.write_str(name),
            Self::File { file, line, field } => {
                f.write_str(file)?;
                if *line > 0 {
                    write!(f, ":{line}")?;
                }
                if field.is_empty() { Ok(()) } else { write!(f, ": {field}") }
            }
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    /// Which value.
    pub origin: Origin,
    /// What is wrong with it; never the value of a secret.
    pub problem: String,
}

impl ConfigError {
    /// An error about the value at `origin`.
    pub(super) fn new(origin: &Origin, problem: impl Into<String>) -> Self {
        Self { origin: origin.clone(), problem: problem.into() }
    }
}

/// A value, and where it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Given<T> {
    /// An error about this value.
    pub(super) fn refuse(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError::new(&self.origin, problem)
    }

    /// Converts the value; a failure is an error about it.
    pub(super) fn parse<U, E: fmt::Display>(&self, parse: impl FnOnce(&T) -> Result<U, E>) -> Result<U, ConfigError> {
        parse(&self.value).map_err(|problem| self.refuse(problem.to_string()))
    }
}
