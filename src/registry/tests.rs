//! The registry over scripted runtimes.

use std::time::Duration;

use super::*;
use crate::model::{
    Acceptance, InputDelivery, InputKind, Labels, Severity, SpawnIntent, StopMode, TerminalIntent, WorkerFilter,
    WorkerInput, WorkspaceId,
};
use crate::runtime::fake::{FakeRuntime, Script};

pub(super) fn registry(runtimes: Vec<Arc<dyn WorkerRuntime>>) -> Registry {
    let registry = Registry::new();
    registry.replace(runtimes).unwrap();
    registry
}

pub(super) fn ctx() -> CallContext {
    CallContext::internal(WorkspaceId::new("local:test").unwrap(), Duration::from_secs(30))
}

pub(super) fn rid(id: &str) -> RuntimeId {
    RuntimeId::new(id).unwrap()
}

pub(super) fn wid(id: &str) -> WorkerId {
    WorkerId::new(id).unwrap()
}

fn remote(id: &str, workers: &[&str]) -> Arc<FakeRuntime> {
    Arc::new(FakeRuntime::remote(id).with_workers(workers))
}

pub(super) fn spawn(runtime_id: &str, acceptance: Acceptance, name: Option<&str>) -> SpawnWorker {
    SpawnWorker {
        runtime_id: rid(runtime_id),
        intent: SpawnIntent::WorkspaceCompanion,
        requested_worker_name: name.map(str::to_owned),
        acceptance,
        profile: None,
        config_bundle: None,
        requested_capabilities: Vec::new(),
        initial_input: None,
        labels: Labels::default(),
    }
}

pub(super) fn input(worker_id: &str) -> SendInput {
    let input = WorkerInput::new(InputKind::User, "hello".to_owned()).unwrap();
    SendInput { worker_id: wid(worker_id), input, delivery: InputDelivery::Queue }
}

pub(super) const ACCEPT: Acceptance = Acceptance::RunAccepted { expected_segments: 0 };

async fn workers(registry: &Registry, after: Option<&WorkerKey>, limit: usize) -> Listing<Worker, WorkerKey> {
    registry.list_workers(&ctx(), None, &WorkerFilter::default(), after, limit).await.unwrap()
}

fn ids(listing: &Listing<Worker, WorkerKey>) -> Vec<&str> {
    listing.items.iter().map(|worker| worker.worker_id.as_str()).collect()
}

#[tokio::test]
async fn registry_worker_lookup_is_scoped_by_runtime_id() {
    // acceptance 19, 134
    let registry = registry(vec![remote("a", &["w-1"]), remote("b", &["w-1"])]);
    for id in ["a", "b"] {
        assert_eq!(registry.get_worker(&ctx(), &rid(id), &wid("w-1")).await.unwrap().runtime_id, rid(id));
    }
}

#[tokio::test]
async fn registry_reports_unknown_runtime_and_worker_separately() {
    // acceptance 20, 134
    let registry = registry(vec![remote("a", &[])]);
    let runtime = registry.get_worker(&ctx(), &rid("z"), &wid("w-1")).await.unwrap_err();
    let ids = [("runtime_id", "z".to_owned()), ("known_runtime_ids", "a".to_owned())];
    assert_eq!((runtime.reason(), runtime.metadata()), (Reason::UnknownRuntime, &ids[..]));
    let worker = registry.get_worker(&ctx(), &rid("a"), &wid("w-1")).await.unwrap_err();
    assert_eq!(worker.reason(), Reason::UnknownWorker);
    assert_eq!(worker.metadata(), &[("runtime_id", "a".to_owned()), ("worker_id", "w-1".to_owned())]);
}

#[test]
fn a_duplicate_runtime_is_an_error_that_names_it_and_changes_nothing() {
    // acceptance 12
    let registry = registry(vec![remote("a", &[])]);
    let refused = registry.replace(vec![remote("b", &[]), remote("b", &[])]).unwrap_err();
    assert_eq!(refused, DuplicateRuntime(rid("b")));
    assert_eq!(registry.runtimes()[0].id(), &rid("a"));
}

