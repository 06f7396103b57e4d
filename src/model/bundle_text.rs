//! What may stand in a bundle's texts: nothing that is, or leads to, a path, a socket, a session or a secret.

use super::bundle::DeclarationKind;
use super::error::{Error, Result};

/// The longest text in a bundle, in bytes.
const MAX_TEXT: usize = 2_048;
/// What `:\` of a drive's path becomes when slashes are made alike, told from the `:/` of an address.
const DRIVE: &str = ":/\u{0}";
/// What no text may contain, in lower case and with forward slashes (acceptance 101).
const FORBIDDEN: [&str; 10] = [
    DRIVE,
    ".cache",
    ".yoi/sessions",
    "/sessions/",
    "/run/",
    ".sock",
    "/sock",
    "socket=",
    "session_path",
    "cache_path",
];
/// What no reference may contain beside.
const FORBIDDEN_IN_REFERENCES: [&str; 3] = [".yoi", ".cache", ".sock"];

/// Checks a text of a bundle.
pub(super) fn check_text(field: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::field(field, "must not be blank"));
    }
    if text.len() > MAX_TEXT {
        return Err(Error::field(field, format!("must be at most {MAX_TEXT} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::field(field, "must not contain control characters"));
    }
    let normal = normal(text);
    if text.starts_with(['/', '~', '\\']) || FORBIDDEN.iter().any(|part| normal.contains(part)) {
        return Err(Error::field(field, "must not name a path, a cache, a session or a socket"));
    }
    Ok(())
}

/// In lower case, with one kind of slash.
fn normal(text: &str) -> String {
    text.to_lowercase().replace(":\\", DRIVE).replace('\\', "/")
}

/// Checks that a text is one token: no character that could change a path, a query or a command.
fn check_token(field: &str, text: &str) -> Result<()> {
    let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '@' | '+');
    if text.chars().all(token) { Ok(()) } else { Err(Error::field(field, "must be of [A-Za-z0-9:-_.@+]")) }
}

/// Checks what a declaration refers to.
pub(super) fn check_reference(field: &str, kind: DeclarationKind, reference: &str) -> Result<()> {
    check_text(field, reference)?;
    check_token(field, reference)?;
    let lower = reference.to_ascii_lowercase();
    if FORBIDDEN_IN_REFERENCES.iter().any(|part| lower.contains(part)) {
        return Err(Error::field(field, "must not name a path, a cache or a socket"));
    }
    let prefixes = kind.prefixes();
    let Some(target) = prefixes.iter().find_map(|prefix| reference.strip_prefix(prefix)) else {
        return Err(Error::field(field, format!("must start with one of {}", prefixes.join(" "))));
    };
    if target.is_empty() {
        return Err(Error::field(field, "must name something after its prefix"));
    }
    if kind.is_policy() && !matches!(target, "allow" | "ask" | "deny") {
        return Err(Error::field(field, "a policy must be allow, ask or deny"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_lead_somewhere_are_refused() {
        // acceptance 101, 103
        for bad in [
            "",
            " ",
            "/etc",
            "~/x",
            "C:\\x",
            "a.CACHE",
            "x/sessions/y",
            "x\\sessions\\y",
            "a.sock",
            "x/run/y",
            "SOCKET=1",
            "my session_path",
            ".yoi\\sessions",
            "a\u{0}b",
            "a\nb",
            &"x".repeat(2_049),
        ] {
            assert!(check_text("f", bad).is_err(), "{bad:?}");
        }
        for good in ["rev-1", "2026-06-26T00:00:00Z", "from https://example.org", &"x".repeat(2_048)] {
            assert!(check_text("f", good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn references_have_the_prefix_of_their_kind_and_closed_words() {
        // acceptance 102, 103
        use DeclarationKind::{CapabilityGrant, GitPolicy, MountGrant, NetworkPolicy, SecretRef, ShellPolicy};
        for (kind, good) in [
            (SecretRef, "vault:team.key@2"),
            (SecretRef, "keyring:a+b"),
            (MountGrant, "mount-grant:work"),
            (NetworkPolicy, "network:deny"),
            (ShellPolicy, "shell-policy:ask"),
            (GitPolicy, "git:allow"),
            (CapabilityGrant, "capability:read"),
        ] {
            assert!(check_reference("f", kind, good).is_ok(), "{good}");
        }
        for (kind, bad) in [
            (SecretRef, "password=hunter2"),
            (SecretRef, "hunter2-secret-value"),
            (SecretRef, "secret:"),
            (SecretRef, "secret:a/b"),
            (SecretRef, "secret:a b"),
            (SecretRef, "secret:x.yoi"),
            (MountGrant, "secret:x"),
            (NetworkPolicy, "network:maybe"),
            (ShellPolicy, "shell-policy:"),
            (CapabilityGrant, "read"),
        ] {
            assert_eq!(check_reference("f", kind, bad).unwrap_err().fields()[0].field, "f", "{bad}");
        }
    }
}
