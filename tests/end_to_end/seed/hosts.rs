//! Of the old registry: `hosts`.

use tonic::Code;
use workplane::proto::v1;
use workplane::proto::v1::{OperationState, StopMode};

use crate::support::bundle::{Asking, builtin, bundle, changed, metadata, reference};
use crate::support::{EMBEDDED, Host, Plane, Profile, Worker, codes, refusal};

/// What no answer may have in it: where things are, and what opens them.
const INTERNAL: [&str; 7] = ["metadata.json", "session", "socket", "token", "credential", "provider", "/tmp"];

/// What a client is told of a runtime, its host, a worker and what was said, as text.
async fn told(plane: &Plane, worker: &Worker) -> String {
    let runtime = plane.runtime(&worker.runtime_id).await.unwrap();
    let host_id = runtime.host_ids[0].clone();
    let host = plane.client().hosts().get_host(v1::GetHostRequest { host_id }).await.unwrap().into_inner().host;
    let (runtime_id, worker_id) = worker.ids();
    let request = v1::ListConnectPointsRequest { runtime_id, worker_id };
    let points = plane.client().workers().list_connect_points(request).await.unwrap().into_inner().connect_points;
    format!("{runtime:?} {host:?} {:?} {points:?} {:?}", worker.get().await, worker.transcript(0).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_runtime_registers_routes_input_and_transcript_without_internal_leaks() {
    // acceptance 57, 62, 134
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let taken = worker.send("hello").await;
    assert_eq!(taken.transcript_sequence, Some(1));
    worker.observe().await.first("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
    let page = worker.page(0, 1).await.unwrap();
    assert_eq!((page.start, page.limit, page.total_items, page.next_start), (0, 1, 2, Some(1)));
    let items = worker.transcript(0).await;
    assert_eq!((items[0].role(), items[1].role()), (v1::TranscriptRole::User, v1::TranscriptRole::Assistant));
    assert!(items[0].event_id > taken.event_id.unwrap(), "the item comes after the acceptance of the input");
    let told = told(&plane, &worker).await;
    for internal in INTERNAL {
        assert!(!told.contains(internal), "{internal} is told: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_backend_syncs_config_bundle_and_spawns_with_bundle_ref() {
    // acceptance 56, 134
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let asking = Asking(plane);
    let reference = asking.synced(EMBEDDED, bundle()).await;
    let spawned = asking.spawn(EMBEDDED, builtin("builtin:coder"), Some(reference.clone())).await;
    assert_eq!(spawned.state(), OperationState::Accepted, "{spawned:?}");
    assert_eq!(spawned.worker.unwrap().config_bundle, Some(reference));
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_runtime_rejects_socket_ready_acceptance_without_socket_identity() {
    // acceptance 50, 134
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let kind = Some(v1::acceptance_requirement::Kind::SocketReady(v1::SocketReady {}));
    let acceptance = Some(v1::AcceptanceRequirement { kind });
    let request = v1::SpawnWorkerRequest { acceptance, ..Worker::request(EMBEDDED, "builtin:coder") };
    let spawned = plane.client().workers().spawn_worker(request).await.unwrap().into_inner();
    assert_eq!(
        (spawned.state(), codes(&spawned.diagnostics)[0]),
        (OperationState::Rejected, "embedded_runtime_no_socket")
    );
    assert!(spawned.worker.is_none() && spawned.acceptance_evidence.is_empty());
    let listed = plane.client().workers().list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.workers, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_runtime_registry_routes_commands_without_browser_secret_leaks() {
    // acceptance 62, 78, 84, 134
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    let taken = worker.send("hello").await;
    worker.observe().await.first("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
    let stopped = worker.stop(StopMode::Graceful).await;
    assert!(codes(&stopped.diagnostics).contains(&"remote_runtime_lifecycle_accepted"), "{stopped:?}");
    let listed = plane.client().workers().list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    let told = format!("{} {taken:?} {stopped:?} {:?}", told(&plane, &worker).await, listed.workers);
    let address = host.address();
    for secret in [&address.to_string(), &format!("http://{address}"), "token-of-one"].into_iter().chain(INTERNAL) {
        assert!(!told.contains(secret), "{secret} is told: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_config_bundle_sync_and_check_diagnostics_are_sanitized_and_path_safe() {
    // acceptance 35, 76, 82, 83, 134
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let asking = Asking(plane);
    let digest = asking.synced("one", bundle()).await.digest;
    let missing = asking.check("one", reference("bundle-2", &digest)).await;
    assert_eq!(missing.state(), OperationState::Rejected);
    assert_eq!(codes(&missing.diagnostics), ["remote_config_bundle_not_found", "config_bundle_missing"]);
    for unsafe_id in ["bundle/1?x", "../bundle-1", "bundle-1#x", "bundle-1%2F"] {
        // An id is a field, and this one is refused before any host is asked.
        let refused = refusal(&asking.try_check("one", reference(unsafe_id, &digest)).await.unwrap_err());
        assert_eq!(refused.is(), (Code::InvalidArgument, "INVALID_IDENTIFIER"), "{unsafe_id}");
    }
    let path = "/var/lib/store/sessions/x";
    let leaky = changed(|bundle| path.clone_into(&mut metadata(bundle).provenance.as_mut().unwrap().source));
    let refused = asking.try_sync("one", leaky, "").await;
    let told = refused.map_or_else(|status| format!("{status:?}"), |answer| format!("{answer:?}"));
    assert!(!told.contains("/var/lib") && !told.contains(&host.address().to_string()), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_runtime_auth_errors_map_to_typed_backend_error() {
    // acceptance 81, 86, 134
    let host = Host::named("one").start().await;
    let stranger = Host::named("two").start().await;
    let mut entry = host.entry(host.address());
    entry.token_file = stranger.entry(stranger.address()).token_file;
    let plane = Plane::new().remote(entry).start().await;
    let request = v1::GetWorkerRequest { runtime_id: "one".to_owned(), worker_id: "worker-1".to_owned() };
    let refused = refusal(&plane.client().workers().get_worker(request).await.unwrap_err());
    assert_eq!(refused.is(), (Code::FailedPrecondition, "REMOTE_RUNTIME_AUTH_FAILED"));
    assert_eq!(refused.metadata["runtime_id"], "one");
    let listed = plane.client().workers().list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    let said: Vec<_> = listed.diagnostics.iter().map(|it| (it.code.as_str(), it.severity())).collect();
    assert_eq!(said, [("remote_runtime_auth_failed", v1::DiagnosticSeverity::Error)]);
}
