//! An observation as a stream of encoded frames, for both roles.
//!
//! 1. The snapshot, made here.
//! 2. Frames as the observation hands them out: bytes that are sent as they are.
//! 3. A heartbeat, made here, when nothing came for the interval.
//! 4. The end: OK when the worker has ended; `DRAINING`, after a frame that says so; `UNAUTHENTICATED`, where the caller's
//!    token is gone; `DEADLINE_EXCEEDED`; or what broke. Each with the last cursor in the trailer [`CURSOR`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep_until};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::ends::{End, Ends};
use super::layers::deadline_exceeded;
use crate::engine::{Clock, Observation, Observed};
use crate::metrics::FRAMES_SENT;
use crate::model::{Diagnostic, Error, EventKind};
use crate::proto::frames::Place;
use crate::proto::status::to_status;

/// The trailer in which a stream that ends has its last cursor.
const CURSOR: &str = "workplane-cursor";

/// The frames of one observation.
pub(super) fn frames(
    observation: Observation,
    heartbeat: Duration,
    clock: Arc<dyn Clock>,
    ends: Ends,
    until: Option<Instant>,
) -> impl Stream<Item = Result<Bytes, Status>> {
    let view = observation.view();
    let place = Place {
        runtime_id: view.runtime_id.clone(),
        worker_id: view.worker_id.clone(),
        incarnation: observation.incarnation(),
        sequence: observation.sequence(),
    };
    let (quiet_since, phase) = (Instant::now(), Phase::Open);
    let feed = Feed { observation, place, heartbeat, clock, ends, until, quiet_since, phase };
    stream::unfold(feed, |mut feed| async move { feed.next().await.map(|frame| (frame, feed)) })
}

/// Waits until then; for ever where there is no such time.
async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// One reader and what was sent to it.
struct Feed {
    observation: Observation,
    place: Place,
    heartbeat: Duration,
    clock: Arc<dyn Clock>,
    ends: Ends,
    until: Option<Instant>,
    quiet_since: Instant,
    phase: Phase,
}

#[derive(PartialEq, Eq)]
enum Phase {
    Open,
    /// The frame that says so was sent.
    Draining,
    Over,
}

/// What comes next.
enum Next {
    Observed(crate::model::Result<Option<Observed>>),
    Quiet,
    End(End),
    Exceeded,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        match self.phase {
            Phase::Over => return None,
            Phase::Draining => return Some(Err(self.end(to_status(&Error::from(End::Draining))))),
            Phase::Open => {}
        }
        let frame = match self.wait().await {
            Next::Observed(Ok(Some(observed))) => self.frame(observed),
            Next::Observed(Ok(None)) => return Some(Err(self.end(Status::new(Code::Ok, "")))),
            Next::Observed(Err(error)) => return Some(Err(self.end(to_status(&error)))),
            Next::Exceeded => return Some(Err(self.end(to_status(&deadline_exceeded())))),
            Next::Quiet => self.place.heartbeat(self.observation.seen_age().unwrap_or_default(), self.clock.now()),
            Next::End(revoked @ End::Revoked) => return Some(Err(self.end(to_status(&Error::from(revoked))))),
            Next::End(End::Draining) => {
                self.phase = Phase::Draining;
                let said =
                    Diagnostic::warning("draining", "the server is shutting down: observe again with this cursor");
                self.place.diagnostic(said, self.clock.now())
            }
        };
        self.quiet_since = Instant::now();
        FRAMES_SENT.increment(1);
        Some(Ok(frame))
    }

    /// What is ready is taken before anything is waited for; ends from outside and the deadline come before both.
    async fn wait(&mut self) -> Next {
        if let Some(end) = self.ends.come() {
            return Next::End(end);
        }
        tokio::select! {
            biased;
            () = reached(self.until) => Next::Exceeded,
            next = self.observation.next() => Next::Observed(next),
            end = self.ends.coming() => Next::End(end),
            () = sleep_until(self.quiet_since + self.heartbeat) => Next::Quiet,
        }
    }

    fn frame(&mut self, observed: Observed) -> Bytes {
        match observed {
            Observed::Snapshot(view) => {
                self.place.sequence = view.resumes_after;
                self.place.snapshot(&view, self.clock.now())
            }
            Observed::Frame(frame) => {
                if frame.kind.is_durable() || frame.kind == EventKind::Gap {
                    self.place.sequence = frame.sequence;
                }
                frame.wire
            }
            Observed::Notice(notice) => self.place.diagnostic(notice, self.clock.now()),
        }
    }

    /// The end of the stream. Given as an error also where it is OK: so tonic writes its metadata as trailers.
    fn end(&mut self, mut status: Status) -> Status {
        self.phase = Phase::Over;
        // A cursor is base64url, all of whose characters are allowed.
        if let Ok(cursor) = self.place.cursor().parse() {
            let trailers: &mut MetadataMap = status.metadata_mut();
            trailers.insert(CURSOR, cursor);
        }
        status
    }
}
