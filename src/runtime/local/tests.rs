//! The embedded runtime as its callers see it.

use std::time::Duration;

use super::*;
use crate::engine::store::{MemoryStore, Unsteadiness, UnsteadyStore};
use crate::model::{
    InputDelivery, InputKind, Labels, ProfileSelector, RequestId, Severity, WorkerInput, WorkerIntent, WorkspaceId,
};

async fn local(display_name: &str) -> LocalRuntime {
    on(MemoryStore::new(), display_name).await
}

async fn on(store: Arc<dyn Store>, display_name: &str) -> LocalRuntime {
    let runtime_id = RuntimeId::new("local:test").unwrap();
    let limits = EngineLimits { max_workers: 7, ..EngineLimits::default() };
    let parts = EngineParts { limits, ..LocalRuntime::parts(runtime_id, store) };
    LocalRuntime::new(Engine::open(parts).await.unwrap(), display_name)
}

fn ctx() -> CallContext {
    let mut ctx = CallContext::internal(WorkspaceId::new("local:test").unwrap(), Duration::from_secs(30));
    ctx.request_id = Some(RequestId::generate());
    ctx
}

fn create(name: Option<&str>, expected_segments: u32) -> CreateWorker {
    CreateWorker {
        intent: WorkerIntent::Task { objective: "a/b".to_owned() },
        profile: ProfileSelector::RuntimeDefault,
        config_bundle: None,
        requested_capabilities: Vec::new(),
        workspace_refs: Vec::new(),
        mount_refs: Vec::new(),
        requested_worker_name: name.map(str::to_owned),
        initial_input: None,
        acceptance: Acceptance::RunAccepted { expected_segments },
        labels: Labels::default(),
    }
}

fn codes(diagnostics: &[Diagnostic]) -> Vec<&str> {
    diagnostics.iter().map(|it| it.code.as_ref()).collect()
}

#[tokio::test]
async fn the_runtime_is_told_as_it_is() {
    // acceptance 43, 45
    let runtime = local(" ").await;
    let info = runtime.describe(&ctx()).await;
    assert_eq!((info.runtime_id.as_str(), runtime.id()), ("local:test", &runtime.engine().parts().runtime_id));
    assert_eq!((info.kind, info.label.as_str()), (RuntimeKind::Embedded, "Embedded backend Runtime"));
    assert_eq!((info.status, info.diagnostics), (RuntimeStatus::Running, Vec::new()));
    assert_eq!(info.host_ids, [LocalRuntime::host_id(runtime.id())]);
    runtime.engine().shutdown().await;
    assert_eq!(runtime.describe(&ctx()).await.status, RuntimeStatus::Stopped);
    assert_eq!(local("A\nname").await.info().label, "Aname");
    assert_eq!(local(EMBEDDED_DISPLAY_NAME).await.info().label, "Workspace backend embedded Runtime");
}

#[tokio::test]
async fn its_one_host_is_told_as_it_is() {
    // acceptance 44
    let runtime = local("").await;
    let host = runtime.host(&ctx()).await;
    assert_eq!(
        (host.host_id.as_str(), host.kind, host.status),
        ("embedded-local-test-a2fa388634a6e2ed", "embedded-worker-runtime-host", "available")
    );
    assert_eq!((host.last_seen_at, codes(&host.diagnostics)), (None, vec!["embedded_runtime_host_boundary"]));
    assert_eq!(host.diagnostics[0].severity, Severity::Info);
    assert!(host.observed_at <= SystemTime::now());
}

#[tokio::test]
async fn it_can_do_what_it_can_while_it_runs_and_stop_workers_at_any_time() {
    // acceptance 46
    let runtime = local("").await;
    let as_far_as = |available| RuntimeCapabilities {
        can_list_hosts: true,
        can_list_workers: available,
        can_get_worker: available,
        can_spawn_worker: available,
        can_stop_worker: true,
        can_accept_input: available,
        has_workspace_fs: false,
        has_shell: false,
        has_git: false,
        supports_worktrees: false,
        supports_backend_internal_tools: true,
        workspace_scope: "backend_internal".to_owned(),
        max_workers: 7,
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
    };
    assert_eq!(runtime.info().capabilities, as_far_as(true));
    runtime.engine().shutdown().await;
    assert_eq!(runtime.info().capabilities, as_far_as(false));
}

