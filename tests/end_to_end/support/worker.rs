//! A worker, spoken to through the public API.

use prost::Message as _;
use tonic::Status;
use workplane::proto::raw::GetTranscriptResponse;
use workplane::proto::v1;
use workplane::proto::v1::{OperationState, StopMode, TranscriptItem};

use super::{Client, Stream, until, within};

/// A worker, and the client that it is spoken to through.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    client: Client,
    pub(crate) runtime_id: String,
    pub(crate) worker_id: String,
}

impl Worker {
    /// The request for a worker that runs a builtin profile.
    pub(crate) fn request(runtime_id: &str, profile: &str) -> v1::SpawnWorkerRequest {
        let role = v1::TicketRole { ticket_id: "ticket-1".to_owned(), role: v1::TicketWorkerRole::Coder.into() };
        v1::SpawnWorkerRequest {
            runtime_id: runtime_id.to_owned(),
            intent: Some(v1::SpawnIntent { kind: Some(v1::spawn_intent::Kind::TicketRole(role)) }),
            profile: Some(v1::ProfileSelector { kind: Some(v1::profile_selector::Kind::Builtin(profile.to_owned())) }),
            ..Default::default()
        }
    }

    /// Spawns one.
    pub(crate) async fn spawn(client: Client, runtime_id: &str, profile: &str) -> Self {
        let request = Self::request(runtime_id, profile);
        let response = within("a spawn", client.workers().spawn_worker(request)).await.unwrap().into_inner();
        assert_eq!(response.state(), OperationState::Accepted, "{response:?}");
        Self::of(client, &response.worker.expect("an accepted spawn has a worker"))
    }

    /// The one that the API told of.
    pub(crate) fn of(client: Client, worker: &v1::Worker) -> Self {
        Self { client, runtime_id: worker.runtime_id.clone(), worker_id: worker.worker_id.clone() }
    }

    /// The same worker through another client.
    pub(crate) fn through(&self, client: Client) -> Self {
        Self { client, ..self.clone() }
    }

    pub(crate) async fn try_get(&self) -> Result<v1::Worker, Status> {
        let (runtime_id, worker_id) = self.ids();
        let request = v1::GetWorkerRequest { runtime_id, worker_id };
        let response = within("a worker", self.client.workers().get_worker(request)).await?;
        Ok(response.into_inner().worker.expect("the answer has the worker"))
    }

    pub(crate) async fn get(&self) -> v1::Worker {
        self.try_get().await.unwrap()
    }

    /// Waits until it is in this state.
    pub(crate) async fn state_is(&self, state: v1::WorkerState) -> v1::Worker {
        until(&format!("the worker to be {state:?}"), || async {
            Some(self.get().await).filter(|worker| worker.state() == state)
        })
        .await
    }

    /// The request that gives it an input.
    pub(crate) fn input(&self, content: &str) -> v1::SendInputRequest {
        let (runtime_id, worker_id) = self.ids();
        v1::SendInputRequest { runtime_id, worker_id, content: content.to_owned(), ..Default::default() }
    }

    pub(crate) async fn try_send(&self, request: v1::SendInputRequest) -> Result<v1::SendInputResponse, Status> {
        Ok(within("an input", self.client.workers().send_input(request)).await?.into_inner())
    }

    /// Gives it an input, which it must take.
    pub(crate) async fn send(&self, content: &str) -> v1::SendInputResponse {
        let response = self.try_send(self.input(content)).await.unwrap();
        assert_eq!(response.state(), OperationState::Accepted, "{response:?}");
        response
    }

    /// The request to observe it from its first event.
    pub(crate) fn observation(&self) -> v1::ObserveWorkerRequest {
        let (runtime_id, worker_id) = self.ids();
        let start = v1::ObserveStart::Beginning.into();
        v1::ObserveWorkerRequest { runtime_id, worker_id, start, ..Default::default() }
    }

    pub(crate) async fn try_observe(&self, request: v1::ObserveWorkerRequest) -> Result<Stream, Status> {
        let response = within("an observation", self.client.observations().observe_worker(request)).await?;
        Ok(Stream::new(response.into_inner()))
    }

    /// Observes it from its first event.
    pub(crate) async fn observe(&self) -> Stream {
        self.try_observe(self.observation()).await.unwrap()
    }

    /// Observes it from now on.
    pub(crate) async fn observe_now(&self) -> Stream {
        let start = v1::ObserveStart::Now.into();
        self.try_observe(v1::ObserveWorkerRequest { start, ..self.observation() }).await.unwrap()
    }

