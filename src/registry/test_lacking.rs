//! The registry over a runtime that has nothing beyond what every one must have.

use std::sync::Arc;

use async_trait::async_trait;

use super::tests::{ACCEPT, ctx, input, registry, rid, spawn, wid};
use super::*;
use crate::model::{
    AnswerApproval, ApprovalId, Incarnation, Severity, SpawnIntent, StopMode, TerminalIntent, TicketWorkerRole,
    WorkerFilter, WorkerPage,
};
use crate::runtime::fake::FakeRuntime;

/// Tells of its workers, and can do nothing with them.
struct Bare(FakeRuntime);

#[async_trait]
impl WorkerRuntime for Bare {
    fn id(&self) -> &RuntimeId {
        self.0.id()
    }

    fn kind(&self) -> RuntimeKind {
        self.0.kind()
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.0.incarnation()
    }

    async fn describe(&self, ctx: &CallContext) -> RuntimeInfo {
        self.0.describe(ctx).await
    }

    async fn host(&self, ctx: &CallContext) -> Host {
        self.0.host(ctx).await
    }

    async fn get_worker(&self, ctx: &CallContext, worker_id: &WorkerId) -> Result<Worker> {
        self.0.get_worker(ctx, worker_id).await
    }

    async fn list_workers(
        &self,
        ctx: &CallContext,
        filter: &WorkerFilter,
        after: Option<&WorkerId>,
        limit: usize,
    ) -> Result<WorkerPage> {
        self.0.list_workers(ctx, filter, after, limit).await
    }
}

fn bare() -> Registry {
    registry(vec![Arc::new(Bare(FakeRuntime::embedded("a").with_workers(&["w-1"])))])
}

/// The codes of what is unsupported, all of them for information.
fn codes<T: std::fmt::Debug>(answer: Operation<T>) -> Vec<String> {
    let Operation::Unsupported(diagnostics) = answer else { panic!("{answer:?}") };
    assert!(diagnostics.iter().all(|it| it.severity == Severity::Info));
    diagnostics.into_iter().map(|it| it.code.into_owned()).collect()
}

#[tokio::test]
async fn a_spawn_that_nothing_resolves_is_unsupported_names_its_intent_and_makes_up_no_worker() {
    // acceptance 37, 38, 42
    let registry = bare();
    let ticket = SpawnIntent::TicketRole { ticket_id: "T-1".to_owned(), role: TicketWorkerRole::Reviewer };
    for (intent, label) in [(SpawnIntent::WorkspaceCompanion, "workspace_companion"), (ticket, "ticket_reviewer")] {
        let request = SpawnWorker { intent, ..spawn("a", ACCEPT, None) };
        let answer = registry.spawn_worker(&ctx(), request).await.unwrap();
        let Operation::Unsupported(said) = &answer else { panic!("{answer:?}") };
        assert!(said[0].message.contains(label), "{said:?}");
        assert_eq!(codes(answer), ["worker_spawn_resolver_pending", "worker_spawn_unsupported"]);
    }
    let listed = registry.list_workers(&ctx(), None, &WorkerFilter::default(), None, 9).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}

#[tokio::test]
async fn calls_that_a_runtime_lacks_are_unsupported_each_by_its_own_code() {
    // acceptance 40, 42
    let registry = bare();
    let sent = registry.send_input(&ctx(), &rid("a"), input("w-1")).await.unwrap();
    assert_eq!(codes(sent), ["worker_input_pending", "runtime_capability_unsupported"]);
    for (intent, code) in
        [(TerminalIntent::Stop, "worker_stop_pending"), (TerminalIntent::Cancel, "worker_cancel_pending")]
    {
        let stop = StopWorker { worker_id: wid("w-1"), intent, reason: String::new(), mode: StopMode::Graceful };
        let ended = registry.stop_worker(&ctx(), &rid("a"), stop).await.unwrap();
        assert_eq!(codes(ended), [code, "runtime_capability_unsupported"]);
    }
    let interrupted = registry.interrupt_worker(&ctx(), &rid("a"), &wid("w-1")).await.unwrap();
    assert_eq!(codes(interrupted), ["worker_interrupt_pending", "runtime_capability_unsupported"]);
    let answer = AnswerApproval {
        worker_id: wid("w-1"),
        approval_id: ApprovalId::numbered(1),
        decision: "allow_once".to_owned(),
    };
    let answered = registry.answer_approval(&ctx(), &rid("a"), answer).await.unwrap();
    assert_eq!(codes(answered), ["worker_approvals_pending", "runtime_capability_unsupported"]);
    let listed = registry.list_approvals(&ctx(), &rid("a"), &wid("w-1")).await.unwrap_err();
    assert_eq!(listed.reason(), Reason::RemoteRuntimeUnsupported);
    let delete = DeleteWorker { worker_id: wid("w-1"), force: false };
    let deleted = registry.delete_worker(&ctx(), &rid("a"), delete).await.unwrap();
    assert_eq!(codes(deleted), ["worker_delete_pending", "runtime_capability_unsupported"]);
    let page = registry.transcript_page(&ctx(), &rid("a"), &wid("w-1"), 3, 7).await.unwrap();
    assert_eq!(codes(page), ["worker_transcript_pending", "runtime_capability_unsupported"]);
}

#[tokio::test]
async fn what_cannot_be_observed_is_no_source_of_observations() {
    // acceptance 41
    let registry = bare();
    assert!(!registry.can_observe(&rid("a")).unwrap());
    let observed = registry.observe_worker(&ctx(), &rid("a"), &wid("w-1"), ObserveFrom::Now, None).await;
    assert_eq!(observed.err().unwrap().reason(), Reason::RemoteRuntimeUnsupported);
}
