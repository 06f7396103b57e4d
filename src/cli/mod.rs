//! The commands for people, written on the generated client: a file for each group of commands.
//!
//! They speak to a control plane over gRPC like any other client, and see nothing that another could not.

mod approvals;
mod bundle_file;
mod bundles;
mod chat;
mod client;
pub mod demo;
mod dial;
mod doctor;
mod explain;
mod failure;
mod frame;
mod input;
mod observe;
mod output;
mod runtimes;
mod spawn;
mod store;
mod transcript;
mod typed;
mod workers;

pub use doctor::{DoctorCommand, DoctorRole};
pub use failure::Failure;
pub(crate) use output::{line, plain, print_json};
pub use store::{StoreAction, StoreCommand};

use crate::config::{RuntimeFlags, ServeFlags};

/// The gRPC control plane for agent workers.
///
/// `serve` is the control plane, `runtime` is what runs on every other host, `demo` shows both ends in one process,
/// `doctor` says what is wrong with any of it, `store` looks after what they keep on disk, and all other commands are a client for people.
#[derive(Debug, clap::Parser)]
#[command(name = "workplane", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Serves the control plane, with a worker runtime inside it and any number on other hosts
    Serve(Box<ServeFlags>),
    /// Serves this host's worker runtime to a control plane
    Runtime(Box<RuntimeFlags>),
    /// Starts a control plane with a worker that runs a shell, and lets you type to it
    #[command(
        long_about = "Starts a control plane on a free port of this machine with a worker that runs a shell, and lets \
                            you type to it. At the end of the input the worker is stopped and everything ends."
    )]
    Demo,
    /// Looks at what a server would be started with, and says what is wrong and what to do
    #[command(
        long_about = "Looks at what a server would be started with: its configuration, tokens, data directory and disk, \
                      what the kernel lends, its address, and the hosts that it names. It takes the flags and the environment \
                      of the role and changes nothing.\n\n\
                      Each line is `ok`, `warn` or `fail`, then what was looked at, what was seen, and what to do. It ends \
                      with 0 where nothing fails, 1 where something does, and 2 where it could not look."
    )]
    Doctor(DoctorCommand),
    /// Checks the data directory of a server that does not run, or copies what can be read of it
    Store(StoreCommand),
    #[allow(missing_docs, reason = "a doc comment here would become its help")]
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// What a client can do.
#[derive(Debug, clap::Subcommand)]
pub enum ClientCommand {
    /// Lists the runtimes that workers can run on, or shows one
    Runtimes(runtimes::Runtimes),
    /// Lists the hosts of the runtimes, or shows one
    Hosts(runtimes::Hosts),
    /// Lists workers, shows one, or deletes one
    Workers(workers::Workers),
    /// Lists a runtime's configuration bundles, checks one, or gives it one
    Bundles(bundles::Bundles),
    /// Spawns a worker
    Spawn(spawn::Spawn),
    /// Gives a worker an input
    Send(input::Send),
    /// Lists what an agent asks that waits for an answer
    Approvals(approvals::Approvals),
    /// Answers what an agent asks; the first answer counts
    Answer(approvals::Answer),
    /// Breaks off what an agent is at; it goes on with its next input
    Interrupt(input::Interrupt),
    /// Stops a worker
    Stop(input::Stop),
    /// Cancels a worker: its work is not wanted any more
    Cancel(input::Cancel),
    /// Prints what was said to a worker and by it
    Transcript(transcript::Transcript),
    /// Prints a worker's events as they come
    Observe(observe::Observe),
    /// Speaks with a worker: spawns one, or joins one
    #[command(
        long_about = "Speaks with a worker: spawns one of this profile, or joins one. What is typed goes to it line by line, what \
                      it says is shown as it says it, and what it asks to be allowed is answered by a number.\n\n\
                      Ctrl-C interrupts the turn, a second one, or Ctrl-D, leaves; the worker lives on. A lost connection is made \
                      again, and nothing is shown twice. Through a pipe a line is taken once the turn before it is over or \
                      something is asked, and at the end of the input it leaves when all is answered.\n\n\
                      It ends with 0 where it was left or the worker ended as it was asked to, 3 where something is asked and the \
                      input has ended, 4 where the worker failed, 2 for a wrong command line and 1 for other failures."
    )]
    Chat(chat::Chat),
    /// Says how a worker is: reachable, alive, working, progressing, ended; with what that rests on
    #[command(
        long_about = "Says how a worker is: whether its host can be reached, and whether it is alive, is working, gets on, and \
                      has ended; each with its age and with what it rests on, and the last five events.\n\n\
                      It ends with 0 where nothing is amiss or it ended as it was asked to, 1 where it could not ask, 2 for \
                      a wrong command line, 3 where it waits for an answer or has stalled, 4 where it has failed, and 5 where \
                      its host cannot be reached, so that how it is now is not known."
    )]
    Explain(explain::Explain),
    /// Asks a server of either role whether it takes calls, as a probe; it ends with 0 where it does, else with 1
    Health(doctor::Health),
}

