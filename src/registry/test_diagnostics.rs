//! What lists say beside their items.

use std::sync::Arc;

use super::tests::{ctx, registry};
use super::*;
use crate::model::{Severity, WorkerFilter};
use crate::runtime::fake::{FakeRuntime, Script};

fn codes(diagnostics: &[Diagnostic]) -> Vec<&str> {
    diagnostics.iter().map(|it| it.code.as_ref()).collect()
}

fn dead(id: &str) -> Arc<dyn WorkerRuntime> {
    Arc::new(FakeRuntime::remote(id).doing(Script::Failing(Reason::RemoteRuntimeNetworkError)))
}

#[tokio::test]
async fn what_runtimes_say_of_themselves_comes_in_their_order_one_after_another() {
    // acceptance 13
    let registry = registry(vec![
        Arc::new(FakeRuntime::remote("z").saying("one").saying("two")),
        dead("y"),
        Arc::new(FakeRuntime::embedded("x").saying("three")),
        dead("w"),
    ]);
    let listed = registry.list_runtimes(&ctx(), None, 100).await;
    let (failed, ids) = ("remote_runtime_network_error", ["z", "y", "x", "w"]);
    assert_eq!(codes(&listed.diagnostics), ["one", "two", failed, "three", failed]);
    assert!(listed.diagnostics[2].message.contains('y') && listed.diagnostics[4].message.contains('w'));
    assert_eq!(listed.items.iter().map(|it| it.runtime_id.as_str()).collect::<Vec<_>>(), ids);
    let hosts = registry.list_hosts(&ctx(), None, 100).await;
    assert_eq!(hosts.diagnostics, listed.diagnostics);
}

#[tokio::test]
async fn remarks_are_bounded_and_take_no_place_from_what_is_missing() {
    // acceptance 2, 13
    let talking = |n| -> Arc<dyn WorkerRuntime> { Arc::new(FakeRuntime::remote(&format!("r-{n}")).saying("fine")) };
    let all = (0..20).map(talking).chain((0..300).map(|n| dead(&format!("d-{n}")))).collect();
    let listed = registry(all).list_runtimes(&ctx(), None, 1_000).await;
    let count = |code| codes(&listed.diagnostics).into_iter().filter(|it| *it == code).count();
    assert_eq!((count("fine"), count("remote_runtime_network_error")), (16, 256));
    let last = listed.diagnostics.last().unwrap();
    assert_eq!((last.code.as_ref(), last.severity), ("diagnostics_truncated", Severity::Warning));
    assert!(last.message.contains("44"), "{}", last.message);
}

#[tokio::test(start_paused = true)]
async fn an_embedded_runtime_that_does_not_answer_is_missing_by_its_own_code() {
    // acceptance 59
    let registry = registry(vec![Arc::new(FakeRuntime::embedded("e").doing(Script::Hanging))]);
    let listed = registry.list_workers(&ctx(), None, &WorkerFilter::default(), None, 9).await.unwrap();
    let told = (codes(&listed.diagnostics), listed.diagnostics[0].severity);
    assert_eq!(told, (vec!["embedded_runtime_state_unavailable"], Severity::Error));
}
