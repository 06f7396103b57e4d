//! The driver `acp`: a program that speaks the Agent Client Protocol (JSON-RPC over standard input and output). An input
//! is a prompt, and a turn lasts until the agent has answered it. docs/acp.md tells how it is built, and what is to come.
//!
//! - [`wire`]: the agent's lines, each of them bounded and looked at before the protocol's own library sees it.
//! - [`pace`]: how fast they are read.
//! - [`update`]: what the agent tells of its work, read no further than it is told on.
//! - [`greet`]: the handshake, and the session.
//! - [`talk`]: one turn after the other.
//! - [`leave`]: what is answered when it asks for leave, and what somebody else is asked.
//! - [`teller`]: what the agent tells as pieces, items and uses of tools.
//!
//! Nothing outside this module names a type of `agent-client-protocol`.

mod greet;
mod leave;
mod pace;
mod talk;
mod teller;
#[cfg(test)]
mod tests;
mod update;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::child::{Launched, Supervised, supervise};
use super::pipe::{Output, keep_end};
use super::{Link, REPORTS, Report, Start, StartFault};
use crate::model::{StopMode, is_plain, truncate_at_char};
use greet::Past;
use leave::ANSWERS;
use talk::{Ended, Signals, Talk, converse};

/// How many prompts an agent works on at once.
pub(super) const WINDOW: usize = 1;
/// How long an agent that closed its output may take to exit.
const CLOSED_OUTPUT: Duration = Duration::from_secs(2);
/// How much of an agent's own words stands in the cause of its death, in bytes.
const WORDS: usize = 1024;

/// Executes the profile's program and starts to speak with it.
pub(super) async fn start(start: Start<'_>) -> Result<Link, StartFault> {
    let cwd = working_directory(start.profile.cwd.as_deref())?;
    let launched = start.launch().await?;
    Ok(speak(launched, cwd, &start))
}

/// Where the agent runs, as a session wants it: from the root on.
fn working_directory(cwd: Option<&Path>) -> std::io::Result<PathBuf> {
    std::path::absolute(cwd.unwrap_or(Path::new(".")))
}

fn speak(launched: Launched, cwd: PathBuf, start: &Start<'_>) -> Link {
    let &Start { profile, asked, grace, handle, .. } = start;
    let Launched { stdin, stdout, stderr, process, belongings, child, ended } = launched;
    let supervised = Supervised { child, process, belongings, ended, grace };
    let (deliveries, inputs) = mpsc::channel(WINDOW);
    let (answer, answers) = mpsc::channel(ANSWERS);
    let (interrupt, interrupted) = watch::channel(None);
    let (end, wishes) = mpsc::channel(4);
    let (order, orders) = mpsc::channel(4);
    let (report, reports) = mpsc::channel(REPORTS);
    let signals = Signals::default();
    let gone = CancellationToken::new();

    handle.spawn(heed(wishes, order.clone(), signals.stopping.clone()));
    let talk = Talk {
        handle: handle.clone(),
        cwd,
        past: Past::read(&start.state, start.run.generation),
        permissions: profile.permissions,
        asked,
        handshake: profile.handshake_timeout,
        inputs,
        answers,
        interrupted,
        report: report.clone(),
        signals: signals.clone(),
    };
    let talking = handle.spawn(converse(stdin, Output::new(stdout, gone.clone()), talk));
    let (stopping, exited) = (signals.stopping.clone(), gone.clone());
    let talked = handle.spawn(async move {
        let talked = match talking.await {
            Ok(ended) => Some(outlived(ended, &stopping, &exited).await),
            Err(_) => None,
        };
        if talked.as_ref().is_none_or(|ended| ended.broken.is_some()) {
            // Nobody hears it any more: it is not to go on unheard. A supervisor that is gone needs no order.
            let _ = order.try_send(StopMode::Force);
        }
        talked
    });
    let errors = handle.spawn(keep_end(Output::new(stderr, gone.clone())));
    let blocking = handle.clone();
    handle.spawn(async move {
        let mut exit = supervise(supervised, orders, &blocking, || signals.closing.cancel()).await;
        gone.cancel();
        exit.stderr = clean(&errors.await.unwrap_or_default());
        match talked.await.ok().flatten() {
            Some(Ended { broken, doing, closed: _ }) => (exit.broken, exit.doing) = (broken, doing),
            None => exit.unheard = true,
        }
        // The worker's task is gone only if the whole runtime is.
        let _ = report.send(Report::Exited(exit)).await;
    });
    let (deliveries, answers, interrupt) = (Some(deliveries), Some(answer), Some(interrupt));
    Link { deliveries, answers, interrupt, end, reports, process }
}

/// Hands on how the agent is to end, and has its turn broken off first.
async fn heed(mut wishes: mpsc::Receiver<StopMode>, order: mpsc::Sender<StopMode>, stopping: CancellationToken) {
    while let Some(mode) = wishes.recv().await {
        stopping.cancel();
        // A supervisor that is gone needs no order.
        let _ = order.send(mode).await;
    }
    stopping.cancel();
    let _ = order.send(StopMode::Force).await;
}

/// An agent that closed its output and does not exit has broken the protocol.
async fn outlived(mut ended: Ended, stopping: &CancellationToken, exited: &CancellationToken) -> Ended {
    if ended.closed && !stopping.is_cancelled() && timeout(CLOSED_OUTPUT, exited.cancelled()).await.is_err() {
        ended.broken = Some("the agent closed its output and went on".to_owned());
    }
    ended
}

/// An agent's own words, fit to be shown in one line.
fn clean(words: &str) -> String {
    let line: String = words.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
    // Of what went wrong, the last is said last.
    line[line.ceil_char_boundary(line.len().saturating_sub(WORDS))..].trim().to_owned()
}

/// The start of an agent's own words, fit to be shown in one line.
fn brief(words: &str, most: usize) -> String {
    clean(truncate_at_char(words, most.min(WORDS)))
}
