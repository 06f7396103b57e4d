//! A host's diagnostics: the codes that mean something here, in our own words. Its words are never shown, and what is
//! not in this table is not passed on (acceptance 83).

use crate::model::{Diagnostic, Severity};
use crate::proto::v1;

/// How many diagnostics of a host are looked at.
const MAX: usize = 16;

const KNOWN: &[(&str, Severity, &str)] = &[
    ("embedded_runtime_tools_less", Severity::Info, "no execution is connected to this worker: no items come from it"),
    (
        "runtime.local_default_resources",
        Severity::Info,
        "the worker was made without a bundle: its host's defaults hold",
    ),
    ("worker.tools_less", Severity::Info, "the worker was made without capabilities"),
    ("worker_segments_pending", Severity::Warning, "fewer transcript items came in time than were waited for"),
    ("worker_still_stopping", Severity::Warning, "the worker was asked to end and has not ended yet"),
    (
        "worker_profile_runs_nothing",
        Severity::Warning,
        "the profile runs nothing on this host: input is recorded, and no program answers",
    ),
    ("worker_quarantined", Severity::Error, "the worker's records on its host are damaged"),
];

/// Those that are known here.
pub(super) fn known(from: &[v1::Diagnostic]) -> Vec<Diagnostic> {
    let find = |said: &v1::Diagnostic| KNOWN.iter().find(|(code, ..)| *code == said.code);
    from.iter()
        .take(MAX)
        .filter_map(find)
        .map(|(code, severity, words)| Diagnostic {
            code: (*code).into(),
            severity: *severity,
            message: (*words).into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_words_and_unknown_codes_stay_where_they_are() {
        // acceptance 83
        let said = |code: &str| v1::Diagnostic {
            code: code.to_owned(),
            message: "/var/lib/secret".to_owned(),
            ..Default::default()
        };
        let passed = known(&[said("worker_still_stopping"), said("made_up"), said("")]);
        assert_eq!(passed.len(), 1);
        assert!(!passed[0].message.contains("secret"));
    }
}
