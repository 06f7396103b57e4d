//! Lists ask all runtimes at once, each with its own deadline. What came is merged in the order of registration; for
//! each runtime that is missing there is one diagnostic.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout_at;

use super::MAX_DIAGNOSTICS;
use crate::model::{CallContext, Diagnostic, Error, Reason, Result, Severity};
use crate::runtime::budget::{LIST_TIMEOUT, budget};
use crate::runtime::{WorkerRuntime, diagnose};

/// How many missing runtimes a list names (api.md, sizes).
const MAX_MISSING: usize = 256;

/// How much longer than a runtime itself a list waits for it: so that a call to a host ends by its own clock, and is
/// known to have failed, before it is left.
const GRACE: Duration = Duration::from_millis(50);

/// The context in which the parts of a list are asked: no part ends later than [`GRACE`] before its deadline.
pub(super) fn part(ctx: &CallContext) -> CallContext {
    // With too little time left for a host, what is in this process still answers.
    let deadline = budget(ctx, LIST_TIMEOUT + GRACE).unwrap_or(ctx.deadline);
    CallContext { deadline, ..ctx.clone() }
}

/// Asks every runtime at once, until the deadline of `part`; answers in their order.
pub(super) async fn ask_all<'a, T, F>(
    part: &CallContext,
    runtimes: &'a [Arc<dyn WorkerRuntime>],
    ask: impl Fn(&'a Arc<dyn WorkerRuntime>) -> F,
) -> Vec<(&'a Arc<dyn WorkerRuntime>, Result<T>)>
where
    F: Future<Output = Result<T>>,
{
    join_all(runtimes.iter().map(|runtime| {
        let answer = timeout_at(part.deadline, ask(runtime));
        async move { (runtime, answer.await.unwrap_or_else(|_| Err(too_late()))) }
    }))
    .await
}

fn too_late() -> Error {
    Error::new(Reason::RemoteRuntimeTimeout, "the runtime did not answer in time")
}

/// The diagnostics of a list, in the order in which they came: one for each runtime that is missing, what the others say
/// of themselves, and a last one where too many are missing.
#[derive(Debug, Default)]
pub(super) struct Missing {
    diagnostics: Vec<Diagnostic>,
    /// Of them, those that do not stand for a missing runtime.
    remarks: usize,
    unnamed: usize,
}

impl Missing {
    /// A runtime whose part did not come.
    pub(super) fn add(&mut self, runtime: &Arc<dyn WorkerRuntime>, error: &Error) {
        self.tell(diagnose(runtime.kind(), runtime.id(), error));
    }

    /// What a runtime says of itself. That it is not well counts as missing.
    pub(super) fn tell(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Info {
            if self.remarks < MAX_DIAGNOSTICS {
                self.remarks += 1;
                self.diagnostics.push(diagnostic);
            }
        } else if self.diagnostics.len() - self.remarks < MAX_MISSING {
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
        let ctx = part(&ctx);
        let filter = crate::model::WorkerFilter::default();
        for asked in [&runtimes[..1], &runtimes] {
            let began = Instant::now();
            let answers = ask_all(&ctx, asked, |runtime| runtime.list_workers(&ctx, &filter, None, 9)).await;
            assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
            assert_eq!((began.elapsed(), answers.len()), (delay, asked.len()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_ends_by_its_own_clock_however_late_it_began() {
        let runtimes: Vec<Arc<dyn WorkerRuntime>> =
            (0..9).map(|n| Arc::new(FakeRuntime::remote(&format!("r-{n}"))) as _).collect();
        for left in [LIST_TIMEOUT, LIST_TIMEOUT * 10, Duration::from_millis(300)] {
            let ctx = part(&CallContext::internal(WorkspaceId::new("local:test").unwrap(), left));
            let ended = std::cell::Cell::new(0);
            let answers = ask_all(&ctx, &runtimes, |_| async {
                // A busy machine, and a host that does not answer.
                tokio::time::sleep(Duration::from_millis(40)).await;
                tokio::time::sleep_until(budget(&ctx, LIST_TIMEOUT)?).await;
                ended.set(ended.get() + 1);
                Err::<(), _>(too_late())
            });
            answers.await;
            assert_eq!(ended.get(), runtimes.len(), "with {left:?} left");
        }
    }
}
