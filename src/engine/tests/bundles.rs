//! Configuration bundles, and the workers that are made with them.

use super::*;
use crate::model::{
    BundleContent, BundleId, BundleRef, ConfigBundle, ProfileDescriptor, Provenance, Reason, WorkerFilter,
};

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
async fn a_bundle_is_removed_once_no_worker_uses_it_and_stays_so() {
    // acceptance 106
    let stage = Stage::with(Profile::catalog()).await;
    let (one, two) = (bundle("1", &[builtin("it")]), bundle("2", &[builtin("it")]));
    for bundle in [&one, &two] {
        stage.engine.sync_bundle(&context(Some(&bundle.content().revision), 1), bundle.clone()).await.unwrap();
    }
    let worker = create(&stage, builtin("it"), Some(one.reference())).await.unwrap();
    let remove = async |stage: &Stage, of: &ConfigBundle| {
        stage.engine.remove_bundle(&context(Some("remove"), 2), of.reference()).await.map_err(|error| error.reason())
    };
    assert_eq!(remove(&stage, &one).await, Err(Reason::ConfigBundleInUse));
    assert!(create(&stage, builtin("it"), Some(one.reference())).await.is_ok(), "nothing happened");
    for worker in stage.engine.list_workers(&WorkerFilter::default(), None, 9).workers {
        stage.stop(&worker, TerminalIntent::Stop, StopMode::Graceful).await;
    }
    assert_eq!(remove(&stage, &one).await, Ok(()));
    let again = Stage::open(stage.parts.clone()).await;
    for stage in [&stage, &again] {
        assert_eq!(remove(stage, &one).await, Ok(()), "the first answer");
        let gone = stage.engine.check_bundle(&one.reference()).unwrap_err();
        assert_eq!(gone.reason(), Reason::ConfigBundleDigestMismatch);
        assert!(stage.engine.check_bundle(&two.reference()).is_ok(), "the other digest stays");
        let refused = create(stage, builtin("it"), Some(one.reference())).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::ConfigBundleDigestMismatch);
        assert_eq!(stage.engine.get_worker(&worker.worker_id).unwrap().config_bundle, Some(one.reference()));
        let anew = stage.engine.remove_bundle(&context(None, 0), one.reference()).await.unwrap_err();
        assert_eq!(anew.reason(), Reason::ConfigBundleDigestMismatch);
    }
    // What was answered before stays answered, and under another id the bundle may come back.
    assert!(again.engine.sync_bundle(&context(Some("1"), 1), one.clone()).await.is_ok());
    assert!(again.engine.check_bundle(&one.reference()).is_err());
    again.engine.sync_bundle(&context(Some("3"), 1), one.clone()).await.unwrap();
    assert!(again.engine.check_bundle(&one.reference()).is_ok());
    again.engine.shutdown().await;
    let stopped = again.engine.remove_bundle(&context(None, 0), two.reference()).await.unwrap_err();
    assert_eq!(stopped.reason(), Reason::RuntimeStopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_never_removed_from_under_a_worker_or_a_sync_that_comes_meanwhile() {
    let ctx = context(None, 0);
    for _ in 0..50 {
        let stage = Stage::with(Profile::catalog()).await;
        let it = bundle("1", &[builtin("it")]);
        stage.engine.sync_bundle(&ctx, it.clone()).await.unwrap();
        let remove = stage.engine.remove_bundle(&ctx, it.reference());
        let (made, removed) = tokio::join!(create(&stage, builtin("it"), Some(it.reference())), remove);
        // One of the two came first, and the other was told.
        assert_ne!(made.is_ok(), removed.is_ok(), "{made:?} {removed:?}");
        assert_eq!(stage.engine.check_bundle(&it.reference()).is_ok(), made.is_ok());

        let stage = Stage::open(stage.parts.clone()).await;
        stage.engine.sync_bundle(&ctx, it.clone()).await.unwrap();
        let sync = stage.engine.sync_bundle(&ctx, it.clone());
        let (synced, removed) = tokio::join!(sync, stage.engine.remove_bundle(&ctx, it.reference()));
        synced.unwrap();
        removed.unwrap();
        let known = stage.engine.check_bundle(&it.reference()).is_ok();
        let again = Stage::open(stage.parts.clone()).await;
        assert_eq!(again.engine.check_bundle(&it.reference()).is_ok(), known, "memory and store are at one");
    }
}

#[tokio::test]
async fn bundles_are_there_after_a_restart() {
    // acceptance 129
    let store = store();
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
