//! What a program writes, as bytes: to its end, and never waited for once the program is gone.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How much of standard error is kept for the cause of death.
const STDERR_KEPT: usize = 2 * 1024;
/// How long the output of what has ended may be silent before it is given up: something that left the group holds it.
const SILENCE: Duration = Duration::from_secs(2);
/// How much is read of what has ended: more than any pipe holds, so that more is not the program's own.
const LEFT_IN_PIPE: usize = 1024 * 1024;

/// The last few KiB of what a program writes to its standard error.
pub(super) async fn keep_end<R: AsyncRead + Unpin>(mut stderr: Output<R>) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = vec![0; STDERR_KEPT];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    text[text.ceil_char_boundary(text.len().saturating_sub(STDERR_KEPT))..].trim().to_owned()
}

/// A program's output: once the program has ended, only what it left in the pipe.
pub(super) struct Output<R> {
    pipe: R,
    ended: CancellationToken,
    left: usize,
}

impl<R: AsyncRead + Unpin> Output<R> {
    pub(super) fn new(pipe: R, ended: CancellationToken) -> Self {
        Self { pipe, ended, left: LEFT_IN_PIPE }
    }

    /// The next bytes; 0 at the end. Dropped while it waits, it has read nothing.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.ended.is_cancelled() {
            tokio::select! {
                biased;
                read = self.pipe.read(buffer) => return read,
                () = self.ended.cancelled() => {}
            }
        }
        let room = buffer.len().min(self.left);
        let read = timeout(SILENCE, self.pipe.read(&mut buffer[..room])).await.unwrap_or(Ok(0));
        self.left -= read.as_ref().map_or(0, |count| *count);
        read
    }
}
