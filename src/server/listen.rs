//! Accepting TCP connections, over TLS where that is served. A listener of another kind (a simulation) makes [`Accepted`]
//! of what it has.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::chatter::Chatter;
use super::connection::{Connection, Connections};
use super::gather::Gather;
use super::seldom::Seldom;
use super::tls::Handshakes;
use crate::metrics::{NOT_ACCEPTED, connection_ended};
use crate::tls::ServerTls;

/// The connection preface of HTTP/2, in bytes.
const PREFACE: usize = 24;
/// How long to wait after a failure to accept: out of descriptors, the loop would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that speaks HTTP/2, or should.
pub struct Accepted<T> {
    io: Gather<T>,
    connection: Connection,
    /// How much of its preface is still to come.
    preface: usize,
    chatter: Chatter,
}

/// What a connection is read from and written to.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The TCP connections of a listener, without delay for small writes. Never ends. What is shown over `tls` may be
/// exchanged while it accepts.
pub fn accept(
    listener: TcpListener,
    connections: Connections,
    tls: Option<Arc<ArcSwap<ServerTls>>>,
) -> impl Stream<Item = io::Result<Accepted<Box<dyn Io>>>> + Send {
    let handshakes = tls.map(|tls| Handshakes::new(tls, connections.edge()));
    let listening = Listening { listener, connections, failed: Seldom::default() };
    stream::unfold((listening, handshakes), |(listening, mut handshakes)| async move {
        let (io, connection): (Box<dyn Io>, _) = if let Some(handshakes) = &mut handshakes {
            let (io, connection) = secured(&listening, handshakes).await?;
            (Box::new(io), connection)
        } else {
            let (io, connection) = listening.next().await?;
            (Box::new(io), connection)
        };
        Some((Ok(Accepted::new(io, connection)), (listening, handshakes)))
    })
}

/// The next connection that has shaken hands.
async fn secured(listening: &Listening, handshakes: &mut Handshakes) -> Option<(TlsStream<TcpStream>, Connection)> {
    loop {
        let full_until = handshakes.full_until();
        tokio::select! {
            biased;
            shaken = handshakes.next() => {
                if shaken.is_some() {
                    return shaken;
                }
            }
            accepted = listening.next(), if full_until.is_none() => {
                let (io, connection) = accepted?;
                handshakes.begin(io, connection);
            }
            () = sleep_until(full_until.unwrap_or_else(Instant::now)), if full_until.is_some() => {}
        }
    }
}

struct Listening {
    listener: TcpListener,
    connections: Connections,
    failed: Seldom,
}

impl Listening {
    /// The next connection that there is room for. Nothing is lost where this is dropped.
    async fn next(&self) -> Option<(TcpStream, Connection)> {
        loop {
            let room = self.connections.room().await?;
            let (io, address) = self.accept().await;
            // Without it a small answer may wait for the acknowledgement of the one before.
            if io.set_nodelay(true).is_ok()
                && let Some(connection) = self.connections.take(address, room)
            {
                return Some((io, connection));
            }
        }
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    connection_ended(NOT_ACCEPTED);
                    if let Some(times) = self.failed.count() {
                        tracing::warn!(%error, times, "cannot accept connections");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

impl<T> Accepted<T> {
    /// Its preface is waited for from now on.
    pub fn new(io: T, connection: Connection) -> Self {
        connection.begins();
        Self { io: Gather::new(io), connection, preface: PREFACE, chatter: Chatter::after(PREFACE) }
    }

    fn heard(&mut self, came: &[u8], cx: &mut Context<'_>) {
        if self.preface > 0 {
            self.preface = self.preface.saturating_sub(came.len());
            if self.preface == 0 {
                self.connection.spoke();
            }
        }
        let Self { connection, chatter, .. } = self;
        match chatter.hear(came, connection.now()) {
            Some(done) => count(done, cx),
            None => connection.end("it sends little but what asks for nothing"),
        }
    }

    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.connection.takes(written.is_ready());
        if let Poll::Ready(Ok(bytes)) = &written {
            self.chatter.answered(*bytes);
        }
        written
    }
}

/// Counts what is done with what came as tokio counts what a task does: after so much it is the turn of others. What is at
/// hand of a flood is far more than that.
fn count(done: u64, cx: &mut Context<'_>) {
    for _ in 0..done {
        let Poll::Ready(one) = coop::poll_proceed(cx) else { return };
        one.made_progress();
    }
}

impl<T> Connected for Accepted<T> {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Accepted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.watch(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.heard(&buf.filled()[before..], cx);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Accepted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.connection.takes(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::server::Edge;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_let_go_and_one_that_speaks_is_kept() {
        let edge = Edge { first_request_timeout: Duration::from_hours(1), ..Edge::control_plane() };
        let connections = Connections::new(&edge);
        for (said, kept) in [(0, false), (PREFACE - 1, false), (PREFACE, true)] {
            // No sockets: the time that they take would not be this clock's.
            let (mut client, io) = tokio::io::duplex(PREFACE);
            let room = connections.room().await.unwrap();
            let mut server = Accepted::new(io, connections.take(([192, 0, 2, 1], 1).into(), room).unwrap());
            client.write_all(&[b'x'; PREFACE][..said]).await.unwrap();
            server.read_exact(&mut vec![0; said]).await.unwrap();
            // Nothing more is said for longer than a preface is waited for.
            let more = tokio::time::timeout(edge.preface_timeout * 2, server.read_u8()).await;
            assert_eq!(more.is_err(), kept, "{said}: {more:?}");
        }
    }

    #[tokio::test]
    async fn a_flood_has_its_turn_and_then_it_is_that_of_others() {
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let flood = [&[b'x'; PREFACE][..], &ping.repeat(5_000)].concat();
        let (mut client, io) = tokio::io::duplex(flood.len());
        client.write_all(&flood).await.unwrap();
        let connections = Connections::new(&Edge::control_plane());
        let room = connections.room().await.unwrap();
        let mut server = Accepted::new(io, connections.take(([192, 0, 2, 1], 1).into(), room).unwrap());
        let (mut piece, mut left) = ([0; 1024], flood.len());
        while left > 0 {
            tokio::task::yield_now().await;
            // As much as there is for it in one turn.
            let before = left;
            std::future::poll_fn(|cx| {
                let mut buf = ReadBuf::new(&mut piece);
                while left > 0 && Pin::new(&mut server).poll_read(cx, &mut buf).map(Result::unwrap).is_ready() {
                    left -= buf.filled().len();
                    buf.clear();
                }
                Poll::Ready(())
            })
            .await;
            assert!(before - left < 200 * ping.len(), "{} bytes in one turn", before - left);
        }
    }

    #[tokio::test]
    async fn no_more_connections_are_taken_than_there_is_room_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let edge = Edge { max_connections: 1, ..Edge::control_plane() };
        let mut accepted = Box::pin(accept(listener, Connections::new(&edge), None));
        let _clients = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let first = accepted.next().await.unwrap().unwrap();
        assert!(futures_util::poll!(accepted.next()).is_pending());
        drop(first);
        assert!(accepted.next().await.unwrap().is_ok());
    }
}
