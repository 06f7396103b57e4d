//! The remote adapter against a host that behaves, and one that does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;
use secrecy::SecretString;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::test_host::{RUNTIME, TestHost, ctx, runtime_id};
use super::test_wire::Mode;
use super::{RemoteConfig, RemoteRuntime};
use crate::model::{
    Acceptance, CallContext, CreateWorker, Error, ImplementationKind, InputDelivery, InputKind, Labels,
    ProfileSelector, Reason, RuntimeKind, RuntimeStatus, SendInput, StopMode, StopWorker, TerminalIntent, WorkerFilter,
    WorkerId, WorkerInput, WorkerIntent, WorkerState, Workspace,
};
use crate::proto::status::to_status;
use crate::proto::v1;
use crate::runtime::{WorkerRuntime as _, diagnose};

pub(super) fn create(expected_segments: u32) -> CreateWorker {
    CreateWorker {
        intent: WorkerIntent::Role { role: "coder".to_owned(), purpose: None },
        profile: ProfileSelector::builtin("builtin:coder".to_owned()).unwrap(),
        config_bundle: None,
        requested_capabilities: Vec::new(),
        workspace_refs: Vec::new(),
        mount_refs: Vec::new(),
        requested_worker_name: Some("a/name\n".to_owned()),
        initial_input: None,
        acceptance: Acceptance::RunAccepted { expected_segments },
        labels: Labels::default(),
    }
}

pub(super) async fn spawned(runtime: &RemoteRuntime) -> WorkerId {
    runtime.create_worker(&ctx(), create(0)).await.unwrap().worker.worker_id
}

pub(super) async fn say(runtime: &RemoteRuntime, worker_id: &WorkerId, content: &str) {
    let input = WorkerInput::new(InputKind::User, content.to_owned()).unwrap();
    let send = SendInput { worker_id: worker_id.clone(), input, delivery: InputDelivery::Queue };
    runtime.send_input(&ctx(), send).await.unwrap();
}

pub(super) fn stop(worker_id: &WorkerId, intent: TerminalIntent) -> StopWorker {
    StopWorker { worker_id: worker_id.clone(), intent, reason: String::new(), mode: StopMode::Graceful }
}

async fn fails(runtime: &RemoteRuntime) -> Error {
    runtime.get_worker(&ctx(), &WorkerId::new("worker-1").unwrap()).await.unwrap_err()
}

