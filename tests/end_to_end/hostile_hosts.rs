//! What a host may answer that no real one would: each becomes a reason of ours, and none of its words comes through.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use workplane::proto::{runtime_v1, v1};

use crate::support::{Answer, Hostile, Plane, SECRET, Worker, framed, hello, refusal, until, within, worker};

const METHODS: [&str; 7] =
    ["CreateWorker", "GetWorker", "ListWorkers", "SendInput", "StopWorker", "CancelWorker", "GetTranscript"];
const WORKER: &str = "worker-1";
/// What a host's error is that has no reason of ours.
const NO_REASON: &str = "REMOTE_RUNTIME_MALFORMED_RESPONSE";

async fn plane(host: &Hostile) -> Plane {
    let plane = Plane::new().hostile(host).start().await;
    plane.runtime_is(host.runtime_id(), v1::RuntimeStatus::Running).await;
    plane
}

fn get() -> v1::GetWorkerRequest {
    v1::GetWorkerRequest { runtime_id: "one".to_owned(), worker_id: WORKER.to_owned() }
}

async fn get_worker(plane: &Plane) -> Result<v1::Worker, Status> {
    let response = within("a worker", plane.client().workers().get_worker(get())).await?;
    Ok(response.into_inner().worker.expect("the answer has the worker"))
}

async fn list(plane: &Plane) -> v1::ListWorkersResponse {
    let request = v1::ListWorkersRequest { runtime_id: Some("one".to_owned()), fresh: true, ..Default::default() };
    within("a list", plane.client().workers().list_workers(request)).await.unwrap().into_inner()
}

/// The one diagnostic of a list that misses its only host.
async fn missing(plane: &Plane) -> v1::Diagnostic {
    let listed = list(plane).await;
    let [diagnostic] = &listed.diagnostics[..] else { panic!("{:?}", listed.diagnostics) };
    assert!(!format!("{listed:?}").contains("secret"), "{listed:?}");
    diagnostic.clone()
}

