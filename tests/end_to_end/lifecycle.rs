//! How workers come to be and end, and what is told of it.

use std::time::Duration;

use tonic::Code;
use workplane::proto::v1;
use workplane::proto::v1::{OperationState, StopMode, TerminationReason, WorkerState};

use crate::support::{EMBEDDED, Frame, Host, Plane, Profile, Worker, both, codes, plane_and_host, refusal, within};

/// A program that ends neither when its input does nor when it is asked to.
const STUBBORN: &str = "trap '' TERM INT HUP; echo ready; while :; do sleep 0.1; done";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_end_wins_and_later_ones_are_told_of_it() {
    // acceptance 94
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        let first = worker.stop(StopMode::Graceful).await;
        let ended = worker.get().await;
        assert_eq!(ended.state(), WorkerState::Stopped);
        let termination = ended.termination.expect("an ended worker says why");
        assert_eq!(termination.reason(), TerminationReason::Stopped);
        assert_eq!((termination.last_sequence, termination.run_generation), (ended.last_event_id, 1));
        assert_eq!(first.event_id, Some(ended.last_event_id));

        assert_eq!(worker.stop(StopMode::Force).await.event_id, first.event_id);
        assert_eq!(worker.cancel("too late").await.event_id, first.event_id);
        assert_eq!(worker.get().await.state(), WorkerState::Stopped);
        let ends: Vec<_> = worker.observe().await.rest().await;
        let ends: Vec<_> = ends.iter().filter(|frame| frame.termination().is_some()).collect();
        assert_eq!(ends.iter().map(|frame| Some(frame.sequence)).collect::<Vec<_>>(), [first.event_id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_worker_stays_cancelled_and_says_why() {
    // acceptance 94
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        let cancelled = worker.cancel("not wanted any more").await;
        let ended = worker.get().await;
        let termination = ended.termination.as_ref().expect("an ended worker says why");
        assert_eq!((ended.state(), termination.reason()), (WorkerState::Cancelled, TerminationReason::Cancelled));
        assert_eq!(termination.message, "not wanted any more");
        assert_eq!(worker.stop(StopMode::Graceful).await.event_id, cancelled.event_id);
        assert_eq!(worker.get().await.state(), WorkerState::Cancelled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_will_not_end_is_stopping_until_it_is_forced() {
    let (_plane, _host, workers) = both(Profile::script(STUBBORN)).await;
    for worker in workers {
        worker.observe().await.first("its first words", |frame| frame.item().is_some()).await;
        let (runtime_id, worker_id) = worker.ids();
        let mode = StopMode::Graceful.into();
        let mut request =
            tonic::Request::new(v1::StopWorkerRequest { runtime_id, worker_id, mode, ..Default::default() });
        request.set_timeout(Duration::from_secs(6));
        let asked = worker.client().workers().stop_worker(request).await.unwrap().into_inner();
        assert_eq!(asked.state(), OperationState::Accepted);
        assert!(codes(&asked.diagnostics).contains(&"worker_still_stopping"), "{asked:?}");
        assert_eq!(worker.get().await.state(), WorkerState::Stopping);

        worker.stop(StopMode::Force).await;
        let ended = worker.get().await;
        assert_eq!(ended.state(), WorkerState::Stopped);
        assert_eq!(ended.termination.unwrap().reason(), TerminationReason::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_wait_for_an_end_keep_nobody_from_asking() {
    let (_plane, _host, workers) = both(Profile::script(STUBBORN)).await;
    for worker in workers {
        worker.observe().await.first("its first words", |frame| frame.item().is_some()).await;
        let (runtime_id, worker_id) = worker.ids();
        let stops: Vec<_> = (0..90)
            .map(|_| {
                let request = v1::StopWorkerRequest {
                    runtime_id: runtime_id.clone(),
                    worker_id: worker_id.clone(),
                    ..Default::default()
                };
                let client = worker.client().clone();
                tokio::spawn(async move { client.workers().stop_worker(request).await })
            })
            .collect();
        worker.state_is(WorkerState::Stopping).await;
        // More than a host is asked at once are waiting now.
        for _ in 0..20 {
            let (runtime_id, worker_id) = worker.ids();
            let mut request = tonic::Request::new(v1::GetWorkerRequest { runtime_id, worker_id });
            request.set_timeout(Duration::from_secs(3));
            assert!(worker.client().workers().get_worker(request).await.is_ok());
        }
        worker.stop(StopMode::Force).await;
        for stop in stops {
            assert_eq!(stop.await.unwrap().unwrap().into_inner().state(), OperationState::Accepted);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_exits_says_with_which_code() {
    let (_plane, _host, workers) = both(Profile::script("read line; echo bye; exit 7")).await;
    for worker in workers {
        worker.send("go").await;
        let frames = worker.observe().await.rest().await;
        let end = frames.iter().find_map(|frame| frame.termination()).expect("it has ended");
        assert_eq!((end.reason(), end.exit_code, end.signal), (TerminationReason::Exited, Some(7), None));
        // What it said last is there, before the end.
        let said: Vec<_> = frames.iter().filter_map(|frame| frame.item()).map(|item| item.content.as_str()).collect();
        assert_eq!(said, ["go", "bye"]);
        assert_eq!(frames.last().unwrap().sequence, end.last_sequence);
        assert_eq!(worker.get().await.state(), WorkerState::Failed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_killed_says_by_which_signal() {
    let (_plane, _host, workers) = both(Profile::script("read line; kill -SEGV $$")).await;
    for worker in workers {
        worker.send("go").await;
        let ended = worker.state_is(WorkerState::Failed).await;
        let end = ended.termination.unwrap();
        assert_eq!((end.reason(), end.exit_code, end.signal), (TerminationReason::Killed, None, Some(11)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_ended_takes_no_input() {
    // acceptance 57, 89
    let (_plane, _host, workers) = both(Profile::text(["cat"])).await;
    for worker in workers {
        worker.stop(StopMode::Graceful).await;
        let before = worker.get().await;
        let refused = worker.try_send(worker.input("too late")).await.unwrap();
        assert_eq!(refused.state(), OperationState::Rejected);
        assert!(codes(&refused.diagnostics).contains(&"worker_not_running"), "{refused:?}");
        assert_eq!((refused.transcript_sequence, refused.event_id), (None, None));
        assert_eq!(worker.get().await.last_event_id, before.last_event_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_executed_makes_no_worker() {
    // acceptance 55
    let missing = Profile::text(["/no/such/program"]);
    let (plane, _host) = plane_and_host(missing).await;
    let mut workers = plane.client().workers();
    for runtime_id in [EMBEDDED, "one"] {
        let response = workers.spawn_worker(Worker::request(runtime_id, "builtin:coder")).await.unwrap().into_inner();
        assert_eq!(response.state(), OperationState::Rejected);
        assert!(codes(&response.diagnostics).contains(&"worker_start_failed"), "{response:?}");
        assert!(response.worker.is_none() && response.acceptance_evidence.is_empty());
        assert!(!format!("{response:?}").contains("/no/such"), "a path of the host's got out: {response:?}");
    }
    let listed = workers.list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.workers, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawn_to_an_unknown_runtime_creates_nothing_anywhere() {
    // acceptance 27
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let mut workers = plane.client().workers();
    let refused = workers.spawn_worker(Worker::request("two", "builtin:coder")).await.unwrap_err();
    let refused = refusal(&refused);
    assert_eq!(refused.is(), (Code::NotFound, "UNKNOWN_RUNTIME"));
    assert_eq!(refused.metadata.get("runtime_id").map(String::as_str), Some("two"));
    let listed = workers.list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.workers, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_worker_says_that_nothing_is_connected_to_it() {
    // acceptance 92
    let (_plane, _host, workers) = both(Profile::catalog()).await;
    for worker in workers {
        worker.send("anybody there?").await;
        let mut stream = worker.observe().await;
        let by_it = |frame: &Frame| frame.item().is_some_and(|item| item.role() == v1::TranscriptRole::Assistant);
        let answered = stream.first("an answer", by_it).await;
        assert!(answered.item().unwrap().content.contains("execution is not connected"));
        worker.stop(StopMode::Graceful).await;
        assert_eq!(worker.get().await.state(), WorkerState::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initial_input_is_the_first_thing_a_worker_hears() {
    let (plane, _host) = plane_and_host(Profile::text(["cat"])).await;
    for runtime_id in [EMBEDDED, "one"] {
        let input = v1::WorkerInput { kind: v1::WorkerInputKind::User.into(), content: "good morning".to_owned() };
        let request =
            v1::SpawnWorkerRequest { initial_input: Some(input), ..Worker::request(runtime_id, "builtin:coder") };
        let spawned = plane.client().workers().spawn_worker(request).await.unwrap().into_inner();
        assert_eq!(spawned.state(), OperationState::Accepted);
        let worker = Worker::of(plane.client(), &spawned.worker.unwrap());
        worker.observe().await.up_to("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
        let said: Vec<_> = worker.transcript(0).await.into_iter().map(|item| item.content).collect();
        assert_eq!(said, ["good morning", "good morning"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawn_may_wait_for_what_the_program_says_first() {
    let host = Host::named("one").profile("builtin:coder", Profile::script("echo one; echo two; cat")).start().await;
    let plane = Plane::new().host(&host).start().await;
    let run_accepted = v1::RunAccepted { expected_segments: 2 };
    let kind = Some(v1::acceptance_requirement::Kind::RunAccepted(run_accepted));
    let acceptance = Some(v1::AcceptanceRequirement { kind });
    let request = v1::SpawnWorkerRequest { acceptance, ..Worker::request("one", "builtin:coder") };
    let spawned = within("the spawn", plane.client().workers().spawn_worker(request)).await.unwrap().into_inner();
    assert_eq!(spawned.state(), OperationState::Accepted, "{spawned:?}");
    let worker = Worker::of(plane.client(), &spawned.worker.unwrap());
    assert!(worker.transcript(0).await.len() >= 2);
}
