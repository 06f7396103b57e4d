//! A child process in a group of its own: launched with a cleared environment, ended gracefully, then by force.
//!
//! The launcher gives a driver its child as a value, so that who owns the pipes can change later.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::StartFault;
use crate::engine::profile::Profile;
use crate::engine::row::ProcessRecord;
use crate::model::StopMode;

/// What a child sees of the runtime's own environment.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
/// How long a program that was asked to end may take to notice that its input is closed, before it is signalled.
const CLOSED_INPUT: Duration = Duration::from_secs(2);

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Exit {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that killed it, if one did.
    pub signal: Option<i32>,
    /// The end of what it wrote to its standard error.
    pub stderr: String,
    /// The runtime went away beneath it.
    pub lost: bool,
    /// Its output could not be read to the end.
    pub unheard: bool,
}

/// A child that runs.
#[derive(Debug)]
pub(super) struct Launched {
    /// Its standard input.
    pub stdin: ChildStdin,
    /// Its standard output.
    pub stdout: ChildStdout,
    /// Its standard error.
    pub stderr: ChildStderr,
    /// What it is known by.
    pub process: ProcessRecord,
    pub child: Child,
}

impl Launched {
    /// Executes on this machine what `profile` names. It has been executed, or refused, when this returns; it blocks for about a
    /// millisecond, so that it belongs on a thread that may block, within a runtime.
    ///
    /// # Errors
    /// [`StartFault`] when there is nothing to execute or the system refuses.
    pub(super) fn launch(profile: &Profile) -> Result<Self, StartFault> {
        let (program, arguments) = profile.command.split_first().ok_or(StartFault::NoCommand)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(&profile.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(cwd) = &profile.cwd {
            command.current_dir(cwd);
        }
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or_else(missing)?;
        Ok(Self {
            stdin: child.stdin.take().ok_or_else(missing)?,
            stdout: child.stdout.take().ok_or_else(missing)?,
            stderr: child.stderr.take().ok_or_else(missing)?,
            process: ProcessRecord { pid, start_time: start_time(pid).unwrap_or(0) },
            child,
        })
    }
}

/// When the kernel started a process, in clock ticks since boot: field 22 of `/proc/PID/stat`, proc(5).
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields behind it start with the third.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Waits for a child's end, and brings it about when told to. `closing` is called when its writer is to give up.
/// Whatever the child left in its group is killed when it has ended.
pub(super) async fn supervise(
    mut child: Child,
    process: ProcessRecord,
    grace: Duration,
    mut orders: mpsc::Receiver<StopMode>,
    closing: impl Fn(),
) -> Exit {
    let (mut terminate_at, mut kill_at) = (None, None);
    let mut listening = true;
    let mut asked = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            mode = orders.recv(), if listening => match mode {
                Some(StopMode::Graceful) if !asked => {
                    asked = true;
                    terminate_at = Some(Instant::now() + CLOSED_INPUT.min(grace));
                }
                Some(StopMode::Graceful) => {}
                Some(StopMode::Force) => kill_at = Some(Instant::now()),
                None => listening = false,
            },
            () = at(kill_at) => {
                closing();
                signal_group(process, Signal::KILL);
                (kill_at, terminate_at) = (None, None);
            }
            () = at(terminate_at) => {
                closing();
                signal_group(process, Signal::TERM);
                terminate_at = None;
                kill_at.get_or_insert(Instant::now() + grace);
            }
        }
    };
    closing();
    signal_group(process, Signal::KILL);
    match status {
        Ok(status) => Exit {
            code: status.code(),
            signal: std::os::unix::process::ExitStatusExt::signal(&status),
            ..Exit::default()
        },
        // The kernel no longer knows the child: it is gone, and how is not to be learnt.
        Err(_) => Exit::default(),
    }
}

/// Waits for an instant; for ever, where there is none.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Signals all that is left of a child's group; that nothing is left is fine.
fn signal_group(process: ProcessRecord, signal: Signal) {
    if let Some(group) = Pid::from_raw(process.pid) {
        let _ = kill_process_group(group, signal);
    }
}
