//! The body of a request as it is read: no longer than its method takes, within what all bodies together may take of
//! memory, and kept until the request is answered, for the words of a refusal.
//!
//! What a method takes is looked at here by its path: tonic has one size for all methods of a service, and makes room
//! for what a message says of its length before any of it has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;

use super::methods::{is_open, takes_a_bundle};
use super::return_times::SOONEST;
use super::seen::seen;
use crate::metrics::Shed;
use crate::model::{Error, Reason};
use crate::proto::status::to_status;
use crate::server::Edge;

/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// What is as small as this does not count: there are no more of them than calls in flight, and to ask how things stand
/// and to end them must pass whatever others send. The largest request of a method that anybody may call, too.
const SMALL: usize = 4 * 1024;

/// How much requests may take.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    max: usize,
    max_bundle: usize,
    left: Arc<AtomicUsize>,
}

impl Bodies {
    pub(super) fn new(edge: &Edge) -> Self {
        let left = Arc::new(AtomicUsize::new(edge.request_memory));
        Self { max: edge.max_request, max_bundle: edge.max_bundle_request, left }
    }

    /// The body of a request for `path`, and what is heard of it.
    pub(super) fn read(&self, path: &str, body: Body) -> (Body, Heard) {
        let max = match path {
            path if is_open(path) => SMALL,
            path if takes_a_bundle(path) => self.max_bundle,
            _ => self.max,
        };
        let heard = Heard(Arc::new(Kept { bytes: Mutex::default(), left: self.left.clone() }));
        let kept = heard.clone();
        let body = seen(body, move |next| {
            if let Some(Ok(frame)) = next
                && let Some(data) = frame.data_ref()
                && let Err(status) = kept.take(data, max + PREFIX)
            {
                *next = Some(Err(status));
            }
        });
        (body, heard)
    }
}

/// What came of a request's body: shared with it. It counts until all that share it are gone.
#[derive(Debug, Clone)]
pub(super) struct Heard(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    /// Copied: a piece of the stack's holds the whole buffer that it was read into, and may be a byte of it.
    bytes: Mutex<Vec<u8>>,
    left: Arc<AtomicUsize>,
}

impl Heard {
    /// Takes in what came, unless it is more than `max` in all, or says that it will be, or there is no room for it.
    fn take(&self, data: &[u8], max: usize) -> Result<(), Status> {
        let mut bytes = self.0.bytes.lock();
        if bytes.len() + data.len() > max {
            return Err(too_large());
        }
        let more = counted(bytes.len() + data.len()) - counted(bytes.len());
        let enough = |left: usize| left.checked_sub(more);
        if more > 0 && self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_err() {
            return Err(no_room());
        }
        bytes.extend_from_slice(data);
        match said(&bytes) {
            Some((length, _)) if length > max - PREFIX => Err(too_large()),
            _ => Ok(()),
        }
    }

    /// The one message of a request, where it came whole.
    pub(super) fn message(&self) -> Option<Vec<u8>> {
        let bytes = self.0.bytes.lock();
        let (length, rest) = said(&bytes).filter(|_| bytes[0] == 0)?;
        Some(rest.get(..length)?.to_vec())
    }
}

/// How much of so many bytes counts.
fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(SMALL)
}

/// The length that a message says it has, and what comes after that.
fn said(body: &[u8]) -> Option<(usize, &[u8])> {
    let ([_, length @ ..], rest) = body.split_first_chunk::<PREFIX>()?;
    Some((usize::try_from(u32::from_be_bytes(*length)).ok()?, rest))
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.left.fetch_add(counted(self.bytes.get_mut().len()), Ordering::Relaxed);
    }
}

fn too_large() -> Status {
    to_status(&Error::new(Reason::InvalidRequest, "the request is larger than this method takes"))
}

fn no_room() -> Status {
    Shed::Memory.count();
    let error = Error::new(Reason::Overloaded, "there is no room for more requests now");
    to_status(&error.retry_after(SOONEST))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use http_body::{Body as _, Frame};
    use tonic::Code;

    use super::*;

    const METHOD: &str = "/workplane.v1.WorkerService/SendInput";
    const BUNDLE: &str = "/workplane.v1.ConfigBundleService/SyncConfigBundle";

    struct Parts(Vec<Bytes>);

    impl http_body::Body for Parts {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let part = if self.0.is_empty() { None } else { Some(self.0.remove(0)) };
            Poll::Ready(part.map(|part| Ok(Frame::data(part))))
        }
    }

    fn bodies() -> Bodies {
        let edge =
            Edge { max_request: 10, max_bundle_request: 10_000, request_memory: 15_000, ..Edge::control_plane() };
        Bodies::new(&edge)
    }

    /// The start of a body with a message that says it is so long, and `more` bytes of it, one by one.
    fn begun(said: u32, more: usize) -> Vec<Bytes> {
        let body = [&[0], &said.to_be_bytes()[..], &vec![b'x'; more]].concat();
        body.chunks(1).map(Bytes::copy_from_slice).collect()
    }

    /// Reads all; what is heard of it, or the code of the refusal.
    fn read(bodies: &Bodies, path: &str, parts: Vec<Bytes>) -> Result<Heard, Code> {
        let (mut body, heard) = bodies.read(path, Body::new(Parts(parts)));
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
            frame.map_err(|status| status.code())?;
        }
        Ok(heard)
    }

    #[test]
    fn a_request_is_no_larger_than_its_method_takes_whatever_it_says() {
        let bodies = bodies();
        assert_eq!(read(&bodies, METHOD, begun(10, 10)).unwrap().message().unwrap(), [b'x'; 10]);
        assert_eq!(read(&bodies, METHOD, begun(3, 11)).unwrap_err(), Code::InvalidArgument, "more than it said");
        assert_eq!(read(&bodies, METHOD, begun(11, 0)).unwrap_err(), Code::InvalidArgument, "before any of it came");
        assert!(read(&bodies, BUNDLE, begun(10_000, 10_000)).is_ok());
        assert_eq!(read(&bodies, BUNDLE, begun(10_001, 0)).unwrap_err(), Code::InvalidArgument);
    }

    #[test]
    fn all_requests_that_are_not_small_have_so_much_memory_until_they_are_answered() {
        let bodies = bodies();
        let large = || read(&bodies, BUNDLE, begun(10_000, 10_000));
        let (first, second) = (large().unwrap(), large().unwrap());
        assert_eq!(large().unwrap_err(), Code::ResourceExhausted);
        assert!(read(&bodies, METHOD, begun(10, 10)).is_ok());
        drop(second);
        drop(large().unwrap());
        drop(first);
        assert_eq!(bodies.left.load(Ordering::Relaxed), 15_000, "what was refused gave back all of its own");
    }
}
