//! Calls to a host in trouble: what is tried again, what is not, and when the host is spared.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::RemoteRuntime;
use super::test_host::{TestHost, ctx};
use super::test_wire::Mode;
use super::tests::{create, say, spawned, stop};
use crate::model::{
    BundleDigest, BundleId, BundleRef, CallContext, Error, InputDelivery, InputKind, Reason, RequestId, RuntimeStatus,
    SendInput, TerminalIntent, WorkerFilter, WorkerId, WorkerInput,
};
use crate::proto::status::to_status;
use crate::runtime::WorkerRuntime as _;

fn unavailable(times: usize) -> impl Iterator<Item = Status> {
    std::iter::repeat_with(|| Status::unavailable("see /run/secret.sock")).take(times)
}

impl TestHost {
    /// It answers its next calls with these.
    fn then(&self, statuses: impl IntoIterator<Item = Status>) {
        let mut next = self.faults.next.lock();
        next.clear();
        next.extend(statuses);
    }

    /// How many calls it got, `GetRuntime` included.
    fn calls(&self) -> usize {
        self.faults.tokens.lock().len()
    }
}

async fn ask(runtime: &RemoteRuntime) -> Result<(), Reason> {
    let nobody = WorkerId::new("worker-1").unwrap();
    match runtime.get_worker(&ctx(), &nobody).await.map_err(|error| error.reason()) {
        Ok(_) | Err(Reason::UnknownWorker) => Ok(()),
        Err(reason) => Err(reason),
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_read_is_made_up_to_four_times() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    host.then(unavailable(3));
    assert!(runtime.get_worker(&ctx(), &worker_id).await.is_ok());
    host.then(unavailable(2));
    let listed = runtime.list_workers(&ctx(), &WorkerFilter::default(), None, 9).await.unwrap();
    assert_eq!((listed.workers.len(), host.faults.next.lock().len()), (1, 0));

    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    host.then(unavailable(9));
    let error = runtime.get_worker(&ctx(), &worker_id).await.unwrap_err();
    assert_eq!((error.reason(), host.faults.next.lock().len()), (Reason::RemoteRuntimeNetworkError, 5));
}

#[tokio::test(start_paused = true)]
async fn changes_are_made_up_to_three_times_under_one_request_id_and_done_once() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    host.faults.loses.store(2, Ordering::Relaxed);
    let created = runtime.create_worker(&ctx(), create(0)).await.unwrap();
    let worker_id = created.worker.worker_id;
    host.faults.loses.store(2, Ordering::Relaxed);
    let stopping = ctx();
    runtime.stop_worker(&stopping, stop(&worker_id, TerminalIntent::Stop)).await.unwrap();
    let ids = host.faults.request_ids.lock().clone();
    assert_eq!(ids.len(), 6);
    assert!(ids[..3].iter().all(|id| *id == ids[0]) && ids[3..].iter().all(|id| *id == ids[3]), "{ids:?}");
    assert_eq!(stopping.request_id.unwrap().to_string(), ids[3]);
    let all = runtime.list_workers(&ctx(), &WorkerFilter::default(), None, 9).await.unwrap();
    assert_eq!((all.workers.len(), &all.workers[0].worker_id), (1, &worker_id));

    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    host.faults.loses.store(2, Ordering::Relaxed);
    say(&runtime, &worker_id, "once").await;
    // The input and the catalog worker's answer to it.
    let page = runtime.get_transcript(&ctx(), &worker_id, 0, 256).await.unwrap();
    assert_eq!(page.total_items, 2);
    host.faults.loses.store(3, Ordering::Relaxed);
    let on_behalf = CallContext { request_id: Some(RequestId::generate()), ..ctx() };
    let input = WorkerInput::new(InputKind::User, "twice?".to_owned()).unwrap();
    let input = SendInput { worker_id: worker_id.clone(), input, delivery: InputDelivery::Queue };
    let lost = runtime.send_input(&on_behalf, input.clone()).await.unwrap_err();
    assert_eq!((lost.reason(), host.faults.loses.load(Ordering::Relaxed)), (Reason::RemoteRuntimeNetworkError, 0));
    // Sent again by its caller, it is still one.
    runtime.send_input(&on_behalf, input).await.unwrap();
    assert_eq!(runtime.get_transcript(&ctx(), &worker_id, 0, 256).await.unwrap().total_items, 4);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_asked_for_twice() {
    let refusals = [
        Reason::InvalidRequest,
        Reason::PermissionDenied,
        Reason::WorkerNotRunning,
        Reason::UnknownWorker,
        Reason::CursorExpired,
        Reason::Overloaded,
        Reason::StoreError,
    ];
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    for reason in refusals {
        host.then([to_status(&Error::new(reason, "no")), to_status(&Error::new(reason, "no"))]);
        runtime.get_worker(&ctx(), &worker_id).await.unwrap_err();
        assert_eq!(host.faults.next.lock().len(), 1, "{reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_end_before_the_deadline_does() {
    let host = TestHost::start().await;
    let worker_id = spawned(&host.runtime()).await;
    // The pauses are drawn: among so many there are some that end just before the time does.
    for _ in 0..500 {
        // A new view of the host, which spares it nothing.
        let runtime = host.runtime();
        host.then(unavailable(9));
        let hurried = CallContext { deadline: Instant::now() + Duration::from_millis(150), ..ctx() };
        let error = runtime.get_worker(&hurried, &worker_id).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RemoteRuntimeNetworkError);
        assert!(hurried.remaining() >= Duration::from_millis(50));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_and_fails_gets_no_retries() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    // Answers in between keep the breaker closed; what they earn is a tenth of what a failure costs.
    for _ in 0..6 {
        host.then(unavailable(1));
        assert!(runtime.get_worker(&ctx(), &worker_id).await.is_ok() || host.faults.next.lock().is_empty());
    }
    host.then(unavailable(2));
    assert!(runtime.get_worker(&ctx(), &worker_id).await.is_err());
    assert_eq!(host.faults.next.lock().len(), 1, "it was asked once");
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_is_spared_and_its_callers_are_told_at_once() {
    // acceptance 80
    let host = TestHost::start().await;
    let runtime = host.runtime();
    ask(&runtime).await.unwrap();
    host.wire.set(Mode::Refuse);
    host.wire.cut();
    settle().await;
    // Four dials of this call, and those of the probe.
    assert_eq!(ask(&runtime).await, Err(Reason::RemoteRuntimeNetworkError));
    assert_eq!(ask(&runtime).await, Err(Reason::RemoteRuntimeNetworkError));
    let dials = host.wire.dials();
    let began = Instant::now();
    for _ in 0..100 {
        let error = runtime.get_worker(&ctx(), &WorkerId::new("worker-1").unwrap()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RemoteRuntimeNetworkError);
        assert!(error.retry_delay().is_some_and(|delay| delay <= Duration::from_secs(1)));
    }
    assert_eq!((began.elapsed(), host.wire.dials()), (Duration::ZERO, dials));
    // So is who wants to observe.
    let from = crate::engine::ObserveFrom::Now;
    let observed = runtime.observe_worker(&ctx(), &WorkerId::new("worker-1").unwrap(), from, None).await;
    assert!(observed.is_err_and(|error| error.reason() == Reason::RemoteRuntimeNetworkError));
    assert_eq!((began.elapsed(), host.wire.dials()), (Duration::ZERO, dials));
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_that_is_back_is_asked_as_soon_as_it_is_seen() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    ask(&runtime).await.unwrap();
    host.wire.set(Mode::Refuse);
    host.wire.cut();
    // Long enough for the longest wait of a breaker that nobody's probe has closed.
    for _ in 0..120 {
        assert_eq!(ask(&runtime).await, Err(Reason::RemoteRuntimeNetworkError));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    host.wire.set(Mode::Connect);
    let back = Instant::now();
    while ask(&runtime).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(back.elapsed() <= Duration::from_secs(6), "{:?}", back.elapsed());
    for _ in 0..20 {
        ask(&runtime).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_broken_connection_is_one_failure_however_many_calls_were_on_it() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    *host.faults.hangs.lock() = true;
    let ctxs: Vec<_> = (0..40).map(|_| ctx()).collect();
    let calls = ctxs.iter().map(|ctx| runtime.get_worker(ctx, &worker_id));
    let all = futures_util::future::join_all(calls);
    let cut = async {
        settle().await;
        *host.faults.hangs.lock() = false;
        host.wire.cut();
    };
    let (answers, ()) = tokio::join!(all, cut);
    // Some were made again, the others say what became of them; and the host is asked as ever.
    assert!(answers.iter().any(Result::is_ok));
    assert!(runtime.get_worker(&ctx(), &worker_id).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_under_many_streams_is_one_failure_too() {
    // acceptance 119
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let mut readers = Vec::new();
    for _ in 0..30 {
        let worker_id = spawned(&runtime).await;
        let from = crate::engine::ObserveFrom::Now;
        let mut reader = runtime.observe_worker(&ctx(), &worker_id, from, None).await.unwrap();
        reader.next().await.unwrap();
        readers.push(reader);
    }
    host.wire.cut();
    for reader in &mut readers {
        reader.next().await.unwrap();
        assert!(reader.view().stale);
    }
    ask(&runtime).await.unwrap();
    assert!(runtime.core.guard.is_open().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_hangs_is_spared_until_a_probe_is_answered() {
    // acceptance 80
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    *host.faults.hangs.lock() = true;
    let hurried = || CallContext { deadline: Instant::now() + Duration::from_secs(2), ..ctx() };
    for _ in 0..5 {
        let error = runtime.get_worker(&hurried(), &worker_id).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RemoteRuntimeTimeout);
    }
    let (began, calls) = (Instant::now(), host.calls());
    let error = runtime.get_worker(&ctx(), &worker_id).await.unwrap_err();
    assert_eq!((error.reason(), began.elapsed()), (Reason::RemoteRuntimeNetworkError, Duration::ZERO));
    assert_eq!(host.calls(), calls);
    *host.faults.hangs.lock() = false;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(runtime.get_worker(&ctx(), &worker_id).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_hangs_is_spared_also_where_nobody_waits_for_long() {
    // acceptance 80
    let short = Duration::from_millis(200);
    for gives_up in [false, true] {
        let host = TestHost::start().await;
        let runtime = host.runtime();
        let worker_id = spawned(&runtime).await;
        *host.faults.hangs.lock() = true;
        let mut calls = 0;
        while runtime.core.guard.is_open().is_none() {
            // Its caller goes away, or gave it no more than that.
            let deadline = Instant::now() + if gives_up { 50 * short } else { short };
            let hurried = CallContext { deadline, ..ctx() };
            let _ = tokio::time::timeout(short, runtime.get_worker(&hurried, &worker_id)).await;
            calls += 1;
            assert!(calls < 50, "nobody is spared");
        }
        assert!(calls >= 25, "{calls} calls are not five seconds");
        let (began, asked) = (Instant::now(), host.calls());
        let error = runtime.get_worker(&ctx(), &worker_id).await.unwrap_err();
        assert_eq!((error.reason(), began.elapsed()), (Reason::RemoteRuntimeNetworkError, Duration::ZERO));
        assert_eq!(host.calls(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_may_have_been_done_is_not_said_to_have_been_refused() {
    // acceptance 24
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    for (reason, told) in [
        (Reason::Overloaded, Reason::RemoteRuntimeNetworkError),
        (Reason::Unauthenticated, Reason::RemoteRuntimeNetworkError),
        (Reason::StoreError, Reason::RemoteRuntimeNetworkError),
        // The host has looked for what it was asked before.
        (Reason::WorkerNotRunning, Reason::WorkerNotRunning),
    ] {
        host.then(unavailable(1).chain([to_status(&Error::new(reason, "no"))]));
        let input = WorkerInput::new(InputKind::User, "hello".to_owned()).unwrap();
        let input = SendInput { worker_id: worker_id.clone(), input, delivery: InputDelivery::Queue };
        let error = runtime.send_input(&ctx(), input).await.unwrap_err();
        assert_eq!((error.reason(), host.faults.next.lock().len()), (told, 0), "{reason:?}");
        runtime.get_worker(&ctx(), &worker_id).await.unwrap();
    }
    // A read has changed nothing.
    host.then(unavailable(1).chain([to_status(&Error::new(Reason::Overloaded, "no"))]));
    let error = runtime.get_worker(&ctx(), &worker_id).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_leaves_the_connection_and_the_hosts_good_name_alone() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let worker_id = spawned(&runtime).await;
    for _ in 0..3 {
        host.then([Status::cancelled("see /run/secret.sock")]);
        assert_eq!(runtime.get_worker(&ctx(), &worker_id).await.unwrap().worker_id, worker_id);
        assert_eq!(runtime.describe(&ctx()).await.status, RuntimeStatus::Running);
    }
    assert_eq!(host.wire.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_host_lacks_is_named_and_nothing_is_sent() {
    // acceptance 81, 85
    let host = TestHost::start().await;
    *host.faults.features.lock() = Some(vec!["something_else".to_owned()]);
    let runtime = host.runtime();
    ask(&runtime).await.unwrap();
    let digest = "593afc87d7904886f71f8c7e1a3752ff15f09c527b33a6e56b44aa2413651238";
    let bundle = BundleRef { id: BundleId::new("bundle-1").unwrap(), digest: BundleDigest::new(digest).unwrap() };
    let calls = host.calls();
    let with_bundle = crate::model::CreateWorker { config_bundle: Some(bundle), ..create(0) };
    let error = runtime.create_worker(&ctx(), with_bundle.clone()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::RemoteRuntimeUnsupported);
    assert!(error.message().contains("config_bundles"));
    assert!(error.metadata().contains(&("feature", "config_bundles".to_owned())));
    assert_eq!(host.calls(), calls);
    // What needs no feature goes through; and a host that names it is asked.
    runtime.create_worker(&ctx(), create(0)).await.unwrap();
    *host.faults.features.lock() = None;
    host.wire.cut();
    settle().await;
    let asked = runtime.create_worker(&ctx(), with_bundle).await.unwrap_err();
    assert_eq!(asked.reason(), Reason::ConfigBundleMissing);
}
