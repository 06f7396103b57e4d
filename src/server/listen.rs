//! Accepting TCP connections. A listener of another kind (TLS, a simulation) hands `serve` its own stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::Connected;

use super::edge::Edge;
use super::gather::Gather;
use crate::metrics::{CONNECTIONS, CONNECTIONS_ACCEPTED, Counted, Refused};

/// The connection preface of HTTP/2, in bytes.
const PREFACE: usize = 24;
/// How long to wait after a failure to accept: out of descriptors, the loop would spin.
const PAUSE: Duration = Duration::from_millis(100);
/// How often such a failure is logged.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// A connection that was accepted; it counts until it is dropped.
pub struct Accepted {
    io: Gather<TcpStream>,
    /// What it still has to say before it is taken for a client, and until when.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

/// The connections of a listener, without delay for small writes. Never ends.
pub fn accept(listener: TcpListener, edge: &Edge) -> impl Stream<Item = io::Result<Accepted>> + Send + use<> {
    let room = Arc::new(Semaphore::new(edge.max_connections));
    let patience = edge.preface_timeout;
    stream::unfold((listener, room, None), move |(listener, room, mut logged)| async move {
        loop {
            // The semaphore is never closed.
            let place = room.clone().acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((io, _)) => {
                    // Without it a small answer may wait for the acknowledgement of the one before.
                    if io.set_nodelay(true).is_ok() {
                        let preface = Some((PREFACE, Box::pin(sleep(patience))));
                        CONNECTIONS_ACCEPTED.increment(1);
                        let counted = Counted::new(&CONNECTIONS);
                        let accepted = Accepted { io: Gather::new(io), preface, _place: place, _counted: counted };
                        return Some((Ok(accepted), (listener, room, logged)));
                    }
                }
                Err(error) => {
                    Refused::System.count();
                    if logged.is_none_or(|at: Instant| at.elapsed() >= LOG_EVERY) {
                        tracing::warn!(%error, "cannot accept connections");
                        logged = Some(Instant::now());
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    })
}

impl Connected for Accepted {
    type ConnectInfo = <TcpStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.get_ref().connect_info()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let Some((left, until)) = &mut self.preface else { return read };
        match read {
            Poll::Pending if until.as_mut().poll(cx).is_ready() => {
                // It is told once, and then looked after no more.
                self.preface = None;
                Refused::Silent.count();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
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

    use super::*;

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_let_go_and_one_that_speaks_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let edge = Edge { preface_timeout: Duration::from_millis(20), ..Edge::control_plane() };
        let mut accepted = Box::pin(accept(listener, &edge));
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
        let mut accepted = Box::pin(accept(listener, &edge));
        let _clients = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let first = accepted.next().await.unwrap().unwrap();
        assert!(futures_util::poll!(accepted.next()).is_pending());
        drop(first);
        assert!(accepted.next().await.unwrap().is_ok());
    }
}
