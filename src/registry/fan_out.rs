//! Lists ask all runtimes at once, each with its own deadline. What came is merged in the order of registration; for
//! each runtime that is missing there is one diagnostic.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::timeout_at;

use crate::model::{CallContext, Diagnostic, Error, Reason, Result};
use crate::runtime::budget::{LIST_TIMEOUT, budget};
use crate::runtime::{WorkerRuntime, diagnose};

/// How many missing runtimes a list names (api.md, sizes).
const MAX_MISSING: usize = 256;

/// Asks every runtime at once; answers in their order.
pub(super) async fn ask_all<'a, T, F>(
    ctx: &CallContext,
    runtimes: &'a [Arc<dyn WorkerRuntime>],
    ask: impl Fn(&'a Arc<dyn WorkerRuntime>) -> F,
) -> Vec<(&'a Arc<dyn WorkerRuntime>, Result<T>)>
where
    F: Future<Output = Result<T>>,
{
    // With too little time left for a host, what is in this process still answers.
    let until = budget(ctx, LIST_TIMEOUT).unwrap_or(ctx.deadline);
    join_all(runtimes.iter().map(|runtime| {
        let answer = timeout_at(until, ask(runtime));
        async move { (runtime, answer.await.unwrap_or_else(|_| Err(too_late()))) }
    }))
    .await
}

fn too_late() -> Error {
    Error::new(Reason::RemoteRuntimeTimeout, "the runtime did not answer in time")
}

/// The diagnostics of a list: one for each runtime that is missing, and a last one where there are too many.
#[derive(Debug, Default)]
pub(super) struct Missing {
    diagnostics: Vec<Diagnostic>,
    unnamed: usize,
}

impl Missing {
    /// A runtime whose part did not come.
    pub(super) fn add(&mut self, runtime: &Arc<dyn WorkerRuntime>, error: &Error) {
        self.push(diagnose(runtime.kind(), runtime.id(), error));
    }

    /// Another diagnostic of the same kind.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.diagnostics.len() < MAX_MISSING {
            self.diagnostics.push(diagnostic);
        } else {
            self.unnamed += 1;
        }
    }

    /// All of them.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        if self.unnamed > 0 {
            let words = format!("{} more diagnostics are left out", self.unnamed);
            self.diagnostics.push(Diagnostic::warning("diagnostics_truncated", words));
        }
        self.diagnostics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkspaceId;
    use crate::runtime::fake::{FakeRuntime, Script};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn thirty_two_hosts_take_as_long_as_one() {
        // acceptance 13, 16
        let delay = std::time::Duration::from_millis(10);
        let slow = |n| -> Arc<dyn WorkerRuntime> {
            Arc::new(FakeRuntime::remote(&format!("r-{n}")).doing(Script::Slow(delay)))
        };
        let runtimes: Vec<_> = (0..32).map(slow).collect();
        let ctx = CallContext::internal(WorkspaceId::new("local:test").unwrap(), LIST_TIMEOUT);
        let filter = crate::model::WorkerFilter::default();
        for asked in [&runtimes[..1], &runtimes] {
            let began = Instant::now();
            let answers = ask_all(&ctx, asked, |runtime| runtime.list_workers(&ctx, &filter, None, 9)).await;
            assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
            assert_eq!((began.elapsed(), answers.len()), (delay, asked.len()));
        }
    }
}
