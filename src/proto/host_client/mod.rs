//! The control plane as a client of hosts: model → requests of `workplane.runtime.v1`, and their answers → model.
//!
//! A host's answer is hostile until it has been read here: ids are checked, what must be there is there, texts that are
//! shown are made safe, and its diagnostics come out as codes of ours in our own words, or not at all.

mod approval;
mod bundle;
mod diagnostics;
mod event;
mod hello;
pub mod request;
mod response;
mod worker;

pub use approval::{answer_ack, approvals};
pub use bundle::{bundle_page, checked, synced};
pub use event::{Said, Standing, said, standing};
pub use hello::{Hello, hello};
pub use response::{
    Items, created, deleted, input_ack, interrupted, one_worker, stop_ack, transcript_page, worker_page,
};
pub use worker::worker;

use crate::model::{Error, Reason};

/// The host's answer breaks the protocol.
#[must_use]
pub fn malformed(what: &'static str) -> Error {
    Error::new(Reason::RemoteRuntimeMalformedResponse, format!("the host's answer is malformed: {what}"))
}

/// The host is not the runtime that is registered, or speaks for another one.
#[must_use]
pub fn wrong_identity() -> Error {
    Error::new(Reason::RemoteRuntimeWrongIdentity, "the host answers as another runtime than the one registered")
}
