//! What steers a running server from outside: signals in a process, a handle in a test.

use std::future::Future;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ConfigError;

/// The outside of a running server.
pub struct Control<C> {
    /// Cancelled when it is to drain and end.
    pub drain: CancellationToken,
    /// Configurations to go on with, each of them valid.
    pub configs: mpsc::Receiver<C>,
    last_act: LastAct,
}

/// What is done when the process ends at once.
type LastAct = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// How long a process that ends at once takes for its last act.
const AT_ONCE: Duration = Duration::from_millis(400);
/// Who signals a process and its group signals it twice: what comes so soon after the first is not a second signal.
const SAME: Duration = Duration::from_millis(200);
/// A drain is over after 30 s, whatever happens: one that is not by then ends at once.
const HARD_END: Duration = Duration::from_millis(29_500);

impl<C: Send + 'static> Control<C> {
    /// One that is steered by hand.
    #[must_use]
    pub fn by_hand() -> (CancellationToken, mpsc::Sender<C>, Self) {
        let drain = CancellationToken::new();
        let (sender, configs) = mpsc::channel(1);
        (drain.clone(), sender, Self { drain, configs, last_act: LastAct::default() })
    }

    /// Sets what is done when the process ends at once, as far as it takes no longer than 0.4 s.
    pub fn set_last_act(&self, act: impl FnOnce() + Send + 'static) {
        *self.last_act.lock() = Some(Box::new(act));
    }

    /// What was opened, or `None` where it is told to drain before that is done: then it is given up where it is.
    pub async fn unless_drained<T>(&self, opening: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            opened = opening => Some(opened),
            () = self.drain.cancelled() => {
                tracing::info!("told to end before all was opened: ending");
                None
            }
        }
    }

    /// One that is steered by signals: SIGTERM and SIGINT drain, a second one of them ends the process at once, SIGHUP
    /// reads the configuration again. One that is refused is logged and changes nothing.
    ///
    /// # Errors
    /// When the system refuses to tell of signals.
    pub fn by_signals(load: impl Fn() -> Result<C, ConfigError> + Send + Sync + 'static) -> io::Result<Self> {
        let (drain, sender, control) = Self::by_hand();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let load = Arc::new(load);
        let last_act = Arc::clone(&control.last_act);
        tokio::spawn(async move {
            let (mut waiting, mut loading, mut again) = (None, None, false);
            let mut told = None;
            loop {
                tokio::select! {
                    Some(()) = terminate.recv() => end(&drain, &last_act, &mut told),
                    Some(()) = interrupt.recv() => end(&drain, &last_act, &mut told),
                    Some(()) = hang_up.recv() => match loading {
                        Some(_) => again = true,
                        None => loading = Some(read(&load)),
                    },
                    read_now = loaded(&mut loading) => {
                        match read_now {
                            Ok(Ok(config)) => waiting = Some(config),
                            Ok(Err(error)) => {
                                tracing::error!(%error, "the configuration is refused: nothing was changed");
                            }
                            Err(_) => tracing::error!("the configuration could not be read: nothing was changed"),
                        }
                        loading = std::mem::take(&mut again).then(|| read(&load));
                    }
                    () = hand_on(&mut waiting, &sender), if waiting.is_some() => {}
                }
            }
        });
        Ok(control)
    }
}

/// Reads the configuration on a thread of its own: a file system that hangs is not to hold back a signal.
fn read<C: Send + 'static>(
    load: &Arc<impl Fn() -> Result<C, ConfigError> + Send + Sync + 'static>,
) -> oneshot::Receiver<Result<C, ConfigError>> {
    let (done, reading) = oneshot::channel();
    let load = Arc::clone(load);
    // Without a thread the sender is dropped, and the receiver says so. Nobody waits for it at the end.
    let _ = thread::Builder::new().name("configuration".to_owned()).spawn(move || done.send(load()).is_ok());
    reading
}

