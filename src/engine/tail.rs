//! The end of one worker's stream: its landed view, what is in progress, and the last few published frames.
//!
//! One writer publishes (the worker's task, or the relay of a remote worker). Readers pull: each knows how far it has
//! come, takes what the ring still has, and is fed from the [`History`](super::observe::History) when it has fallen
//! behind the ring. So a slow reader costs nobody anything, and nothing is ever skipped in silence.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::frame::Published;
use crate::model::{Diagnostic, Error, InProgress, Worker};

/// The most frames a ring holds (robustness.md, observer's buffer).
const RING_FRAMES: usize = 256;
/// The most bytes a ring holds; one frame at least.
const RING_BYTES: usize = 1024 * 1024;

/// How many notices are kept for readers that are behind.
const NOTICES: usize = 8;

/// The end of a stream, shared by its writer and its readers.
#[derive(Debug)]
pub struct Tail {
    state: Mutex<State>,
    /// Moves with every publication; readers and those who wait for a state listen. Made for the first of them: to most
    /// workers that have ended, nobody listens ever again.
    changed: OnceLock<watch::Sender<u64>>,
}

#[derive(Debug)]
struct State {
    view: Arc<Worker>,
    in_progress: Option<Arc<InProgress>>,
    ring: VecDeque<Published>,
    ring_bytes: usize,
    readers: usize,
    /// What readers are told of the stream itself: the last few, and how many there were before them.
    notices: VecDeque<Diagnostic>,
    first_notice: u64,
    /// The tick of the ring's first frame: ticks count publications, durable or not.
    first_tick: u64,
    seen: Option<Instant>,
    closed: Option<Closed>,
}

/// Why nothing more will be published.
#[derive(Debug, Clone)]
pub enum Closed {
    /// The worker has ended.
    Ended,
    /// The stream broke; its cursor is still good.
    Failed(Error),
}

/// What becomes of what is in progress with a publication.
#[derive(Debug, Clone, Default)]
pub enum Progress {
    /// It stays.
    #[default]
    Kept,
    /// It is this now.
    Now(InProgress),
    /// It is done.
    Done,
}

/// What a reader finds at the end.
#[derive(Debug)]
pub(super) enum Found {
    /// The next frames.
    Frames(Vec<Published>),
    /// The ring no longer has the reader's tick: read the history up to this sequence, then go on.
    Behind(u64),
    /// Nothing new.
    Nothing,
    /// Nothing new, and nothing to come.
    Closed(Closed),
}

/// Where a new reader starts: one consistent cut.
#[derive(Debug)]
pub(super) struct Joined {
    pub view: Arc<Worker>,
    pub in_progress: Option<Arc<InProgress>>,
    pub tick: u64,
    pub notice: u64,
    pub changed: watch::Receiver<u64>,
}

impl Tail {
    /// A tail that stands at `view`.
    #[must_use]
    pub fn new(view: Arc<Worker>) -> Self {
        let closed = view.state.is_final().then_some(Closed::Ended);
        let state = State {
            view,
            in_progress: None,
            ring: VecDeque::new(),
            ring_bytes: 0,
            readers: 0,
            notices: VecDeque::new(),
            first_notice: 0,
            first_tick: 0,
            seen: None,
            closed,
        };
        Self { state: Mutex::new(state), changed: OnceLock::new() }
    }

    /// The worker as it stands.
    #[must_use]
    pub fn view(&self) -> Arc<Worker> {
        self.state.lock().view.clone()
    }

    /// How long ago the writer last heard of the worker; `None` where it is its owner.
    #[must_use]
    pub fn seen_age(&self) -> Option<Duration> {
        self.state.lock().seen.map(|seen| seen.elapsed())
    }

    /// Notes that the writer has just heard of the worker: at `now`, by its wall clock.
    pub fn touch(&self, now: SystemTime) {
        let mut state = self.state.lock();
        state.seen = Some(Instant::now());
        Arc::make_mut(&mut state.view).last_seen_at = Some(now);
    }

