//! Under which id the server's log has a call that failed: in the metadata of the error's reason.

use std::fmt::Display;

use http::HeaderMap;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::DOMAIN;

/// The key of the metadata.
const CALL_ID: &str = "call_id";

/// Writes the id into the headers that `status` was read from, where it has a reason of ours.
pub fn name_call(headers: &mut HeaderMap, status: &Status, id: &dyn Display) {
    let mut details = status.get_error_details();
    let Some(mut info) = details.error_info().cloned().filter(|info| info.domain == DOMAIN) else { return };
    info.metadata.insert(CALL_ID.to_owned(), id.to_string());
    details.set_error_info(info.reason, info.domain, info.metadata);
    // It fails only for a status that is no metadata, and this one was: then it stays without.
    let _ = Status::with_error_details(status.code(), status.message(), details).add_header(headers);
}

/// The reason of ours that a status has; empty where it has none.
#[must_use]
pub fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    info.map(|info| info.reason).unwrap_or_default()
}
