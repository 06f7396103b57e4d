//! Small writes that go out together.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// From so many bytes on, what is to be written goes out at once.
const AMPLE: usize = 8 << 10;

/// A connection on which what is little waits until the tasks that are ready now have had their turn: answers that come
/// at the same moment, those of one commit group above all, go out in one write instead of one each.
///
/// It waits once each time that the connection is looked after, which begins with a look at what came in: what is
/// flushed in pieces has one turn for all of them.
#[derive(Debug)]
pub(super) struct Gather<T> {
    io: T,
    turn: Turn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing was to be written since something was read last.
    None,
    /// It is that of the others.
    Others,
    /// They have had it: all that there is goes out.
    Ours,
}

impl<T> Gather<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, turn: Turn::None }
    }

    /// Ready where so many bytes may be written now.
    fn poll_turn(&mut self, cx: &Context<'_>, bytes: usize) -> Poll<()> {
        if self.turn == Turn::None && bytes < AMPLE {
            self.turn = Turn::Others;
            // A task that wakes itself goes behind all that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.turn = Turn::Ours;
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turn == Turn::Ours {
            self.turn = Turn::None;
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx, buf.len()));
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx, bufs.iter().map(|buf| buf.len()).sum()));
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
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn written(io: &mut Gather<DuplexStream>, bytes: &[u8]) -> Poll<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(io).poll_write(&mut cx, bytes).map(Result::unwrap)
    }

    fn looked_at(io: &mut Gather<DuplexStream>) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(io).poll_read(&mut cx, &mut ReadBuf::new(&mut [0])).is_pending());
    }

    #[tokio::test]
    async fn what_is_little_is_written_once_the_others_have_had_their_turn_and_what_is_much_at_once() {
        let (io, mut other) = duplex(4 * AMPLE);
        let mut io = Gather::new(io);
        assert_eq!(written(&mut io, b"few"), Poll::Pending);
        looked_at(&mut io);
        assert_eq!(written(&mut io, b"few"), Poll::Ready(3), "a look in between takes nobody's turn");
        io.flush().await.unwrap();
        assert_eq!(written(&mut io, b", and more"), Poll::Ready(10), "however often it is flushed");
        looked_at(&mut io);
        assert_eq!(written(&mut io, b"few"), Poll::Pending, "after the next look");
        assert_eq!(written(&mut io, &[b'x'; AMPLE]), Poll::Ready(AMPLE));
        looked_at(&mut io);
        // By itself, it goes on.
        io.write_all(b"the end").await.unwrap();
        let mut all = vec![0; 13 + AMPLE + 7];
        other.read_exact(&mut all).await.unwrap();
        assert!(all.starts_with(b"few, and morexx") && all.ends_with(b"xxthe end"));
    }
}