async fn until(mut done: impl AsyncFnMut() -> bool) {
    while !done().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_is_told_as_it_is_and_stays_known_when_it_is_gone() {
    // acceptance 67, 68, 69, 70
    let host = TestHost::start().await;
    host.wire.set(Mode::Refuse);
    let config =
        RemoteConfig { display_name: "Configured".to_owned(), ..RemoteConfig::new(runtime_id(), "http://h:1") };
    let runtime = host.runtime_of(&config);
    let never = runtime.describe(&ctx()).await;
    assert_eq!((never.status, never.label.as_str()), (RuntimeStatus::Configured, "Configured"));
    assert_eq!((never.capabilities.os.as_str(), never.capabilities.can_get_worker), ("remote", false));
    assert_eq!(never.diagnostics[0].code, "remote_runtime_network_error");
    assert_eq!(runtime.host(&ctx()).await.status, "configured");

    host.wire.set(Mode::Connect);
    until(async || runtime.describe(&ctx()).await.status == RuntimeStatus::Running).await;
    let up = runtime.describe(&ctx()).await;
    assert_eq!((up.label.as_str(), up.capabilities.os.as_str()), ("A host", std::env::consts::OS));
    assert_eq!(up.incarnation, Some(host.engine.parts().incarnation));
    assert_eq!(up.diagnostics.iter().map(|it| it.code.as_ref()).collect::<Vec<_>>(), ["remote_runtime_backend_proxy"]);
    let machine = runtime.host(&ctx()).await;
    assert_eq!((machine.kind, machine.status), ("remote-worker-runtime-host", "available"));
    assert_eq!(machine.host_id.as_str(), "remote-remote-primary-3e64aea0035e79af");
    assert!(machine.last_seen_at.is_some());

    host.wire.set(Mode::Refuse);
    host.wire.cut();
    until(async || runtime.describe(&ctx()).await.status == RuntimeStatus::Unavailable).await;
    let gone = runtime.describe(&ctx()).await;
    assert_eq!((&gone.capabilities, &gone.label, gone.host_ids.len()), (&up.capabilities, &up.label, 1));
    assert_eq!((gone.diagnostics.len(), gone.diagnostics[0].code.as_ref()), (1, "remote_runtime_network_error"));
    assert!(gone.seen_age.is_some());

    host.wire.set(Mode::Connect);
    until(async || runtime.describe(&ctx()).await.status == RuntimeStatus::Running).await;
}

#[tokio::test(start_paused = true)]
async fn calls_go_to_the_host_and_back() {
    // acceptance 71, 75, 77, 78
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let created = runtime.create_worker(&ctx(), create(3)).await.unwrap();
    assert!(created.diagnostics.iter().any(|it| it.code == "embedded_runtime_tools_less"));
    let worker_id = created.worker.worker_id;
    say(&runtime, &worker_id, "hello").await;
    let worker = runtime.get_worker(&ctx(), &worker_id).await.unwrap();
    assert_eq!(
        (worker.workspace, worker.implementation),
        (Workspace::RemoteRuntime, ImplementationKind::RemoteWorkerRuntime)
    );
    assert_eq!(
        (worker.runtime_id.as_str(), worker.host_id.as_str()),
        (RUNTIME, "remote-remote-primary-3e64aea0035e79af")
    );
    assert_eq!((worker.label.as_str(), worker.stale, worker.last_seen_at.is_some()), ("aname", false, true));
    assert_eq!(worker.diagnostics[0].code, "remote_runtime_projection");
    let page = runtime.get_transcript(&ctx(), &worker_id, 0, 256).await.unwrap();
    assert_eq!((page.total_items, page.items.len()), (2, 2));
    assert_eq!(v1::TranscriptItem::decode(page.items[0].clone()).unwrap().content, "hello");
    let ack = runtime.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Cancel)).await.unwrap();
    assert_eq!(ack.state, WorkerState::Cancelled);
    assert_eq!(ack.diagnostics[0].code, "remote_runtime_lifecycle_accepted");
    let again = runtime.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    assert_eq!((again.state, again.event_id), (WorkerState::Cancelled, ack.event_id));
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_hosts_list_follow_each_other() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    for _ in 0..5 {
        spawned(&runtime).await;
    }
    let filter = WorkerFilter { states: vec![WorkerState::Running], ..WorkerFilter::default() };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = runtime.list_workers(&ctx(), &filter, after.as_ref(), 2).await.unwrap();
        seen.extend(page.workers.into_iter().map(|worker| worker.worker_id));
        after = seen.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_another_runtime_is_asked_nothing() {
    // acceptance 72
    let host = TestHost::start().await;
    *host.faults.says_it_is.lock() = Some("impostor".to_owned());
    let runtime = host.runtime();
    assert_eq!(fails(&runtime).await.reason(), Reason::RemoteRuntimeWrongIdentity);
    let info = runtime.describe(&ctx()).await;
    assert_eq!(
        (info.status, info.diagnostics[0].code.as_ref()),
        (RuntimeStatus::Configured, "remote_runtime_wrong_identity")
    );
    *host.faults.says_it_is.lock() = None;
    assert_eq!(fails(&runtime).await.reason(), Reason::UnknownWorker);
}

