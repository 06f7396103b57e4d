//! Configuration bundles: what callers give, checked, and what is told of those that a runtime has.

use super::fields::{Scope as _, bundle_ref, enum_value, profile_of, required};
use crate::model::{
    BundleContent, BundleDigest, BundleId, BundleRef, BundleSummary, ConfigBundle, Declaration, DeclarationKind, Error,
    ErrorClass, ProfileDescriptor, Provenance, Result, RuntimeId,
};
use crate::proto::{runtime_v1 as host, v1};

/// A bundle, or its refusal for what it says where its fields are all good: that one is answered in-band.
pub type Offered = Result<ConfigBundle>;

/// Checks a bundle that a runtime is to be given.
///
/// # Errors
/// Names the bad field by its path, as in `bundle.declarations[3].reference`.
pub fn sync_config_bundle(from: v1::SyncConfigBundleRequest) -> Result<(RuntimeId, Offered)> {
    let v1::SyncConfigBundleRequest {
        runtime_id,
        bundle: given,
        // Taken out before, for the fingerprint.
        request_id: _,
    } = from;
    let runtime_id = RuntimeId::new(&runtime_id)?;
    match bundle(given) {
        Err(error) if error.reason().class() != ErrorClass::Asked => Err(error),
        offered => Ok((runtime_id, offered)),
    }
}

/// Checks a bundle that this host is to keep.
///
/// # Errors
/// Names the bad field, or says what else it is refused for.
pub fn host_sync_config_bundle(from: host::SyncConfigBundleRequest) -> Result<ConfigBundle> {
    let host::SyncConfigBundleRequest { context: _, bundle: given } = from;
    bundle(given)
}

/// Checks which bundle of which runtime is asked for.
///
/// # Errors
/// Names the bad field.
pub fn check_config_bundle(from: v1::CheckConfigBundleRequest) -> Result<(RuntimeId, BundleRef)> {
    let v1::CheckConfigBundleRequest { runtime_id, reference } = from;
    Ok((RuntimeId::new(&runtime_id)?, asked_for(reference)?))
}

/// Checks which bundle is asked for.
///
/// # Errors
/// Names the bad field.
pub fn host_check_config_bundle(from: host::CheckConfigBundleRequest) -> Result<BundleRef> {
    let host::CheckConfigBundleRequest { reference } = from;
    asked_for(reference)
}

/// Checks which bundle of which runtime is to be removed.
///
/// # Errors
/// Names the bad field.
pub fn remove_config_bundle(from: v1::RemoveConfigBundleRequest) -> Result<(RuntimeId, BundleRef)> {
    let v1::RemoveConfigBundleRequest { runtime_id, reference, request_id: _ } = from;
    Ok((RuntimeId::new(&runtime_id)?, asked_for(reference)?))
}

/// Checks which bundle is to be removed.
///
/// # Errors
/// Names the bad field.
pub fn host_remove_config_bundle(from: host::RemoveConfigBundleRequest) -> Result<BundleRef> {
    let host::RemoveConfigBundleRequest { context: _, reference } = from;
    asked_for(reference)
}

/// A bundle by its id and digest.
///
/// # Errors
/// Names the bad field.
pub fn bundle_reference(from: v1::ConfigBundleRef) -> Result<BundleRef> {
    let v1::ConfigBundleRef { id, digest } = from;
    Ok(BundleRef { id: BundleId::new(&id)?, digest: BundleDigest::new(&digest)? })
}

fn asked_for(reference: Option<v1::ConfigBundleRef>) -> Result<BundleRef> {
    bundle_reference(required(reference, "reference")?).scope("reference")
}

/// A bundle that must be there, checked.
pub(in crate::proto) fn bundle(given: Option<v1::ConfigBundle>) -> Result<ConfigBundle> {
    let v1::ConfigBundle { metadata, profiles, declarations } = required(given, "bundle")?;
    let check = || {
        let metadata = required(metadata, "metadata")?;
        let (digest, content) = content(metadata).scope("metadata")?;
        let profiles = profiles.into_iter().enumerate().map(|(at, it)| profile(it).scope(&format!("profiles[{at}]")));
        let declarations =
            declarations.into_iter().enumerate().map(|(at, it)| declaration(it).scope(&format!("declarations[{at}]")));
        let content = BundleContent {
            profiles: profiles.collect::<Result<_>>()?,
            declarations: declarations.collect::<Result<_>>()?,
            ..content
        };
        ConfigBundle::new(content, digest)
    };
    check().scope("bundle")
}

