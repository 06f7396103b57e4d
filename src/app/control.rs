//! What steers a running server from outside: signals in a process, a handle in a test.

use std::io;
use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::ConfigError;

/// The outside of a running server.
#[derive(Debug)]
pub struct Control<C> {
    /// Cancelled when it is to drain and end.
    pub drain: CancellationToken,
    /// Configurations to go on with, each of them valid.
    pub configs: mpsc::Receiver<C>,
}

impl<C: Send + 'static> Control<C> {
    /// One that is steered by hand.
    #[must_use]
    pub fn by_hand() -> (CancellationToken, mpsc::Sender<C>, Self) {
        let drain = CancellationToken::new();
        let (sender, configs) = mpsc::channel(1);
        (drain.clone(), sender, Self { drain, configs })
    }

    /// One that is steered by signals: SIGTERM and SIGINT drain, a second one of them ends the process at once, SIGHUP
    /// reads the configuration again. One that is refused is logged and changes nothing.
    ///
    /// # Errors
    /// When the system refuses to tell of signals.
    pub fn by_signals(load: impl Fn() -> Result<C, ConfigError> + Send + 'static) -> io::Result<Self> {
        let (drain, sender, control) = Self::by_hand();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = terminate.recv() => end(&drain),
                    Some(()) = interrupt.recv() => end(&drain),
                    Some(()) = hang_up.recv() => match load() {
                        // Refused while another one waits, and when nobody is there any more: that is a drain.
                        Ok(config) => if sender.try_send(config).is_err() {
                            tracing::warn!("the configuration is not taken just now");
                        },
                        Err(error) => tracing::error!(%error, "the configuration is refused: nothing was changed"),
                    },
                }
            }
        });
        Ok(control)
    }
}

/// Drains; the second time, ends.
#[expect(clippy::exit, reason = "a second signal ends the process at once, whatever still runs")]
fn end(drain: &CancellationToken) {
    if drain.is_cancelled() {
        tracing::warn!("a second signal: ending at once");
        process::exit(1);
    }
    tracing::info!("draining");
    drain.cancel();
}
