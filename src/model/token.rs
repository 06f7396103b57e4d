//! Bearer tokens: who they belong to, kept as digests, compared in constant time.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::context::Caller;

/// How the name of a token without one begins; the beginning of its digest follows, so that it is nobody else's.
const UNNAMED: &str = "token-";
/// Names of callers that have no token: one that nobody asked for any, and this server itself.
const RESERVED: [&str; 2] = ["anonymous", "workplane"];
const MAX_NAME: usize = 120;

/// The tokens that are let in.
pub struct TokenTable(Vec<Entry>);

struct Entry {
    caller: Caller,
    digest: TokenDigest,
}

/// What a token is known by, here where nobody keeps it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
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
    /// A name means somebody else.
    #[error("line {0}: the names anonymous and workplane are taken")]
    Reserved(usize),
    /// A token could not be sent in a header.
    #[error("line {0}: a token must be printable ASCII")]
    Token(usize),
    /// A token is there twice.
    #[error("line {0}: the token is there already")]
    Repeated(usize),
}

impl TokenTable {
    /// Reads a token file: a token a line, `name token` or only `token`, whose caller is then `token-` and the first
    /// eight hexadecimal digits of its SHA-256; blank lines and those that begin with `#` do
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
                [token] => (None, token),
                [name, token] => (Some(name), token),
                _ => return Err(TokenTableError::Line(line)),
            };
            if name.is_some_and(|name| !is_name(name)) {
                return Err(TokenTableError::Name(line));
            }
            if name.is_some_and(|name| RESERVED.contains(&name)) {
                return Err(TokenTableError::Reserved(line));
            }
            if !token.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(TokenTableError::Token(line));
            }
            if table.caller(token.as_bytes()).is_some() {
                return Err(TokenTableError::Repeated(line));
            }
            let digest = TokenDigest::of(token.as_bytes());
            let caller = name.map_or_else(|| unnamed(&digest), Caller::new);
            table.0.push(Entry { caller, digest });
        }
        if table.0.is_empty() { Err(TokenTableError::Empty) } else { Ok(table) }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Who `token` belongs to.
    #[must_use]
    pub fn caller(&self, token: &[u8]) -> Option<&Caller> {
        self.0.get(self.find(token)?).map(|entry| &entry.caller)
    }

    /// Which one `token` is. Takes as long for a wrong token as for any right one: all digests are compared.
    #[must_use]
    pub fn find(&self, token: &[u8]) -> Option<usize> {
        let TokenDigest(digest) = TokenDigest::of(token);
        let mut found = None;
        for (at, entry) in self.0.iter().enumerate() {
            if bool::from(entry.digest.0.ct_eq(&digest)) {
                found = Some(at);
            }
        }
        found
    }

    /// All of them, by whose they are.
    pub fn entries(&self) -> impl Iterator<Item = (&Caller, &TokenDigest)> {
        self.0.iter().map(|entry| (&entry.caller, &entry.digest))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(<redacted>)")
    }
}

impl fmt::Debug for TokenTable {
    /// Tells how many there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenTable({} <redacted>)", self.0.len())
    }
}

/// Who a token without a name belongs to: the same caller after a restart, and another than that of any other token.
fn unnamed(TokenDigest(digest): &TokenDigest) -> Caller {
    let [a, b, c, d, ..] = digest;
    Caller::new(&format!("{UNNAMED}{a:02x}{b:02x}{c:02x}{d:02x}"))
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
        // The beginning of the digest of `bare-token`.
        assert_eq!(table.caller(b"bare-token").unwrap().as_str(), "token-d300834f");
        for wrong in ["", "alice", "s3cre", "s3cret "] {
            assert!(table.caller(wrong.as_bytes()).is_none());
        }
    }

    #[test]
    fn tokens_without_names_are_different_callers() {
        let (one, two) = (TokenTable::parse("one\ntwo").unwrap(), TokenTable::parse("two").unwrap());
        assert_ne!(one.caller(b"one"), one.caller(b"two"));
        assert_eq!(one.caller(b"two"), two.caller(b"two"));
    }

    #[test]
    fn a_table_without_a_token_or_with_a_bad_line_is_refused() {
        // acceptance 125
        let refused = |text: &str| TokenTable::parse(text).unwrap_err();
        assert_eq!(refused("\n# nothing\n"), TokenTableError::Empty);
        assert_eq!(refused("a b\nc d e"), TokenTableError::Line(2));
        assert_eq!(refused("a/b c"), TokenTableError::Name(1));
        for name in ["anonymous", "workplane"] {
            assert_eq!(refused(&format!("a x\n{name} y")), TokenTableError::Reserved(2));
        }
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