#[tokio::test(start_paused = true)]
async fn runtimes_and_hosts_keep_the_order_of_their_registration() {
    // acceptance 11, 13, 14
    let registry = registry(vec![remote("z", &[]), Arc::new(FakeRuntime::embedded("a")), remote("m", &[])]);
    let first = registry.list_runtimes(&ctx(), None, 2).await;
    assert_eq!(first.items.iter().map(|it| it.runtime_id.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    let rest = registry.list_runtimes(&ctx(), first.next.as_ref(), 2).await;
    assert_eq!((rest.items.len(), rest.items[0].runtime_id.as_str(), rest.next), (1, "m", None));
    let hosts = registry.list_hosts(&ctx(), None, 100).await;
    let host_ids: Vec<_> = hosts.items.iter().map(|it| it.host_id.clone()).collect();
    assert_eq!(host_ids, [rid("z").host_id("remote-"), rid("a").host_id("embedded-"), rid("m").host_id("remote-")]);
    for id in &host_ids {
        assert_eq!(registry.get_host(&ctx(), id).await.unwrap().host_id, *id);
    }
    let gone = registry.list_runtimes(&ctx(), Some(&rid("gone")), 2).await;
    assert_eq!((gone.items.len(), gone.diagnostics[0].code.as_ref()), (0, "runtime_set_changed"));
}

#[tokio::test]
async fn pages_of_workers_run_through_the_runtimes_in_order() {
    // acceptance 14
    let registry = registry(vec![remote("z", &["w-2", "w-1"]), remote("e", &[]), remote("a", &["w-3", "w-4"])]);
    let all = workers(&registry, None, 100).await;
    assert_eq!((ids(&all), all.next.clone()), (vec!["w-1", "w-2", "w-3", "w-4"], None));
    for limit in 1..5 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = workers(&registry, after.as_ref(), limit).await;
            assert!(page.items.len() <= limit && !page.items.is_empty());
            seen.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all.items, "pages of {limit}");
    }
}

