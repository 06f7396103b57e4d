//! A worker's last events. The API streams events from a cursor or from the first on, and has no way to read the last ones:
//! of a worker with few events all are read and the last kept, of one with many the last items of its transcript, which are
//! events too, are told instead. So it takes as long for a worker with a million events as for one with a thousand.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use prost::Message;
use tonic::Request;

use super::findings::time;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{
    End, GetTranscriptRequest, ItemAppended, ObservationFrame, ObserveStart, ObserveWorkerRequest, TranscriptItem,
    Worker,
};

/// How many are told.
const LAST: usize = 5;
/// Of so many, and so many bytes, all are read to have the last.
const MANY: u64 = 2_000;
const MUCH: usize = 8 << 20;
/// A host may be lost while its events are read.
const PATIENCE: Duration = Duration::from_secs(5);

/// A worker's last events.
#[derive(Default)]
pub(super) struct Recent {
    /// The latest last.
    pub(super) frames: VecDeque<ObservationFrame>,
    /// Now, by the host's clock.
    pub(super) now: Option<SystemTime>,
    /// Why these are not just the last ones.
    pub(super) note: Option<String>,
}

impl Recent {
    /// Of a worker whose host cannot be asked.
    pub(super) fn out_of_reach() -> Self {
        Self { note: Some("its events are on its host, which cannot be reached".to_owned()), ..Self::default() }
    }

    /// Reads them. What cannot be read is a note, not a failure: the rest is still worth telling.
    pub(super) async fn of(client: &Client, worker: &Worker) -> Self {
        let kept = (worker.last_event_id + 1).saturating_sub(worker.first_sequence);
        let mut recent = Self::default();
        let read = tokio::time::timeout(PATIENCE, recent.read(client, worker, kept <= MANY)).await;
        let whole = match read {
            Ok(Ok(whole)) => whole,
            Ok(Err(failure)) => return Self { note: Some(format!("its events cannot be read: {failure}")), ..recent },
            Err(_) => return Self { note: Some("its events could not be read in time".to_owned()), ..recent },
        };
        if whole {
            return recent;
        }
        let note = format!("{kept} events are kept: of so many only the last items of the transcript are told here");
        let items = tokio::time::timeout(PATIENCE, recent.items(client, worker)).await;
        let note = match items {
            Ok(Ok(())) => note,
            Ok(Err(failure)) => format!("its transcript cannot be read: {failure}"),
            Err(_) => "its transcript could not be read in time".to_owned(),
        };
        Self { note: Some(note), ..recent }
    }

    /// Reads from the first event on, or the snapshot alone; whether that was all there is.
    async fn read(&mut self, client: &Client, worker: &Worker, all: bool) -> Result<bool, Failure> {
        let request = ObserveWorkerRequest {
            runtime_id: worker.runtime_id.clone(),
            worker_id: worker.worker_id.clone(),
            start: if all { ObserveStart::Beginning } else { ObserveStart::Now }.into(),
            ..ObserveWorkerRequest::default()
        };
        let mut frames = client.observations().observe_worker(Request::new(request)).await?.into_inner();
        let (mut last, mut bytes) = (u64::MAX, 0);
        while let Some(message) = frames.message().await? {
            let message = message.frame.unwrap_or_default();
            bytes += message.len();
            let frame = ObservationFrame::decode(message).map_err(std::io::Error::other)?;
            let sequence = frame.sequence;
            if let Some(Payload::Snapshot(snapshot)) = &frame.payload {
                last = snapshot.worker.as_ref().map_or(0, |worker| worker.last_event_id);
                self.now = time(frame.observed_at);
                if all && last >= snapshot.first_sequence {
                    continue;
                }
                return Ok(all);
            }
            if is_event(&frame) {
                self.push(frame);
            }
            if sequence >= last {
                break;
            }
            if bytes > MUCH {
                self.frames.clear();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the last items of the transcript, and tells the end behind them.
    async fn items(&mut self, client: &Client, worker: &Worker) -> Result<(), Failure> {
        let Worker { runtime_id, worker_id, .. } = worker;
        let start =
            worker.transcript_length.saturating_sub(LAST as u64).max(worker.first_item_sequence.saturating_sub(1));
        let request = GetTranscriptRequest {
            runtime_id: runtime_id.clone(),
            worker_id: worker_id.clone(),
            start,
            limit: i32::try_from(LAST).unwrap_or(i32::MAX),
        };
        let page = client.transcripts().get_transcript(client.call(request)).await?.into_inner();
        for item in page.items {
            let item = TranscriptItem::decode(item).map_err(std::io::Error::other)?;
            let (sequence, observed_at) = (item.event_id, item.created_at);
            let payload = Some(Payload::ItemAppended(ItemAppended { item: Some(item) }));
            self.push(ObservationFrame { sequence, observed_at, payload, ..ObservationFrame::default() });
        }
        if let Some(end) = &worker.termination {
            let payload = Some(Payload::End(End { termination: Some(end.clone()) }));
            let (sequence, observed_at) = (end.last_sequence, end.ended_at);
            self.push(ObservationFrame { sequence, observed_at, payload, ..ObservationFrame::default() });
        }
        Ok(())
    }

    fn push(&mut self, frame: ObservationFrame) {
        if self.frames.len() == LAST {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }
}

/// Whether a frame tells of something that happened to the worker, and of more than a moment.
fn is_event(frame: &ObservationFrame) -> bool {
    !matches!(
        frame.payload,
        None | Some(
            Payload::OutputDelta(_) | Payload::ActivityChanged(_) | Payload::Diagnostic(_) | Payload::Heartbeat(_)
        )
    )
}
