//! Configuration bundles, and the workers that are made with them.

use super::*;
use crate::model::{BundleContent, BundleId, BundleRef, ConfigBundle, ProfileDescriptor, Provenance, Reason};

pub(super) fn bundle(revision: &str, declared: &[ProfileSelector]) -> ConfigBundle {
    let content = BundleContent {
        id: BundleId::new("team").unwrap(),
        revision: revision.to_owned(),
        workspace_id: "local:test".to_owned(),
        created_at: "2026-06-26T00:00:00Z".to_owned(),
        provenance: Provenance { source: "test".to_owned(), detail: None },
        profiles: (declared.iter().cloned()).map(|selector| ProfileDescriptor { selector, label: None }).collect(),
        declarations: Vec::new(),
    };
    ConfigBundle::new(content, None).unwrap()
}

async fn create(stage: &Stage, profile: ProfileSelector, bundle: Option<BundleRef>) -> Result<Worker> {
    let mut create = request(profile);
    create.config_bundle = bundle;
    Ok(stage.engine.create_worker(&context(None, 0), create).await?.worker)
}

#[tokio::test]
async fn synced_config_bundle_makes_workers_of_the_profiles_it_declares() {
    // acceptance 91, 104, 135
    let stage = Stage::with(Profile::catalog()).await;
    let it = bundle("1", &[builtin("it")]);
    let refused = create(&stage, builtin("it"), Some(it.reference())).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ConfigBundleMissing);
    stage.engine.sync_bundle(&context(None, 0), it.clone()).await.unwrap();
    let worker = create(&stage, builtin("it"), Some(it.reference())).await.unwrap();
    assert_eq!(worker.config_bundle, Some(it.reference()));
    for undeclared in [ProfileSelector::RuntimeDefault, ProfileSelector::Named("other".to_owned())] {
        let refused = create(&stage, undeclared, Some(it.reference())).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::InvalidProfileSelector);
    }
    let changed = bundle("2", &[]).reference();
    let refused = create(&stage, builtin("it"), Some(changed)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::ConfigBundleDigestMismatch);
}

#[tokio::test]
async fn without_a_bundle_only_profiles_that_every_runtime_knows_are_taken() {
    // acceptance 91
    let stage = Stage::with(Profile::catalog()).await;
    assert!(create(&stage, ProfileSelector::RuntimeDefault, None).await.is_ok());
    assert!(create(&stage, builtin("builtin:unheard-of"), None).await.is_ok());
    let refused = create(&stage, ProfileSelector::Named("mine".to_owned()), None).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::InvalidProfileSelector);
}

#[tokio::test]
async fn every_digest_of_a_bundle_is_kept() {
    // acceptance 56, 105, 106
    let stage = Stage::with(Profile::catalog()).await;
    let (one, two) = (bundle("1", &[builtin("it")]), bundle("2", &[]));
    for bundle in [&one, &two, &one] {
        let summary = stage.engine.sync_bundle(&context(None, 0), bundle.clone()).await.unwrap();
        assert_eq!(summary.digest, *bundle.digest());
    }
    for bundle in [&one, &two] {
        assert_eq!(stage.engine.check_bundle(&bundle.reference()).unwrap(), bundle.summary());
    }
    let first = stage.engine.list_bundles(None, 1);
    assert!(first.more);
    let rest = stage.engine.list_bundles(Some(&first.bundles[0].reference()), 10);
    assert_eq!((first.bundles.len() + rest.bundles.len(), rest.more), (2, false));
    assert!(create(&stage, builtin("it"), Some(one.reference())).await.is_ok(), "pinned to the old digest");
}

#[tokio::test]
async fn bundles_are_there_after_a_restart() {
    // acceptance 129
    let store = MemoryStore::new();
    let stage = Stage::open(parts(store.clone(), [])).await;
    let it = bundle("1", &[]);
    stage.engine.sync_bundle(&context(Some("sync"), 1), it.clone()).await.unwrap();
    let again = Stage::open(stage.parts.clone()).await;
    assert!(again.engine.check_bundle(&it.reference()).is_ok());
    assert!(again.engine.sync_bundle(&context(Some("sync"), 1), it).await.is_ok(), "the first answer");
    let other = again.engine.sync_bundle(&context(Some("sync"), 2), bundle("2", &[])).await.unwrap_err();
    assert_eq!(other.reason(), Reason::RequestIdReused);
}

#[tokio::test]
async fn a_stopped_runtime_stores_no_bundle() {
    // acceptance 105
    let stage = Stage::with(Profile::catalog()).await;
    stage.engine.shutdown().await;
    let refused = stage.engine.sync_bundle(&context(None, 0), bundle("1", &[])).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::RuntimeStopped);
}
