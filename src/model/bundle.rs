//! Configuration bundles: what a worker is made with. A bundle holds references, never a secret, a path or a socket.
//!
//! A bundle is immutable: its digest names all of it, so that a worker that was made with it can be told apart from one
//! that was made with another of the same id.

use super::bundle_digest::{BundleDigest, digest};
use super::bundle_text::{check_reference, check_text};
use super::error::{Error, Reason, Result};
use super::id::BundleId;
use super::spawn::{BundleRef, ProfileSelector};

/// The most profiles, and the most declarations, in one bundle.
const MAX_ENTRIES: usize = 1_000;

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Who made it.
    pub source: String,
    /// More about that; not blank where it is there.
    pub detail: Option<String>,
}

/// A profile that a bundle declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileDescriptor {
    /// Which.
    pub selector: ProfileSelector,
    /// For people; not blank where it is there.
    pub label: Option<String>,
}

/// What a declaration is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeclarationKind {
    /// A reference to a secret that the host resolves.
    SecretRef,
    /// A mount that the worker may use.
    MountGrant,
    /// Whether it may use the network.
    NetworkPolicy,
    /// Whether it may use a shell.
    ShellPolicy,
    /// Whether it may use git.
    GitPolicy,
    /// A capability that it is granted.
    CapabilityGrant,
    /// What nobody here knows how to honour: no valid bundle has one.
    Unsupported,
}

impl DeclarationKind {
    /// Its name in the digest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecretRef => "secret_ref",
            Self::MountGrant => "mount_grant",
            Self::NetworkPolicy => "network_policy",
            Self::ShellPolicy => "shell_policy",
            Self::GitPolicy => "git_policy",
            Self::CapabilityGrant => "capability_grant",
            Self::Unsupported => "unsupported",
        }
    }

    /// What a reference of this kind may start with (acceptance 102).
    pub(super) const fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::SecretRef => &["secret:", "secret-ref:", "vault:", "keyring:"],
            Self::MountGrant => &["mount:", "mount-grant:"],
            Self::NetworkPolicy => &["network:", "network-policy:"],
            Self::ShellPolicy => &["shell:", "shell-policy:"],
            Self::GitPolicy => &["git:", "git-policy:"],
            Self::CapabilityGrant => &["capability:", "capability-grant:"],
            Self::Unsupported => &[],
        }
    }

    /// Whether its references are one of the words `allow`, `ask` and `deny`.
    pub(super) const fn is_policy(self) -> bool {
        matches!(self, Self::NetworkPolicy | Self::ShellPolicy | Self::GitPolicy)
    }
}

/// Something that a bundle grants, forbids or refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// What about.
    pub kind: DeclarationKind,
    /// By what name the worker knows it.
    pub name: String,
    /// What it is: a reference with the prefix of its kind.
    pub reference: String,
}

/// A bundle as it is given, before it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleContent {
    /// Its id.
    pub id: BundleId,
    /// Its author's own mark.
    pub revision: String,
    /// The workspace it is for.
    pub workspace_id: String,
    /// When it was made: the text itself, since the digest covers it.
    pub created_at: String,
    /// Where it comes from.
    pub provenance: Provenance,
    /// The profiles it declares.
    pub profiles: Vec<ProfileDescriptor>,
    /// What it grants, forbids and refers to.
    pub declarations: Vec<Declaration>,
}

/// A bundle that is valid, with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigBundle {
    content: BundleContent,
    digest: BundleDigest,
}

/// What is told of a stored bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleSummary {
    /// Its id.
    pub id: BundleId,
    /// Its digest.
    pub digest: BundleDigest,
    /// Its author's own mark.
    pub revision: String,
    /// The workspace it is for.
    pub workspace_id: String,
    /// When it was made.
    pub created_at: String,
    /// Where it comes from.
    pub provenance: Provenance,
    /// How many profiles it declares.
    pub profile_count: u32,
    /// How many declarations it has.
    pub declaration_count: u32,
}

