//! Configuration bundles of a host that behaves, and of one that does not.

use tonic::Status;

use super::test_faults::Lie;
use super::test_host::{TestHost, ctx};
use super::tests::create;
use crate::model::{
    BundleContent, BundleId, ConfigBundle, Error, ProfileDescriptor, ProfileSelector, Provenance, Reason, RuntimeKind,
};
use crate::proto::status::to_status;
use crate::runtime::{WorkerRuntime as _, diagnose};

fn bundle(revision: &str) -> ConfigBundle {
    let content = BundleContent {
        id: BundleId::new("team").unwrap(),
        revision: revision.to_owned(),
        workspace_id: "local:test".to_owned(),
        created_at: "2026-06-26T00:00:00Z".to_owned(),
        provenance: Provenance { source: "test".to_owned(), detail: None },
        profiles: vec![ProfileDescriptor {
            selector: ProfileSelector::Builtin("builtin:coder".to_owned()),
            label: None,
        }],
        declarations: Vec::new(),
    };
    ConfigBundle::new(content, None).unwrap()
}

#[tokio::test]
async fn bundles_reach_the_host_and_are_told_as_they_are() {
    // acceptance 76, 91, 104, 106
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let (one, two) = (bundle("1"), bundle("2"));
    let missing = runtime.check_config_bundle(&ctx(), &one.reference()).await.unwrap_err();
    assert_eq!(missing.reason(), Reason::ConfigBundleMissing);
    assert_eq!(runtime.sync_config_bundle(&ctx(), one.clone()).await.unwrap(), one.summary());
    let other = runtime.check_config_bundle(&ctx(), &two.reference()).await.unwrap_err();
    assert_eq!(other.reason(), Reason::ConfigBundleDigestMismatch);
    let digests = [("expected", two.digest()), ("actual", one.digest())];
    assert!(digests.iter().all(|(key, digest)| other.metadata().contains(&(*key, digest.to_string()))), "{other:?}");
    runtime.sync_config_bundle(&ctx(), two.clone()).await.unwrap();

    let first = runtime.list_config_bundles(&ctx(), None, 1).await.unwrap();
    let rest = runtime.list_config_bundles(&ctx(), Some(&first.bundles[0].reference()), 1).await.unwrap();
    assert_eq!((first.more, rest.more), (true, false));
    let mut listed = [first.bundles, rest.bundles].concat();
    listed.sort_by(|a, b| a.revision.cmp(&b.revision));
    assert_eq!(listed, [one.summary(), two.summary()]);

    let pinned = crate::model::CreateWorker { config_bundle: Some(one.reference()), ..create(0) };
    let worker = runtime.create_worker(&ctx(), pinned.clone()).await.unwrap().worker;
    assert_eq!(worker.config_bundle, Some(one.reference()));
    let undeclared = crate::model::CreateWorker { profile: ProfileSelector::RuntimeDefault, ..pinned };
    let refused = runtime.create_worker(&ctx(), undeclared).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::InvalidProfileSelector);

    let used = runtime.remove_config_bundle(&ctx(), one.reference()).await.unwrap_err();
    assert_eq!(used.reason(), Reason::ConfigBundleInUse);
    runtime.remove_config_bundle(&ctx(), two.reference()).await.unwrap();
    assert_eq!(runtime.list_config_bundles(&ctx(), None, 9).await.unwrap().bundles, [one.summary()]);
}

#[tokio::test]
async fn a_repeated_sync_is_one() {
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let ctx = ctx();
    let first = runtime.sync_config_bundle(&ctx, bundle("1")).await.unwrap();
    assert_eq!(runtime.sync_config_bundle(&ctx, bundle("1")).await.unwrap(), first);
    assert_eq!(runtime.list_config_bundles(&ctx, None, 10).await.unwrap().bundles, [first]);
}

#[tokio::test]
async fn what_a_host_says_of_a_missing_bundle_is_told_in_our_words() {
    // acceptance 80, 81, 82, 83
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let words = "no /var/lib/x/sessions/metadata.sock, token=hunter2";
    for (status, code) in [
        (Status::not_found(words), "remote_config_bundle_not_found"),
        (to_status(&Error::new(Reason::ConfigBundleMissing, words)), "remote_config_bundle_not_found"),
        (to_status(&Error::new(Reason::ConfigBundleInUse, words)), "remote_runtime_http_rejected"),
        (Status::unauthenticated(words), "remote_runtime_auth_failed"),
        (Status::unimplemented(words), "remote_runtime_unsupported"),
        (Status::deadline_exceeded(words), "remote_runtime_timeout"),
        (Status::internal(words), "remote_runtime_http_error"),
        (Status::invalid_argument(words), "remote_runtime_http_rejected"),
    ] {
        *host.faults.refuses.lock() = Some(status);
        let checked = runtime.check_config_bundle(&ctx(), &bundle("1").reference()).await.unwrap_err();
        let synced = runtime.sync_config_bundle(&ctx(), bundle("1")).await.unwrap_err();
        let removed = runtime.remove_config_bundle(&ctx(), bundle("1").reference()).await.unwrap_err();
        let listed = runtime.list_config_bundles(&ctx(), None, 10).await.unwrap_err();
        for error in [checked, synced, removed, listed] {
            let said = diagnose(RuntimeKind::Remote, runtime.id(), &error);
            assert_eq!(said.code, code);
            let told = format!("{error:?} {said:?}");
            assert!(!told.contains("hunter2") && !told.contains("/var/lib"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_host_that_speaks_of_another_bundle_is_not_believed() {
    // acceptance 80
    let host = TestHost::start().await;
    let runtime = host.runtime();
    let lies: [Lie; 3] = [
        |it| it.reference.as_mut().unwrap().id = "another".to_owned(),
        |it| it.summary = None,
        |it| it.summary.as_mut().unwrap().created_at = "/run/x".to_owned(),
    ];
    for lie in lies {
        *host.faults.lies.lock() = Some(lie);
        let synced = runtime.sync_config_bundle(&ctx(), bundle("1")).await.unwrap_err();
        let checked = runtime.check_config_bundle(&ctx(), &bundle("1").reference()).await.unwrap_err();
        for error in [synced, checked] {
            assert_eq!(error.reason(), Reason::RemoteRuntimeMalformedResponse);
        }
    }
}
