//! Files that are read beside the configuration: tokens and keys, and who else may read them; certificates, which
//! anybody may.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;
use secrecy::{ExposeSecret, SecretString};

use crate::model::TokenTable;

/// More than any sensible file of tokens or certificates has.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads who is let in by a file of tokens. The error names the file and at most a line, never what is in it.
///
/// # Errors
/// As [`read_token_file`], and when a line is neither `name token` nor `token`.
pub fn read_tokens(path: &Path) -> Result<TokenTable, String> {
    let text = read_token_file(path)?;
    TokenTable::parse(text.expose_secret()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a file of tokens. The error names the file and never what is in it.
///
/// # Errors
/// As [`read_secret`], and when there is no token in it.
fn read_token_file(path: &Path) -> Result<SecretString, String> {
    let text = read_secret(path)?;
    if lines(text.expose_secret()).next().is_none() {
        return Err(format!("{} has no token in it", path.display()));
    }
    Ok(text)
}

/// Reads a file that nobody but its owner may read; of one that root lends us, its group may, too. The error names the file and
/// never what is in it.
///
/// # Errors
/// When it cannot be read, and when others may read or change it.
pub(super) fn read_secret(path: &Path) -> Result<SecretString, String> {
    let check = |found: &Metadata| {
        let mode = found.mode() & 0o7777;
        if is_closed(mode, found.uid(), geteuid().as_raw()) {
            return Ok(());
        }
        let name = path.display();
        Err(format!("{name} is open to others than its owner (mode {mode:04o}): make it 0600"))
    };
    read(path, check).map(SecretString::from)
}

/// Whether nobody reads a file of this mode and owner for whom it is not. What Kubernetes mounts is root's, and ours to read
/// by our group alone (ADR 22).
fn is_closed(mode: u32, owner: u32, we: u32) -> bool {
    const ROOT: u32 = 0;
    let to_others = if owner == ROOT && we != ROOT { 0o037 } else { 0o077 };
    mode & to_others == 0
}

/// Reads a file that anybody may read.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read_public(path: &Path) -> Result<String, String> {
    read(path, |_| Ok(()))
}

fn read(path: &Path, check: impl FnOnce(&Metadata) -> Result<(), String>) -> Result<String, String> {
    let name = path.display();
    let unreadable = |error: std::io::Error| format!("{name} cannot be read: {error}");
    // Asked first, since to open a pipe is to wait for who writes to it.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("{name} is not a regular file"));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // Of the open file, so that it cannot be exchanged between the look and the reading.
    check(&file.metadata().map_err(unreadable)?)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("{name} is larger than {MAX_BYTES} bytes"));
    }
    Ok(text)
}

/// The token of the first line, for one who has to show it.
///
/// # Errors
/// When it cannot stand in a header; the error names the file.
pub fn first_token(path: &Path) -> Result<SecretString, String> {
    let text = read_token_file(path)?;
    let token = lines(text.expose_secret()).next().and_then(|line| line.split_whitespace().last()).unwrap_or_default();
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(SecretString::from(token))
    } else {
        Err(format!("{} has a token with characters other than visible ASCII", path.display()))
    }
}

/// Lines that say something: not blank, no comment.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_token_file_open_to_others_is_refused_by_its_name() {
        for mode in [0o644, 0o640, 0o660, 0o601] {
            let (_dir, path) = file("ops s3cret\n", mode);
            let error = read_token_file(&path).unwrap_err();
            assert!(error.contains("tokens") && error.contains("0600") && !error.contains("s3cret"), "{error}");
        }
        for mode in [0o600, 0o400] {
            let (_dir, path) = file("ops s3cret\n", mode);
            assert!(read_token_file(&path).is_ok());
        }
    }

    #[test]
    fn what_root_lends_to_our_group_is_closed_and_what_anybody_else_does_is_not() {
        for (mode, owner, we, closed) in [
            (0o440, 0, 10001, true),
            (0o640, 0, 10001, true),
            (0o660, 0, 10001, false),
            (0o444, 0, 10001, false),
            (0o440, 10001, 10001, false),
            (0o440, 10002, 10001, false),
            (0o400, 10001, 10001, true),
            (0o440, 0, 0, false),
            (0o600, 0, 0, true),
        ] {
            assert_eq!(is_closed(mode, owner, we), closed, "{mode:o} of {owner}, read by {we}");
        }
    }

    #[test]
    fn a_token_file_without_a_token_is_refused() {
        // acceptance 125
        for text in ["", "\n \n", "# only words\n"] {
            let (_dir, path) = file(text, 0o600);
            assert!(read_token_file(&path).unwrap_err().contains("no token"), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_token_file(dir.path()).unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn the_first_token_is_the_one_that_is_shown() {
        for text in ["s3cret", "ops s3cret\nother x\n", "# why\n\n  ops\ts3cret  \n"] {
            let (_dir, path) = file(text, 0o600);
            assert_eq!(first_token(&path).unwrap().expose_secret(), "s3cret");
        }
        let (_dir, path) = file("sécret\n", 0o600);
        assert!(!first_token(&path).unwrap_err().contains("sécret"));
    }
}