/// What was read; never, where nothing is being read.
async fn loaded<T>(loading: &mut Option<oneshot::Receiver<T>>) -> Result<T, oneshot::error::RecvError> {
    match loading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// Hands on the configuration that waits, once there is room for it. Until then a later one may take its place.
async fn hand_on<C>(waiting: &mut Option<C>, sender: &mpsc::Sender<C>) {
    let room = sender.reserve().await;
    // Without room for ever there is nobody any more: that is a drain.
    if let (Some(config), Ok(room)) = (waiting.take(), room) {
        room.send(config);
    }
}

/// Drains; the second time, ends. It was `told` to before.
fn end(drain: &CancellationToken, last_act: &LastAct, told: &mut Option<Instant>) {
    if let Some(told) = told {
        if told.elapsed() < SAME {
            return;
        }
        tracing::warn!("a second signal: ending at once");
        end_at_once(last_act, 1);
    }
    *told = Some(Instant::now());
    tracing::info!("draining");
    drain.cancel();
    let last_act = Arc::clone(last_act);
    // On a thread of its own: what holds a drain up may hold up every task there is.
    let hard_end = thread::Builder::new().name("hard end".to_owned()).spawn(move || {
        // Nobody sends: it is the time that is waited for.
        let (_never, over) = sync_channel::<()>(1);
        let _ = over.recv_timeout(HARD_END);
        tracing::error!("the drain takes too long: ending as it is");
        end_at_once(&last_act, 0);
    });
    if let Err(error) = hard_end {
        tracing::warn!(%error, "nothing watches over how long the drain takes");
    }
}

/// Ends the process with `code`, after its last act.
#[expect(clippy::exit, reason = "it ends whatever still runs")]
fn end_at_once(last_act: &LastAct, code: i32) -> ! {
    if let Some(act) = last_act.lock().take() {
        let (done, over) = sync_channel(1);
        // Without a thread it is not done, and the sender is gone.
        let _ = thread::Builder::new().name("last act".to_owned()).spawn(move || {
            act();
            done.send(())
        });
        let _ = over.recv_timeout(AT_ONCE);
    }
    process::exit(code)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use futures_util::FutureExt as _;
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn a_drain_that_hangs_is_over_in_time_after_its_last_act() {
        let name = "app::control::tests::a_process_whose_drain_hangs";
        let test = std::env::current_exe().unwrap();
        let asked = tokio::time::Instant::now();
        let output = Command::new(test).args([name, "--exact", "--ignored", "--nocapture"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("the last act") && !said.contains("test result"), "{said}");
        assert!(asked.elapsed() >= HARD_END, "{:?}", asked.elapsed());
    }

    #[test]
    #[ignore = "it ends its process: the test above runs it in one of its own"]
    fn a_process_whose_drain_hangs() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let control = Control::by_signals(|| Ok(())).unwrap();
            control.set_last_act(|| println!("the last act"));
            kill_process(getpid(), Signal::TERM).unwrap();
            control.drain.cancelled().await;
            // No task goes on any more.
            tokio::spawn(async {
                loop {
                    thread::park();
                }
            });
            loop {
                thread::park();
            }
        });
    }

    #[tokio::test]
    async fn a_configuration_that_comes_while_another_one_waits_is_not_lost() {
        let (_drain, sender, mut control) = Control::by_hand();
        let mut waiting = None;
        for config in 1..=3 {
            waiting = Some(config);
            // As a signal that comes now would, this gives up the wait for room.
            let _ = hand_on(&mut waiting, &sender).now_or_never();
        }
        assert_eq!(control.configs.recv().await, Some(1));
        hand_on(&mut waiting, &sender).await;
        assert_eq!((control.configs.recv().await, waiting), (Some(3), None));
        waiting = Some(4);
        drop(control);
        hand_on(&mut waiting, &sender).await;
        assert_eq!(waiting, None, "with nobody to take it, it is waited for no more");
    }
}
