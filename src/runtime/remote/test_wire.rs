//! A wire for tests: connections in memory that can be cut, refused or left hanging.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use http::Uri;
use parking_lot::Mutex;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::dial::{Dial, Io};

/// What becomes of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It connects.
    Connect,
    /// It is refused.
    Refuse,
    /// Nothing comes back.
    Hang,
}

/// The wire between a runtime and its test host.
pub(super) struct Wire {
    host: mpsc::Sender<io::Result<DuplexStream>>,
    mode: Mutex<Mode>,
    open: Mutex<Vec<AbortHandle>>,
    dials: AtomicUsize,
}

impl Wire {
    /// A wire, and the host's end of it.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<io::Result<DuplexStream>>) {
        let (host, incoming) = mpsc::channel(16);
        let (mode, open, dials) = (Mutex::new(Mode::Connect), Mutex::default(), AtomicUsize::new(0));
        (Arc::new(Self { host, mode, open, dials }), incoming)
    }

    /// From now on dials go like this.
    pub(super) fn set(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    /// Every open connection breaks.
    pub(super) fn cut(&self) {
        self.open.lock().drain(..).for_each(|connection| connection.abort());
    }

    /// How often it was dialled.
    pub(super) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Dial for Wire {
    async fn dial(&self, _: &Uri) -> io::Result<Box<dyn Io>> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let mode = *self.mode.lock();
        match mode {
            Mode::Refuse => return Err(io::ErrorKind::ConnectionRefused.into()),
            Mode::Hang => std::future::pending().await,
            Mode::Connect => {}
        }
        let (near, mut inner) = duplex(64 * 1024);
        let (mut outer, far) = duplex(64 * 1024);
        let copying = tokio::spawn(async move { copy_bidirectional(&mut inner, &mut outer).await });
        self.open.lock().push(copying.abort_handle());
        self.host.send(Ok(far)).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(Box::new(near))
    }
}