/// The digest that was given, and the content without its lists.
fn content(from: v1::ConfigBundleMetadata) -> Result<(Option<BundleDigest>, BundleContent)> {
    let v1::ConfigBundleMetadata { id, digest, revision, workspace_id, created_at, provenance } = from;
    let id = BundleId::new(&id)?;
    let digest = if digest.is_empty() { None } else { Some(BundleDigest::new(&digest)?) };
    let v1::Provenance { source, detail } = required(provenance, "provenance")?;
    let content = BundleContent {
        id,
        revision,
        workspace_id,
        created_at,
        provenance: Provenance { source, detail },
        profiles: Vec::new(),
        declarations: Vec::new(),
    };
    Ok((digest, content))
}

fn profile(from: v1::ProfileDescriptor) -> Result<ProfileDescriptor> {
    let v1::ProfileDescriptor { selector, label } = from;
    Ok(ProfileDescriptor { selector: profile_of(required(selector, "selector")?).scope("selector")?, label })
}

fn declaration(from: v1::Declaration) -> Result<Declaration> {
    let v1::Declaration { kind, name, reference } = from;
    let kind = match enum_value(kind, "kind")? {
        v1::DeclarationKind::Unspecified => return Err(Error::field("kind", "is required")),
        v1::DeclarationKind::SecretRef => DeclarationKind::SecretRef,
        v1::DeclarationKind::MountGrant => DeclarationKind::MountGrant,
        v1::DeclarationKind::NetworkPolicy => DeclarationKind::NetworkPolicy,
        v1::DeclarationKind::ShellPolicy => DeclarationKind::ShellPolicy,
        v1::DeclarationKind::GitPolicy => DeclarationKind::GitPolicy,
        v1::DeclarationKind::CapabilityGrant => DeclarationKind::CapabilityGrant,
        v1::DeclarationKind::Unsupported => DeclarationKind::Unsupported,
    };
    Ok(Declaration { kind, name, reference })
}

/// What a runtime has.
#[must_use]
pub fn availability(from: BundleSummary) -> v1::ConfigBundleAvailability {
    let reference = bundle_ref(from.reference());
    v1::ConfigBundleAvailability { reference: Some(reference), summary: Some(bundle_summary(from)) }
}

