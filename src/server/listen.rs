//! Accepting connections, over TLS where that is served. A listener of another kind (a simulation) hands `serve` its own
//! stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::edge::Edge;
use super::gather::Gather;
use super::seldom::Seldom;
use super::tls::Handshakes;
use crate::tls::ServerTls;

/// The connection preface of HTTP/2, in bytes.
const PREFACE: usize = 24;
/// How long to wait after a failure to accept: out of descriptors, the loop would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection's two directions.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection on which nothing was said yet of what we speak; it counts until it is dropped.
pub(super) struct Socket {
    pub(super) io: Box<dyn Io>,
    pub(super) counted: OwnedSemaphorePermit,
}

/// A connection that was accepted; it counts until it is dropped.
pub struct Accepted {
    io: Gather<Box<dyn Io>>,
    /// What it still has to say before it is taken for a client, and until when.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _counted: OwnedSemaphorePermit,
}

/// The connections of a listener, without delay for small writes. Never ends. What is shown over `tls` may be exchanged
/// while it accepts.
pub fn accept(
    listener: TcpListener,
    edge: &Edge,
    tls: Option<Arc<ArcSwap<ServerTls>>>,
) -> impl Stream<Item = io::Result<Accepted>> + Send + use<> {
    let room = Arc::new(Semaphore::new(edge.max_connections));
    let sockets = Sockets { listener, room, failed: Seldom::default() };
    let handshakes = tls.map(|tls| Handshakes::new(tls, edge));
    let patience = edge.preface_timeout;
    stream::unfold((sockets, handshakes), move |(mut sockets, mut handshakes)| async move {
        let Socket { io, counted } = match &mut handshakes {
            Some(handshakes) => secured(&mut sockets, handshakes).await?,
            None => sockets.next().await?,
        };
        let preface = Some((PREFACE, Box::pin(sleep(patience))));
        // Above TLS, so that what goes out together is one record.
        let accepted = Accepted { io: Gather::new(io), preface, _counted: counted };
        Some((Ok(accepted), (sockets, handshakes)))
    })
}

/// The next connection that has shaken hands.
async fn secured(sockets: &mut Sockets, handshakes: &mut Handshakes) -> Option<Socket> {
    loop {
        tokio::select! {
            biased;
            socket = handshakes.next() => return Some(socket),
            socket = sockets.next() => handshakes.begin(socket?),
        }
    }
}

/// A listener with the room that it has.
struct Sockets {
    listener: TcpListener,
    room: Arc<Semaphore>,
    failed: Seldom,
}

impl Sockets {
    /// The next one, once there is room for it. Nothing is lost where this is dropped.
    async fn next(&mut self) -> Option<Socket> {
        loop {
            // The semaphore is never closed.
            let counted = self.room.clone().acquire_owned().await.ok()?;
            match self.listener.accept().await {
                Ok((io, _)) => {
                    // Without it a small answer may wait for the acknowledgement of the one before.
                    if io.set_nodelay(true).is_ok() {
                        return Some(Socket { io: Box::new(io), counted });
                    }
                }
                Err(error) => {
                    if let Some(times) = self.failed.count() {
                        tracing::warn!(%error, times, "cannot accept connections");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let Some((left, until)) = &mut self.preface else { return read };
        match read {
            Poll::Pending if until.as_mut().poll(cx).is_ready() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
            Poll::Ready(done) => {
                *left = left.saturating_sub(buf.filled().len() - before);
                if *left == 0 {
                    self.preface = None;
                }
                Poll::Ready(done)
            }
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_let_go_and_one_that_speaks_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let edge = Edge { preface_timeout: Duration::from_millis(20), ..Edge::control_plane() };
        let mut accepted = Box::pin(accept(listener, &edge, None));
        for (said, kept) in [(0, false), (PREFACE - 1, false), (PREFACE, true)] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let mut server = accepted.next().await.unwrap().unwrap();
            client.write_all(&[b'x'; PREFACE][..said]).await.unwrap();
            let read = async {
                let mut bytes = [0; PREFACE];
                server.read_exact(&mut bytes).await
            };
            assert_eq!(read.await.is_ok(), kept, "{said}");
        }
    }

    #[tokio::test]
    async fn no_more_connections_are_taken_than_there_is_room_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let edge = Edge { max_connections: 1, ..Edge::control_plane() };
        let mut accepted = Box::pin(accept(listener, &edge, None));
        let _clients = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let first = accepted.next().await.unwrap().unwrap();
        assert!(futures_util::poll!(accepted.next()).is_pending());
        drop(first);
        assert!(accepted.next().await.unwrap().is_ok());
    }
}
