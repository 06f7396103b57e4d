//! Bearer tokens: who they belong to, kept as digests, compared in constant time.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::context::Caller;

/// Who a token without a name belongs to.
const UNNAMED: &str = "token";
const MAX_NAME: usize = 120;

/// The tokens that are let in.
pub struct TokenTable(Vec<Entry>);

struct Entry {
    caller: Caller,
    digest: [u8; 32],
}

/// Why a text is not a table of tokens. It names lines, never what stands in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenTableError {
    /// There is no token in it.
    #[error("there is no token in it")]
    Empty,
    /// A line is neither `name token` nor `token`.
    #[error("line {0}: must be `name token` or `token`")]
    Line(usize),
    /// A name breaks its rule.
    #[error("line {0}: a name must be 1 to 120 characters of [A-Za-z0-9._:@-]")]
    Name(usize),
    /// A token could not be sent in a header.
    #[error("line {0}: a token must be printable ASCII")]
    Token(usize),
    /// A token is there twice.
    #[error("line {0}: the token is there already")]
    Repeated(usize),
}

impl TokenTable {
    /// Reads a token file: a token a line, `name token` or only `token`; blank lines and those that begin with `#` do
    /// not count.
    ///
    /// # Errors
    /// [`TokenTableError`] names the line.
    pub fn parse(text: &str) -> Result<Self, TokenTableError> {
        let mut table = Self(Vec::new());
        for (line, text) in (1..).zip(text.lines()) {
            let words: Vec<_> = text.split_whitespace().collect();
            let (name, token) = match words[..] {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [token] => (UNNAMED, token),
                [name, token] => (name, token),
                _ => return Err(TokenTableError::Line(line)),
            };
            if !is_name(name) {
                return Err(TokenTableError::Name(line));
            }
            if !token.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(TokenTableError::Token(line));
            }
            if table.caller(token.as_bytes()).is_some() {
                return Err(TokenTableError::Repeated(line));
            }
            table.0.push(Entry { caller: Caller::new(name), digest: Sha256::digest(token).into() });
        }
        if table.0.is_empty() { Err(TokenTableError::Empty) } else { Ok(table) }
    }

    /// Who `token` belongs to. Takes as long for a wrong token as for any right one: all digests are compared.
    #[must_use]
    pub fn caller(&self, token: &[u8]) -> Option<&Caller> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for entry in &self.0 {
            if bool::from(entry.digest.ct_eq(&digest)) {
                found = Some(&entry.caller);
            }
        }
        found
    }
}

impl fmt::Debug for TokenTable {
    /// Tells how many there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenTable({} <redacted>)", self.0.len())
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_tokens_or_tokens() {
        let table = TokenTable::parse("# who\n\nalice s3cret\n  bare-token  \n").unwrap();
        assert_eq!(table.caller(b"s3cret").unwrap().as_str(), "alice");
        assert_eq!(table.caller(b"bare-token").unwrap().as_str(), "token");
        for wrong in ["", "alice", "s3cre", "s3cret "] {
            assert!(table.caller(wrong.as_bytes()).is_none());
        }
    }

    #[test]
    fn a_table_without_a_token_or_with_a_bad_line_is_refused() {
        // acceptance 125
        let refused = |text| TokenTable::parse(text).unwrap_err();
        assert_eq!(refused("\n# nothing\n"), TokenTableError::Empty);
        assert_eq!(refused("a b\nc d e"), TokenTableError::Line(2));
        assert_eq!(refused("a/b c"), TokenTableError::Name(1));
        assert_eq!(refused("a é"), TokenTableError::Token(1));
        assert_eq!(refused("a x\nb x"), TokenTableError::Repeated(2));
    }

    #[test]
    fn nothing_prints_a_token() {
        // acceptance 125
        let table = TokenTable::parse("alice s3cret").unwrap();
        assert_eq!(format!("{table:?}"), "TokenTable(1 <redacted>)");
    }
}
