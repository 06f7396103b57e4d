//! The words of `workplane store`. What they do is the composition root's: it opens no connection, but a directory.

use std::path::PathBuf;

use crate::model::RuntimeId;

/// `workplane store`.
#[derive(Debug, clap::Args)]
pub struct StoreCommand {
    /// What to do with it.
    #[command(subcommand)]
    pub action: StoreAction,
}

/// What can be done with a data directory whose server does not run.
#[derive(Debug, clap::Subcommand)]
pub enum StoreAction {
    /// Reads all of a data directory and says what in it is damaged
    #[command(
        long_about = "Reads all of a data directory, changes nothing in it, and says what is damaged as `FILE: offset N: \
                      what`, and whose it is. Its server must not run.\n\n\
                      It ends with 0 where all is sound, 1 where something is damaged, and 2 where it could not be checked."
    )]
    Verify {
        /// What `--data-dir` names
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Copies all that can be read of a data directory into a new one
    #[command(
        long_about = "Copies all that can be read of a data directory into a new one, changes nothing in the old one, and \
                      says what was left behind and whose it was. Its server must not run.\n\n\
                      Where events of a worker cannot be read, the copy has those behind them; what can be read of those \
                      before goes into NEW/left-behind/WORKER.jsonl, as JSON. So does all of a worker whose own records \
                      cannot be read: it is not in the copy. Cursors that were handed out before have expired in the copy.\n\n\
                      It ends with 0 where all was copied and is served from NEW, 1 where something was left behind, and 2 \
                      where nothing was copied: what was made of NEW is removed then."
    )]
    Salvage {
        /// What `--data-dir` named
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Where the copy goes: a directory that is empty or not there yet
        #[arg(value_name = "NEW")]
        new: PathBuf,
        /// The runtime whose state it is, for a directory that cannot say it any more
        #[arg(long, value_name = "ID", value_parser = runtime_id)]
        runtime_id: Option<RuntimeId>,
    },
}

fn runtime_id(text: &str) -> Result<RuntimeId, &'static str> {
    RuntimeId::new(text).map_err(|refused| refused.rule())
}