/// What is told of a bundle.
#[must_use]
pub fn bundle_summary(from: BundleSummary) -> v1::ConfigBundleSummary {
    let BundleSummary {
        id,
        digest,
        revision,
        workspace_id,
        created_at,
        provenance: Provenance { source, detail },
        profile_count,
        declaration_count,
    } = from;
    v1::ConfigBundleSummary {
        id: id.to_string(),
        digest: digest.to_string(),
        digest_algorithm: BundleDigest::ALGORITHM.to_owned(),
        revision,
        workspace_id,
        created_at,
        provenance: Some(v1::Provenance { source, detail }),
        profile_count,
        declaration_count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use crate::proto::host_client::request;

    fn request() -> v1::SyncConfigBundleRequest {
        let builtin = v1::profile_selector::Kind::Builtin("builtin:coder".to_owned());
        v1::SyncConfigBundleRequest {
            runtime_id: "r".to_owned(),
            bundle: Some(v1::ConfigBundle {
                metadata: Some(v1::ConfigBundleMetadata {
                    id: "bundle-1".to_owned(),
                    digest: String::new(),
                    revision: "rev-1".to_owned(),
                    workspace_id: "local:test".to_owned(),
                    created_at: "2026-06-26T00:00:00Z".to_owned(),
                    provenance: Some(v1::Provenance { source: "workspace-server-test".to_owned(), detail: None }),
                }),
                profiles: vec![v1::ProfileDescriptor {
                    selector: Some(v1::ProfileSelector { kind: Some(builtin) }),
                    label: Some("Coder".to_owned()),
                }],
                declarations: vec![v1::Declaration {
                    kind: v1::DeclarationKind::CapabilityGrant.into(),
                    name: "read".to_owned(),
                    reference: "capability:read".to_owned(),
                }],
            }),
            request_id: String::new(),
        }
    }

    fn offered(change: impl FnOnce(&mut v1::ConfigBundle)) -> Result<Offered> {
        let mut request = request();
        change(request.bundle.as_mut().unwrap());
        sync_config_bundle(request).map(|(_, offered)| offered)
    }

    fn metadata(bundle: &mut v1::ConfigBundle) -> &mut v1::ConfigBundleMetadata {
        bundle.metadata.as_mut().unwrap()
    }

    #[test]
    fn a_bundle_is_the_same_on_the_way_to_a_host() {
        // acceptance 97
        let bundle = offered(|_| {}).unwrap().unwrap();
        assert_eq!(bundle.digest().as_str(), "593afc87d7904886f71f8c7e1a3752ff15f09c527b33a6e56b44aa2413651238");
        let sent = host::SyncConfigBundleRequest { context: None, bundle: Some(request::bundle(&bundle)) };
        assert_eq!(host_sync_config_bundle(sent).unwrap(), bundle);
    }

    #[test]
    fn what_is_said_of_a_bundle_is_refused_apart_from_its_fields() {
        // acceptance 103, 104
        let wrong = "0".repeat(64);
        let refused = offered(|bundle| metadata(bundle).digest = wrong.clone()).unwrap().unwrap_err();
        assert_eq!(refused.reason(), Reason::ConfigBundleDigestMismatch);
        let unsupported = v1::DeclarationKind::Unsupported.into();
        let refused = offered(|bundle| bundle.declarations[0].kind = unsupported).unwrap().unwrap_err();
        assert_eq!(refused.reason(), Reason::UnsupportedConfigDeclaration);
    }

    type Change = fn(&mut v1::ConfigBundle);

    #[test]
    fn each_bad_field_of_a_bundle_is_named_by_its_path() {
        // acceptance 99, 100, 101, 102
        let cases: [(Change, &str); 16] = [
            (|it| it.metadata = None, "bundle.metadata"),
            (|it| metadata(it).provenance = None, "bundle.metadata.provenance"),
            (|it| metadata(it).digest = "A".repeat(64), "bundle.metadata.digest"),
            (|it| metadata(it).revision.clear(), "bundle.metadata.revision"),
            (|it| metadata(it).workspace_id = " ".to_owned(), "bundle.metadata.workspace_id"),
            (|it| metadata(it).created_at = "2026\n".to_owned(), "bundle.metadata.created_at"),
            (
                |it| metadata(it).provenance.as_mut().unwrap().source = "/run/x".to_owned(),
                "bundle.metadata.provenance.source",
            ),
            (
                |it| metadata(it).provenance.as_mut().unwrap().detail = Some("a.sock".to_owned()),
                "bundle.metadata.provenance.detail",
            ),
            (|it| it.profiles[0].selector = None, "bundle.profiles[0].selector"),
            (
                |it| it.profiles[0].selector = Some(v1::ProfileSelector { kind: None }),
                "bundle.profiles[0].selector.kind",
            ),
            (|it| it.profiles[0].label = Some(String::new()), "bundle.profiles[0].label"),
            (|it| it.declarations[0].kind = 0, "bundle.declarations[0].kind"),
            (|it| it.declarations[0].kind = 99, "bundle.declarations[0].kind"),
            (|it| it.declarations[0].name.clear(), "bundle.declarations[0].name"),
            (|it| it.declarations[0].reference = "secret:x".to_owned(), "bundle.declarations[0].reference"),
            (|it| it.profiles = vec![it.profiles[0].clone(); 1_001], "bundle.profiles"),
        ];
        for (change, path) in cases {
            let error = offered(change).unwrap_err();
            assert_eq!((error.reason(), error.fields()[0].field.as_str()), (Reason::InvalidRequest, path));
        }
        let id = offered(|it| metadata(it).id = "bundle/1?x".to_owned()).unwrap_err();
        assert_eq!((id.reason(), id.fields()[0].field.as_str()), (Reason::InvalidIdentifier, "bundle.metadata.id"));
        let none = sync_config_bundle(v1::SyncConfigBundleRequest { bundle: None, ..request() }).unwrap_err();
        assert_eq!(none.fields()[0].field, "bundle");
    }

    #[test]
    fn a_reference_names_an_id_and_a_digest() {
        // acceptance 35, 99, 100
        let check = |id: &str, digest: String| {
            let reference = Some(v1::ConfigBundleRef { id: id.to_owned(), digest });
            check_config_bundle(v1::CheckConfigBundleRequest { runtime_id: "r".to_owned(), reference })
        };
        assert!(check("bundle-1", "0".repeat(64)).is_ok());
        for (refused, path) in [
            (check("bundle/1?x", "0".repeat(64)), "reference.id"),
            (check("bundle-1", String::new()), "reference.digest"),
            (
                check_config_bundle(v1::CheckConfigBundleRequest { runtime_id: "r".to_owned(), reference: None }),
                "reference",
            ),
        ] {
            assert_eq!(refused.unwrap_err().fields()[0].field, path);
        }
    }
}
