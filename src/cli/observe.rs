//! `workplane observe`.

use std::io::Write;
use std::time::Duration;

use prost::Message;
use tonic::Request;

use super::client::{ClientFlags, WorkerName};
use super::failure::Failure;
use super::frame::{frame_line, front_is_gone};
use super::output::{json_of_bytes, line, plain};
use crate::config::parse_duration;
use crate::proto::v1::observation_frame::Payload;
use crate::proto::v1::{ObservationFrame, ObserveStart, ObserveWorkerRequest};

/// `workplane observe`.
#[derive(Debug, clap::Args)]
pub struct Observe {
    #[command(flatten)]
    worker: WorkerName,
    /// Starts with the worker's first event, rather than with what comes now
    #[arg(long)]
    beginning: bool,
    /// Goes on after this cursor, which an earlier observation printed
    #[arg(long, value_name = "CURSOR", conflicts_with = "beginning")]
    cursor: Option<String>,
    /// How often the server says that it is still there: 1s to 5m; 15s without it
    #[arg(long, value_name = "DURATION", value_parser = heartbeat)]
    heartbeat: Option<Duration>,
    #[command(flatten)]
    client: ClientFlags,
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    parse_duration(text, &(Duration::from_secs(1)..=Duration::from_mins(5)))
}

impl Observe {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let start = if self.beginning { ObserveStart::Beginning } else { ObserveStart::Now };
        let heartbeat = self.heartbeat.map(prost_types::Duration::try_from).transpose();
        let heartbeat_interval = heartbeat.map_err(|_| Failure::Usage("--heartbeat: is too long".to_owned()))?;
        let cursor = self.cursor;
        let request = ObserveWorkerRequest { runtime_id, worker_id, cursor, start: start.into(), heartbeat_interval };
        let mut frames = client.observations().observe_worker(Request::new(request)).await?.into_inner();
        let mut cursor = String::new();
        let ended = loop {
            let message = tokio::select! {
                message = frames.message() => message,
                _ = tokio::signal::ctrl_c() => break Ok(()),
            };
            let bytes = match message {
                Ok(Some(message)) => message.frame.unwrap_or_default(),
                Ok(None) => return Ok(()),
                Err(status) => break Err(status.into()),
            };
            let frame = ObservationFrame::decode(bytes.clone()).map_err(std::io::Error::other)?;
            if let Some(Payload::Snapshot(snapshot)) = frame.payload.as_ref().filter(|_| self.beginning)
                && let Some(gone) = front_is_gone("event", snapshot.first_sequence)
            {
                writeln!(std::io::stderr(), "{gone}")?;
            }
            if self.client.output == super::output::Format::Json {
                line(&json_of_bytes("ObservationFrame", &bytes)?.to_string())?;
            } else if !matches!(frame.payload, Some(Payload::Heartbeat(_))) {
                line(&frame_line(&frame))?;
            }
            cursor = frame.cursor;
        };
        if !cursor.is_empty() {
            writeln!(std::io::stderr(), "to go on from here: --cursor {}", plain(&cursor))?;
        }
        ended
    }
}
