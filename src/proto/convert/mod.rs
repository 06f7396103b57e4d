//! Model ↔ wire, one file for each direction and noun. Requests are taken apart field by field, so that a new field
//! breaks the build until somebody has thought of it, and what is wrong with one is named by its path.

mod approval;
mod bundle;
mod diagnostic;
mod event;
mod fields;
mod host_request;
mod lists;
mod outcome;
mod request;
mod runtime;
mod selectors;
mod spawn;
mod time;
mod worker;

pub use approval::approval;
pub(in crate::proto) use bundle::bundle;
pub use bundle::{
    Offered, availability, bundle_reference, bundle_summary, check_config_bundle, host_check_config_bundle,
    host_remove_config_bundle, host_sync_config_bundle, remove_config_bundle, sync_config_bundle,
};
pub use diagnostic::{diagnostic, diagnostics};
pub use event::{in_progress, payload, transcript_item};
pub(in crate::proto) use fields::profile_of;
pub use fields::{Scope, bundle_ref, required};
pub use host_request::{
    HostContext, host_answer, host_cancel, host_context, host_create, host_delete, host_interrupt, host_observe,
    host_send, host_stop, host_stream_transcript, host_transcript, host_worker_id,
};
pub use lists::{
    HostWorkerList, Paging, WorkerList, host_list_config_bundles, host_list_workers, list_config_bundles, list_hosts,
    list_runtimes, list_workers,
};
pub use outcome::{
    RUN_SEGMENTS, host_answered, host_cancelled, host_created, host_deleted, host_interrupted, host_sent, host_stopped,
};
pub use request::{
    Observe, StreamTranscript, Transcript, answer_approval, cancel_worker, delete_worker, interrupt_worker, observe,
    runtime_id, send_input, stop_worker, stream_transcript, transcript, worker_ids,
};
pub use runtime::{capabilities, host, host_runtime, runtime, runtime_status};
pub use spawn::{Spawn, spawn};
pub use time::{duration, std_duration, system_time, timestamp};
pub use worker::{termination, worker, worker_state};