impl ConfigBundle {
    /// Checks a bundle and computes its digest; a given digest must be that.
    ///
    /// # Errors
    /// [`Reason::InvalidRequest`] names the field. Only where all fields are good: [`Reason::UnsupportedConfigDeclaration`]
    /// names the declaration, and [`Reason::ConfigBundleDigestMismatch`] has both digests.
    pub fn new(content: BundleContent, given: Option<BundleDigest>) -> Result<Self> {
        check(&content)?;
        let digest = digest(&content);
        match given {
            Some(given) if given != digest => {
                Err(Error::new(Reason::ConfigBundleDigestMismatch, "the digest given is not the bundle's")
                    .with("config_bundle_id", &content.id)
                    .with("expected", &given)
                    .with("actual", &digest))
            }
            _ => Ok(Self { content, digest }),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn content(&self) -> &BundleContent {
        &self.content
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &BundleDigest {
        &self.digest
    }

    /// By what a worker names it.
    #[must_use]
    pub fn reference(&self) -> BundleRef {
        BundleRef { id: self.content.id.clone(), digest: self.digest.clone() }
    }

    /// Whether it declares a profile; also the runtime's default must be declared (acceptance 91).
    #[must_use]
    pub fn declares(&self, profile: &ProfileSelector) -> bool {
        self.content.profiles.iter().any(|declared| declared.selector == *profile)
    }

    /// What is told of it.
    #[must_use]
    pub fn summary(&self) -> BundleSummary {
        let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX);
        let BundleContent { id, revision, workspace_id, created_at, provenance, profiles, declarations } =
            self.content.clone();
        BundleSummary {
            id,
            digest: self.digest.clone(),
            revision,
            workspace_id,
            created_at,
            provenance,
            profile_count: count(profiles.len()),
            declaration_count: count(declarations.len()),
        }
    }
}

impl BundleSummary {
    /// By what a worker names the bundle.
    #[must_use]
    pub fn reference(&self) -> BundleRef {
        BundleRef { id: self.id.clone(), digest: self.digest.clone() }
    }

    /// Checks the texts of a summary that was told by somebody else: a valid bundle's keep its rules.
    ///
    /// # Errors
    /// [`Reason::InvalidRequest`] names the field.
    pub fn check(&self) -> Result<()> {
        check_texts(&self.revision, &self.workspace_id, &self.created_at, &self.provenance)
    }
}

fn check_texts(revision: &str, workspace_id: &str, created_at: &str, provenance: &Provenance) -> Result<()> {
    check_text("revision", revision)?;
    check_text("workspace_id", workspace_id)?;
    check_text("created_at", created_at)?;
    check_text("provenance.source", &provenance.source)?;
    provenance.detail.as_ref().map_or(Ok(()), |detail| check_text("provenance.detail", detail))
}

fn check(content: &BundleContent) -> Result<()> {
    let BundleContent { id: _, revision, workspace_id, created_at, provenance, profiles, declarations } = content;
    check_texts(revision, workspace_id, created_at, provenance).map_err(|error| error.scope("metadata"))?;
    for (field, count) in [("profiles", profiles.len()), ("declarations", declarations.len())] {
        if count > MAX_ENTRIES {
            return Err(Error::field(field, format!("must be at most {MAX_ENTRIES}")));
        }
    }
    for (at, ProfileDescriptor { selector, label }) in profiles.iter().enumerate() {
        match selector {
            ProfileSelector::RuntimeDefault => {}
            ProfileSelector::Builtin(name) => check_text(&format!("profiles[{at}].selector.builtin"), name)?,
            ProfileSelector::Named(name) => check_text(&format!("profiles[{at}].selector.named"), name)?,
        }
        if let Some(label) = label {
            check_text(&format!("profiles[{at}].label"), label)?;
        }
    }
    for (at, Declaration { kind, name, reference }) in declarations.iter().enumerate() {
        check_text(&format!("declarations[{at}].name"), name)?;
        if *kind != DeclarationKind::Unsupported {
            check_reference(&format!("declarations[{at}].reference"), *kind, reference)?;
        }
    }
    match declarations.iter().position(|declaration| declaration.kind == DeclarationKind::Unsupported) {
        None => Ok(()),
        Some(at) => Err(Error::new(Reason::UnsupportedConfigDeclaration, "a declaration is of a kind unknown here")
            .with("config_bundle_id", &content.id)
            .with("field", &format!("declarations[{at}].kind"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> BundleContent {
        BundleContent {
            id: BundleId::new("bundle-1").unwrap(),
            revision: "rev-1".to_owned(),
            workspace_id: "local:test".to_owned(),
            created_at: "2026-06-26T00:00:00Z".to_owned(),
            provenance: Provenance { source: "workspace-server-test".to_owned(), detail: None },
            profiles: vec![ProfileDescriptor {
                selector: ProfileSelector::Builtin("builtin:coder".to_owned()),
                label: Some("Coder".to_owned()),
            }],
            declarations: vec![Declaration {
                kind: DeclarationKind::CapabilityGrant,
                name: "read".to_owned(),
                reference: "capability:read".to_owned(),
            }],
        }
    }

    #[test]
    fn config_bundle_digest_is_the_seeds() {
        // acceptance 97, 135
        let bundle = ConfigBundle::new(content(), None).unwrap();
        assert_eq!(bundle.digest().as_str(), "593afc87d7904886f71f8c7e1a3752ff15f09c527b33a6e56b44aa2413651238");
        let given = BundleDigest::new(&"0".repeat(64)).unwrap();
        let refused = ConfigBundle::new(content(), Some(given)).unwrap_err();
        // acceptance 104
        assert_eq!(refused.reason(), Reason::ConfigBundleDigestMismatch);
        assert!(refused.metadata().iter().any(|(key, value)| *key == "actual" && value.starts_with("593a")));
    }

    #[test]
    fn config_bundle_declarations_of_an_unknown_kind_are_told_from_bad_ones() {
        // acceptance 103, 135
        let mut strange = content();
        strange.declarations[0].kind = DeclarationKind::Unsupported;
        strange.declarations[0].reference = "anything at all".to_owned();
        let refused = ConfigBundle::new(strange.clone(), None).unwrap_err();
        assert_eq!(refused.reason(), Reason::UnsupportedConfigDeclaration);
        assert!(refused.metadata().contains(&("field", "declarations[0].kind".to_owned())));
        strange.declarations[0].name.clear();
        assert_eq!(ConfigBundle::new(strange, None).unwrap_err().reason(), Reason::InvalidRequest);
    }

    #[test]
    fn config_bundle_faults_are_named_by_their_paths() {
        // acceptance 98, 100, 101, 135
        type Change = fn(&mut BundleContent);
        let cases: [(Change, &str); 8] = [
            (|c| c.profiles[0].selector = ProfileSelector::Builtin("/etc".to_owned()), "profiles[0].selector.builtin"),
            (|c| c.profiles[0].selector = ProfileSelector::Named("a.sock".to_owned()), "profiles[0].selector.named"),
            (|c| c.revision.clear(), "metadata.revision"),
            (|c| c.created_at.push('\n'), "metadata.created_at"),
            (|c| c.provenance.source = "/run/x".to_owned(), "metadata.provenance.source"),
            (|c| c.provenance.detail = Some(String::new()), "metadata.provenance.detail"),
            (|c| c.profiles[0].label = Some(" ".to_owned()), "profiles[0].label"),
            (|c| c.declarations[0].reference = "capability:".to_owned(), "declarations[0].reference"),
        ];
        for (change, field) in cases {
            let mut changed = content();
            change(&mut changed);
            assert_eq!(ConfigBundle::new(changed, None).unwrap_err().fields()[0].field, field);
        }
    }
}
