//! Why a data directory is not opened.

use std::io;
use std::path::PathBuf;

use super::identity::{DirRole, VERSION};
use crate::model::RuntimeId;

/// Why a data directory is not opened. Each says which one.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{}: is in use by another process{}", dir.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// Which directory.
        dir: PathBuf,
        /// That process, where it can be told.
        pid: Option<u32>,
    },
    /// It was written by a later version of this program.
    #[error("{}: has format {version}, and this program knows up to {VERSION}: use the version that wrote it, or a later one", dir.display())]
    Newer {
        /// Which directory.
        dir: PathBuf,
        /// Its format.
        version: u32,
    },
    /// It has a format from which there is no way to this one.
    #[error("{}: has format {version}, which no version of this program can bring up to {VERSION}", dir.display())]
    Older {
        /// Which directory.
        dir: PathBuf,
        /// Its format.
        version: u32,
    },
    /// What it is cannot be read.
    #[error("{}: offset 0: {problem}; `workplane store salvage` makes a new directory of what is readable", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A log is gone that it had.
    #[error(
        "{}: is gone, and with it what was acknowledged: restore a backup, let `workplane store salvage` make a new \
         directory of what is left, or begin anew with an empty one",
        log.display()
    )]
    LogLost {
        /// Where it was.
        log: PathBuf,
    },
    /// It was to be a copy of another one, and is not finished.
    #[error("{}: is a copy that was not finished: remove it, and make it again from the original", .0.display())]
    Unfinished(PathBuf),
    /// It belongs to the other role.
    #[error("{}: belongs to `workplane {}`, and not to `workplane {}`", dir.display(), has.as_str(), asked.as_str())]
    OtherRole {
        /// Which directory.
        dir: PathBuf,
        /// Its role.
        has: DirRole,
        /// The role that wants it.
        asked: DirRole,
    },
    /// It belongs to another runtime.
    #[error("{}: belongs to the runtime {has}, and not to {asked}: name that one, none, or another directory", dir.display())]
    OtherRuntime {
        /// Which directory.
        dir: PathBuf,
        /// Its runtime.
        has: RuntimeId,
        /// The runtime that wants it.
        asked: RuntimeId,
    },
    /// The system refused something; it says what.
    #[error("the data directory {} cannot be used: {source}", dir.display())]
    Io {
        /// Which directory.
        dir: PathBuf,
        /// What it said.
        source: io::Error,
    },
}