    /// Goes on observing it after a cursor.
    pub(crate) async fn try_resume(&self, cursor: &str) -> Result<Stream, Status> {
        self.try_observe(v1::ObserveWorkerRequest { cursor: Some(cursor.to_owned()), ..self.observation() }).await
    }

    /// One page of its transcript.
    pub(crate) async fn page(&self, start: u64, limit: i32) -> Result<GetTranscriptResponse, Status> {
        let (runtime_id, worker_id) = self.ids();
        let request = v1::GetTranscriptRequest { runtime_id, worker_id, start, limit };
        Ok(within("a page", self.client.transcripts().get_transcript(request)).await?.into_inner())
    }

    /// Its whole transcript, page by page.
    pub(crate) async fn transcript(&self, limit: i32) -> Vec<TranscriptItem> {
        self.try_transcript(limit).await.unwrap()
    }

    pub(crate) async fn try_transcript(&self, limit: i32) -> Result<Vec<TranscriptItem>, Status> {
        let mut items = Vec::new();
        let mut next = Some(0);
        while let Some(start) = next {
            let page = self.page(start, limit).await?;
            assert_eq!((page.state(), page.start), (OperationState::Accepted, start));
            items.extend(page.items.into_iter().map(|item| TranscriptItem::decode(item).expect("an item is an item")));
            assert!(page.total_items >= items.len() as u64);
            next = page.next_start;
        }
        Ok(items)
    }

    /// Follows its transcript from the start until it has ended.
    pub(crate) async fn follow(&self) -> Vec<TranscriptItem> {
        let (runtime_id, worker_id) = self.ids();
        let request = v1::StreamTranscriptRequest { runtime_id, worker_id, start: 0, follow: true };
        let response = within("a transcript", self.client.transcripts().stream_transcript(request)).await.unwrap();
        let mut batches = response.into_inner();
        let mut items = Vec::new();
        while let Some(batch) = within("a batch", batches.message()).await.expect("the stream ends well") {
            items.extend(batch.items.into_iter().map(|item| TranscriptItem::decode(item).expect("an item is an item")));
            assert_eq!(batch.next_start, items.len() as u64);
        }
        items
    }

    pub(crate) async fn try_stop(&self, mode: StopMode) -> Result<v1::StopWorkerResponse, Status> {
        let (runtime_id, worker_id) = self.ids();
        let request = v1::StopWorkerRequest { runtime_id, worker_id, mode: mode.into(), ..Default::default() };
        Ok(within("a stop", self.client.workers().stop_worker(request)).await?.into_inner())
    }

    /// Stops it, which must be accepted.
    pub(crate) async fn stop(&self, mode: StopMode) -> v1::StopWorkerResponse {
        let response = self.try_stop(mode).await.unwrap();
        assert_eq!(response.state(), OperationState::Accepted, "{response:?}");
        response
    }

    /// Cancels it, which must be accepted.
    pub(crate) async fn cancel(&self, reason: &str) -> v1::CancelWorkerResponse {
        let (runtime_id, worker_id) = self.ids();
        let request =
            v1::CancelWorkerRequest { runtime_id, worker_id, reason: reason.to_owned(), ..Default::default() };
        let response = within("a cancel", self.client.workers().cancel_worker(request)).await.unwrap().into_inner();
        assert_eq!(response.state(), OperationState::Accepted, "{response:?}");
        response
    }

    pub(crate) async fn try_interrupt(&self, request_id: &str) -> Result<v1::InterruptWorkerResponse, Status> {
        let (runtime_id, worker_id) = self.ids();
        let request = v1::InterruptWorkerRequest { runtime_id, worker_id, request_id: request_id.to_owned() };
        Ok(within("an interruption", self.client.workers().interrupt_worker(request)).await?.into_inner())
    }

    pub(crate) async fn try_delete(&self, force: bool, request_id: &str) -> Result<v1::DeleteWorkerResponse, Status> {
        let (runtime_id, worker_id) = self.ids();
        let request_id = request_id.to_owned();
        let request = v1::DeleteWorkerRequest { runtime_id, worker_id, force, request_id };
        Ok(within("a deletion", self.client.workers().delete_worker(request)).await?.into_inner())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn ids(&self) -> (String, String) {
        (self.runtime_id.clone(), self.worker_id.clone())
    }
}
