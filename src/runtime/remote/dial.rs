//! How a connection to a host comes to be; handed in, so that tests and simulations dial their own way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A connection's two directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Makes connections.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// A new connection to `endpoint`, in clear also where TLS is to be spoken on it. The caller gives up after 2 s.
    async fn dial(&self, endpoint: &Uri) -> io::Result<Box<dyn Io>>;
}

/// Dials over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self, endpoint: &Uri) -> io::Result<Box<dyn Io>> {
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_tls = endpoint.scheme_str() == Some("https");
        let stream = TcpStream::connect((host, endpoint.port_u16().unwrap_or(if is_tls { 443 } else { 80 }))).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// A connection that says when it is gone: whoever owns it drops it once it has ended or failed.
pub(super) struct Watched {
    io: Box<dyn Io>,
    _gone: DropGuard,
}

impl Watched {
    /// `gone` is cancelled when this is dropped.
    pub(super) fn new(io: Box<dyn Io>, gone: CancellationToken) -> Self {
        Self { io, _gone: gone.drop_guard() }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
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
