//! A connection in clear, on which it is noticed that the other side speaks TLS.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Refused;

/// One that speaks TLS answers what it takes for a broken handshake with an alert (RFC 8446, 5.1 and 6).
const ALERT: &[u8] = &[0x15, 0x03];

/// A connection in clear.
#[derive(Debug)]
pub struct Plain<IO> {
    io: IO,
    /// Where it is noted, as long as what has come is the beginning of an alert.
    refused: Option<Arc<OnceLock<Refused>>>,
    /// How much of one.
    alert: usize,
}

impl<IO> Plain<IO> {
    /// Notes there that the other side speaks TLS.
    pub fn new(io: IO, refused: &Arc<OnceLock<Refused>>) -> Self {
        Self { io, refused: Some(Arc::clone(refused)), alert: 0 }
    }

    fn heard(&mut self, came: &[u8]) {
        for byte in came {
            let Some(refused) = &self.refused else { return };
            if *byte != ALERT[self.alert] {
                self.refused = None;
                return;
            }
            self.alert += 1;
            if self.alert == ALERT.len() {
                _ = refused.set(Refused::Secured);
                self.refused = None;
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Plain<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.heard(&buf.filled()[before..]);
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Plain<IO> {
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
