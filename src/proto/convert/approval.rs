//! Questions of workers, for the wire.

use super::timestamp;
use crate::model::{Approval, ApprovalOption};
use crate::proto::v1;

/// A question.
#[must_use]
pub fn approval(from: &Approval) -> v1::Approval {
    let Approval { approval_id, turn_id, title, options, requested_at } = from;
    v1::Approval {
        approval_id: approval_id.to_string(),
        turn_id: turn_id.to_string(),
        title: title.clone(),
        options: options.iter().map(option).collect(),
        requested_at: Some(timestamp(*requested_at)),
    }
}

fn option(from: &ApprovalOption) -> v1::ApprovalOption {
    let ApprovalOption { option_id, label, kind } = from;
    v1::ApprovalOption { option_id: option_id.to_string(), label: label.clone(), kind: kind.as_str().to_owned() }
}