#[tokio::test(start_paused = true)]
async fn the_credential_goes_with_every_call_when_there_is_one_and_never_otherwise() {
    // acceptance 66, 79
    let host = TestHost::start().await;
    let open = host.runtime();
    let worker_id = spawned(&open).await;
    open.observe_worker(&ctx(), &worker_id, crate::engine::ObserveFrom::Now, None).await.unwrap();
    assert!(host.faults.tokens.lock().drain(..).all(|token| token.is_none()));
    drop(open);
    let token = Some(SecretString::from("hunter2"));
    let closed = host.runtime_of(&RemoteConfig { token, ..RemoteConfig::new(runtime_id(), "http://host.test:7500") });
    spawned(&closed).await;
    closed.observe_worker(&ctx(), &worker_id, crate::engine::ObserveFrom::Now, None).await.unwrap();
    let seen = host.faults.tokens.lock().clone();
    assert!(seen.len() >= 4 && seen.iter().all(|token| token.as_deref() == Some("Bearer hunter2")), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_its_own_time_or_what_its_caller_has_left() {
    // acceptance 80
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    *host.faults.hangs.lock() = true;
    let timed = async |left| {
        let ctx = CallContext { deadline: Instant::now() + left, ..ctx() };
        let began = Instant::now();
        let error = runtime.get_worker(&ctx, &worker_id).await.unwrap_err();
        (error.reason(), began.elapsed())
    };
    assert_eq!(timed(Duration::from_mins(1)).await, (Reason::RemoteRuntimeTimeout, Duration::from_secs(10)));
    assert_eq!(host.faults.timeout.lock().as_deref(), Some("10000000u"));
    assert_eq!(timed(Duration::from_secs(1)).await, (Reason::RemoteRuntimeTimeout, Duration::from_millis(950)));
    let calls = host.faults.tokens.lock().len();
    assert_eq!(timed(Duration::from_millis(99)).await, (Reason::DeadlineExceeded, Duration::ZERO));
    assert_eq!(host.faults.tokens.lock().len(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_hosts_reason_comes_through_and_its_words_do_not() {
    // acceptance 81, 83
    let host = TestHost::start().await;
    let runtime = host.runtime();
    for (said, heard) in [
        (to_status(&Error::new(Reason::WorkerNotRunning, "/run/secret.sock")), Reason::WorkerNotRunning),
        (Status::unauthenticated("/run/secret.sock"), Reason::RemoteRuntimeAuthFailed),
        (Status::internal("/run/secret.sock"), Reason::RemoteRuntimeMalformedResponse),
    ] {
        *host.faults.refuses.lock() = Some(said);
        let error = fails(&runtime).await;
        assert_eq!(error.reason(), heard);
        assert!(!error.to_string().contains("secret"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_reason_has_failed_or_refused_by_its_code() {
    // acceptance 80, 81
    let host = TestHost::start().await;
    let runtime = host.runtime();
    for (code, diagnostic) in [
        (Code::Internal, "remote_runtime_http_error"),
        (Code::Unknown, "remote_runtime_http_error"),
        (Code::DataLoss, "remote_runtime_http_error"),
        (Code::InvalidArgument, "remote_runtime_http_rejected"),
        (Code::FailedPrecondition, "remote_runtime_http_rejected"),
        (Code::OutOfRange, "remote_runtime_http_rejected"),
        (Code::AlreadyExists, "remote_runtime_http_rejected"),
        (Code::Aborted, "remote_runtime_http_rejected"),
        (Code::ResourceExhausted, "remote_runtime_http_rejected"),
        (Code::NotFound, "remote_worker_not_found"),
    ] {
        *host.faults.refuses.lock() = Some(Status::new(code, "/run/secret.sock"));
        let error = fails(&runtime).await;
        assert_eq!(diagnose(RuntimeKind::Remote, runtime.id(), &error).code, diagnostic, "{code:?}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_knows_no_worker_where_none_was_named_has_refused() {
    // acceptance 81
    let host = TestHost::start().await;
    let runtime = host.runtime();
    spawned(&runtime).await;
    for status in [Status::not_found("x"), to_status(&Error::new(Reason::UnknownWorker, "x"))] {
        host.faults.next.lock().push_back(status);
        let error = runtime.create_worker(&ctx(), create(0)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RemoteRuntimeMalformedResponse);
        assert_eq!(diagnose(RuntimeKind::Remote, runtime.id(), &error).code, "remote_runtime_http_rejected");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_replaced_at_the_next_call_and_made_once_for_many() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    assert_eq!(host.wire.dials(), 1);
    host.wire.cut();
    // The end of a connection is noticed by those who own it, without a call.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let calls = (0..20).map(|_| async { runtime.get_worker(&ctx(), &worker_id).await.map(|worker| worker.worker_id) });
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), worker_id);
    }
    assert_eq!(host.wire.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_answer_a_dial_costs_two_seconds() {
    let host = TestHost::start().await;
    host.wire.set(Mode::Hang);
    let runtime = host.runtime();
    let began = Instant::now();
    assert_eq!(fails(&runtime).await.reason(), Reason::RemoteRuntimeNetworkError);
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_dropped_runtime_goes_on() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    let mut reader = runtime.observe_worker(&ctx(), &worker_id, crate::engine::ObserveFrom::Now, None).await.unwrap();
    reader.next().await.unwrap();
    let core = Arc::downgrade(&runtime.core);
    drop(runtime);
    assert_eq!(reader.next().await.unwrap_err().reason(), Reason::UnknownRuntime);
    drop(reader);
    until(async || core.strong_count() == 0 && host.faults.streams.load(Ordering::Relaxed) == 0).await;
    let dials = host.wire.dials();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(host.wire.dials(), dials);
}

#[tokio::test]
async fn the_same_goes_over_tcp() {
    let host = TestHost::start().await;
    let config = RemoteConfig::new(runtime_id(), host.listen().await);
    let runtime = RemoteRuntime::new(&config, &tokio::runtime::Handle::current()).unwrap();
    let worker_id = spawned(&runtime).await;
    let from = crate::engine::ObserveFrom::Beginning;
    let mut reader = runtime.observe_worker(&ctx(), &worker_id, from, None).await.unwrap();
    say(&runtime, &worker_id, "hello").await;
    runtime.stop_worker(&ctx(), stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    let mut frames = 0;
    while reader.next().await.unwrap().is_some() {
        frames += 1;
    }
    assert_eq!(frames, 1 + reader.view().last_event_id);
}
