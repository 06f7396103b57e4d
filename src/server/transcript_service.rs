//! `workplane.v1.TranscriptService`.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::context::{Incoming, bad, refuse};
use super::layers::catching;
use super::routes::ControlPlane;
use super::source::OfRegistry;
use super::transcript::{batches, cut_page};
use super::worker_service::outcome;
use crate::model::TranscriptPage;
use crate::proto::convert::{self, StreamTranscript, Transcript};
use crate::proto::raw::{GetTranscriptResponse, StreamTranscriptResponse};
use crate::proto::v1::transcript_service_server::TranscriptService;
use crate::proto::v1::{GetTranscriptRequest, StreamTranscriptRequest};

/// The service.
pub(super) struct Transcripts(pub ControlPlane);

#[tonic::async_trait]
impl TranscriptService for Transcripts {
    async fn get_transcript(
        &self,
        request: Request<GetTranscriptRequest>,
    ) -> Result<Response<GetTranscriptResponse>, Status> {
        let (incoming, message) = Incoming::of(request);
        let (runtime_id, Transcript { worker_id, start, limit }) = convert::transcript(message).map_err(bad)?;
        let ctx = incoming.read(&self.0.workspace);
        let page = self.0.registry.transcript_page(&ctx, &runtime_id, &worker_id, start, limit).await;
        let (state, page, diagnostics) = outcome(page.map_err(|error| refuse(&error, &ctx))?);
        let nothing = TranscriptPage { total_items: 0, next_start: None, items: Vec::new() };
        let page = cut_page(page.unwrap_or(nothing), start);
        Ok(Response::new(GetTranscriptResponse {
            state: state.into(),
            runtime_id: runtime_id.to_string(),
            worker_id: worker_id.to_string(),
            start,
            // At most 256.
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
            total_items: page.total_items,
            next_start: page.next_start,
            items: page.items,
            diagnostics,
        }))
    }

    type StreamTranscriptStream = BoxStream<StreamTranscriptResponse>;

    async fn stream_transcript(
        &self,
        request: Request<StreamTranscriptRequest>,
    ) -> Result<Response<Self::StreamTranscriptStream>, Status> {
        let (incoming, message) = Incoming::of(request);
        let (runtime_id, asked) = convert::stream_transcript(message).map_err(bad)?;
        let StreamTranscript { worker_id, start, follow } = asked;
        let ends = incoming.ends(&self.0.drain);
        let ctx = incoming.read(&self.0.workspace);
        let source = Arc::new(OfRegistry { registry: self.0.registry.clone(), runtime_id, worker_id });
        let batches = batches(source, ctx.clone(), start, follow, ends);
        let batches = batches.await.map_err(|error| refuse(&error, &ctx))?;
        let answers = catching(batches).map(|batch| {
            batch.map(|batch| StreamTranscriptResponse { items: batch.items, next_start: batch.next_start })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
