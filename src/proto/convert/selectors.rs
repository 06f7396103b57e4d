//! Which workers a list is about.

use std::collections::BTreeMap;

use super::fields::{enum_value, labels};
use crate::model::{Error, HostId, Result, WorkerFilter, WorkerState, WorkspaceId};
use crate::proto::v1;

pub(super) fn worker_filter(
    host_id: Option<String>,
    workspace_id: Option<String>,
    marks: BTreeMap<String, String>,
    states: Vec<i32>,
) -> Result<WorkerFilter> {
    Ok(WorkerFilter {
        host_id: host_id.map(|id| HostId::new(&id)).transpose()?,
        workspace_id: workspace_id.map(|id| WorkspaceId::new(&id)).transpose()?,
        labels: labels(marks)?.into_inner(),
        states: few(states)?.into_iter().enumerate().map(|(n, number)| state(number, n)).collect::<Result<_>>()?,
    })
}

/// Each worker is compared with each of them: there are few, since there are few states.
fn few(states: Vec<i32>) -> Result<Vec<i32>> {
    const MAX_STATES: usize = 16;
    if states.len() > MAX_STATES {
        return Err(Error::field("states", format!("must be at most {MAX_STATES}")));
    }
    Ok(states)
}

fn state(number: i32, place: usize) -> Result<WorkerState> {
    let field = format!("states[{place}]");
    Ok(match enum_value(number, &field)? {
        v1::WorkerState::Unspecified => return Err(Error::field(field, "must be a state")),
        v1::WorkerState::Starting => WorkerState::Starting,
        v1::WorkerState::Running => WorkerState::Running,
        v1::WorkerState::Stopping => WorkerState::Stopping,
        v1::WorkerState::Stopped => WorkerState::Stopped,
        v1::WorkerState::Cancelled => WorkerState::Cancelled,
        v1::WorkerState::Failed => WorkerState::Failed,
    })
}
