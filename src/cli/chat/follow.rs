//! A worker's stream that goes on after its connection was lost, behind the last event that came.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::story::ended_before;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{ObservationFrame, ObserveStart, ObserveWorkerRequest};

/// How long a control plane may be gone.
const PATIENCE: Duration = Duration::from_mins(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a stream gives.
#[derive(Debug)]
pub(super) enum Heard {
    Frame(Box<ObservationFrame>),
    /// Something about the connection, in words.
    Remark(String),
    /// It goes on from now: what was not heard cannot be read any more.
    Behind,
    /// It cannot go on.
    Failed(Failure),
}

/// Tries again while a control plane cannot be reached, less and less often.
#[derive(Debug)]
pub(super) struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { until: Instant::now() + PATIENCE, pause: FIRST_PAUSE }
    }

    /// Waits for the next try; false where there have been enough.
    pub(super) async fn wait(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Whether a call failed in a way that passes.
pub(super) fn passes(status: &Status) -> bool {
    // What a control plane says has a reason; without one the connection broke.
    match status.get_details_error_info() {
        Some(_) => status.code() == Code::Unavailable,
        None => matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled),
    }
}

/// A worker as it is observed.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) runtime_id: String,
    pub(super) worker_id: String,
    pub(super) start: ObserveStart,
    cursor: Option<String>,
    /// Its end has come: nothing follows.
    over: bool,
}

impl Following {
    pub(super) fn of(runtime_id: &str, worker_id: &str, start: ObserveStart) -> Self {
        let (runtime_id, worker_id) = (runtime_id.to_owned(), worker_id.to_owned());
        Self { runtime_id, worker_id, start, cursor: None, over: false }
    }

    /// Follows until the worker's end, or until nobody listens.
    pub(super) async fn run(mut self, client: Arc<Client>, heard: mpsc::Sender<Heard>) {
        let mut lost: Option<Patience> = None;
        loop {
            let status = match self.frames(&client, &heard, &mut lost).await {
                _ if self.over || heard.is_closed() => return,
                Ok(()) => Status::unavailable("the stream ended"),
                Err(Failure::Status(status)) => *status,
                Err(failure) => return tell(&heard, Heard::Failed(failure)).await,
            };
            if expired(&status) {
                self.cursor = None;
                self.start = ObserveStart::Now;
                tell(&heard, Heard::Behind).await;
                continue;
            }
            if !passes(&status) {
                return tell(&heard, Heard::Failed(status.into())).await;
            }
            if lost.is_none() {
                let remark = "the connection is lost; trying again".to_owned();
                tell(&heard, Heard::Remark(remark)).await;
            }
            if !lost.get_or_insert_with(Patience::new).wait().await {
                return tell(&heard, Heard::Failed(status.into())).await;
            }
        }
    }

    async fn frames(
        &mut self,
        client: &Client,
        heard: &mpsc::Sender<Heard>,
        lost: &mut Option<Patience>,
    ) -> Result<(), Failure> {
        let request = ObserveWorkerRequest {
            runtime_id: self.runtime_id.clone(),
            worker_id: self.worker_id.clone(),
            cursor: self.cursor.clone(),
            start: self.start.into(),
            ..ObserveWorkerRequest::default()
        };
        let mut frames = client.observations().observe_worker(Request::new(request)).await?.into_inner();
        while let Some(message) = frames.message().await? {
            let bytes = message.frame.unwrap_or_default();
            let frame = ObservationFrame::decode(bytes).map_err(std::io::Error::other)?;
            if lost.take().is_some() {
                tell(heard, Heard::Remark("connected again".to_owned())).await;
            }
            if !frame.cursor.is_empty() {
                self.cursor = Some(frame.cursor.clone());
            }
            self.over = match &frame.payload {
                Some(Payload::End(_)) => true,
                Some(Payload::Snapshot(snapshot)) => ended_before(snapshot).is_some(),
                _ => self.over,
            };
            tell(heard, Heard::Frame(Box::new(frame))).await;
        }
        Ok(())
    }
}

/// Where nobody listens any more the conversation is over, and so is this.
async fn tell(heard: &mpsc::Sender<Heard>, what: Heard) {
    let _ = heard.send(what).await;
}

fn expired(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "CURSOR_EXPIRED")
}
