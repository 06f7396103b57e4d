//! Answers of a host → model.

use bytes::Bytes;
use prost::Message as _;

use super::diagnostics::known;
use super::malformed;
use super::worker::{state, worker};
use crate::model::{
    Created, DeleteAck, InputAck, InterruptAck, Result, RuntimeId, StopAck, Worker, WorkerFilter, WorkerId, WorkerPage,
};
use crate::proto::raw::HostGetTranscriptResponse;
use crate::proto::{runtime_v1 as host, v1};

/// A worker that was made. How many items came from it is read from the evidence of the kind `run_segments`.
///
/// # Errors
/// The answer is malformed.
pub fn created(from: host::CreateWorkerResponse, runtime_id: &RuntimeId) -> Result<Created> {
    let host::CreateWorkerResponse { worker: made, acceptance_evidence, diagnostics } = from;
    let made = worker(made.ok_or_else(|| malformed("worker"))?, runtime_id)?;
    let segments = acceptance_evidence
        .iter()
        .find(|evidence| evidence.kind == "run_segments")
        .and_then(|evidence| evidence.detail.split(' ').next()?.parse().ok())
        .unwrap_or_default();
    Ok(Created { worker: made, segments, diagnostics: known(&diagnostics) })
}

/// The worker that was asked for.
///
/// # Errors
/// The answer is malformed, or of another worker.
pub fn one_worker(from: host::GetWorkerResponse, runtime_id: &RuntimeId, worker_id: &WorkerId) -> Result<Worker> {
    let host::GetWorkerResponse { worker: found } = from;
    let found = worker(found.ok_or_else(|| malformed("worker"))?, runtime_id)?;
    if found.worker_id == *worker_id { Ok(found) } else { Err(malformed("worker_id")) }
}

/// A page of workers: ids rise, all are after `after`, and all are those asked for.
///
/// # Errors
/// The answer is malformed.
pub fn worker_page(
    from: host::ListWorkersResponse,
    runtime_id: &RuntimeId,
    filter: &WorkerFilter,
    after: Option<&WorkerId>,
    limit: usize,
) -> Result<WorkerPage> {
    let host::ListWorkersResponse { workers, diagnostics: _, next_page_token } = from;
    let workers = workers.into_iter().map(|it| worker(it, runtime_id)).collect::<Result<Vec<_>>>()?;
    let rising = workers.is_sorted_by(|a, b| a.worker_id < b.worker_id);
    let first_is_after = workers.first().is_none_or(|first| after.is_none_or(|after| first.worker_id > *after));
    if !rising || !first_is_after || workers.len() > limit || !workers.iter().all(|it| filter.matches(it)) {
        return Err(malformed("workers"));
    }
    let more = !next_page_token.is_empty();
    if more && workers.is_empty() {
        return Err(malformed("next_page_token"));
    }
    Ok(WorkerPage { workers, more })
}

/// An input that was taken.
///
/// # Errors
/// The answer is malformed.
pub fn input_ack(from: host::SendInputResponse) -> Result<InputAck> {
    let host::SendInputResponse { transcript_sequence, event_id, diagnostics } = from;
    if transcript_sequence == 0 || event_id == 0 {
        return Err(malformed("transcript_sequence"));
    }
    Ok(InputAck { transcript_sequence, event_id, diagnostics: known(&diagnostics) })
}

/// An end that was asked for.
///
/// # Errors
/// The answer is malformed.
pub fn stop_ack(event_id: Option<u64>, worker_state: i32, diagnostics: &[v1::Diagnostic]) -> Result<StopAck> {
    Ok(StopAck { event_id, state: state(worker_state)?, diagnostics: known(diagnostics) })
}

/// A turn that was to end.
#[must_use]
pub fn interrupted(from: &host::InterruptWorkerResponse) -> InterruptAck {
    let host::InterruptWorkerResponse { event_id, diagnostics } = from;
    InterruptAck { event_id: *event_id, diagnostics: known(diagnostics) }
}

/// A worker whose record is gone.
#[must_use]
pub fn deleted(from: &host::DeleteWorkerResponse) -> DeleteAck {
    let host::DeleteWorkerResponse { diagnostics } = from;
    DeleteAck { diagnostics: known(diagnostics) }
}

/// Items of a transcript, each as its encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    /// Items in the whole transcript.
    pub total_items: u64,
    /// Where the next page starts, if there is more.
    pub next_start: Option<u64>,
    /// The items.
    pub items: Vec<Bytes>,
}