impl ClientCommand {
    /// Does what was asked.
    ///
    /// # Errors
    /// A [`Failure`] to be printed; it knows its exit code.
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Runtimes(command) => command.run().await,
            Self::Hosts(command) => command.run().await,
            Self::Workers(command) => command.run().await,
            Self::Bundles(command) => command.run().await,
            Self::Spawn(command) => command.run().await,
            Self::Send(command) => command.run().await,
            Self::Approvals(command) => command.run().await,
            Self::Answer(command) => command.run().await,
            Self::Interrupt(command) => command.run().await,
            Self::Stop(command) => command.run().await,
            Self::Cancel(command) => command.run().await,
            Self::Transcript(command) => command.run().await,
            Self::Observe(command) => command.run().await,
            Self::Chat(command) => command.run().await,
            Self::Explain(command) => command.run().await,
            Self::Health(command) => command.run().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_word_and_take_both_forms() {
        // acceptance 125
        for line in [
            "workplane serve --listen 127.0.0.1:0 --allow-plaintext --log-level=warn",
            "workplane serve --listen=127.0.0.1:0 --allow-plaintext=false",
            "workplane runtime --config x.toml --runtime-id a --display-name b",
            "workplane runtimes",
            "workplane runtimes --output json list",
            "workplane runtimes get a --endpoint http://127.0.0.1:1",
            "workplane hosts get a",
            "workplane workers",
            "workplane workers --state running --label a=b",
            "workplane workers list --state=running --label=a=b --runtime r -o json",
            "workplane workers --output json --runtime r list --state failed",
            "workplane workers get r/w",
            "workplane workers delete r/w --force --request-id d-1",
            "workplane bundles check id digest --runtime r",
            "workplane bundles sync bundle.toml --runtime r --request-id s-1",
            "workplane spawn --profile mine --bundle team@593afc87d7904886f71f8c7e1a3752ff15f09c527b33a6e56b44aa2413651238",
            "workplane spawn --profile builtin:coder --role reviewer --ticket T-1 --label a=b --input hello",
            "workplane spawn --companion",
            "workplane send w hello --kind system",
            "workplane send w -",
            "workplane stop w --force --reason enough",
            "workplane cancel w",
            "workplane approvals r/w --output json",
            "workplane answer w approval-1 allow_once --request-id a-1",
            "workplane transcript w --follow --start 3",
            "workplane observe w --beginning --heartbeat 1s",
            "workplane chat builtin:coder --thoughts",
            "workplane chat --worker r/w --endpoint http://127.0.0.1:1",
            "workplane explain r/w",
            "workplane explain w --output json",
            "workplane demo",
            "workplane doctor serve --config serve.toml",
            "workplane doctor runtime --config runtime.toml --output json",
            "workplane doctor -o json runtime",
            "workplane health --endpoint http://127.0.0.1:7500",
            "workplane health workplane.v1.WorkerService",
            "workplane store verify /var/lib/workplane",
            "workplane store salvage /var/lib/workplane new --runtime-id host-a",
        ] {
            if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
                panic!("{line}\n{error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "workplane",
            "workplane serve --lisen x",
            "workplane spawn --companion --ticket T-1",
            "workplane spawn --role coder",
            "workplane observe w --beginning --cursor c",
            "workplane workers --state resting",
            "workplane send",
            "workplane answer w approval-1",
            "workplane spawn --bundle team",
            "workplane doctor",
            "workplane doctor --config serve.toml",
            "workplane chat",
            "workplane chat builtin:coder --worker r/w",
            "workplane store",
            "workplane store verify",
            "workplane store salvage dir",
            "workplane store salvage dir new --runtime-id a/b",
        ] {
            let refused = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{line}");
        }
    }
}
