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
    ("worker_not_in_turn", Severity::Info, "no turn was running: there was nothing to interrupt"),
    ("turn_still_ending", Severity::Warning, "the agent was told to break its turn off, and has not done so yet"),
    (
        "worker_profile_runs_nothing",
        Severity::Warning,
        "the profile runs nothing on this host: input is recorded, and no program answers",
    ),
    ("worker_run_failed", Severity::Warning, "a run of the worker's program failed, and another one followed"),
    (
        "worker_end_not_stored",
        Severity::Error,
        "the worker's program is gone, and its host's store does not take that yet",
    ),
    ("worker_quarantined", Severity::Error, "the worker's records on its host cannot be read"),
    ("worker_damaged", Severity::Error, "the worker's records on its host are damaged"),
    ("store_damaged", Severity::Warning, "the host's store was damaged"),
    ("store_full", Severity::Warning, "the host's store has no room: what is new is refused until there is some"),
];
/// Those that name a place in the host's store.
const PLACED: &[&str] = &["worker_quarantined", "worker_damaged", "store_damaged"];
/// The longest place.
const MAX_PLACE: usize = 160;

/// Those that are known here.
pub(super) fn known(from: &[v1::Diagnostic]) -> Vec<Diagnostic> {
    let find = |said: &v1::Diagnostic| KNOWN.iter().find(|(code, ..)| *code == said.code);
    let told = |said: &v1::Diagnostic| {
        let (code, severity, words) = find(said)?;
        let place = if PLACED.contains(code) { place(&said.message) } else { None };
        let message = place.map_or((*words).into(), |place| format!("{words}: {place}").into());
        Some(Diagnostic { code: (*code).into(), severity: *severity, message })
    };
    from.iter().take(MAX).filter_map(told).collect()
}

/// The place at the end of a message, as in `log/1.seg: offset 4096: a record's checksum does not match`: the one form in
/// which words of a host are shown, and only where they have it exactly. The file is one below the host's data directory.
fn place(message: &str) -> Option<&str> {
    let (before, rest) = message.split_once(": offset ")?;
    let file = before.rsplit(": ").next()?;
    let place = &message[before.len() - file.len()..];
    let (offset, what) = rest.split_once(": ")?;
    let is_file = !file.starts_with('/')
        && !file.split('/').any(|part| matches!(part, "" | "." | ".."))
        && file.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b));
    let is_number = (1..=20).contains(&offset.len()) && offset.bytes().all(|b| b.is_ascii_digit());
    let is_plain = !what.is_empty() && what.bytes().all(|b| b.is_ascii_alphanumeric() || b" '-,".contains(&b));
    (is_file && is_number && is_plain && place.len() <= MAX_PLACE).then_some(place)
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

    #[test]
    fn a_place_in_a_hosts_store_is_told_and_nothing_else_passes_for_one() {
        let told = |message: &str| {
            let code = "worker_quarantined".to_owned();
            known(&[v1::Diagnostic { code, message: message.to_owned(), ..Default::default() }]).remove(0).message
        };
        let place = "log/00000000000000000001.seg: offset 4096: a record's checksum does not match";
        assert!(told(place).ends_with(place));
        assert!(told(&format!("the worker's records cannot be read: {place}")).ends_with(&format!("read: {place}")));
        for other in [
            "/var/lib/secret.seg: offset 1: x",
            "log/../secret: offset 1: x",
            "secret: offset one: x",
            "secret: offset 1: x/secret",
            "secret: offset 1",
            "secret: offset 1: \u{1b}[2J",
            &format!("{}: offset 1: secret", "a".repeat(200)),
        ] {
            assert!(!told(other).contains("secret") && !told(other).contains("offset"), "{other}");
        }
    }
}
