//! A request that is sent again under its id is done once.

use tonic::Code;
use workplane::proto::v1;

use crate::support::{EMBEDDED, Profile, Worker, plane_and_host, refusal};

fn cat() -> Profile {
    Profile::text(["cat"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_spawn_makes_one_worker() {
    let (plane, _host) = plane_and_host(cat()).await;
    let mut workers = plane.client().workers();
    for runtime_id in [EMBEDDED, "one"] {
        let request = v1::SpawnWorkerRequest {
            request_id: "spawn-1".to_owned(),
            labels: [("b", "2"), ("a", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..Worker::request(runtime_id, "builtin:coder")
        };
        let first = workers.spawn_worker(request.clone()).await.unwrap().into_inner().worker.unwrap();
        let again = workers.spawn_worker(request.clone()).await.unwrap().into_inner().worker.unwrap();
        assert_eq!(first.worker_id, again.worker_id);
        let other = v1::SpawnWorkerRequest { requested_worker_name: Some("another".to_owned()), ..request };
        let refused = workers.spawn_worker(other).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
        let list =
            v1::ListWorkersRequest { runtime_id: Some(runtime_id.to_owned()), fresh: true, ..Default::default() };
        assert_eq!(workers.list_workers(list).await.unwrap().into_inner().workers.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_spawns_are_the_same_only_if_they_were_asked_for_alike_also_where_a_host_would_do_the_same() {
    // docs/adr/0011: the control plane compares before it asks a host.
    let (plane, _host) = plane_and_host(cat()).await;
    let mut workers = plane.client().workers();
    for runtime_id in [EMBEDDED, "one"] {
        let named =
            v1::SpawnWorkerRequest { request_id: "spawn-1".to_owned(), ..Worker::request(runtime_id, "builtin:coder") };
        // The profile that a coder gets in any case.
        let unnamed = v1::SpawnWorkerRequest { profile: None, ..named.clone() };
        workers.spawn_worker(named.clone()).await.unwrap();
        let refused = workers.spawn_worker(unnamed.clone()).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
        // One that was refused for what it asks is judged anew, and another may take its id.
        let taken = v1::SpawnWorkerRequest { request_id: "spawn-2".to_owned(), ..unnamed };
        let acceptance = Some(v1::AcceptanceRequirement {
            kind: Some(v1::acceptance_requirement::Kind::SocketReady(v1::SocketReady {})),
        });
        let rejected = v1::SpawnWorkerRequest { acceptance, ..taken.clone() };
        let answer = workers.spawn_worker(rejected).await.unwrap().into_inner();
        assert_eq!(answer.state(), v1::OperationState::Rejected);
        let answer = workers.spawn_worker(taken).await.unwrap().into_inner();
        assert_eq!(answer.state(), v1::OperationState::Accepted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_input_is_taken_once_also_when_both_come_at_once() {
    let (plane, _host) = plane_and_host(cat()).await;
    for runtime_id in [EMBEDDED, "one"] {
        let worker = plane.spawn(runtime_id, "builtin:coder").await;
        let request = v1::SendInputRequest { request_id: "input-1".to_owned(), ..worker.input("once") };
        let (first, twin) = tokio::join!(worker.try_send(request.clone()), worker.try_send(request.clone()));
        let first = first.unwrap();
        assert_eq!(first, twin.unwrap());
        assert_eq!(first, worker.try_send(request.clone()).await.unwrap());
        assert!(first.event_id.is_some() && first.transcript_sequence == Some(1));

        let other = v1::SendInputRequest { content: "twice".to_owned(), ..request };
        let refused = worker.try_send(other).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
        worker.stop(v1::StopMode::Graceful).await;
        let said: Vec<_> = worker.transcript(0).await.into_iter().map(|item| item.content).collect();
        assert_eq!(said, ["once", "once"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_belongs_to_its_method_and_its_runtime() {
    let (plane, _host) = plane_and_host(cat()).await;
    let mut workers = plane.client().workers();
    let mut spawned = Vec::new();
    for runtime_id in [EMBEDDED, "one"] {
        let request_id = "the-same-everywhere".to_owned();
        let request =
            v1::SpawnWorkerRequest { request_id: request_id.clone(), ..Worker::request(runtime_id, "builtin:coder") };
        let worker = workers.spawn_worker(request).await.unwrap().into_inner().worker.unwrap();
        let worker = Worker::of(plane.client(), &worker);
        let input = v1::SendInputRequest { request_id, ..worker.input("hello") };
        assert_eq!(worker.try_send(input).await.unwrap().state(), v1::OperationState::Accepted);
        spawned.push(worker.worker_id);
    }
    assert_ne!(spawned[0], spawned[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_breaks_its_rule_is_refused_by_name() {
    let (plane, _host) = plane_and_host(cat()).await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    for wrong in ["with space", "é", &"x".repeat(129)] {
        let refused = worker.try_send(v1::SendInputRequest { request_id: wrong.to_owned(), ..worker.input("x") }).await;
        let refused = refusal(&refused.unwrap_err());
        assert_eq!((refused.code, refused.fields), (Code::InvalidArgument, vec!["request_id".to_owned()]));
    }
}
