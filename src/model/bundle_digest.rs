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
    use proptest::prelude::*;
    use proptest::sample::Index;
    use proptest::test_runner::{TestError, TestRunner};

    use super::*;
    use crate::model::{BundleId, ConfigBundle, DeclarationKind, Provenance};

    #[test]
    fn digests_have_one_form() {
        // acceptance 100
        for bad in ["", &"A".repeat(64), &"0".repeat(63), &"g".repeat(64)] {
            assert_eq!(BundleDigest::new(bad).unwrap_err().fields()[0].field, "digest");
        }
    }

    /// Bundles with few letters, so that their texts are often alike.
    fn bundles(text: &'static str) -> impl Strategy<Value = BundleContent> {
        let selector = (0..3_u8, text).prop_map(|(which, name)| match which {
            0 => ProfileSelector::RuntimeDefault,
            1 => ProfileSelector::Builtin(name),
            _ => ProfileSelector::Named(name),
        });
        let label = || proptest::option::of(text);
        let profile = (selector, label()).prop_map(|(selector, label)| ProfileDescriptor { selector, label });
        let declaration = (text, "[ab]{2,3}").prop_map(|(name, to)| Declaration {
            kind: DeclarationKind::CapabilityGrant,
            name,
            reference: format!("capability:{to}"),
        });
        let profiles = proptest::collection::vec(profile, 0..3);
        let declarations = proptest::collection::vec(declaration, 0..3);
        (text, text, text, text, label(), profiles, declarations).prop_map(
            |(revision, workspace_id, created_at, source, detail, profiles, declarations)| BundleContent {
                id: BundleId::new("b").unwrap(),
                revision,
                workspace_id,
                created_at,
                provenance: Provenance { source, detail },
                profiles,
                declarations,
            },
        )
    }

    /// One small change of a bundle.
    #[derive(Debug, Clone)]
    enum Edit {
        /// Two texts that lie side by side are parted elsewhere.
        Part(Index, Index),
        /// They change places.
        Swap(Index),
        /// A text becomes another one.
        Say(Index, String),
        Detail(Option<String>),
        Label(Index, Option<String>),
        Select(Index, ProfileSelector),
        DropProfile(Index),
        RepeatDeclaration(Index),
    }

    fn edits(text: &'static str) -> impl Strategy<Value = Edit> {
        let at = any::<Index>;
        prop_oneof![
            4 => (at(), at()).prop_map(|(at, to)| Edit::Part(at, to)),
            1 => at().prop_map(Edit::Swap),
            1 => (at(), text).prop_map(|(at, text)| Edit::Say(at, text)),
            1 => proptest::option::of(text).prop_map(Edit::Detail),
            1 => (at(), proptest::option::of(text)).prop_map(|(at, label)| Edit::Label(at, label)),
            1 => (at(), text).prop_map(|(at, name)| Edit::Select(at, ProfileSelector::Named(name))),
            1 => at().prop_map(Edit::DropProfile),
            1 => at().prop_map(Edit::RepeatDeclaration),
        ]
    }

    /// All texts but the id, as they lie side by side.
    fn texts(content: &mut BundleContent) -> Vec<&mut String> {
        let BundleContent { id: _, revision, workspace_id, created_at, provenance, profiles, declarations } = content;
        let mut texts = vec![revision, workspace_id, created_at, &mut provenance.source];
        texts.extend(&mut provenance.detail);
        for ProfileDescriptor { selector, label } in profiles {
            match selector {
                ProfileSelector::RuntimeDefault => {}
                ProfileSelector::Builtin(name) | ProfileSelector::Named(name) => texts.push(name),
            }
            texts.extend(label);
        }
        for Declaration { kind: _, name, reference } in declarations {
            texts.extend([name, reference]);
        }
        texts
    }

    /// Parts two texts at another place of what they are together; at a NUL of their own, as the digest would.
    fn part(one: &mut String, other: &mut String, to: Index) {
        let nul = format!("{one}\0{other}");
        let nuls: Vec<_> = nul.match_indices('\0').map(|(at, _)| at).filter(|at| *at != one.len()).collect();
        let (first, second) = if nuls.is_empty() {
            let whole = format!("{one}{other}");
            let (first, second) = whole.split_at(1 + to.index(whole.len() - 1));
            (first.to_owned(), second.to_owned())
        } else {
            let at = *to.get(&nuls);
            (nul[..at].to_owned(), nul[at + 1..].to_owned())
        };
        (*one, *other) = (first, second);
    }

    fn edited(content: &BundleContent, edit: Edit) -> BundleContent {
        let mut content = content.clone();
        match edit {
            Edit::Part(at, to) => {
                let mut texts = texts(&mut content);
                let at = at.index(texts.len() - 1);
                let [one, other] = &mut texts[at..at + 2] else { unreachable!() };
                part(one, other, to);
            }
            Edit::Swap(at) => {
                let mut texts = texts(&mut content);
                let at = at.index(texts.len() - 1);
                let [one, other] = &mut texts[at..at + 2] else { unreachable!() };
                std::mem::swap(*one, *other);
            }
            Edit::Say(at, text) => {
                let mut texts = texts(&mut content);
                let at = at.index(texts.len());
                *texts[at] = text;
            }
            Edit::Detail(detail) => content.provenance.detail = detail,
            Edit::Label(at, label) if !content.profiles.is_empty() => at.get_mut(&mut content.profiles).label = label,
            Edit::Select(at, selector) if !content.profiles.is_empty() => {
                at.get_mut(&mut content.profiles).selector = selector;
            }
            Edit::DropProfile(at) if !content.profiles.is_empty() => {
                content.profiles.remove(at.index(content.profiles.len()));
            }
            Edit::RepeatDeclaration(at) if !content.declarations.is_empty() => {
                content.declarations.push(at.get(&content.declarations).clone());
            }
            Edit::Label(..) | Edit::Select(..) | Edit::DropProfile(_) | Edit::RepeatDeclaration(_) => {}
        }
        content
    }

    /// The same bundle, however its entries are ordered.
    fn in_order(content: &BundleContent) -> String {
        let mut content = content.clone();
        content.profiles.sort_by_key(|profile| format!("{profile:?}"));
        content.declarations.sort_by_key(|declaration| format!("{declaration:?}"));
        format!("{content:?}")
    }

    /// Draws bundles and edits them: two digests are the same only if the bundles are. Where not `any` bundle counts,
    /// both must be valid.
    fn digests_tell_bundles_apart(text: &'static str, any: bool) -> Result<(), Box<TestError<(BundleContent, Edit)>>> {
        let config = ProptestConfig {
            cases: 4_000,
            max_global_rejects: 100_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let run = TestRunner::new(config).run(&(bundles(text), edits(text)), |(one, edit)| {
            let other = edited(&one, edit);
            let is_valid = |content: &BundleContent| any || ConfigBundle::new(content.clone(), None).is_ok();
            prop_assume!(is_valid(&one) && is_valid(&other));
            prop_assert_eq!(digest(&one) == digest(&other), in_order(&one) == in_order(&other));
            Ok(())
        });
        run.map_err(Box::new)
    }

    #[test]
    fn two_bundles_share_a_digest_only_if_they_are_the_same() {
        // acceptance 98
        digests_tell_bundles_apart("[ab]{2,3}", false).unwrap();
    }

    #[test]
    fn without_the_rule_against_control_characters_a_digest_could_be_forged() {
        // acceptance 98
        let found = digests_tell_bundles_apart("[ab\0]{2,3}", true);
        let found = found.map_err(|found| *found);
        assert!(matches!(found, Err(TestError::Fail(..))), "the search finds nothing, and so says nothing: {found:?}");
    }

    proptest! {
        #[test]
        fn the_order_of_entries_does_not_matter(one in bundles("[ab]{2,3}")) {
            // acceptance 97
            let mut turned = one.clone();
            turned.profiles.reverse();
            turned.declarations.reverse();
            let digests = [one, turned].map(|content| ConfigBundle::new(content, None).unwrap().digest().clone());
            prop_assert_eq!(&digests[0], &digests[1]);
        }
    }
}
