//! What may stand in a profile.

use super::*;
use crate::engine::Permissions;

#[test]
fn a_profile_that_cannot_be_is_refused_by_its_place() {
    let profile = "[profiles.\"builtin:coder\"]\n";
    let at = "profiles.\"builtin:coder\"";
    for (rest, error) in [
        ("", format!("w.toml:1: {at}.protocol: is required")),
        ("protocol = 'acp'", format!("w.toml:1: {at}.command: is required")),
        ("protocol = 'smtp'", format!("w.toml:2: {at}.protocol: must be lines, acp or catalog")),
        (
            "protocol = 'acp'\ncommand = ['a']\npermissions = 'no'",
            format!("w.toml:4: {at}.permissions: must be deny, allow or ask"),
        ),
        (
            "protocol = 'acp'\ncommand = ['a']\nhandshake_timeout = '2h'",
            format!("w.toml:4: {at}.handshake_timeout: must be 1s to 1h"),
        ),
        (
            "protocol = 'lines'\ncommand = ['a']\nhandshake_timeout = '2s'",
            format!("w.toml:4: {at}.handshake_timeout: only an acp profile has it"),
        ),
        (
            "protocol = 'acp'\ncommand = ['a']\npermissions = 'ask'\napproval_timeout = '10'",
            format!("w.toml:5: {at}.approval_timeout: must be a duration"),
        ),
        (
            "protocol = 'acp'\ncommand = ['a']\npermissions = 'ask'\napproval_timeout = '10ms'",
            format!("w.toml:5: {at}.approval_timeout: must be 1s to 7days"),
        ),
        (
            "protocol = 'acp'\ncommand = ['a']\napproval_timeout = '10m'",
            format!("w.toml:4: {at}.approval_timeout: needs permissions = \"ask\" beside it"),
        ),
        ("protocol = 'acp'\ncommand = ['a']\ninput = 'text'", format!("w.toml:4: {at}.input: only a lines profile")),
        ("protocol = 'lines'", format!("w.toml:1: {at}.command: is required")),
        ("protocol = 'lines'\ncommand = []", format!("w.toml:3: {at}.command: must be a program")),
        ("protocol = 'lines'\ncommand = 'cat'", format!("w.toml:3: {at}.command: must be a list of texts")),
        ("protocol = 'lines'\ncommand = ['cat']\ninput = 'xml'", format!("w.toml:4: {at}.input: must be json or text")),
        (
            "protocol = 'lines'\ncommand = ['cat']\nenv = { A = 1 }",
            format!("w.toml:4: {at}.env: must be a table of texts"),
        ),
        ("protocol = 'lines'\ncommand = ['cat']\nenv = { 'A=B' = '' }", format!("w.toml:4: {at}.env: has a name")),
        (
            "protocol = 'lines'\ncommand = ['cat']\nrestart = 'always'",
            format!("w.toml:4: {at}.restart: must be never or on-failure"),
        ),
        (
            "protocol = 'catalog'\nrestart = 'on-failure'",
            format!("w.toml:3: {at}.restart: a catalog profile runs nothing"),
        ),
        (
            "protocol = 'lines'\ncommand = ['cat']\npermissions = 'ask'",
            format!("w.toml:4: {at}.permissions: only an acp"),
        ),
        ("protocol = 'catalog'\ncommand = ['cat']", format!("w.toml:3: {at}.command: a catalog profile runs nothing")),
        ("protocol = 'catalog'\nshell = 'sh'", format!("w.toml:3: {at}.shell: is not known here")),
    ] {
        let files = Files::new(&format!("{profile}{rest}\n"));
        for refused in [files.serve().map(|_| ()), files.runtime().map(|_| ())] {
            let refused = refused.unwrap_err();
            assert!(refused.starts_with(&error), "{rest}\n  {refused}\n  {error}");
        }
    }
    let refused = Files::new("[profiles.'a b']\nprotocol = 'catalog'").runtime().map(|_| ()).unwrap_err();
    assert!(refused.starts_with("w.toml:1: profiles.\"a b\": a profile's name must be"), "{refused}");
}

#[test]
fn an_agents_profile_says_where_it_runs_and_whether_it_is_given_leave() {
    let profile = |rest: &str| {
        let files = Files::new(&format!("[profiles.mine]\nprotocol = 'acp'\ncommand = ['agent']\n{rest}"));
        let profile = files.runtime().unwrap().profiles.get(&ProfileSelector::Named("mine".to_owned()));
        (profile.protocol, profile.permissions, profile.cwd.clone().map(|cwd| cwd == files.path("work")))
    };
    assert_eq!(profile(""), (Protocol::Acp, Permissions::Deny, None));
    assert_eq!(profile("permissions = 'ask'\n"), (Protocol::Acp, Permissions::Ask, None));
    assert_eq!(profile("permissions = 'allow'\ncwd = 'work'\n"), (Protocol::Acp, Permissions::Allow, Some(true)));
}

#[test]
fn a_question_waits_ten_minutes_for_its_answer_unless_it_is_said_otherwise() {
    let timeout = |rest: &str| {
        let files =
            Files::new(&format!("[profiles.mine]\nprotocol = 'acp'\ncommand = ['agent']\npermissions = 'ask'\n{rest}"));
        files.runtime().unwrap().profiles.get(&ProfileSelector::Named("mine".to_owned())).approval_timeout
    };
    assert_eq!(timeout(""), Duration::from_mins(10));
    assert_eq!(timeout("approval_timeout = '30s'"), Duration::from_secs(30));
}

#[test]
fn an_agent_has_a_minute_to_begin_unless_it_is_said_otherwise() {
    let timeout = |rest: &str| {
        let files = Files::new(&format!("[profiles.mine]\nprotocol = 'acp'\ncommand = ['agent']\n{rest}"));
        files.runtime().unwrap().profiles.get(&ProfileSelector::Named("mine".to_owned())).handshake_timeout
    };
    assert_eq!(timeout(""), Duration::from_mins(1));
    assert_eq!(timeout("handshake_timeout = '5s'"), Duration::from_secs(5));
}
