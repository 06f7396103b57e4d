//! Requests for lists, checked, with the place where their page starts.

use super::selectors::worker_filter;
use crate::model::{BundleRef, Result, RuntimeId, WorkerFilter, WorkerId, page_size};
use crate::proto::page_token::{PageKey, Query};
use crate::proto::{runtime_v1 as host, v1};

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging<K> {
    /// How many items at most.
    pub limit: usize,
    /// The key of the last item of the page before.
    pub after: Option<K>,
    query: Query,
}

impl<K: PageKey> Paging<K> {
    fn new(size: i32, token: &str, query: Query) -> Result<Self> {
        Ok(Self { limit: page_size(size)?, after: query.after(token)?, query })
    }

    /// The token of the page that goes on after `key`.
    #[must_use]
    pub fn token(&self, key: &K) -> String {
        self.query.token(key)
    }
}

/// A list of workers of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerList {
    /// Of this runtime only.
    pub runtime_id: Option<RuntimeId>,
    /// Which.
    pub filter: WorkerFilter,
    /// Which page.
    pub page: Paging<(RuntimeId, WorkerId)>,
}

/// A list of workers of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostWorkerList {
    /// Which.
    pub filter: WorkerFilter,
    /// Which page.
    pub page: Paging<WorkerId>,
}

/// Checks a request for runtimes.
///
/// # Errors
/// Names the bad field, or the token is not one.
pub fn list_runtimes(from: v1::ListRuntimesRequest) -> Result<Paging<RuntimeId>> {
    let v1::ListRuntimesRequest { page_size, page_token } = from;
    Paging::new(page_size, &page_token, Query::new("ListRuntimes", &()))
}

/// Checks a request for hosts, which are told apart by their runtimes.
///
/// # Errors
/// Names the bad field, or the token is not one.
pub fn list_hosts(from: v1::ListHostsRequest) -> Result<Paging<RuntimeId>> {
    let v1::ListHostsRequest { page_size, page_token } = from;
    Paging::new(page_size, &page_token, Query::new("ListHosts", &()))
}

/// Checks a request for workers.
///
/// # Errors
/// Names the bad field, or the token is not one of this query.
pub fn list_workers(mut from: v1::ListWorkersRequest) -> Result<WorkerList> {
    let size = std::mem::take(&mut from.page_size);
    let token = std::mem::take(&mut from.page_token);
    from.fresh = false;
    let query = Query::new("ListWorkers", &from);
    let v1::ListWorkersRequest {
        runtime_id,
        host_id,
        workspace_id,
        labels,
        states,
        // Without a catalogue every list asks the hosts.
        fresh: _,
        page_size: _,
        page_token: _,
    } = from;
    let runtime_id = runtime_id.map(|id| RuntimeId::new(&id)).transpose()?;
    let filter = worker_filter(host_id, workspace_id, labels, states)?;
    Ok(WorkerList { runtime_id, filter, page: Paging::new(size, &token, query)? })
}

/// Checks a request for the workers of a host.
///
/// # Errors
/// Names the bad field, or the token is not one of this query.
pub fn host_list_workers(mut from: host::ListWorkersRequest) -> Result<HostWorkerList> {
    let size = std::mem::take(&mut from.page_size);
    let token = std::mem::take(&mut from.page_token);
    let query = Query::new("host.ListWorkers", &from);
    let host::ListWorkersRequest { workspace_id, labels, states, page_size: _, page_token: _ } = from;
    let filter = worker_filter(None, workspace_id, labels, states)?;
    Ok(HostWorkerList { filter, page: Paging::new(size, &token, query)? })
}

/// Checks a request for the bundles of a runtime.
///
/// # Errors
/// Names the bad field, or the token is not one of this runtime's bundles.
pub fn list_config_bundles(mut from: v1::ListConfigBundlesRequest) -> Result<(RuntimeId, Paging<BundleRef>)> {
    let size = std::mem::take(&mut from.page_size);
    let token = std::mem::take(&mut from.page_token);
    let query = Query::new("ListConfigBundles", &from);
    let v1::ListConfigBundlesRequest { runtime_id, page_size: _, page_token: _ } = from;
    Ok((RuntimeId::new(&runtime_id)?, Paging::new(size, &token, query)?))
}

/// Checks a request for the bundles of a host.
///
/// # Errors
/// Names the bad field, or the token is not one.
pub fn host_list_config_bundles(from: host::ListConfigBundlesRequest) -> Result<Paging<BundleRef>> {
    let host::ListConfigBundlesRequest { page_size, page_token } = from;
    Paging::new(page_size, &page_token, Query::new("host.ListConfigBundles", &()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reason, WorkerState};

    #[test]
    fn a_filter_is_what_was_asked_and_nothing_unknown() {
        let ask = |states: Vec<i32>| list_workers(v1::ListWorkersRequest { states, ..Default::default() });
        assert_eq!(ask(vec![2, 4]).unwrap().filter.states, [WorkerState::Running, WorkerState::Stopped]);
        for (bad, field) in [(vec![0], "states[0]"), (vec![2, 77], "states[1]")] {
            assert_eq!(ask(bad).unwrap_err().fields()[0].field, field);
        }
    }

    #[test]
    fn a_token_is_good_for_the_same_filter_and_any_page_size() {
        let ask = |runtime: &str, page_size, page_token: &str| {
            let runtime_id = Some(runtime.to_owned());
            let page_token = page_token.to_owned();
            list_workers(v1::ListWorkersRequest { runtime_id, page_size, page_token, ..Default::default() })
        };
        let key = (RuntimeId::new("a").unwrap(), WorkerId::new("w").unwrap());
        let token = ask("a", 10, "").unwrap().page.token(&key);
        assert_eq!(ask("a", 20, &token).unwrap().page.after, Some(key));
        assert_eq!(ask("b", 10, &token).unwrap_err().reason(), Reason::InvalidPageToken);
    }
}