#[tokio::test]
async fn a_runtime_whose_store_failed_is_unavailable_and_says_why_without_a_path() {
    // acceptance 45, 59
    let how = Unsteadiness { seed: 1, delay: Duration::ZERO, failure: 1.0 };
    let store = UnsteadyStore::new(how, &tokio::runtime::Handle::current());
    let runtime = on(store, "").await;
    let refused = runtime.create_worker(&ctx(), create(None, 0)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::StoreError);
    let info = runtime.describe(&ctx()).await;
    assert_eq!((info.status, info.host_ids, info.counts.total), (RuntimeStatus::Unavailable, Vec::new(), 0));
    assert!(!info.capabilities.can_spawn_worker && !info.capabilities.can_list_workers);
    let [told] = &info.diagnostics[..] else { panic!("{:?}", info.diagnostics) };
    assert_eq!((told.code.as_ref(), told.severity), ("embedded_runtime_store_error", Severity::Error));
    assert!(!told.message.contains('/'), "{}", told.message);
    let host = runtime.host(&ctx()).await;
    assert_eq!((host.status, &host.diagnostics[1]), ("unavailable", told));
}

#[tokio::test]
async fn workers_are_shown_as_the_backends_own() {
    // acceptance 47, 48, 51, 58
    let runtime = local("").await;
    let created = runtime.create_worker(&ctx(), create(None, 2)).await.unwrap();
    assert_eq!(codes(&created.diagnostics), ["embedded_runtime_tools_less"]);
    let worker = created.worker;
    assert_eq!((worker.label.as_str(), worker.role.as_deref()), (worker.worker_id.as_str(), Some("ab")));
    assert_eq!(worker.profile.as_deref(), Some("runtime_default"));
    assert_eq!(codes(&worker.diagnostics)[0], "embedded_runtime_projection");
    assert!(worker.can_accept_input && worker.can_stop);
    assert_eq!(runtime.get_worker(&ctx(), &worker.worker_id).await.unwrap().diagnostics, worker.diagnostics);
    let named = runtime.create_worker(&ctx(), create(Some("My name"), 0)).await.unwrap();
    assert_eq!((named.worker.label.as_str(), named.diagnostics.len()), ("My name", 0));
    let page = runtime.list_workers(&ctx(), &WorkerFilter::default(), None, 1).await.unwrap();
    assert!(page.more && codes(&page.workers[0].diagnostics)[0] == "embedded_runtime_projection");
}

#[tokio::test]
async fn transcript_items_are_the_stored_bytes() {
    // acceptance 57, 61
    let runtime = local("").await;
    let worker_id = runtime.create_worker(&ctx(), create(None, 0)).await.unwrap().worker.worker_id;
    let input = WorkerInput::new(InputKind::User, "hello".to_owned()).unwrap();
    let send = SendInput { worker_id: worker_id.clone(), input, delivery: InputDelivery::Queue };
    let ack = runtime.send_input(&ctx(), send).await.unwrap();
    let page = runtime.get_transcript(&ctx(), &worker_id, 0, 256).await.unwrap();
    assert_eq!(walk::item_sequence(&page.items[0]), Some(ack.transcript_sequence));
    assert!(page.items[0].windows(5).any(|bytes| bytes == b"hello"));
    let nobody = WorkerId::new("nobody").unwrap();
    let refused = runtime.observe_worker(&ctx(), &nobody, ObserveFrom::Now, None).await.err().unwrap();
    assert_eq!(refused.reason(), Reason::UnknownWorker);
}
