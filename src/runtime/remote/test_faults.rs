//! What a host for tests does wrong, and what it noticed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use parking_lot::Mutex;
use tonic::Status;

use crate::proto::v1;

pub(super) type Tamper = Arc<dyn Fn(usize, Bytes) -> Bytes + Send + Sync>;

pub(super) type Lie = fn(&mut v1::ConfigBundleAvailability);

/// What a host does wrong.
#[derive(Default)]
pub(super) struct Faults {
    /// It says that it is this runtime.
    pub says_it_is: Mutex<Option<String>>,
    /// It names these features, instead of those it has.
    pub features: Mutex<Option<Vec<String>>>,
    /// It answers its next calls with these, in their order, and does nothing.
    pub next: Mutex<VecDeque<Status>>,
    /// So many of its next answers to changes are lost on their way, though it did what was asked.
    pub loses: AtomicUsize,
    /// The request ids that came.
    pub request_ids: Mutex<Vec<String>>,
    /// It answers reads of workers, and all that is about bundles, with this.
    pub refuses: Mutex<Option<Status>>,
    /// It never answers reads of workers.
    pub hangs: Mutex<bool>,
    /// It changes what it tells of a bundle.
    pub lies: Mutex<Option<Lie>>,
    /// It changes the n-th frame of a stream.
    pub tampers: Mutex<Option<Tamper>>,
    /// What came as authorization, of every call.
    pub tokens: Mutex<Vec<Option<String>>>,
    /// The `grpc-timeout` of the last read of a worker.
    pub timeout: Mutex<Option<String>>,
    /// Live streams that were opened.
    pub upstreams: AtomicUsize,
    /// Replays that were opened.
    pub replays: AtomicUsize,
    /// Streams that are open.
    pub streams: AtomicUsize,
}
