//! What a profile runs: the host's own business, never a caller's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::ProfileSelector;

/// How a program is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Nothing runs: input is recorded.
    Catalog,
    /// An input is a line on standard input, a line of output is an item.
    Lines,
    /// The Agent Client Protocol over standard input and output.
    Acp,
}

impl Protocol {
    /// Every protocol there is.
    pub const ALL: [Self; 3] = [Self::Catalog, Self::Lines, Self::Acp];

    /// Its name in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Lines => "lines",
            Self::Acp => "acp",
        }
    }
}

/// In what form a `lines` program reads an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputForm {
    /// `{"kind": "user", "content": "…", "sequence": 7}` and a newline.
    #[default]
    Json,
    /// The content and a newline.
    Text,
}

/// What a profile runs.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The program and its arguments; empty for `catalog`.
    pub command: Vec<String>,
    /// In what form it reads.
    pub input: InputForm,
    /// Where it runs; the runtime's own directory where unset.
    pub cwd: Option<PathBuf>,
    /// Its environment beside `PATH`, `HOME`, `LANG`, `TMPDIR` and the marker of its worker.
    pub env: BTreeMap<String, String>,
    /// What follows when it has failed.
    pub restart: Restart,
    /// What an `acp` program is answered that asks for leave.
    pub permissions: Permissions,
    /// How long an `acp` program may take until it has a session: then it has failed.
    pub handshake_timeout: Duration,
    /// After how long what it asks is refused, where somebody is to answer and nobody does.
    pub approval_timeout: Duration,
}

/// What an agent is answered that asks whether it may use a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Permissions {
    /// No.
    #[default]
    Deny,
    /// Yes.
    Allow,
    /// What somebody says, who is asked.
    Ask,
}

/// What follows when a program has failed: when it exited with a code other than 0, was killed, or lost its runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Its worker has ended.
    #[default]
    Never,
    /// It is started anew, within the bounds of [`Restarts`](super::Restarts).
    OnFailure,
}

impl Profile {
    /// How long what an agent asks waits for its answer where nothing else is said: as long as somebody may be away from a
    /// screen, and short enough that a turn does not hang overnight.
    pub const APPROVAL_TIMEOUT: Duration = Duration::from_mins(10);
    /// How long an agent may take until it has a session where nothing else is said: it may ask the network first who may use it.
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_mins(1);

    /// The profile of a worker for which nothing runs.
    #[must_use]
    pub fn catalog() -> Self {
        Self {
            protocol: Protocol::Catalog,
            command: Vec::new(),
            input: InputForm::Json,
            cwd: None,
            env: BTreeMap::new(),
            restart: Restart::Never,
            permissions: Permissions::Deny,
            handshake_timeout: Self::HANDSHAKE_TIMEOUT,
            approval_timeout: Self::APPROVAL_TIMEOUT,
        }
    }
}

impl fmt::Debug for Profile {
    /// Tells neither command nor environment: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("protocol", &self.protocol).field("input", &self.input).finish_non_exhaustive()
    }
}

/// The profiles of one host. What is not in it runs nothing: such a worker is a catalog worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profiles(BTreeMap<ProfileSelector, Arc<Profile>>);

impl Profiles {
    /// What a profile runs on this host.
    #[must_use]
    pub fn get(&self, selector: &ProfileSelector) -> Arc<Profile> {
        self.0.get(selector).cloned().unwrap_or_else(|| Arc::new(Profile::catalog()))
    }

    /// All that there are.
    pub fn iter(&self) -> impl Iterator<Item = (&ProfileSelector, &Profile)> {
        self.0.iter().map(|(selector, profile)| (selector, &**profile))
    }

    /// Whether the host's file says anything of this profile.
    #[must_use]
    pub fn contains(&self, selector: &ProfileSelector) -> bool {
        self.0.contains_key(selector)
    }
}

impl FromIterator<(ProfileSelector, Profile)> for Profiles {
    fn from_iter<I: IntoIterator<Item = (ProfileSelector, Profile)>>(profiles: I) -> Self {
        Self(profiles.into_iter().map(|(selector, profile)| (selector, Arc::new(profile))).collect())
    }
}
