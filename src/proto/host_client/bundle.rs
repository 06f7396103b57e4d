//! What a host tells of its bundles. Of a bundle that was just given to it, the control plane knows better; of the others
//! it believes only what a valid bundle could say.

use super::malformed;
use crate::model::{BundleDigest, BundleId, BundlePage, BundleRef, BundleSummary, ConfigBundle, Provenance, Result};
use crate::proto::{runtime_v1 as host, v1};

/// A bundle that the host has taken: it must be the one it was given.
///
/// # Errors
/// The answer is malformed.
pub fn synced(from: host::SyncConfigBundleResponse, bundle: &ConfigBundle) -> Result<BundleSummary> {
    let host::SyncConfigBundleResponse { availability, diagnostics: _ } = from;
    let known = available(availability, &bundle.reference())?;
    if known == bundle.summary() { Ok(known) } else { Err(malformed("availability")) }
}

/// A bundle that the host has: it must be the one that was asked for.
///
/// # Errors
/// The answer is malformed.
pub fn checked(from: host::CheckConfigBundleResponse, reference: &BundleRef) -> Result<BundleSummary> {
    let host::CheckConfigBundleResponse { availability, diagnostics: _ } = from;
    available(availability, reference)
}

/// A page of bundles: references rise, and all are after `after`.
///
/// # Errors
/// The answer is malformed.
pub fn bundle_page(
    from: host::ListConfigBundlesResponse,
    after: Option<&BundleRef>,
    limit: usize,
) -> Result<BundlePage> {
    let host::ListConfigBundlesResponse { bundles, diagnostics: _, next_page_token } = from;
    let bundles = bundles.into_iter().map(summary).collect::<Result<Vec<_>>>()?;
    let rising = bundles.is_sorted_by(|a, b| a.reference() < b.reference());
    let first_is_after = bundles.first().is_none_or(|first| after.is_none_or(|after| first.reference() > *after));
    if !rising || !first_is_after || bundles.len() > limit {
        return Err(malformed("bundles"));
    }
    let more = !next_page_token.is_empty();
    if more && bundles.is_empty() {
        return Err(malformed("next_page_token"));
    }
    Ok(BundlePage { bundles, more })
}

fn available(from: Option<v1::ConfigBundleAvailability>, of: &BundleRef) -> Result<BundleSummary> {
    let v1::ConfigBundleAvailability { reference, summary: told } = from.ok_or_else(|| malformed("availability"))?;
    let v1::ConfigBundleRef { id, digest } = reference.ok_or_else(|| malformed("reference"))?;
    let told = summary(told.ok_or_else(|| malformed("summary"))?)?;
    let same = id == of.id.as_str() && digest == of.digest.as_str() && told.reference() == *of;
    if same { Ok(told) } else { Err(malformed("reference")) }
}

fn summary(from: v1::ConfigBundleSummary) -> Result<BundleSummary> {
    let v1::ConfigBundleSummary {
        id,
        digest,
        digest_algorithm,
        revision,
        workspace_id,
        created_at,
        provenance,
        profile_count,
        declaration_count,
    } = from;
    let v1::Provenance { source, detail } = provenance.ok_or_else(|| malformed("provenance"))?;
    let summary = BundleSummary {
        id: BundleId::new(&id).map_err(|_| malformed("id"))?,
        digest: BundleDigest::new(&digest).map_err(|_| malformed("digest"))?,
        revision,
        workspace_id,
        created_at,
        provenance: Provenance { source, detail },
        profile_count,
        declaration_count,
    };
    if digest_algorithm != BundleDigest::ALGORITHM || summary.check().is_err() {
        return Err(malformed("summary"));
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BundleContent, Reason};
    use crate::proto::convert;

    fn bundle(id: &str) -> ConfigBundle {
        let content = BundleContent {
            id: BundleId::new(id).unwrap(),
            revision: "1".to_owned(),
            workspace_id: "local:test".to_owned(),
            created_at: "2026-06-26T00:00:00Z".to_owned(),
            provenance: Provenance { source: "test".to_owned(), detail: None },
            profiles: Vec::new(),
            declarations: Vec::new(),
        };
        ConfigBundle::new(content, None).unwrap()
    }

    fn malformed<T>(answer: Result<T>) -> bool {
        answer.err().is_some_and(|error| error.reason() == Reason::RemoteRuntimeMalformedResponse)
    }

    #[test]
    fn a_host_speaks_of_the_bundle_that_was_meant() {
        // acceptance 80
        let it = bundle("one");
        let said = |change: fn(&mut v1::ConfigBundleAvailability)| {
            let mut availability = convert::availability(it.summary());
            change(&mut availability);
            host::SyncConfigBundleResponse { availability: Some(availability), diagnostics: Vec::new() }
        };
        assert_eq!(synced(said(|_| {}), &it).unwrap(), it.summary());
        for change in [
            (|it| it.reference = None) as fn(&mut v1::ConfigBundleAvailability),
            |it| it.summary = None,
            |it| it.reference.as_mut().unwrap().id = "two".to_owned(),
            |it| it.summary.as_mut().unwrap().digest = "0".repeat(64),
            |it| it.summary.as_mut().unwrap().digest_algorithm = "md5".to_owned(),
            |it| it.summary.as_mut().unwrap().provenance = None,
            |it| it.summary.as_mut().unwrap().revision = "/run/x.sock".to_owned(),
            |it| it.summary.as_mut().unwrap().profile_count = 7,
        ] {
            assert!(malformed(synced(said(change), &it)));
        }
        assert!(malformed(synced(host::SyncConfigBundleResponse::default(), &it)));
        assert!(malformed(checked(host::CheckConfigBundleResponse::default(), &it.reference())));
    }

    #[test]
    fn a_page_of_bundles_goes_on_where_the_last_one_ended() {
        let page = |ids: &[&str], next_page_token: &str| host::ListConfigBundlesResponse {
            bundles: ids.iter().map(|id| convert::bundle_summary(bundle(id).summary())).collect(),
            diagnostics: Vec::new(),
            next_page_token: next_page_token.to_owned(),
        };
        let after = bundle("b").reference();
        let read = |ids: &[&str], token: &str| bundle_page(page(ids, token), Some(&after), 2);
        assert!(read(&["c", "d"], "more").unwrap().more);
        assert_eq!(read(&[], "").unwrap(), BundlePage::default());
        for (ids, token) in
            [(&["d", "c"][..], ""), (&["b", "c"], ""), (&["c", "c"], ""), (&["c", "d", "e"], ""), (&[], "more")]
        {
            assert!(malformed(read(ids, token)), "{ids:?}");
        }
    }
}