/// A page of a transcript. Each item is decoded to see that it is one and in its place; its bytes go on as they are.
///
/// # Errors
/// The answer is malformed, or of another worker.
pub fn transcript_page(
    from: HostGetTranscriptResponse,
    worker_id: &WorkerId,
    start: u64,
    limit: usize,
) -> Result<Items> {
    let HostGetTranscriptResponse {
        worker_id: of,
        start: from_start,
        limit: _,
        total_items,
        next_start,
        items,
        diagnostics: _,
    } = from;
    if of != worker_id.as_str() || from_start != start || items.len() > limit {
        return Err(malformed("transcript"));
    }
    let mut end = start;
    for item in &items {
        end = end.saturating_add(1);
        let item = v1::TranscriptItem::decode(item.clone()).map_err(|_| malformed("items"))?;
        let has_role = v1::TranscriptRole::try_from(item.role).is_ok_and(|it| it != v1::TranscriptRole::Unspecified);
        if item.sequence != end || !has_role {
            return Err(malformed("items"));
        }
    }
    if next_start.is_some_and(|next| next != end || items.is_empty()) || (!items.is_empty() && total_items < end) {
        return Err(malformed("next_start"));
    }
    Ok(Items { total_items, next_start, items })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    fn malformed<T>(answer: Result<T>) -> bool {
        answer.err().is_some_and(|error| error.reason() == Reason::RemoteRuntimeMalformedResponse)
    }

    fn runtime_id() -> RuntimeId {
        RuntimeId::new("r").unwrap()
    }

    fn said(worker_id: &str) -> v1::Worker {
        crate::proto::host_client::worker::tests::said("r", worker_id)
    }

    #[test]
    fn an_answer_without_its_message_is_malformed() {
        // acceptance 80
        let worker_id = WorkerId::new("worker-1").unwrap();
        assert!(malformed(one_worker(host::GetWorkerResponse { worker: None }, &runtime_id(), &worker_id)));
        let another = host::GetWorkerResponse { worker: Some(said("worker-2")) };
        assert!(malformed(one_worker(another, &runtime_id(), &worker_id)));
        assert!(malformed(created(host::CreateWorkerResponse::default(), &runtime_id())));
        assert!(malformed(input_ack(host::SendInputResponse::default())));
        assert!(malformed(stop_ack(None, 0, &[])));
    }

    #[test]
    fn a_page_that_was_not_asked_for_is_malformed() {
        let after = WorkerId::new("w-1").unwrap();
        let read = |ids: &[&str], next_page_token: &str| {
            let workers = ids.iter().map(|id| said(id)).collect();
            let next_page_token = next_page_token.to_owned();
            let page = host::ListWorkersResponse { workers, next_page_token, ..Default::default() };
            worker_page(page, &runtime_id(), &WorkerFilter::default(), Some(&after), 2)
        };
        assert!(read(&["w-2", "w-3"], "more").unwrap().more);
        assert!(!read(&[], "").unwrap().more);
        for (ids, token) in [
            (&["w-3", "w-2"][..], ""),
            (&["w-1"], ""),
            (&["w-2", "w-2"], ""),
            (&["w-2", "w-3", "w-4"], ""),
            (&[], "more"),
        ] {
            assert!(malformed(read(ids, token)), "{ids:?}");
        }
    }

    #[test]
    fn items_come_in_their_places() {
        // acceptance 78
        let worker_id = WorkerId::new("worker-1").unwrap();
        let item = |sequence| {
            let item = v1::TranscriptItem { sequence, role: 1, content: "hi".to_owned(), ..Default::default() };
            Bytes::from(item.encode_to_vec())
        };
        let read = |items: Vec<Bytes>, total_items, next_start| {
            let worker_id_text = worker_id.to_string();
            let page = HostGetTranscriptResponse {
                worker_id: worker_id_text,
                start: 4,
                total_items,
                next_start,
                items,
                ..Default::default()
            };
            transcript_page(page, &worker_id, 4, 2)
        };
        assert_eq!(read(vec![item(5), item(6)], 9, Some(6)).unwrap().items.len(), 2);
        assert!(read(Vec::new(), 4, None).is_ok());
        for (items, total, next) in [
            (vec![item(6)], 9, None),
            (vec![item(5), item(5)], 9, None),
            (vec![item(5)], 4, None),
            (vec![item(5)], 9, Some(7)),
            (Vec::new(), 9, Some(4)),
            (vec![item(5), item(6), item(7)], 9, None),
            (vec![Bytes::from_static(&[0xFF])], 9, None),
        ] {
            assert!(malformed(read(items, total, next)));
        }
    }
}
