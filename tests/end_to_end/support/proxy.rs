//! A wire between two parties that a test can cut, hold still, or take away.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Everything passes.
    Open,
    /// Connections stay, and nothing passes.
    Held,
    /// Connections are closed as soon as they come.
    Refusing,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections made before this count was reached are cut.
    cuts: u64,
}

/// A wire to one address.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    connections: watch::Receiver<u64>,
}

impl Proxy {
    /// A wire to `target`, open.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::new(State { mode: Mode::Open, cuts: 0 });
        let (count, connections) = watch::channel(0);
        tokio::spawn(accept(listener, target, state.subscribe(), count));
        Self { address, state, connections }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have been made so far.
    pub(crate) fn connections(&self) -> u64 {
        *self.connections.borrow()
    }

    /// Ends all connections there are; new ones may be made.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Lets nothing pass, though the connections stay.
    pub(crate) fn hold(&self) {
        self.state.send_modify(|state| state.mode = Mode::Held);
    }

    /// Ends all connections there are, and every new one.
    pub(crate) fn refuse(&self) {
        self.state.send_modify(|state| *state = State { mode: Mode::Refusing, cuts: state.cuts + 1 });
    }

    /// Lets everything pass again.
    pub(crate) fn open(&self) {
        self.state.send_modify(|state| state.mode = Mode::Open);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
    count: watch::Sender<u64>,
) {
    let mut wires = JoinSet::new();
    loop {
        let near = tokio::select! {
            accepted = listener.accept() => accepted.expect("a listener on loopback accepts").0,
            // The proxy is gone: so are its connections, with this set.
            gone = state.changed() => if gone.is_err() { return } else { continue },
        };
        while wires.try_join_next().is_some() {}
        // Looked at once, so that a cut that comes now finds this connection.
        let State { mode, cuts } = *state.borrow();
        if mode == Mode::Refusing {
            continue;
        }
        count.send_modify(|count| *count += 1);
        wires.spawn(connect(near, target, state.clone(), cuts));
    }
}

/// Carries one connection until either side ends it, or it is cut for the first time after `cuts`.
async fn connect(near: TcpStream, target: SocketAddr, state: watch::Receiver<State>, cuts: u64) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    // A test of order under load has no use for Nagle's algorithm.
    _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let mut cut = state.clone();
    tokio::select! {
        () = async { tokio::join!(pass(near_read, far_write, state.clone()), pass(far_read, near_write, state)); } => {}
        _ = cut.wait_for(|state| state.cuts > cuts) => {}
    }
}

/// Passes bytes on while the wire is open, until the one side ends.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut state: watch::Receiver<State>) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        if state.wait_for(|state| state.mode != Mode::Held).await.is_err()
            || to.write_all(&chunk[..length]).await.is_err()
        {
            return;
        }
    }
    _ = to.shutdown().await;
}
