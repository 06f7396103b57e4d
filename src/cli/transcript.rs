//! `workplane transcript`.

use std::io::Write;

use prost::Message;
use tonic::Request;

use super::client::{Client, ClientFlags, WorkerName};
use super::failure::Failure;
use super::frame::{front_is_gone, item_line};
use super::output::{json_of_bytes, line};
use crate::proto::v1::{GetWorkerRequest, StreamTranscriptRequest, TranscriptItem};

/// `workplane transcript`.
#[derive(Debug, clap::Args)]
pub struct Transcript {
    #[command(flatten)]
    worker: WorkerName,
    /// Goes on with what is said later, until the worker ends
    #[arg(long, short)]
    follow: bool,
    /// Leaves out the first N items; else it begins with the first that is kept
    #[arg(long, value_name = "N")]
    start: Option<u64>,
    #[command(flatten)]
    client: ClientFlags,
}

impl Transcript {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = self.client.connect().await?;
        let (runtime_id, worker_id) = self.worker.resolve(&client).await?;
        let start = if let Some(start) = self.start {
            start
        } else {
            let start = first_kept(&client, &runtime_id, &worker_id).await?;
            if let Some(gone) = front_is_gone("item", start + 1) {
                writeln!(std::io::stderr(), "{gone}")?;
            }
            start
        };
        let request = StreamTranscriptRequest { runtime_id, worker_id, start, follow: self.follow };
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

/// How many items were removed from the front.
async fn first_kept(client: &Client, runtime_id: &str, worker_id: &str) -> Result<u64, Failure> {
    let request = GetWorkerRequest { runtime_id: runtime_id.to_owned(), worker_id: worker_id.to_owned() };
    let worker = client.workers().get_worker(client.call(request)).await?.into_inner().worker.unwrap_or_default();
    Ok(worker.first_item_sequence.saturating_sub(1))
}
