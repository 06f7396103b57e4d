//! Lists over all runtimes, page by page: runtimes in the order in which they were registered, ids in order within one.

use std::sync::Arc;

use super::fan_out::{Missing, ask_all, part};
use super::{Listing, Registry, WorkerKey, unknown_host};
use crate::model::{
    CallContext, Diagnostic, Error, Host, Reason, Result, RuntimeId, RuntimeInfo, RuntimeKind, Worker, WorkerFilter,
    WorkerId, WorkerPage,
};
use crate::runtime::WorkerRuntime;

impl Registry {
    /// The runtimes after `after`. One that cannot be reached is there as it was last known, with a diagnostic. The first
    /// page says what is wrong with the control plane's own store, too.
    pub async fn list_runtimes(
        &self,
        ctx: &CallContext,
        after: Option<&RuntimeId>,
        limit: usize,
    ) -> Listing<RuntimeInfo, RuntimeId> {
        let (runtimes, mut listing) = self.page(after, limit);
        let mut missing = Missing::default();
        let ctx = &part(ctx);
        for (runtime, info) in ask_all(ctx, &runtimes, |runtime| async { Ok(runtime.describe(ctx).await) }).await {
            match info {
                Ok(info) => {
                    info.diagnostics.iter().cloned().for_each(|diagnostic| missing.tell(diagnostic));
                    listing.items.push(info);
                }
                Err(error) => missing.add(runtime, &error),
            }
        }
        listing.diagnostics.extend(missing.into_diagnostics());
        if after.is_none() {
            listing.diagnostics.extend(self.0.decisions.diagnostics());
        }
        listing
    }

    /// The hosts of the runtimes after `after`, one each.
    pub async fn list_hosts(
        &self,
        ctx: &CallContext,
        after: Option<&RuntimeId>,
        limit: usize,
    ) -> Listing<Host, RuntimeId> {
        let (runtimes, mut listing) = self.page(after, limit);
        let mut missing = Missing::default();
        let ctx = &part(ctx);
        for (runtime, host) in ask_all(ctx, &runtimes, |runtime| async { Ok(runtime.host(ctx).await) }).await {
            match host {
                Ok(host) => {
                    host.diagnostics.iter().cloned().for_each(|diagnostic| missing.tell(diagnostic));
                    listing.items.push(host);
                }
                Err(error) => missing.add(runtime, &error),
            }
        }
        listing.diagnostics.extend(missing.into_diagnostics());
        listing
    }

    /// Workers after `after`, of all runtimes or of one. A runtime that cannot be asked is told of in a diagnostic, and
    /// its workers are listed as they were last known, `stale`.
    ///
    /// # Errors
    /// [`Reason::UnknownRuntime`] and [`Reason::UnknownHost`] for one that was named; [`Reason::InvalidPageToken`] where
    /// the runtime of `after` is not there any more.
    pub async fn list_workers(
        &self,
        ctx: &CallContext,
        runtime_id: Option<&RuntimeId>,
        filter: &WorkerFilter,
        after: Option<&WorkerKey>,
        limit: usize,
    ) -> Result<Listing<Worker, WorkerKey>> {
        let runtimes = self.asked(runtime_id, filter, after)?;
        if limit == 0 {
            return Ok(Listing { items: Vec::new(), diagnostics: Vec::new(), next: None });
        }
        let asked = self.0.catalogue.mark();
        let ctx = &part(ctx);
        let answers = ask_all(ctx, &runtimes, |runtime| {
            let after = within(runtime, after);
            async move { runtime.list_workers(ctx, filter, after, limit).await }
        })
        .await;
        let mut missing = Missing::default();
        let pages = answers.into_iter().map(|(runtime, page)| match page {
            Ok(page) => {
                if runtime.kind() == RuntimeKind::Remote {
                    let (seen, after) = (self.seen(runtime), within(runtime, after));
                    seen.note_page(runtime.id(), asked, filter, after, &page);
                }
                page
            }
            Err(error) => {
                missing.add(runtime, &error);
                self.seen(runtime).stale_page(runtime.id(), filter, within(runtime, after), limit)
            }
        });
        let (items, more) = merge(pages.collect::<Vec<_>>(), limit);
        let next = if more { items.last().map(|last| (last.runtime_id.clone(), last.worker_id.clone())) } else { None };
        Ok(Listing { items, diagnostics: missing.into_diagnostics(), next })
    }

    /// The runtimes of one page, and the listing that is to be filled.
    fn page<T>(&self, after: Option<&RuntimeId>, limit: usize) -> (Vec<Arc<dyn WorkerRuntime>>, Listing<T, RuntimeId>) {
        let set = self.0.set.load();
        let mut listing = Listing { items: Vec::new(), diagnostics: Vec::new(), next: None };
        let Some(from) = after.map_or(Some(0), |id| set.place(id).map(|place| place + 1)) else {
            let words = "the list has changed and cannot go on from here: begin again";
            listing.diagnostics.push(Diagnostic::warning("runtime_set_changed", words));
            return (Vec::new(), listing);
        };
        let rest = &set.all()[from..];
        let page = &rest[..rest.len().min(limit)];
        if page.len() < rest.len() {
            listing.next = page.last().map(|runtime| runtime.id().clone());
        }
        (page.to_vec(), listing)
    }

    /// The runtimes that a list of workers is about, from that of `after` on.
    fn asked(
        &self,
        runtime_id: Option<&RuntimeId>,
        filter: &WorkerFilter,
        after: Option<&WorkerKey>,
    ) -> Result<Vec<Arc<dyn WorkerRuntime>>> {
        let set = self.0.set.load();
        if let Some(id) = runtime_id {
            set.get(id).ok_or_else(|| set.unknown(id))?;
        }
        // A host belongs to one runtime, and which one follows from its id (acceptance 17).
        let owner = match &filter.host_id {
            Some(id) => Some(set.by_host(id).ok_or_else(|| unknown_host(id))?.id().clone()),
            None => None,
        };
        let from = match after {
            Some((id, _)) => set.place(id).ok_or_else(moved_on)?,
            None => 0,
        };
        let is_asked = |runtime: &&Arc<dyn WorkerRuntime>| {
            runtime_id.is_none_or(|id| id == runtime.id()) && owner.as_ref().is_none_or(|id| id == runtime.id())
        };
        Ok(set.all()[from..].iter().filter(is_asked).cloned().collect())
    }
}

fn moved_on() -> Error {
    Error::new(Reason::InvalidPageToken, "page_token: its runtime is not there any more, begin again")
}

/// The part of `after` that is this runtime's.
fn within<'a>(runtime: &Arc<dyn WorkerRuntime>, after: Option<&'a WorkerKey>) -> Option<&'a WorkerId> {
    after.filter(|(id, _)| id == runtime.id()).map(|(_, worker_id)| worker_id)
}

/// Pages one after the other, up to `limit`. A page that is cut short ends the merged one: what comes after it must not
/// be told before the rest of it.
fn merge(pages: Vec<WorkerPage>, limit: usize) -> (Vec<Worker>, bool) {
    let mut items = Vec::new();
    let mut pages = pages.into_iter();
    for page in pages.by_ref() {
        let room = limit - items.len();
        let cut = page.workers.len() > room;
        items.extend(page.workers.into_iter().take(room));
        if cut || page.more {
            return (items, true);
        }
        if items.len() == limit {
            break;
        }
    }
    let more = pages.any(|page| page.more || !page.workers.is_empty());
    (items, more)
}
