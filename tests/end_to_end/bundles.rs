//! Configuration bundles: given, checked, listed, and worked with, on the embedded runtime and on a host alike.

use tonic::{Code, Status};
use workplane::proto::v1;
use workplane::proto::v1::{DeclarationKind, OperationState, StopMode};

use crate::support::bundle::{Asking, DIGEST, builtin, bundle, changed, declaration, metadata, reference, selector};
use crate::support::{CountingRelay, EMBEDDED, Host, Plane, Profile, Worker, codes, refusal};

const EVERYWHERE: [&str; 2] = [EMBEDDED, "one"];

async fn plane_and_host() -> (Plane, Host) {
    let cat = || Profile::text(["cat"]);
    let host = Host::named("one").profile("builtin:coder", cat()).profile("mine", cat()).start().await;
    let plane = Plane::new().profile("builtin:coder", cat()).profile("mine", cat()).host(&host).start().await;
    (plane, host)
}

/// The code of the adapter, before that of the reason.
fn adapters<'a>(runtime_id: &str, embedded: &'a str, remote: &'a str) -> &'a str {
    if runtime_id == EMBEDDED { embedded } else { remote }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_backend_syncs_config_bundle_and_spawns_with_bundle_ref() {
    // acceptance 56, 76, 91, 97, 105, 134
    let (plane, _host) = plane_and_host().await;
    let asking = Asking(plane);
    for runtime_id in EVERYWHERE {
        let synced = asking.sync(runtime_id, bundle()).await;
        assert_eq!(synced.state(), OperationState::Accepted, "{synced:?}");
        let summary = v1::ConfigBundleSummary {
            id: "bundle-1".to_owned(),
            digest: DIGEST.to_owned(),
            digest_algorithm: "sha256".to_owned(),
            revision: "rev-1".to_owned(),
            workspace_id: "local:test".to_owned(),
            created_at: "2026-06-26T00:00:00Z".to_owned(),
            provenance: Some(v1::Provenance { source: "workspace-server-test".to_owned(), detail: None }),
            profile_count: 1,
            declaration_count: 1,
        };
        let named = reference("bundle-1", DIGEST);
        let availability =
            Some(v1::ConfigBundleAvailability { reference: Some(named.clone()), summary: Some(summary.clone()) });
        assert_eq!(synced.availability, availability);
        let checked = asking.check(runtime_id, named.clone()).await;
        assert_eq!((checked.state(), checked.availability), (OperationState::Accepted, availability));
        let listed = asking.try_list(runtime_id, 0, "").await.unwrap();
        assert_eq!((listed.bundles, listed.diagnostics, listed.next_page_token.as_str()), (vec![summary], vec![], ""));

        let spawned = asking.spawn(runtime_id, builtin("builtin:coder"), Some(named.clone())).await;
        assert_eq!(spawned.state(), OperationState::Accepted, "{spawned:?}");
        let worker = spawned.worker.unwrap();
        assert_eq!(worker.config_bundle, Some(named.clone()));
        assert!(!codes(&worker.diagnostics).contains(&"runtime.local_default_resources"));
        let worker = Worker::of(asking.0.client(), &worker);
        worker.send("hello").await;
        assert_eq!(worker.get().await.config_bundle, Some(named));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn config_bundle_errors_are_typed() {
    // acceptance 24, 56, 59, 60, 76, 82, 91, 103, 104, 135
    let (plane, _host) = plane_and_host().await;
    let asking = Asking(plane);
    let wrong = "0".repeat(64);
    for runtime_id in EVERYWHERE {
        let rejected = adapters(runtime_id, "embedded_runtime_invalid_request", "remote_runtime_http_rejected");
        let missing = adapters(runtime_id, "embedded_runtime_invalid_request", "remote_config_bundle_not_found");
        let never = asking.check(runtime_id, reference("bundle-1", DIGEST)).await;
        assert_eq!((never.state(), never.availability), (OperationState::Rejected, None));
        assert_eq!(codes(&never.diagnostics), [missing, "config_bundle_missing"]);
        let spawned = asking.spawn(runtime_id, builtin("builtin:coder"), Some(reference("bundle-1", DIGEST))).await;
        assert_eq!((spawned.state(), spawned.worker), (OperationState::Rejected, None));
        assert_eq!(codes(&spawned.diagnostics), [missing, "config_bundle_missing"]);

        // The digest that was given is not the bundle's.
        let mismatch = asking.sync(runtime_id, changed(|it| metadata(it).digest.clone_from(&wrong))).await;
        assert_eq!((mismatch.state(), mismatch.availability), (OperationState::Rejected, None));
        assert_eq!(codes(&mismatch.diagnostics), [rejected, "config_bundle_digest_mismatch"]);
        let unsupported = declaration(DeclarationKind::Unsupported, "x", "whatever");
        let strange = asking.sync(runtime_id, changed(|it| it.declarations.push(unsupported))).await;
        assert_eq!(codes(&strange.diagnostics), [rejected, "unsupported_config_declaration"]);
        assert!(asking.try_list(runtime_id, 0, "").await.unwrap().bundles.is_empty(), "nothing happened");

        // The digest that is asked for is not the one that is there.
        asking.synced(runtime_id, changed(|it| DIGEST.clone_into(&mut metadata(it).digest))).await;
        let checked = asking.check(runtime_id, reference("bundle-1", &wrong)).await;
        assert_eq!(codes(&checked.diagnostics), [rejected, "config_bundle_digest_mismatch"]);
        for digest in [DIGEST, &wrong] {
            assert!(checked.diagnostics[1].message.contains(digest), "{:?}", checked.diagnostics);
        }
        let spawned = asking.spawn(runtime_id, builtin("builtin:coder"), Some(reference("bundle-1", &wrong))).await;
        assert_eq!(codes(&spawned.diagnostics), [rejected, "config_bundle_digest_mismatch"]);

        // The bundle does not declare the profile, not even the runtime's own.
        for undeclared in [
            selector(v1::profile_selector::Kind::RuntimeDefault(v1::RuntimeDefault {})),
            selector(v1::profile_selector::Kind::Named("mine".to_owned())),
        ] {
            let spawned = asking.spawn(runtime_id, undeclared, Some(reference("bundle-1", DIGEST))).await;
            assert_eq!(codes(&spawned.diagnostics), [rejected, "invalid_profile_selector"]);
        }
        // What the system is, and not what was asked, is an error.
        let unknown = asking.try_check("two", reference("bundle-1", DIGEST)).await.unwrap_err();
        assert_eq!(refusal(&unknown).is(), (Code::NotFound, "UNKNOWN_RUNTIME"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_profile_runs_where_its_bundle_declares_it_and_nowhere_else() {
    // acceptance 91
    let (plane, _host) = plane_and_host().await;
    let asking = Asking(plane);
    let mine = || selector(v1::profile_selector::Kind::Named("mine".to_owned()));
    for runtime_id in EVERYWHERE {
        let bare = asking.spawn(runtime_id, mine(), None).await;
        assert_eq!(codes(&bare.diagnostics).last(), Some(&"invalid_profile_selector"));
        let declaring = changed(|it| it.profiles[0].selector = Some(mine()));
        let named = asking.synced(runtime_id, declaring).await;
        let spawned = asking.spawn(runtime_id, mine(), Some(named)).await;
        assert_eq!(spawned.state(), OperationState::Accepted, "{spawned:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_the_same_id_leaves_the_old_one_to_the_workers_that_have_it() {
    // acceptance 106
    let (plane, _host) = plane_and_host().await;
    let asking = Asking(plane);
    for runtime_id in EVERYWHERE {
        let old = asking.synced(runtime_id, bundle()).await;
        let spawned = asking.spawn(runtime_id, builtin("builtin:coder"), Some(old.clone())).await;
        let worker = Worker::of(asking.0.client(), &spawned.worker.unwrap());
        let new = asking.synced(runtime_id, changed(|it| "rev-2".clone_into(&mut metadata(it).revision))).await;
        assert_eq!((&new.id, new.digest == old.digest), (&old.id, false));
        for kept in [&old, &new] {
            assert_eq!(asking.check(runtime_id, kept.clone()).await.state(), OperationState::Accepted);
            let another = asking.spawn(runtime_id, builtin("builtin:coder"), Some(kept.clone())).await;
            assert_eq!(another.worker.unwrap().config_bundle.as_ref(), Some(kept));
        }
        assert_eq!(worker.get().await.config_bundle, Some(old));
        worker.send("still here").await;
        assert_eq!(asking.try_list(runtime_id, 0, "").await.unwrap().bundles.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_removed_once_no_worker_uses_it() {
    // acceptance 56, 60, 76, 106
    let (plane, _host) = plane_and_host().await;
    let asking = Asking(plane);
    for runtime_id in EVERYWHERE {
        let rejected = adapters(runtime_id, "embedded_runtime_invalid_request", "remote_runtime_http_rejected");
        let missing = adapters(runtime_id, "embedded_runtime_invalid_request", "remote_config_bundle_not_found");
        let named = asking.synced(runtime_id, bundle()).await;
        let spawned = asking.spawn(runtime_id, builtin("builtin:coder"), Some(named.clone())).await;
        let worker = Worker::of(asking.0.client(), &spawned.worker.unwrap());
        let used = asking.remove(runtime_id, named.clone()).await;
        assert_eq!(used.state(), OperationState::Rejected);
        assert_eq!(codes(&used.diagnostics), [rejected, "config_bundle_in_use"]);
        worker.send("still here").await;

        worker.stop(StopMode::Graceful).await;
        for _ in 0..2 {
            let removed = asking.try_remove(runtime_id, named.clone(), "remove-1").await.unwrap();
            assert_eq!((removed.state(), removed.diagnostics.len()), (OperationState::Accepted, 0), "{removed:?}");
        }
        let other = asking.try_remove(runtime_id, reference("bundle-2", DIGEST), "remove-1").await.unwrap_err();
        assert_eq!(refusal(&other).is(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
        assert!(asking.try_list(runtime_id, 0, "").await.unwrap().bundles.is_empty());
        let gone = asking.remove(runtime_id, named.clone()).await;
        assert_eq!(codes(&gone.diagnostics), [missing, "config_bundle_missing"]);
        assert_eq!(worker.get().await.config_bundle, Some(named), "what it was made with is still told");
    }
    let unknown = asking.try_remove("two", reference("bundle-1", DIGEST), "").await.unwrap_err();
    assert_eq!(refusal(&unknown).is(), (Code::NotFound, "UNKNOWN_RUNTIME"));
    let nameless = asking.try_remove("one", reference("", DIGEST), "").await.unwrap_err();
    assert_eq!(refusal(&nameless).fields, ["reference.id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_of_a_bundle_are_named_by_their_paths_and_no_host_is_asked() {
    // acceptance 35, 98, 99, 100, 101, 102, 103
    let host = Host::named("one").start().await;
    let relay = CountingRelay::to(host.address()).await;
    let asking = Asking(Plane::new().host_via(&host, relay.address()).start().await);
    let declares = |kind, reference: &str| {
        let strange = declaration(kind, "it", reference);
        changed(|it| it.declarations.push(strange))
    };
    let secret = DeclarationKind::SecretRef;
    let cases = [
        (changed(|it| it.metadata = None), "bundle.metadata"),
        (changed(|it| metadata(it).id.clear()), "bundle.metadata.id"),
        (changed(|it| "bundle/1?x".clone_into(&mut metadata(it).id)), "bundle.metadata.id"),
        (changed(|it| metadata(it).id = "x".repeat(129)), "bundle.metadata.id"),
        (changed(|it| metadata(it).digest = "A".repeat(64)), "bundle.metadata.digest"),
        (changed(|it| " ".clone_into(&mut metadata(it).revision)), "bundle.metadata.revision"),
        (changed(|it| metadata(it).workspace_id = "x".repeat(2_049)), "bundle.metadata.workspace_id"),
        (changed(|it| metadata(it).created_at.push('\n')), "bundle.metadata.created_at"),
        (changed(|it| metadata(it).created_at.insert(0, '/')), "bundle.metadata.created_at"),
        (changed(|it| metadata(it).provenance = None), "bundle.metadata.provenance"),
        (
            changed(|it| metadata(it).provenance.as_mut().unwrap().detail = Some("~/.cache".to_owned())),
            "bundle.metadata.provenance.detail",
        ),
        (changed(|it| it.profiles[0].selector = None), "bundle.profiles[0].selector"),
        (changed(|it| it.profiles[0].selector = Some(builtin(""))), "bundle.profiles[0].selector.builtin"),
        (changed(|it| it.profiles[0].label = Some("a\0b".to_owned())), "bundle.profiles[0].label"),
        (declares(DeclarationKind::Unspecified, "secret:x"), "bundle.declarations[1].kind"),
        (declares(secret, "password=hunter2"), "bundle.declarations[1].reference"),
        (declares(secret, "hunter2-secret-value"), "bundle.declarations[1].reference"),
        (declares(secret, "secret:a/b"), "bundle.declarations[1].reference"),
        (declares(secret, "vault:x.sock"), "bundle.declarations[1].reference"),
        (declares(DeclarationKind::MountGrant, "secret:x"), "bundle.declarations[1].reference"),
        (declares(DeclarationKind::ShellPolicy, "shell-policy:sometimes"), "bundle.declarations[1].reference"),
        (declares(DeclarationKind::NetworkPolicy, "network:Allow"), "bundle.declarations[1].reference"),
        (declares(DeclarationKind::GitPolicy, "git:"), "bundle.declarations[1].reference"),
    ];
    for runtime_id in EVERYWHERE {
        for (bundle, path) in &cases {
            let refused = asking.refused(runtime_id, bundle.clone()).await;
            assert_eq!((refused.code, refused.fields.as_slice()), (Code::InvalidArgument, &[(*path).to_owned()][..]));
        }
        let refused = asking.try_check(runtime_id, reference("bundle/1?x", DIGEST)).await.unwrap_err();
        let refused = refusal(&refused);
        assert_eq!(refused.is(), (Code::InvalidArgument, "INVALID_IDENTIFIER"));
        assert_eq!(refused.fields, ["reference.id"]);
        // Policies are closed words, and these are they.
        for word in ["allow", "ask", "deny"] {
            let bundle = changed(|it| {
                it.declarations = vec![
                    declaration(DeclarationKind::ShellPolicy, "shell", &format!("shell-policy:{word}")),
                    declaration(DeclarationKind::NetworkPolicy, "net", &format!("network:{word}")),
                    declaration(DeclarationKind::GitPolicy, "git", &format!("git-policy:{word}")),
                ];
            });
            asking.synced(runtime_id, bundle).await;
        }
    }
    assert_eq!((relay.calls("CheckConfigBundle"), relay.calls("SyncConfigBundle")), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_on_a_hosts_bundles_is_one_round_trip() {
    let host = Host::named("one").start().await;
    let relay = CountingRelay::to(host.address()).await;
    let asking = Asking(Plane::new().host_via(&host, relay.address()).start().await);
    let named = asking.synced("one", bundle()).await;
    asking.check("one", named.clone()).await;
    asking.try_list("one", 0, "").await.unwrap();
    asking.remove("one", named).await;
    for method in ["SyncConfigBundle", "CheckConfigBundle", "ListConfigBundles", "RemoveConfigBundle"] {
        assert_eq!(relay.calls(method), 1, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_config_bundle_sync_and_check_diagnostics_are_sanitized_and_path_safe() {
    // acceptance 24, 76, 81, 82, 83, 134
    let mut host = Host::named("one").start().await;
    let relay = CountingRelay::to(host.address()).await;
    let asking = Asking(Plane::new().host_via(&host, relay.address()).start().await);
    asking.synced("one", bundle()).await;
    let words = "/var/lib/workplane/.yoi/sessions/7/metadata.json: socket=/run/x.sock, token=hunter2";
    relay.refuses("CheckConfigBundle", Status::not_found(words));
    let checked = asking.check("one", reference("bundle-1", DIGEST)).await;
    assert_eq!(checked.state(), OperationState::Rejected);
    assert_eq!(codes(&checked.diagnostics), ["remote_config_bundle_not_found", "config_bundle_missing"]);

    relay.refuses("SyncConfigBundle", Status::permission_denied(words));
    let synced = asking.try_sync("one", bundle(), "").await.unwrap_err();
    assert_eq!(refusal(&synced).is(), (Code::FailedPrecondition, "REMOTE_RUNTIME_AUTH_FAILED"));
    relay.refuses("ListConfigBundles", Status::internal(words));
    let listed = asking.try_list("one", 0, "").await.unwrap();
    assert_eq!(codes(&listed.diagnostics), ["remote_runtime_http_error"]);
    let told = format!("{checked:?} {synced:?} {listed:?}");
    for leak in ["/var/lib", "metadata.json", "socket", "token=", "hunter2", "sessions"] {
        assert!(!told.contains(leak), "{leak}: {told}");
    }

    // What became of a sync to a host that is gone cannot be known.
    relay.refuses("SyncConfigBundle", Status::unavailable(words));
    host.process().kill().await;
    let lost = asking.try_sync("one", bundle(), "sync-1").await.unwrap_err();
    assert_eq!(refusal(&lost).is(), (Code::Unavailable, "REMOTE_RUNTIME_NETWORK_ERROR"));
    assert_eq!(lost.metadata().get("workplane-request-id").unwrap(), "sync-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_sync_is_done_once_and_its_id_is_good_for_nothing_else() {
    let (plane, _host) = plane_and_host().await;
    let asking = Asking(plane);
    for runtime_id in EVERYWHERE {
        let first = asking.try_sync(runtime_id, bundle(), "sync-1").await.unwrap();
        assert_eq!(asking.try_sync(runtime_id, bundle(), "sync-1").await.unwrap(), first);
        let other = changed(|it| "rev-2".clone_into(&mut metadata(it).revision));
        let another = asking.try_sync(runtime_id, other.clone(), "sync-1").await.unwrap_err();
        assert_eq!(refusal(&another).is(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
        // Only what was accepted is remembered.
        let wrong = changed(|it| metadata(it).digest = "0".repeat(64));
        let rejected = asking.try_sync(runtime_id, wrong, "sync-2").await.unwrap();
        assert_eq!(rejected.state(), OperationState::Rejected);
        let accepted = asking.try_sync(runtime_id, other, "sync-2").await.unwrap();
        assert_eq!(accepted.state(), OperationState::Accepted);
        let bad = asking.try_sync(runtime_id, bundle(), "a b").await.unwrap_err();
        assert_eq!(refusal(&bad).fields, ["request_id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_listed_in_pages_by_id_and_digest() {
    let (plane, _host) = plane_and_host().await;
    let asking = Asking(plane);
    for runtime_id in EVERYWHERE {
        for (id, revision) in [("b", "1"), ("a", "1"), ("b", "2"), ("c", "1"), ("b", "3")] {
            let named = changed(|it| {
                id.clone_into(&mut metadata(it).id);
                revision.clone_into(&mut metadata(it).revision);
            });
            asking.synced(runtime_id, named).await;
        }
        let mut listed = Vec::new();
        let mut token = String::new();
        loop {
            let page = asking.try_list(runtime_id, 2, &token).await.unwrap();
            assert!(page.bundles.len() <= 2 && page.diagnostics.is_empty());
            listed.extend(page.bundles.into_iter().map(|it| (it.id, it.digest)));
            if page.next_page_token.is_empty() {
                break;
            }
            token = page.next_page_token;
        }
        assert_eq!(listed.len(), 5);
        assert!(listed.is_sorted(), "{listed:?}");
        // A token belongs to its runtime.
        let other = EVERYWHERE.into_iter().find(|it| *it != runtime_id).unwrap();
        for (asked, token) in [(other, token.as_str()), (runtime_id, "made-up")] {
            let refused = asking.try_list(asked, 2, token).await.unwrap_err();
            assert_eq!(refusal(&refused).is(), (Code::InvalidArgument, "INVALID_PAGE_TOKEN"));
        }
        let negative = asking.try_list(runtime_id, -1, "").await.unwrap_err();
        assert_eq!(refusal(&negative).fields, ["page_size"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_bundle_passes_and_its_pages_end_at_their_size() {
    let (plane, _host) = plane_and_host().await;
    let asking = Asking(plane);
    let long = |seed: usize| format!("{seed}-{}", "x".repeat(2_000));
    for runtime_id in EVERYWHERE {
        for n in 0..40 {
            // One of almost 4 MiB, and summaries of 8 KiB.
            let large = changed(|it| {
                let metadata = metadata(it);
                metadata.revision = long(n);
                metadata.workspace_id = long(n);
                metadata.created_at = long(n);
                metadata.provenance.as_mut().unwrap().detail = Some(long(n));
                let many = if n == 0 { 1_000 } else { 1 };
                let secret = format!("secret:{}", "x".repeat(2_041));
                it.declarations =
                    (0..many).map(|n| declaration(DeclarationKind::SecretRef, &long(n), &secret)).collect();
            });
            asking.synced(runtime_id, large).await;
        }
        let first = asking.try_list(runtime_id, 0, "").await.unwrap();
        assert!((1..40).contains(&first.bundles.len()), "{}", first.bundles.len());
        let rest = asking.try_list(runtime_id, 0, &first.next_page_token).await.unwrap();
        assert_eq!(first.bundles.len() + rest.bundles.len(), 40);
        let too_many = changed(|it| it.declarations = vec![it.declarations[0].clone(); 1_001]);
        assert_eq!(asking.refused(runtime_id, too_many).await.fields, ["bundle.declarations"]);
    }
}
