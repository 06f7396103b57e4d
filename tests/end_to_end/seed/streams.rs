//! Of the old streams: the runtime's WebSocket, its REST commands, and the backend's proxy of both.

use tonic::Code;
use workplane::proto::runtime_v1 as host_api;
use workplane::proto::v1;
use workplane::proto::v1::StopMode;
use workplane::proto::v1::observation_frame::Payload;

use crate::support::{Client, EMBEDDED, Frame, Host, Plane, Profile, Proxy, Worker, both, refusal, within};

fn cat() -> Profile {
    Profile::text(["cat"])
}

fn is_snapshot(frame: &Frame) -> bool {
    matches!(frame.payload(), Payload::Snapshot(_))
}

fn is_answer(frame: &Frame) -> bool {
    frame.item().is_some_and(|item| item.role() == v1::TranscriptRole::Assistant)
}

/// A worker that there is not.
fn nobody(plane: &Plane, runtime_id: &str) -> Worker {
    let (runtime_id, worker_id) = (runtime_id.to_owned(), "worker-01890a5d-ac96-774b-bcce-b302099a8057".to_owned());
    Worker::of(plane.client(), &v1::Worker { runtime_id, worker_id, ..Default::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_ws_connect_sends_snapshot_then_live_events() {
    // acceptance 110, 121, 136
    let (_plane, _host, workers) = both(cat()).await;
    for worker in workers {
        let mut stream = worker.observe_now().await;
        assert!(is_snapshot(&stream.frame().await));
        worker.send("hello").await;
        stream.first("the answer", is_answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_ws_cursor_resume_is_duplicate_safe() {
    // acceptance 111, 121, 136
    let (_plane, _host, workers) = both(cat()).await;
    for worker in workers {
        worker.send("one").await;
        let seen = worker.observe().await.up_to("the answer", is_answer).await;
        let last = seen.last().unwrap();
        worker.send("two").await;
        worker.stop(StopMode::Graceful).await;
        // With a cursor, too, the snapshot is first: one rule for all.
        let rest = worker.try_resume(&last.cursor).await.unwrap().rest().await;
        assert!(is_snapshot(&rest[0]) && rest[0].cursor == last.cursor);
        let sequences: Vec<_> = rest.iter().filter(|frame| frame.is_durable()).map(|frame| frame.sequence).collect();
        let end = *sequences.last().unwrap();
        assert_eq!(sequences, (last.sequence + 1..=end).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_ws_malformed_cursor_and_observation_only_are_typed() {
    // acceptance 109, 113, 136
    let (_plane, host, [_, worker]) = both(cat()).await;
    let request = host_api::ObserveWorkerRequest {
        worker_id: worker.worker_id.clone(),
        cursor: Some("bo_0000000000000001".to_owned()),
        ..Default::default()
    };
    let refused = host.client().worker_runtime().observe_worker(request).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::InvalidArgument, "CURSOR_MALFORMED"));
    // That an observation takes nothing from its client, the protos say: it is one request and a stream of answers.
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_command_api_covers_the_life_of_a_worker() {
    // acceptance 124, 126, 136
    let (plane, host, _) = both(cat()).await;
    let mut client = host.client().worker_runtime();
    let context = |id: &str| {
        let (request_id, workspace_id, caller) = (id.to_owned(), "local:test".to_owned(), "plane".to_owned());
        Some(host_api::RequestContext { request_id, workspace_id, caller, fence: 0 })
    };
    let intent = host_api::worker_intent::Kind::Task(host_api::TaskIntent { objective: "echo".to_owned() });
    let profile = v1::profile_selector::Kind::Builtin("builtin:coder".to_owned());
    let create = host_api::CreateWorkerRequest {
        context: context("create"),
        intent: Some(host_api::WorkerIntent { kind: Some(intent) }),
        profile: Some(v1::ProfileSelector { kind: Some(profile) }),
        ..Default::default()
    };
    let worker_id = client.create_worker(create).await.unwrap().into_inner().worker.unwrap().worker_id;
    let send = host_api::SendInputRequest {
        context: context("send"),
        worker_id: worker_id.clone(),
        content: "hello".to_owned(),
        ..Default::default()
    };
    assert_eq!(client.send_input(send).await.unwrap().into_inner().transcript_sequence, 1);
    // Nothing but what must be there: the reason, the start and the limit have their defaults.
    let stop =
        host_api::StopWorkerRequest { context: context("stop"), worker_id: worker_id.clone(), ..Default::default() };
    let stopped = client.stop_worker(stop).await.unwrap().into_inner();
    assert_eq!(stopped.worker_state(), v1::WorkerState::Stopped);
    let cancel = host_api::CancelWorkerRequest {
        context: context("cancel"),
        worker_id: worker_id.clone(),
        ..Default::default()
    };
    assert_eq!(client.cancel_worker(cancel).await.unwrap().into_inner().event_id, stopped.event_id);
    let request = host_api::GetTranscriptRequest { worker_id: worker_id.clone(), ..Default::default() };
    let page = client.get_transcript(request).await.unwrap().into_inner();
    assert_eq!((page.start, page.limit, page.total_items), (0, 256, 2));
    let got =
        client.get_worker(host_api::GetWorkerRequest { worker_id: worker_id.clone() }).await.unwrap().into_inner();
    assert_eq!(got.worker.unwrap().termination.unwrap().message, "worker stopped");
    let listed = client.list_workers(host_api::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.workers.len(), 2);
    drop(plane);
}

#[tokio::test(flavor = "multi_thread")]
async fn local_token_is_wanted_of_every_observer() {
    // acceptance 123, 136
    let (_plane, host, [_, worker]) = both(cat()).await;
    let request = host_api::ObserveWorkerRequest { worker_id: worker.worker_id, ..Default::default() };
    for token in [None, Some("wrong")] {
        let stranger = Client::new(host.address(), token);
        let refused = stranger.worker_runtime().observe_worker(request.clone()).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::Unauthenticated, "UNAUTHENTICATED"));
    }
    assert!(host.client().worker_runtime().observe_worker(request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_errors_use_typed_reasons_and_codes() {
    // acceptance 124, 136
    let (_plane, host, [_, worker]) = both(cat()).await;
    let mut client = host.client().worker_runtime();
    let unknown = host_api::GetWorkerRequest { worker_id: "worker-none".to_owned() };
    let refused = client.get_worker(unknown).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::NotFound, "UNKNOWN_WORKER"));
    let invalid = host_api::GetWorkerRequest { worker_id: "worker/1".to_owned() };
    let refused = client.get_worker(invalid).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::InvalidArgument, "INVALID_IDENTIFIER"));
    let large = host_api::GetTranscriptRequest { worker_id: worker.worker_id.clone(), start: 0, limit: 257 };
    let refused = refusal(&client.get_transcript(large).await.unwrap_err());
    assert_eq!(refused.is(), (Code::InvalidArgument, "LIMIT_TOO_LARGE"));
    assert_eq!((refused.metadata["limit"].as_str(), refused.metadata["max"].as_str()), ("257", "256"));
    worker.stop(StopMode::Graceful).await;
    let context = host_api::RequestContext {
        request_id: "late".to_owned(),
        workspace_id: "local:test".to_owned(),
        ..Default::default()
    };
    let late = host_api::SendInputRequest {
        context: Some(context),
        worker_id: worker.worker_id.clone(),
        content: "hello?".to_owned(),
        ..Default::default()
    };
    let refused = client.send_input(late).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::FailedPrecondition, "WORKER_NOT_RUNNING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_worker_observation_ws_and_the_hosts_cursor_is_good_on_any_replica() {
    // acceptance 117, 120, 136
    let host = Host::named("one").profile("builtin:coder", cat()).start().await;
    let first = Plane::new().host(&host).start().await;
    let worker = first.spawn("one", "builtin:coder").await;
    worker.send("hello").await;
    let seen = worker.observe().await.up_to("the answer", is_answer).await;
    let frame = seen.last().unwrap();
    let told = format!("{frame:?}");
    assert!(!told.contains(&host.address().to_string()) && !told.contains("token-of"), "{told}");
    assert_eq!((&frame.runtime_id, &frame.worker_id), (&worker.runtime_id, &worker.worker_id));
    assert!(frame.observed_at.is_some());
    // Another control plane, which has never heard of the worker, goes on from there; so does the host itself.
    let second = Plane::new().host(&host).start().await;
    drop(first);
    let worker = worker.through(second.client());
    worker.send("again").await;
    let mut resumed = worker.try_resume(&frame.cursor).await.unwrap();
    assert_eq!(resumed.first("the next event", Frame::is_durable).await.sequence, frame.sequence + 1);
    let request = host_api::ObserveWorkerRequest {
        worker_id: worker.worker_id.clone(),
        cursor: Some(frame.cursor.clone()),
        ..Default::default()
    };
    assert!(host.client().worker_runtime().observe_worker(request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_reports_unknown_backend_cursor_as_malformed() {
    // acceptance 117, 119, 136
    let (_plane, _host, workers) = both(cat()).await;
    for worker in workers {
        let refused = worker.try_resume("bo_00000000000000ff").await.unwrap_err();
        let refused = refusal(&refused);
        assert_eq!(refused.is(), (Code::InvalidArgument, "CURSOR_MALFORMED"));
        assert_eq!(refused.metadata["worker_id"], worker.worker_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_maps_runtime_cursor_expiry() {
    // acceptance 112, 119, 136
    let (_plane, _host, workers) = both(cat()).await;
    for worker in workers {
        let own = worker.observe().await.frame().await.cursor.clone();
        let worker_id = workplane::model::WorkerId::new(&worker.worker_id).unwrap();
        let cursor = workplane::model::Cursor::decode(&own, &worker_id).unwrap();
        let future = workplane::model::Cursor::new(cursor.incarnation, &worker_id, 1_000).encode();
        let refused = refusal(&worker.try_resume(&future).await.unwrap_err());
        assert_eq!(refused.is(), (Code::OutOfRange, "CURSOR_EXPIRED"));
        assert!(!refused.metadata["recovery"].is_empty());
        assert!(worker.try_resume(&refused.metadata["oldest_cursor"]).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_maps_runtime_worker_not_found() {
    // acceptance 112, 119, 136
    let (plane, _host, _workers) = both(cat()).await;
    for runtime_id in [EMBEDDED, "one"] {
        let nobody = nobody(&plane, runtime_id);
        let refused = nobody.try_observe(nobody.observation()).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::NotFound, "UNKNOWN_WORKER"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_reports_actual_upstream_disconnect_and_goes_on() {
    // acceptance 119, 136
    let host = Host::named("one").profile("builtin:coder", cat()).start().await;
    let wire = Proxy::to(host.address()).await;
    let plane = Plane::new().host_via(&host, wire.address()).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    let mut stream = worker.observe_now().await;
    stream.frame().await;
    wire.cut();
    stream.first("the loss", |frame| frame.diagnostic() == Some("upstream_disconnect")).await;
    stream.first("the host again", |frame| frame.diagnostic() == Some("upstream_reconnected")).await;
    within("the input to be taken", async { while worker.try_send(worker.input("hello")).await.is_err() {} }).await;
    stream.first("the answer", is_answer).await;
}