    /// How many readers there are.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.state.lock().readers
    }

    /// Who listens from before it looks at the state misses nothing: a publication changes the state first.
    fn listen(&self) -> watch::Receiver<u64> {
        self.changed.get_or_init(|| watch::Sender::new(0)).subscribe()
    }

    fn moved(&self) {
        if let Some(changed) = self.changed.get() {
            changed.send_modify(|tick| *tick = tick.wrapping_add(1));
        }
    }

    /// Waits until the view satisfies `done`, and returns it.
    pub async fn wait_for(&self, mut done: impl FnMut(&Worker) -> bool) -> Arc<Worker> {
        let mut changed = self.listen();
        loop {
            let view = self.view();
            // The sender lives as long as `self`, so that `changed` cannot fail while we wait.
            if done(&view) || changed.changed().await.is_err() {
                return view;
            }
        }
    }

    /// Publishes frames together with the view they lead to. Where nobody reads, they are not made.
    pub fn publish(
        &self,
        update: impl FnOnce(&mut Worker),
        progress: Progress,
        frames: impl IntoIterator<Item = Published, IntoIter: ExactSizeIterator>,
    ) {
        let mut frames = frames.into_iter();
        // Made before anybody waits for the lock, but for those who begin to read at this moment.
        let ready: Vec<_> = if self.readers() > 0 { frames.by_ref().collect() } else { Vec::new() };
        let mut state = self.state.lock();
        update(Arc::make_mut(&mut state.view));
        match progress {
            Progress::Kept => {}
            Progress::Now(text) => state.in_progress = Some(Arc::new(text)),
            Progress::Done => state.in_progress = None,
        }
        if state.readers > 0 {
            ready.into_iter().chain(frames).for_each(|frame| state.push(frame));
        } else {
            state.first_tick += (ready.len() + frames.len()) as u64;
        }
        if state.view.state.is_final() {
            state.in_progress = None;
            state.closed.get_or_insert(Closed::Ended);
        }
        drop(state);
        self.moved();
    }

    /// Tells every reader something of the stream itself, however far behind it is: it is not an event of the worker.
    pub fn notice(&self, update: impl FnOnce(&mut Worker), notice: Diagnostic) {
        let mut state = self.state.lock();
        update(Arc::make_mut(&mut state.view));
        state.notices.push_back(notice);
        if state.notices.len() > NOTICES {
            state.notices.pop_front();
            state.first_notice += 1;
        }
        drop(state);
        self.moved();
    }

    /// The notices from `next` on, which it moves.
    pub(super) fn notices(&self, next: &mut u64) -> Vec<Diagnostic> {
        let state = self.state.lock();
        let skip = usize::try_from(next.saturating_sub(state.first_notice)).unwrap_or(usize::MAX);
        *next = state.first_notice + state.notices.len() as u64;
        state.notices.iter().skip(skip).cloned().collect()
    }

    /// Ends the stream for all its readers.
    pub fn fail(&self, error: Error) {
        self.state.lock().closed.get_or_insert(Closed::Failed(error));
        self.moved();
    }

    /// A reader is about to go: with the last one, the ring is of no use.
    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        state.readers -= 1;
        if state.readers == 0 {
            state.first_tick = state.end_tick();
            state.ring = VecDeque::new();
            state.ring_bytes = 0;
        }
    }

    pub(super) fn join(&self) -> Joined {
        let mut state = self.state.lock();
        state.readers += 1;
        let mut view = state.view.clone();
        if let Some(seen) = state.seen {
            Arc::make_mut(&mut view).seen_age = Some(seen.elapsed());
        }
        Joined {
            view,
            in_progress: state.in_progress.clone(),
            tick: state.end_tick(),
            notice: state.first_notice + state.notices.len() as u64,
            changed: self.listen(),
        }
    }

    /// The frames from `tick` on, which it moves; a reader that is behind is told how far it must read.
    pub(super) fn take(&self, tick: &mut u64, max_bytes: usize) -> Found {
        let state = self.state.lock();
        if *tick < state.first_tick {
            *tick = state.end_tick();
            return Found::Behind(state.view.last_event_id);
        }
        let skip = usize::try_from(*tick - state.first_tick).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let frames: Vec<_> = state
            .ring
            .iter()
            .skip(skip)
            .take_while(|frame| {
                let fits = bytes == 0 || bytes + frame.wire.len() <= max_bytes;
                bytes += frame.wire.len();
                fits
            })
            .cloned()
            .collect();
        *tick += frames.len() as u64;
        match (&state.closed, frames.is_empty()) {
            (_, false) => Found::Frames(frames),
            (Some(closed), true) => Found::Closed(closed.clone()),
            (None, true) => Found::Nothing,
        }
    }
}

impl State {
    fn end_tick(&self) -> u64 {
        self.first_tick + self.ring.len() as u64
    }

    fn push(&mut self, frame: Published) {
        self.ring_bytes += frame.wire.len();
        self.ring.push_back(frame);
        while self.ring.len() > 1 && (self.ring.len() > RING_FRAMES || self.ring_bytes > RING_BYTES) {
            if let Some(old) = self.ring.pop_front() {
                self.ring_bytes -= old.wire.len();
                self.first_tick += 1;
            }
        }
    }
}
