//! Accepting TCP connections. A listener of another kind (TLS, a simulation) hands `serve` its own stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::Connected;

use super::edge::Edge;

/// The connection preface of HTTP/2, in bytes.
const PREFACE: usize = 24;
/// How long to wait after a failure to accept: out of descriptors, the loop would spin.
const PAUSE: Duration = Duration::from_millis(100);
/// How often such a failure is logged.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// From so many bytes on, what is to be written goes out at once.
const AMPLE: usize = 8 << 10;

/// A connection that was accepted; it counts until it is dropped.
///
/// What is little waits until the tasks that are ready now have had their turn: answers that come at the same moment,
/// those of one commit group above all, go out in one write instead of one each. It waits once each time that the
/// connection is looked after, which begins with a look at what came in.
pub struct Accepted {
    io: TcpStream,
    gathering: Gathering,
    /// What it still has to say before it is taken for a client, and until when.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _counted: OwnedSemaphorePermit,
}

/// Whether what is little may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathering {
    /// Nothing was to be written since something was read last.
    Nothing,
    /// The others have their turn.
    Waits,
    /// They have had it: all that there is goes out.
    Done,
}

/// The connections of a listener, without delay for small writes. Never ends.
pub fn accept(listener: TcpListener, edge: &Edge) -> impl Stream<Item = io::Result<Accepted>> + Send + use<> {
    let room = Arc::new(Semaphore::new(edge.max_connections));
    let patience = edge.preface_timeout;
    stream::unfold((listener, room, None), move |(listener, room, mut logged)| async move {
        loop {
            // The semaphore is never closed.
            let counted = room.clone().acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((io, _)) => {
                    // Without it a small answer may wait for the acknowledgement of the one before.
                    if io.set_nodelay(true).is_ok() {
                        let preface = Some((PREFACE, Box::pin(sleep(patience))));
                        return Some((
                            Ok(Accepted { io, gathering: Gathering::Nothing, preface, _counted: counted }),
                            (listener, room, logged),
                        ));
                    }
                }
                Err(error) => {
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

impl Accepted {
    /// Ready where so many bytes may be written now.
    fn poll_gather(&mut self, cx: &Context<'_>, bytes: usize) -> Poll<()> {
        if self.gathering != Gathering::Nothing || bytes >= AMPLE {
            self.gathering = Gathering::Done;
            return Poll::Ready(());
        }
        self.gathering = Gathering::Waits;
        // A task that wakes itself goes behind all that are ready.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Connected for Accepted {
    type ConnectInfo = <TcpStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.gathering == Gathering::Done {
            self.gathering = Gathering::Nothing;
        }
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
        ready!(self.poll_gather(cx, buf.len()));
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_gather(cx, bufs.iter().map(|buf| buf.len()).sum()));
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
    async fn what_is_little_is_written_once_the_others_have_had_their_turn_and_what_is_much_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = Box::pin(accept(listener, &Edge::control_plane()));
        let _client = TcpStream::connect(address).await.unwrap();
        let mut server = accepted.next().await.unwrap().unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut written = |bytes: &[u8]| Pin::new(&mut server).poll_write(&mut cx, bytes).map(Result::unwrap);
        assert_eq!(written(b"few"), Poll::Pending);
        assert_eq!(written(b"few"), Poll::Ready(3));
        assert_eq!(written(b"more of the same"), Poll::Ready(16), "one turn for all of a look");
        server.flush().await.unwrap();
        let mut written = |bytes: &[u8]| Pin::new(&mut server).poll_write(&mut cx, bytes).map(Result::unwrap);
        assert_eq!(written(b"and more"), Poll::Ready(8), "however often it is flushed");
        assert!(futures_util::poll!(Box::pin(server.read_u8())).is_pending());
        let mut written = |bytes: &[u8]| Pin::new(&mut server).poll_write(&mut cx, bytes).map(Result::unwrap);
        assert_eq!(written(b"few"), Poll::Pending, "the next look");
        assert_eq!(written(&[0; AMPLE]), Poll::Ready(AMPLE));
        assert!(futures_util::poll!(Box::pin(server.read_u8())).is_pending());
        // By itself, it goes on.
        server.write_all(b"few").await.unwrap();
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
