//! A child process in a group of its own: launched with a cleared environment, ended gracefully, then by force.
//!
//! The launcher gives a driver its child as a value, so that who owns the pipes can change later.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::StartFault;
use crate::engine::process::{Belongings, Machine, Run, boot, start_time};
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
    /// It could not be executed.
    pub refused: bool,
    /// How it broke its protocol, if it did and was killed for that.
    pub broken: Option<String>,
    /// What it was at, and what it last did, if it was at something.
    pub doing: Option<String>,
}

impl Exit {
    /// Whether a program that is to go on has failed, so that another run may do better.
    pub(crate) fn is_failure(&self) -> bool {
        let by_itself = self.signal.is_some() || self.code.is_some_and(|code| code != 0);
        (self.lost || self.refused || self.broken.is_some() || by_itself) && !self.unheard
    }
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
    /// All that comes from it.
    pub belongings: Belongings,
    pub child: Child,
    /// See [`Supervised::ended`].
    pub ended: AsyncFd<OwnedFd>,
}

impl Launched {
    /// Executes on this machine what `profile` names. It has been executed, or refused, when this returns; it blocks for about a
    /// millisecond, so that it belongs on a thread that may block, within a runtime.
    ///
    /// # Errors
    /// [`StartFault`] when there is nothing to execute or the system refuses.
    pub(super) fn launch(profile: &Profile, run: &Run, machine: &Machine) -> Result<Self, StartFault> {
        let (program, arguments) = profile.command.split_first().ok_or(StartFault::NoCommand)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(&profile.env)
            .envs([run.marker()])
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
        let ended = until_ended(pid)?;
        let process = ProcessRecord { pid, start_time: start_time(pid).unwrap_or(0), boot: boot() };
        let belongings = machine.admit(run, process);
        Ok(Self {
            stdin: child.stdin.take().ok_or_else(missing)?,
            stdout: child.stdout.take().ok_or_else(missing)?,
            stderr: child.stderr.take().ok_or_else(missing)?,
            process,
            belongings,
            child,
            ended,
        })
    }
}

/// What can be read once a child of ours has ended. Its id is its own: it is not reaped before somebody waits for it.
#[expect(deprecated, reason = "its successor is unsafe, for the sake of types that may change their descriptor")]
fn until_ended(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)
}

/// A child as its supervisor has it.
#[derive(Debug)]
pub(super) struct Supervised {
    pub child: Child,
    pub process: ProcessRecord,
    pub belongings: Belongings,
    /// Its pidfd, which can be read once it has ended, and before it is reaped.
    pub ended: AsyncFd<OwnedFd>,
    /// How long it may take to end when it was asked to.
    pub grace: Duration,
}

/// Waits for a child's end, and brings it about when told to. `closing` is called when its writer is to give up.
/// Whatever comes from the child is gone when this returns, also what left its group or session.
pub(super) async fn supervise(
    supervised: Supervised,
    mut orders: mpsc::Receiver<StopMode>,
    handle: &Handle,
    closing: impl Fn(),
) -> Exit {
    let Supervised { mut child, process, belongings, ended, grace } = supervised;
    let (mut terminate_at, mut kill_at) = (None, None);
    let mut listening = true;
    let mut asked = false;
    loop {
        tokio::select! {
            // It fails only where the runtime goes, and everything with it.
            _ = ended.readable() => break,
            mode = orders.recv(), if listening => match mode {
                Some(StopMode::Graceful) if !asked => {
                    asked = true;
                    terminate_at = Some(Instant::now() + CLOSED_INPUT.min(grace));
                }
                Some(StopMode::Graceful) => {}
                Some(StopMode::Force) => kill_at = Some(Instant::now()),
                // Whoever held it is gone: it is not to go on without.
                None => (listening, kill_at) = (false, Some(Instant::now())),
            },
            () = at(kill_at) => {
                closing();
                (kill_at, terminate_at) = (None, None);
                // While it lives, what comes from it is known by it, also what bears no marker.
                belongings.end(handle).await;
                signal_group(process, Signal::KILL);
                // It may have left its own group. One that has ended needs no signal.
                let _ = child.start_kill();
            }
            () = at(terminate_at) => {
                closing();
                signal_group(process, Signal::TERM);
                terminate_at = None;
                kill_at.get_or_insert(Instant::now() + grace);
            }
        }
    }
    closing();
    // As long as its leader is not reaped, a group's id is nobody else's: from then on it is only where a member is left.
    signal_group(process, Signal::KILL);
    let status = child.wait().await;
    belongings.end(handle).await;
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

/// Signals all that is left of the group of a child that has not been reaped; that nothing is left is fine.
fn signal_group(process: ProcessRecord, signal: Signal) {
    if let Some(group) = Pid::from_raw(process.pid) {
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use parking_lot::Mutex;

    use super::*;
    use crate::engine::profile::{InputForm, Permissions, Protocol, Restart};
    use crate::model::{Incarnation, WorkerId};

    fn supervised(launched: Launched) -> Supervised {
        let Launched { child, process, belongings, ended, .. } = launched;
        Supervised { child, process, belongings, ended, grace: Duration::from_secs(1) }
    }

    #[test]
    fn a_group_is_signalled_while_its_leaders_id_cannot_be_another_ones() {
        let profile = Profile {
            protocol: Protocol::Lines,
            command: vec!["true".to_owned()],
            input: InputForm::Text,
            cwd: None,
            env: std::collections::BTreeMap::new(),
            restart: Restart::Never,
            permissions: Permissions::Deny,
            handshake_timeout: Profile::HANDSHAKE_TIMEOUT,
            approval_timeout: Profile::APPROVAL_TIMEOUT,
        };
        let run = Run { incarnation: Incarnation::generate(), worker_id: WorkerId::generate(), generation: 1 };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _within = runtime.enter();
        let launched = Launched::launch(&profile, &run, &Machine::default()).unwrap();
        let (_orders, inbox) = mpsc::channel(1);
        // What comes first once it has ended; its group is signalled then.
        let reaped = Mutex::new(None);
        let stat = format!("/proc/{}/stat", launched.process.pid);
        let closing = || *reaped.lock() = Some(!Path::new(&stat).exists());
        let exit = runtime.block_on(supervise(supervised(launched), inbox, runtime.handle(), closing));
        assert_eq!((exit.code, *reaped.lock()), (Some(0), Some(false)));
        assert!(!Path::new(&stat).exists(), "it is reaped in the end");
    }
}
