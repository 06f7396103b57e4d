//! `workplane transcript`.

use prost::Message;
use tonic::Request;

use super::client::{ClientFlags, WorkerName};
use super::failure::Failure;
use super::frame::item_line;
use super::output::{json_of_bytes, line};
use crate::proto::v1::{StreamTranscriptRequest, TranscriptItem};

/// `workplane transcript`.
#[derive(Debug, clap::Args)]
pub struct Transcript {
    #[command(flatten)]
    worker: WorkerName,
    /// Goes on with what is said later, until the worker ends
    #[arg(long, short)]
    follow: bool,
    /// Leaves out the first N items
    #[arg(long, value_name = "N", default_value_t = 0)]
    start: u64,
    #[command(flatten)]
    client: ClientFlags,
}

impl Transcript {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let request = StreamTranscriptRequest { runtime_id, worker_id, start: self.start, follow: self.follow };
        let mut batches = client.transcripts().stream_transcript(Request::new(request)).await?.into_inner();
        while let Some(batch) = batches.message().await? {
            for item in batch.items {
                if self.client.json() {
                    line(&json_of_bytes("TranscriptItem", &item)?.to_string())?;
                } else {
                    let item = TranscriptItem::decode(item).map_err(std::io::Error::other)?;
                    line(&item_line(&item))?;
                }
            }
        }
        Ok(())
    }
}
