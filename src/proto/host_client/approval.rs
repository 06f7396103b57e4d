//! Questions of a host's workers → model. What is in them reaches people who decide by it: all of it is bounded, and nothing
//! stands in a field for an id that is none.

use std::sync::Arc;

use super::diagnostics::known;
use super::event::id;
use super::malformed;
use crate::model::{AnswerAck, Approval, ApprovalId, ApprovalKind, ApprovalOption, Result, is_plain};
use crate::proto::{convert, runtime_v1 as host, v1};

/// A question.
///
/// # Errors
/// It is malformed.
pub(super) fn approval(from: v1::Approval) -> Result<Approval> {
    let v1::Approval { approval_id, turn_id, title, options, requested_at } = from;
    if title.len() > Approval::MAX_TITLE || !title.chars().all(is_plain) {
        return Err(malformed("approval.title"));
    }
    if options.len() > Approval::MAX_OPTIONS {
        return Err(malformed("approval.options"));
    }
    Ok(Approval {
        approval_id: approval_of(&approval_id)?,
        turn_id: id(turn_id)?.into(),
        title,
        options: options.into_iter().map(option).collect::<Result<_>>()?,
        requested_at: requested_at
            .and_then(|at| convert::system_time(&at))
            .ok_or_else(|| malformed("approval.requested_at"))?,
    })
}

fn option(from: v1::ApprovalOption) -> Result<ApprovalOption> {
    let v1::ApprovalOption { option_id, label, kind } = from;
    if label.len() > Approval::MAX_LABEL || !label.chars().all(is_plain) {
        return Err(malformed("approval.options.label"));
    }
    let option_id = id(option_id)?;
    if option_id.is_empty() {
        return Err(malformed("approval.options.option_id"));
    }
    // A word of a later version may go on as it is; it is not looked at here.
    let kind = ApprovalKind::parse(&id(kind)?);
    Ok(ApprovalOption { option_id: option_id.into(), label, kind })
}

/// The id of a question.
///
/// # Errors
/// It is none.
pub(super) fn approval_of(text: &str) -> Result<ApprovalId> {
    ApprovalId::new(text).map_err(|_| malformed("approval_id"))
}

/// What a worker asks.
///
/// # Errors
/// The answer is malformed.
pub fn approvals(from: host::ListApprovalsResponse) -> Result<Vec<Arc<Approval>>> {
    let host::ListApprovalsResponse { approvals, diagnostics: _ } = from;
    if approvals.len() > Approval::MAX_OPEN {
        return Err(malformed("approvals"));
    }
    approvals.into_iter().map(|it| approval(it).map(Arc::new)).collect()
}

/// A question that was answered.
///
/// # Errors
/// The answer is malformed.
pub fn answer_ack(from: &host::AnswerApprovalResponse) -> Result<AnswerAck> {
    let host::AnswerApprovalResponse { event_id, diagnostics } = from;
    if *event_id == 0 {
        return Err(malformed("event_id"));
    }
    Ok(AnswerAck { event_id: *event_id, diagnostics: known(diagnostics) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    fn asked() -> v1::Approval {
        let option = v1::ApprovalOption {
            option_id: "allow".to_owned(),
            label: "Allow it".to_owned(),
            kind: "allow_once".to_owned(),
        };
        v1::Approval {
            approval_id: "approval-1".to_owned(),
            turn_id: "turn-1".to_owned(),
            title: "Größe".to_owned(),
            options: vec![option],
            requested_at: Some(convert::timestamp(std::time::SystemTime::UNIX_EPOCH)),
        }
    }

    #[test]
    fn a_question_comes_as_it_went_and_one_out_of_bounds_not_at_all() {
        assert_eq!(convert::approval(&approval(asked()).unwrap()), asked());
        let refused = |change: fn(&mut v1::Approval)| {
            let mut asked = asked();
            change(&mut asked);
            assert_eq!(approval(asked).unwrap_err().reason(), Reason::RemoteRuntimeMalformedResponse);
        };
        refused(|it| it.approval_id = "see /etc/passwd".to_owned());
        refused(|it| it.turn_id = "a b".to_owned());
        refused(|it| it.title = "x".repeat(1_025));
        refused(|it| it.title = "a\u{1b}[2J".to_owned());
        refused(|it| it.requested_at = None);
        refused(|it| it.options = vec![it.options[0].clone(); 17]);
        refused(|it| it.options[0].option_id = String::new());
        refused(|it| it.options[0].option_id = "x".repeat(129));
        refused(|it| it.options[0].label = "x".repeat(129));
        refused(|it| it.options[0].kind = "a b".to_owned());
    }

    #[test]
    fn an_answer_of_a_host_that_says_nothing_is_malformed() {
        // acceptance 80
        assert!(answer_ack(&host::AnswerApprovalResponse::default()).is_err());
        let approvals =
            |count| approvals(host::ListApprovalsResponse { approvals: vec![asked(); count], ..Default::default() });
        assert_eq!(approvals(16).unwrap().len(), 16);
        assert!(approvals(17).is_err());
    }
}