fn tells_nothing(status: &Status) {
    let told = format!("{status:?} {:?}", String::from_utf8_lossy(status.details()));
    for word in ["metadata.json", "sessions", "hunter2", "/var", "token-of", "127.0.0.1"] {
        assert!(!told.contains(word), "{word}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_answer_is_malformed() {
    // acceptance 80
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    let another = worker("two", WORKER).encode_to_vec();
    let oversize = vec![0; 2 * 1024 * 1024];
    let cases: [(&str, Answer); 7] = [
        ("garbage in a message", Answer::Message(Bytes::from_static(b"\xff\xff\xff\xff\xff"))),
        ("garbage instead of messages", Answer::Bytes(Bytes::from_static(b"<html>what is this?</html>"))),
        ("no message at all", Answer::Bytes(Bytes::new())),
        ("a message without what it must have", Answer::Message(Bytes::new())),
        ("a message that never ends", Answer::Bytes(framed(&another).slice(..20))),
        ("a message that is too large", Answer::Message(oversize.into())),
        (
            "a worker without a state",
            Answer::message(&runtime_v1::GetWorkerResponse {
                worker: Some(v1::Worker { state: 0, ..worker("one", WORKER) }),
            }),
        ),
    ];
    for (what, answer) in cases {
        host.answers("GetWorker", answer);
        let refused = get_worker(&plane).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::Internal, "REMOTE_RUNTIME_MALFORMED_RESPONSE"), "{what}");
        tells_nothing(&refused);
    }
    host.answers("ListWorkers", Answer::Message(Bytes::from_static(b"\xff\xff\xff")));
    assert_eq!(missing(&plane).await.code, "remote_runtime_malformed_response");
    // It was the host's fault, not the connection's: whatever it says next is heard.
    host.answers("GetWorker", Answer::message(&runtime_v1::GetWorkerResponse { worker: Some(worker("one", WORKER)) }));
    assert_eq!(get_worker(&plane).await.unwrap().worker_id, WORKER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_runtime_is_a_wrong_identity() {
    // acceptance 72
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    host.answers("GetWorker", Answer::message(&runtime_v1::GetWorkerResponse { worker: Some(worker("two", WORKER)) }));
    let refused = get_worker(&plane).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::FailedPrecondition, "REMOTE_RUNTIME_WRONG_IDENTITY"));
    let workers = vec![worker("two", WORKER)];
    host.answers("ListWorkers", Answer::message(&runtime_v1::ListWorkersResponse { workers, ..Default::default() }));
    assert_eq!(missing(&plane).await.code, "remote_runtime_wrong_identity");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_becomes_another_runtime_is_asked_nothing_more() {
    // acceptance 72
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    host.answers("GetRuntime", Answer::message(&hello("two")));
    plane.runtime_is("one", v1::RuntimeStatus::Unavailable).await;
    let asked = host.calls("GetWorker");
    let refused = get_worker(&plane).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::FailedPrecondition, "REMOTE_RUNTIME_WRONG_IDENTITY"));
    assert_eq!(
        (host.calls("GetWorker"), missing(&plane).await.code.as_str()),
        (asked, "remote_runtime_wrong_identity")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_status_has_a_reason_of_ours_and_none_of_its_words() {
    // acceptance 22, 23, 73, 81, 83, 85, 86
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    let cases = [
        (
            Code::Unauthenticated,
            None,
            Code::FailedPrecondition,
            "REMOTE_RUNTIME_AUTH_FAILED",
            "remote_runtime_auth_failed",
        ),
        (
            Code::PermissionDenied,
            None,
            Code::FailedPrecondition,
            "REMOTE_RUNTIME_AUTH_FAILED",
            "remote_runtime_auth_failed",
        ),
        (Code::NotFound, None, Code::NotFound, "UNKNOWN_WORKER", "remote_worker_not_found"),
        (Code::Unimplemented, None, Code::Unimplemented, "REMOTE_RUNTIME_UNSUPPORTED", "remote_runtime_unsupported"),
        (Code::DeadlineExceeded, None, Code::DeadlineExceeded, "REMOTE_RUNTIME_TIMEOUT", "remote_runtime_timeout"),
        (Code::Internal, Some("STORE_ERROR"), Code::Internal, "STORE_ERROR", "remote_runtime_http_error"),
        (
            Code::ResourceExhausted,
            Some("OVERLOADED"),
            Code::ResourceExhausted,
            "OVERLOADED",
            "remote_runtime_http_rejected",
        ),
        (Code::Internal, None, Code::Internal, NO_REASON, "remote_runtime_http_error"),
        (Code::Unknown, None, Code::Internal, NO_REASON, "remote_runtime_http_error"),
        (Code::InvalidArgument, None, Code::Internal, NO_REASON, "remote_runtime_http_rejected"),
        (Code::FailedPrecondition, None, Code::Internal, NO_REASON, "remote_runtime_http_rejected"),
        (Code::Internal, Some("INTERNAL"), Code::Internal, "INTERNAL", "remote_runtime_http_error"),
        (
            Code::ResourceExhausted,
            Some("QUOTA_EXCEEDED"),
            Code::ResourceExhausted,
            "QUOTA_EXCEEDED",
            "remote_runtime_http_rejected",
        ),
        (
            Code::InvalidArgument,
            Some("LIMIT_TOO_LARGE"),
            Code::InvalidArgument,
            "LIMIT_TOO_LARGE",
            "remote_runtime_http_rejected",
        ),
        (
            Code::Unimplemented,
            Some("REMOTE_RUNTIME_UNSUPPORTED"),
            Code::Unimplemented,
            "REMOTE_RUNTIME_UNSUPPORTED",
            "remote_runtime_unsupported",
        ),
        (Code::NotFound, Some("UNKNOWN_WORKER"), Code::NotFound, "UNKNOWN_WORKER", "remote_worker_not_found"),
    ];
    for (said, reason, code, heard, diagnostic) in cases {
        for method in METHODS {
            host.answers(method, Answer::refusal(said, reason));
        }
        let client = plane.client().workers();
        let of = || ("one".to_owned(), WORKER.to_owned());
        let (runtime_id, worker_id) = of();
        let send = v1::SendInputRequest { runtime_id, worker_id, content: "hello".to_owned(), ..Default::default() };
        let (runtime_id, worker_id) = of();
        let stop = v1::StopWorkerRequest { runtime_id, worker_id, ..Default::default() };
        let (runtime_id, worker_id) = of();
        let cancel = v1::CancelWorkerRequest { runtime_id, worker_id, ..Default::default() };
        let refusals = [
            client.clone().get_worker(get()).await.err(),
            client.clone().send_input(send).await.err(),
            client.clone().stop_worker(stop).await.err(),
            client.clone().cancel_worker(cancel).await.err(),
        ];
        for refused in refusals {
            let refused = refused.unwrap_or_else(|| panic!("{said:?} {reason:?} was taken"));
            let told = refusal(&refused);
            assert_eq!(told.is(), (code, heard), "{said:?} {reason:?}");
            assert_eq!(told.metadata["worker_id"], WORKER);
            tells_nothing(&refused);
        }
        let spawn = client.clone().spawn_worker(Worker::request("one", "builtin:coder")).await.unwrap_err();
        // A spawn names no worker that could be unknown.
        let is = if said == Code::NotFound { (Code::Internal, NO_REASON) } else { (code, heard) };
        assert_eq!(refusal(&spawn).is(), is, "{said:?} {reason:?}");
        tells_nothing(&spawn);
        let told = missing(&plane).await;
        assert_eq!(told.code, diagnostic, "{said:?} {reason:?}");
        assert!(!told.message.contains("hunter2") && !told.message.contains('/'), "{told:?}");
    }
    // Its words are nowhere else either.
    let runtime = plane.runtime("one").await.unwrap();
    assert!(!format!("{runtime:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_because_of_what_was_asked_is_rejected_in_our_words() {
    // acceptance 24, 60, 81, 83
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    host.answers("SendInput", Answer::refusal(Code::FailedPrecondition, Some("WORKER_NOT_RUNNING")));
    let (runtime_id, worker_id) = ("one".to_owned(), WORKER.to_owned());
    let send = v1::SendInputRequest { runtime_id, worker_id, content: "hello".to_owned(), ..Default::default() };
    let answer = plane.client().workers().send_input(send).await.unwrap().into_inner();
    assert_eq!(answer.state(), v1::OperationState::Rejected);
    let codes: Vec<_> = answer.diagnostics.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, ["remote_runtime_http_rejected", "worker_not_running"]);
    assert!(!format!("{answer:?}").contains("hunter2"), "{answer:?} of {SECRET}");
    assert_eq!((answer.transcript_sequence, answer.event_id), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_tried_again_and_a_change_too_and_refusals_are_not() {
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    let fine = Answer::message(&runtime_v1::GetWorkerResponse { worker: Some(worker("one", WORKER)) });
    let busy = || Answer::refusal(Code::Unavailable, None);
    host.answers_in_turn("GetWorker", vec![busy(), busy(), fine]);
    assert_eq!(get_worker(&plane).await.unwrap().worker_id, WORKER);
    assert_eq!(host.calls("GetWorker"), 3);

    let created = runtime_v1::CreateWorkerResponse { worker: Some(worker("one", WORKER)), ..Default::default() };
    host.answers_in_turn("CreateWorker", vec![busy(), Answer::message(&created)]);
    let spawned = plane.client().workers().spawn_worker(Worker::request("one", "builtin:coder")).await.unwrap();
    assert_eq!((spawned.into_inner().state(), host.calls("CreateWorker")), (v1::OperationState::Accepted, 2));

    host.answers("CreateWorker", Answer::refusal(Code::InvalidArgument, Some("INVALID_REQUEST")));
    plane.client().workers().spawn_worker(Worker::request("one", "builtin:coder")).await.unwrap_err();
    assert_eq!(host.calls("CreateWorker"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_somebody_elses_is_not_an_answer() {
    // acceptance 80, 83
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    for page in [200, 404, 500, 502, 503] {
        host.answers("GetWorker", Answer::Page(page));
        let refused = get_worker(&plane).await.unwrap_err();
        tells_nothing(&refused);
        let told = refusal(&refused);
        assert!(told.reason.starts_with("REMOTE_RUNTIME_"), "{page}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_answers_costs_a_list_two_seconds_and_a_call_its_deadline() {
    // acceptance 16, 73, 80
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    host.answers("ListWorkers", Answer::Nothing);
    host.answers("GetWorker", Answer::Nothing);
    let began = Instant::now();
    assert_eq!(missing(&plane).await.code, "remote_runtime_timeout");
    let took = began.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_secs(10)).contains(&took), "{took:?}");
    let mut request = Request::new(get());
    request.set_timeout(Duration::from_millis(500));
    let refused = within("an answer", plane.client().workers().get_worker(request)).await.unwrap_err();
    // The client's own clock may be the first to say so.
    assert!(matches!(refused.code(), Code::DeadlineExceeded | Code::Cancelled), "{refused:?}");
    // An answer that is only slow is an answer.
    let fine = runtime_v1::GetWorkerResponse { worker: Some(worker("one", WORKER)) };
    host.answers("GetWorker", Answer::After(Duration::from_millis(300), fine.encode_to_vec().into()));
    assert_eq!(get_worker(&plane).await.unwrap().worker_id, WORKER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_refuses_the_credential_is_known_by_its_diagnostic() {
    // acceptance 68, 81, 84, 86
    let host = Hostile::named("one").await;
    host.answers("GetRuntime", Answer::refusal(Code::Unauthenticated, Some("UNAUTHENTICATED")));
    let plane = Plane::new().hostile(&host).start().await;
    assert_eq!(missing(&plane).await.code, "remote_runtime_auth_failed");
    let refused = get_worker(&plane).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::FailedPrecondition, "REMOTE_RUNTIME_AUTH_FAILED"));
    tells_nothing(&refused);
    let runtime = plane.runtime("one").await.unwrap();
    assert_eq!(runtime.status(), v1::RuntimeStatus::Configured);
    let codes: Vec<_> = runtime.diagnostics.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, ["remote_runtime_auth_failed"]);
    assert_eq!(host.calls("GetWorker"), 0, "nothing is asked of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_needs_what_the_host_lacks_is_not_sent() {
    // acceptance 81, 85
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    let reference = v1::ConfigBundleRef {
        id: "bundle-1".to_owned(),
        digest: "593afc87d7904886f71f8c7e1a3752ff15f09c527b33a6e56b44aa2413651238".to_owned(),
    };
    let request = v1::SpawnWorkerRequest { config_bundle: Some(reference), ..Worker::request("one", "builtin:coder") };
    let refused = plane.client().workers().spawn_worker(request).await.unwrap_err();
    let told = refusal(&refused);
    assert_eq!(told.is(), (Code::Unimplemented, "REMOTE_RUNTIME_UNSUPPORTED"));
    assert_eq!(told.metadata.get("feature").map(String::as_str), Some("config_bundles"));
    assert_eq!(host.calls("CreateWorker"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_fails_and_fails_is_answered_for_at_once() {
    // acceptance 80
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    host.answers("GetWorker", Answer::refusal(Code::Unavailable, None));
    // Each of these says so; after five, nothing is asked.
    let refused = until("the host to be spared", || async {
        let asked = host.calls("GetWorker");
        let refused = get_worker(&plane).await.unwrap_err();
        (host.calls("GetWorker") == asked).then_some(refused)
    })
    .await;
    assert_eq!(refusal(&refused).is(), (Code::Unavailable, "REMOTE_RUNTIME_NETWORK_ERROR"));
    assert!(host.calls("GetWorker") <= 12, "{}", host.calls("GetWorker"));
    let fine = runtime_v1::GetWorkerResponse { worker: Some(worker("one", WORKER)) };
    host.answers("GetWorker", Answer::message(&fine));
    let back = until("the host to be asked again", || async { get_worker(&plane).await.ok() }).await;
    assert_eq!(back.worker_id, WORKER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_failed_is_told_once_in_the_log_however_often_it_was_made() {
    // acceptance 83
    let host = Hostile::named("one").await;
    let mut plane = plane(&host).await;
    host.answers("GetWorker", Answer::refusal(Code::Unavailable, None));
    get_worker(&plane).await.unwrap_err();
    assert_eq!(host.calls("GetWorker"), 4);
    let told = |log: &str| log.lines().filter(|line| line.contains("a call to a host failed")).count();
    let log = until("the line in the log", || {
        let log = plane.process().log();
        async move { (told(&log) > 0).then_some(log) }
    })
    .await;
    assert_eq!(told(&log), 1, "{log}");
    let line = log.lines().find(|line| line.contains("a call to a host failed")).unwrap();
    assert!(line.contains("attempts=4") && line.contains("REMOTE_RUNTIME_NETWORK_ERROR"), "{line}");
    assert!(!log.contains("hunter2") && !log.contains("token-of"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_none_ends_with_what_it_was() {
    // acceptance 119
    let host = Hostile::named("one").await;
    let plane = plane(&host).await;
    let cases = [
        (Answer::Bytes(framed(b"\x0a\x03abc")), Code::Internal, "REMOTE_RUNTIME_MALFORMED_RESPONSE"),
        (Answer::Bytes(framed(b"\xff\xff\xff")), Code::Internal, "REMOTE_RUNTIME_MALFORMED_RESPONSE"),
        (Answer::Bytes(Bytes::new()), Code::Internal, "REMOTE_RUNTIME_MALFORMED_RESPONSE"),
        (Answer::refusal(Code::NotFound, Some("UNKNOWN_WORKER")), Code::NotFound, "UNKNOWN_WORKER"),
        (Answer::refusal(Code::OutOfRange, Some("CURSOR_EXPIRED")), Code::OutOfRange, "CURSOR_EXPIRED"),
        (Answer::refusal(Code::Unavailable, None), Code::Unavailable, "REMOTE_RUNTIME_NETWORK_ERROR"),
        (Answer::refusal(Code::Unauthenticated, None), Code::FailedPrecondition, "REMOTE_RUNTIME_AUTH_FAILED"),
    ];
    for (answer, code, reason) in cases {
        let what = format!("{answer:?}");
        host.answers("ObserveWorker", answer);
        let (runtime_id, worker_id) = ("one".to_owned(), WORKER.to_owned());
        let request = v1::ObserveWorkerRequest { runtime_id, worker_id, ..Default::default() };
        let opened = within("an observation", plane.client().observations().observe_worker(request)).await;
        let refused = match opened {
            Err(refused) => refused,
            Ok(stream) => within("its end", stream.into_inner().message()).await.unwrap_err(),
        };
        assert_eq!(refusal(&refused).is(), (code, reason), "{what}");
        tells_nothing(&refused);
    }
}
