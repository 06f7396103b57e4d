//! The digest of a bundle.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::bundle::{BundleContent, Declaration, ProfileDescriptor};
use super::error::{Error, Result};
use super::id::hex;
use super::spawn::ProfileSelector;

/// SHA-256 of a bundle's content, as 64 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleDigest(String);

impl BundleDigest {
    /// The algorithm's name, as shown.
    pub const ALGORITHM: &str = "sha256";

    /// Checks the form: exactly 64 lower-case hex digits.
    ///
    /// # Errors
    /// Names the field `digest`.
    pub fn new(text: &str) -> Result<Self> {
        let good = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if good { Ok(Self(text.to_owned())) } else { Err(Error::field("digest", "must be 64 lower-case hex digits")) }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of the seed (acceptance 97): SHA-256 over the sorted lines, each followed by a newline, their parts
/// separated by NUL. No text in a valid bundle has a control character, so that no line can pass for another.
pub(super) fn digest(content: &BundleContent) -> BundleDigest {
    let BundleContent { id, revision, workspace_id, created_at, provenance, profiles, declarations } = content;
    let mut lines = vec![
        format!("id\0{id}"),
        format!("revision\0{revision}"),
        format!("workspace_id\0{workspace_id}"),
        format!("created_at\0{created_at}"),
        format!("provenance.source\0{}", provenance.source),
        format!("provenance.detail\0{}", provenance.detail.as_deref().unwrap_or_default()),
    ];
    for ProfileDescriptor { selector, label } in profiles {
        let label = label.as_deref().unwrap_or_default();
        lines.push(match selector {
            ProfileSelector::RuntimeDefault => format!("profile\0runtime_default\0{label}"),
            ProfileSelector::Builtin(name) => format!("profile\0builtin\0{name}\0{label}"),
            ProfileSelector::Named(name) => format!("profile\0named\0{name}\0{label}"),
        });
    }
    for Declaration { kind, name, reference } in declarations {
        lines.push(format!("declaration\0{}\0{name}\0{reference}", kind.as_str()));
    }
    lines.sort_unstable();
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line);
        hash.update("\n");
    }
    BundleDigest(hex(&hash.finalize(), 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_have_one_form() {
        // acceptance 100
        for bad in ["", &"A".repeat(64), &"0".repeat(63), &"g".repeat(64)] {
            assert_eq!(BundleDigest::new(bad).unwrap_err().fields()[0].field, "digest");
        }
    }
}