#[tokio::test]
async fn a_limit_of_nothing_asks_nobody() {
    // acceptance 15
    let asked = remote("a", &["w-1"]);
    let registry = registry(vec![asked.clone()]);
    let none = workers(&registry, None, 0).await;
    assert_eq!((none.items.len(), none.diagnostics.len(), none.next), (0, 0, None));
    assert!(registry.list_runtimes(&ctx(), None, 0).await.items.is_empty());
    assert!(registry.list_hosts(&ctx(), None, 0).await.items.is_empty());
    assert_eq!(asked.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_list_asks_all_at_once_and_names_what_is_missing() {
    // acceptance 16
    let registry = registry(vec![
        Arc::new(FakeRuntime::remote("hanging").doing(Script::Hanging)),
        Arc::new(FakeRuntime::remote("slow").with_workers(&["w-1"]).doing(Script::Slow(Duration::from_secs(1)))),
        Arc::new(FakeRuntime::remote("dead").doing(Script::Failing(Reason::RemoteRuntimeNetworkError))),
        Arc::new(FakeRuntime::remote("slower").with_workers(&["w-2"]).doing(Script::Slow(Duration::from_secs(1)))),
    ]);
    let began = tokio::time::Instant::now();
    let listing = workers(&registry, None, 100).await;
    assert_eq!(began.elapsed(), Duration::from_millis(2_050));
    assert_eq!(ids(&listing), ["w-1", "w-2"]);
    let said: Vec<_> = listing.diagnostics.iter().map(|it| (it.code.as_ref(), it.severity)).collect();
    assert_eq!(said, [("remote_runtime_timeout", Severity::Error), ("remote_runtime_network_error", Severity::Error)]);
    assert!(listing.diagnostics[0].message.contains("hanging") && listing.diagnostics[1].message.contains("dead"));
}

#[tokio::test(start_paused = true)]
async fn a_list_ends_before_its_caller_stops_waiting() {
    let hanging = FakeRuntime::remote("hanging").doing(Script::Hanging);
    let registry = registry(vec![Arc::new(hanging), Arc::new(FakeRuntime::embedded("here").with_workers(&["w-1"]))]);
    let hurried = CallContext::internal(WorkspaceId::new("w").unwrap(), Duration::from_secs(1));
    let listing = registry.list_workers(&hurried, None, &WorkerFilter::default(), None, 9).await.unwrap();
    assert_eq!(hurried.remaining(), Duration::from_millis(50));
    assert_eq!((ids(&listing), listing.diagnostics.len()), (vec!["w-1"], 1));
}

#[tokio::test]
async fn more_missing_runtimes_than_can_be_named_are_counted() {
    // acceptance 2
    let dead = |n| -> Arc<dyn WorkerRuntime> {
        let failing = Script::Failing(Reason::RemoteRuntimeNetworkError);
        Arc::new(FakeRuntime::remote(&format!("r-{n}")).doing(failing))
    };
    let listing = workers(&registry((0..300).map(dead).collect()), None, 100).await;
    assert_eq!(listing.diagnostics.len(), 257);
    assert_eq!(listing.diagnostics[256].code, "diagnostics_truncated");
    assert!(listing.diagnostics[256].message.starts_with("44 "));
}

#[tokio::test(start_paused = true)]
async fn unreachable_is_not_gone() {
    let host = remote("a", &["w-1", "w-2"]);
    let registry = registry(vec![host.clone()]);
    workers(&registry, None, 100).await;
    host.become_(Script::Failing(Reason::RemoteRuntimeNetworkError));
    tokio::time::advance(Duration::from_mins(1)).await;
    let listing = workers(&registry, None, 1).await;
    assert!(listing.items[0].stale && listing.items[0].seen_age == Some(Duration::from_mins(1)));
    assert_eq!(listing.diagnostics[0].code, "remote_runtime_network_error");
    let rest = workers(&registry, listing.next.as_ref(), 9).await;
    assert_eq!((ids(&rest), rest.next.is_none()), (vec!["w-2"], true));
    assert!(registry.get_worker(&ctx(), &rid("a"), &wid("w-2")).await.unwrap().stale);
    let never_seen = registry.get_worker(&ctx(), &rid("a"), &wid("w-9")).await.unwrap_err();
    assert_eq!(never_seen.reason(), Reason::RemoteRuntimeNetworkError);
    host.become_(Script::Fine);
    assert!(!registry.get_worker(&ctx(), &rid("a"), &wid("w-2")).await.unwrap().stale);
}

#[tokio::test]
async fn what_its_host_says_is_gone_is_not_stale() {
    let host = remote("a", &["w-1"]);
    let registry = registry(vec![host.clone()]);
    registry.get_worker(&ctx(), &rid("a"), &wid("w-1")).await.unwrap();
    host.lose("w-1");
    assert_eq!(registry.send_input(&ctx(), &rid("a"), input("w-1")).await.unwrap_err().reason(), Reason::UnknownWorker);
    host.become_(Script::Failing(Reason::RemoteRuntimeNetworkError));
    assert!(registry.get_worker(&ctx(), &rid("a"), &wid("w-1")).await.is_err());
}

#[tokio::test]
async fn a_host_that_lost_its_memory_has_no_ghosts() {
    let host = remote("a", &["w-1", "w-2"]);
    let registry = registry(vec![host.clone()]);
    let known = async || {
        host.become_(Script::Failing(Reason::RemoteRuntimeNetworkError));
        let listing = workers(&registry, None, 9).await;
        host.become_(Script::Fine);
        listing.items.len()
    };
    workers(&registry, None, 9).await;
    assert_eq!(known().await, 2);
    host.restart();
    // Nobody has asked the new one for anything yet.
    assert_eq!(known().await, 0);
    host.become_(Script::Failing(Reason::RemoteRuntimeNetworkError));
    assert!(registry.get_worker(&ctx(), &rid("a"), &wid("w-1")).await.is_err());
}

#[tokio::test]
async fn what_a_hosts_list_leaves_out_is_not_stale() {
    let host = remote("a", &["w-1", "w-2"]);
    let registry = registry(vec![host.clone()]);
    workers(&registry, None, 9).await;
    host.lose("w-1");
    assert_eq!(ids(&workers(&registry, None, 9).await), ["w-2"]);
    host.become_(Script::Failing(Reason::RemoteRuntimeNetworkError));
    assert_eq!(ids(&workers(&registry, None, 9).await), ["w-2"]);
}

#[tokio::test]
async fn workers_of_a_host_are_asked_of_its_runtime_alone() {
    // acceptance 17, 18
    let (a, b) = (remote("a", &["w-1"]), remote("b", &["w-2"]));
    let registry = registry(vec![a.clone(), b]);
    let of = |id: HostId| WorkerFilter { host_id: Some(id), ..WorkerFilter::default() };
    let filter = of(rid("b").host_id("remote-"));
    let listing = registry.list_workers(&ctx(), None, &filter, None, 1).await.unwrap();
    assert_eq!((ids(&listing), a.calls()), (vec!["w-2"], 0));
    let unknown = registry.list_workers(&ctx(), None, &of(rid("c").host_id("remote-")), None, 1).await;
    assert_eq!(unknown.unwrap_err().reason(), Reason::UnknownHost);
}

#[tokio::test]
async fn an_operation_on_a_worker_is_one_round_trip_and_the_hosts_no_is_the_answer() {
    // acceptance 25
    let host = remote("a", &["w-1"]);
    let registry = registry(vec![host.clone()]);
    registry.send_input(&ctx(), &rid("a"), input("w-1")).await.unwrap();
    assert_eq!(host.calls(), 1);
    let stop = |worker_id| StopWorker {
        worker_id: wid(worker_id),
        intent: TerminalIntent::Stop,
        reason: String::new(),
        mode: StopMode::Graceful,
    };
    registry.stop_worker(&ctx(), &rid("a"), stop("w-1")).await.unwrap();
    registry.get_transcript(&ctx(), &rid("a"), &wid("w-1"), 0, 9).await.unwrap();
    assert_eq!(host.calls(), 3);
    for refused in [
        registry.send_input(&ctx(), &rid("a"), input("w-9")).await.err(),
        registry.stop_worker(&ctx(), &rid("a"), stop("w-9")).await.err(),
        registry.get_transcript(&ctx(), &rid("a"), &wid("w-9"), 0, 9).await.err(),
    ] {
        assert_eq!(refused.unwrap().reason(), Reason::UnknownWorker);
    }
    assert_eq!(host.calls(), 6);
}

#[tokio::test]
async fn a_spawn_on_an_unknown_runtime_creates_nothing_anywhere() {
    // acceptance 27
    let host = remote("a", &[]);
    let refused = registry(vec![host.clone()]).spawn_worker(&ctx(), spawn("z", ACCEPT, None)).await.unwrap_err();
    assert_eq!((refused.reason(), host.calls()), (Reason::UnknownRuntime, 0));
}

#[tokio::test]
async fn socket_ready_is_rejected_before_any_call() {
    // acceptance 50, 74
    for (runtime, code) in [
        (FakeRuntime::embedded("a"), "embedded_runtime_no_socket"),
        (FakeRuntime::remote("a"), "remote_runtime_no_socket_ready_acceptance"),
    ] {
        let runtime = Arc::new(runtime);
        let registry = registry(vec![runtime.clone()]);
        let answer = registry.spawn_worker(&ctx(), spawn("a", Acceptance::SocketReady, None)).await.unwrap();
        let Operation::Rejected(diagnostics) = answer else { panic!("{answer:?}") };
        assert_eq!((diagnostics[0].code.as_ref(), diagnostics[0].severity), (code, Severity::Warning));
        assert_eq!(runtime.calls(), 0);
    }
}

#[tokio::test]
async fn an_accepted_spawn_gives_its_evidence_in_order() {
    // acceptance 51, 55, 75
    let registry = registry(vec![Arc::new(FakeRuntime::embedded("here")), remote("there", &[])]);
    for (id, evidence, diagnostics) in [
        (
            "here",
            vec!["embedded_runtime_worker_created", "embedded_runtime_backend_internal_projection"],
            vec!["embedded_worker_name_ignored"],
        ),
        (
            "there",
            vec!["remote_runtime_worker_created"],
            vec!["remote_worker_name_ignored", "remote_runtime_backend_proxy"],
        ),
    ] {
        let answer = registry.spawn_worker(&ctx(), spawn(id, ACCEPT, Some("a name"))).await.unwrap();
        let Operation::Accepted { value, diagnostics: said } = answer else { panic!("{answer:?}") };
        assert_eq!(value.evidence.iter().map(|it| it.kind).collect::<Vec<_>>(), evidence);
        assert_eq!(said.iter().map(|it| it.code.as_ref()).collect::<Vec<_>>(), diagnostics);
    }
}

#[tokio::test]
async fn refusals_because_of_what_was_asked_are_in_band_and_name_their_cause() {
    // acceptance 24, 25, 57, 59, 60, 81, 82
    for (runtime, reason, codes) in [
        (
            FakeRuntime::embedded("a"),
            Reason::InvalidProfileSelector,
            ["embedded_runtime_invalid_request", "invalid_profile_selector"],
        ),
        (FakeRuntime::remote("a"), Reason::WorkerNotRunning, ["remote_runtime_http_rejected", "worker_not_running"]),
        (
            FakeRuntime::remote("a"),
            Reason::ConfigBundleMissing,
            ["remote_config_bundle_not_found", "config_bundle_missing"],
        ),
    ] {
        let registry = registry(vec![Arc::new(runtime.doing(Script::Failing(reason)))]);
        let sent = registry.send_input(&ctx(), &rid("a"), input("w-1")).await.unwrap();
        let Operation::Rejected(diagnostics) = sent else { panic!("{sent:?}") };
        assert_eq!(diagnostics.iter().map(|it| it.code.as_ref()).collect::<Vec<_>>(), codes);
        let spawned = registry.spawn_worker(&ctx(), spawn("a", ACCEPT, None)).await.unwrap();
        let Operation::Rejected(spawned) = spawned else { panic!("{spawned:?}") };
        assert_eq!(spawned.iter().map(|it| it.code.as_ref()).collect::<Vec<_>>(), codes);
        // The profile is what was asked for: it may be named.
        assert_eq!(spawned[1].message.contains("runtime_default"), reason == Reason::InvalidProfileSelector);
    }
}

#[tokio::test]
async fn what_cannot_be_known_is_an_error_and_not_a_refusal() {
    // acceptance 23, 24
    for reason in [
        Reason::RemoteRuntimeNetworkError,
        Reason::RemoteRuntimeTimeout,
        Reason::RemoteRuntimeMalformedResponse,
        Reason::RemoteRuntimeUnsupported,
        Reason::RemoteRuntimeAuthFailed,
    ] {
        let registry = registry(vec![Arc::new(FakeRuntime::remote("a").doing(Script::Failing(reason)))]);
        let error = registry.spawn_worker(&ctx(), spawn("a", ACCEPT, None)).await.unwrap_err();
        assert_eq!((error.reason(), error.metadata()), (reason, &[("runtime_id", "a".to_owned())][..]));
    }
}
