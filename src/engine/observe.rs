//! One reader of one worker's stream: a snapshot, then what is stored after its cursor, then what is live.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::frame::Published;
use super::tail::{Closed, Found, Tail};
use crate::metrics::{CATCH_UP_READS, Counted, OBSERVERS};
use crate::model::{Cursor, Diagnostic, Error, EventKind, InProgress, Incarnation, Reason, Result, Worker};

/// The most bytes that a reader takes from the ring at once.
const BATCH_BYTES: usize = 256 * 1024;

/// Where an observation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObserveFrom {
    /// After the last event there is.
    Now,
    /// At the first event there is.
    Beginning,
    /// After the event that the cursor names.
    After(Cursor),
}

/// Stored events of one worker, read back.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// Frames after `after`, in order and without gap, up to `until`, as many as fit a page; at least one.
    /// What retention removed is a frame of kind [`EventKind::Gap`] whose sequence is the last removed.
    async fn read(&self, after: u64, until: u64) -> Result<Vec<Published>>;
}

/// What an observer gets.
#[derive(Debug, Clone)]
pub enum Observed {
    /// The first of all: the worker as it is. The edge makes a frame of it.
    Snapshot(Box<SnapshotView>),
    /// An event, ready for the wire.
    Frame(Published),
    /// Something of the stream itself. The edge makes a frame of it, where this reader stands.
    Notice(Diagnostic),
}

/// A worker and its stream at one instant.
#[derive(Debug, Clone)]
pub struct SnapshotView {
    /// The worker as it is.
    pub worker: Arc<Worker>,
    /// What it is saying.
    pub in_progress: Option<Arc<InProgress>>,
    /// The sequence after which this observation goes on.
    pub resumes_after: u64,
}

/// One reader.
pub struct Observation {
    incarnation: Incarnation,
    tail: Arc<Tail>,
    history: Arc<dyn History>,
    changed: watch::Receiver<u64>,
    /// The last durable event that was handed out, or the start.
    sequence: u64,
    /// Up to here the history is read before the ring is looked at.
    catch_up_to: u64,
    tick: u64,
    notice: u64,
    ready: VecDeque<Observed>,
    /// A read of the history that is under way: kept here, so that one who stops waiting for it finds it again.
    reading: Option<Reading>,
    stop_after: Option<u64>,
    done: bool,
    _counted: Counted,
}

type Reading = Pin<Box<dyn Future<Output = Result<Vec<Published>>> + Send>>;

impl Observation {
    /// Opens a reader that stands after `after`, or at the end where that is `None`. With `stop_after` it ends once it
    /// has handed out the event with that sequence.
    ///
    /// The caller has checked that `after` is neither of the future nor before what is kept.
    #[must_use]
    pub fn open(
        incarnation: Incarnation,
        tail: Arc<Tail>,
        history: Arc<dyn History>,
        after: Option<u64>,
        stop_after: Option<u64>,
    ) -> Self {
        let joined = tail.join();
        let last = joined.view.last_event_id;
        let sequence = after.unwrap_or(last);
        let snapshot = SnapshotView { worker: joined.view, in_progress: joined.in_progress, resumes_after: sequence };
        Self {
            incarnation,
            tail,
            history,
            changed: joined.changed,
            sequence,
            catch_up_to: last,
            tick: joined.tick,
            notice: joined.notice,
            ready: VecDeque::from([Observed::Snapshot(Box::new(snapshot))]),
            reading: None,
            stop_after,
            done: false,
            _counted: Counted::new(&OBSERVERS),
        }
    }

    /// The last durable event that was handed out.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The store that its cursors belong to.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The worker as it is now: later than what was handed out, if the reader is slow.
    #[must_use]
    pub fn view(&self) -> Arc<Worker> {
        self.tail.view()
    }

    /// How long ago the worker was last heard of; `None` where it is local.
    #[must_use]
    pub fn seen_age(&self) -> Option<Duration> {
        self.tail.seen_age()
    }

    /// The next thing to tell; `None` at the end of the stream. Safe to drop while it waits: nothing is lost.
    ///
    /// # Errors
    /// When the history cannot be read or the stream broke; the last cursor is still good.
    pub async fn next(&mut self) -> Result<Option<Observed>> {
        loop {
            let enough = self.done || self.stop_after.is_some_and(|last| self.sequence >= last);
            if let Some(next) = self.ready.pop_front_if(|next| !enough || matches!(next, Observed::Snapshot(_))) {
                self.note(&next);
                return Ok(Some(next));
            }
            if enough {
                return Ok(None);
            }
            self.changed.mark_unchanged();
            let notices = self.tail.notices(&mut self.notice);
            if !notices.is_empty() {
                self.ready.extend(notices.into_iter().map(Observed::Notice));
                continue;
            }
            if self.sequence < self.catch_up_to {
                let frames = self.read_on().await?;
                if frames.is_empty() {
                    let message = "events that were told of cannot be read";
                    return Err(Error::new(Reason::StoreError, message));
                }
                self.ready.extend(frames.into_iter().map(Observed::Frame));
                continue;
            }
            match self.tail.take(&mut self.tick, BATCH_BYTES) {
                Found::Frames(frames) => self.take_live(frames),
                Found::Behind(last) => self.catch_up_to = last,
                Found::Closed(Closed::Ended) => return Ok(None),
                Found::Closed(Closed::Failed(error)) => return Err(error),
                // The tail holds the sender, so that this cannot fail while we hold the tail.
                Found::Nothing => _ = self.changed.changed().await,
            }
        }
    }

    /// Reads on in the history; what was begun by a call that was dropped goes on.
    async fn read_on(&mut self) -> Result<Vec<Published>> {
        let until = self.stop_after.map_or(self.catch_up_to, |last| last.min(self.catch_up_to));
        let reading = self.reading.get_or_insert_with(|| {
            CATCH_UP_READS.increment(1);
            let (history, after) = (Arc::clone(&self.history), self.sequence);
            Box::pin(async move { history.read(after, until).await })
        });
        let read = reading.await;
        self.reading = None;
        read
    }

    /// Queues live frames: durable ones that were not handed out yet, and the passing ones between them. One that does
    /// not follow shows that the ring lacks some: they are read from the history, and the rest of this take with them.
    fn take_live(&mut self, frames: Vec<Published>) {
        let mut last = self.sequence;
        for frame in frames {
            if frame.kind == EventKind::Gap {
                // It was made for the writer's place. What this reader misses, its own history says.
                self.catch_up_to = self.catch_up_to.max(frame.sequence);
                continue;
            }
            if frame.kind.is_durable() {
                if frame.sequence <= last {
                    continue;
                }
                if frame.sequence > last + 1 || self.catch_up_to > last {
                    self.catch_up_to = frame.sequence;
                    continue;
                }
                last = frame.sequence;
            }
            self.ready.push_back(Observed::Frame(frame));
        }
    }

    fn note(&mut self, handed_out: &Observed) {
        let Observed::Frame(frame) = handed_out else { return };
        if frame.kind.is_durable() || frame.kind == EventKind::Gap {
            self.sequence = frame.sequence;
        }
        self.done |= frame.kind == EventKind::End;
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.tail.leave();
    }
}
