//! An answer on its way out: it counts in what it was let in by until it is dropped, its connection knows whether it is
//! read, and it goes out in pieces, so that what nobody reads is held here and not in a queue of the stack below.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::server::connection::{Connection, Unread};

/// The largest piece. The stack takes one whole, however little of it the reader has room for.
const PIECE: usize = 16 * 1024;

/// A body, and what is given back when it is dropped.
struct Held<P> {
    body: Body,
    /// What is left of the last piece that the body gave.
    rest: Bytes,
    reader: Option<Unread>,
    _permits: P,
}

/// The body of an answer over `connection`.
pub(super) fn held<P: Send + Unpin + 'static>(body: Body, connection: Option<&Connection>, permits: P) -> Body {
    Body::new(Held { body, rest: Bytes::new(), reader: connection.map(Connection::answer), _permits: permits })
}

impl<P> Held<P> {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx).map_ok(Frame::into_data) {
                Poll::Ready(Some(Ok(Ok(data)))) => self.rest = data,
                Poll::Ready(Some(Ok(Err(other)))) => return Poll::Ready(Some(Ok(other))),
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl<P: Unpin> http_body::Body for Held<P> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(reader) = &mut self.reader {
            reader.taken();
        }
        let next = self.next(cx);
        if let (Poll::Ready(Some(_)), Some(reader)) = (&next, &mut self.reader) {
            reader.handed();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A body of pieces of these lengths.
    struct Pieces(Vec<usize>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let piece = if self.0.is_empty() { None } else { Some(self.0.remove(0)) };
            Poll::Ready(piece.map(|length| Ok(Frame::data(vec![b'x'; length].into()))))
        }
    }

    #[test]
    fn what_is_large_goes_out_in_pieces() {
        let mut body = held(Body::new(Pieces(vec![3, 2 * PIECE + 1, 0, PIECE])), None, ());
        let mut cx = Context::from_waker(Waker::noop());
        let mut lengths = Vec::new();
        while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
            lengths.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(lengths, [3, PIECE, PIECE, 1, 0, PIECE]);
    }
}
