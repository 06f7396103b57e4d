//! Hosts that come, go, fall silent and lie.

use tonic::Code;
use workplane::proto::v1;
use workplane::proto::v1::{RuntimeStatus, StopMode};

use crate::support::{EMBEDDED, Host, Plane, Profile, Proxy, Worker, refusal, until, within};

async fn list(plane: &Plane) -> v1::ListWorkersResponse {
    let request = v1::ListWorkersRequest { fresh: true, ..Default::default() };
    within("a list", plane.client().workers().list_workers(request)).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_runtime_has_one_host_under_an_id_derived_from_its_own() {
    // acceptance 44, 69
    let one = Host::named("one").start().await;
    let plane = Plane::new().host(&one).start().await;
    plane.runtime_is("one", RuntimeStatus::Running).await;
    let listed = plane.client().hosts().list_hosts(v1::ListHostsRequest::default()).await.unwrap().into_inner();
    let [embedded, remote] = listed.hosts.as_slice() else { panic!("{:?}", listed.hosts) };
    assert_eq!((embedded.runtime_id.as_str(), embedded.kind.as_str()), (EMBEDDED, "embedded-worker-runtime-host"));
    assert_eq!((remote.runtime_id.as_str(), remote.kind.as_str()), ("one", "remote-worker-runtime-host"));
    assert!(embedded.host_id.starts_with("embedded-") && embedded.last_seen_at.is_none());
    assert!(remote.host_id.starts_with("remote-one-") && remote.last_seen_at.is_some());
    for host in &listed.hosts {
        let request = v1::GetHostRequest { host_id: host.host_id.clone() };
        let got = plane.client().hosts().get_host(request).await.unwrap().into_inner().host.unwrap();
        assert_eq!((&got.host_id, &got.runtime_id), (&host.host_id, &host.runtime_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_adds_and_removes_hosts_and_leaves_the_others_alone() {
    let cat = || Profile::text(["cat"]);
    let one = Host::named("one").profile("builtin:coder", cat()).start().await;
    let two = Host::named("two").profile("builtin:coder", cat()).start().await;
    let mut plane = Plane::new().host(&one).start().await;
    let kept = plane.spawn("one", "builtin:coder").await;
    let mut watched = kept.observe().await;
    watched.frame().await;

    assert!(plane.runtime("two").await.is_none());
    plane.add(&two);
    plane.runtime_is("two", RuntimeStatus::Running).await;
    let added = plane.spawn("two", "builtin:coder").await;
    added.send("hello").await;

    plane.remove("two");
    until("the host to be gone", || async { plane.runtime("two").await.is_none().then_some(()) }).await;
    let refused = added.try_send(added.input("hello?")).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::NotFound, "UNKNOWN_RUNTIME"));
    // It stops nothing on the host.
    let there = two.client().worker_runtime();
    let request = workplane::proto::runtime_v1::GetWorkerRequest { worker_id: added.worker_id.clone() };
    let still_there = { there }.get_worker(request).await.unwrap().into_inner().worker.unwrap();
    assert_eq!(still_there.state(), v1::WorkerState::Running);

    // The stream of the other host's worker never noticed.
    kept.send("still there?").await;
    let frames = watched.up_to("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
    assert!(frames.iter().all(|frame| frame.diagnostic().is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_keeps_its_observers_with_another_token_and_sends_them_on_when_it_moves() {
    let one = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let wire = Proxy::to(one.address()).await;
    let mut plane = Plane::new().host(&one).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    let mut stream = worker.observe().await;
    stream.frame().await;

    // A host that knows no such token refuses calls; who observes goes on.
    let stranger = Host::named("two").start().await;
    let (right, wrong) = (one.entry(one.address()).token_file, stranger.entry(stranger.address()).token_file);
    plane.change("one", |entry| entry.token_file = wrong);
    until("the token to be refused", || async { worker.try_send(worker.input("refused")).await.err() }).await;
    plane.change("one", |entry| entry.token_file = right);
    until("the token to be taken", || async { worker.try_send(worker.input("hello")).await.ok() }).await;
    let answer = |item: &v1::TranscriptItem| item.role() == v1::TranscriptRole::Assistant && item.content == "hello";
    let frames = stream.up_to("the answer", |frame| frame.item().is_some_and(answer)).await;
    assert!(frames.iter().all(|frame| frame.diagnostic().is_none()));

    plane.change("one", |entry| entry.address = wire.address());
    let ended = within("the old stream to end", async {
        loop {
            match stream.next().await {
                Ok(frame) => assert!(frame.is_some(), "it ended as if the worker had"),
                Err(ended) => return ended,
            }
        }
    })
    .await;
    assert_eq!(refusal(&ended).is(), (Code::Unavailable, "REMOTE_RUNTIME_NETWORK_ERROR"));
    let cursor = frames.last().unwrap().cursor.clone();
    until("the host at its new place", || async { worker.try_resume(&cursor).await.ok() }).await;
    assert!(wire.connections() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_said_when_the_file_is_read_again() {
    let mut plane = Plane::new().start().await;
    plane.add_profile("builtin:coder", Profile::text(["cat"]));
    until("the word in the log", || {
        let log = plane.process().log();
        async move { (log.contains("until a restart") && log.contains("profiles")).then_some(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_become_wrong_changes_nothing() {
    let one = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let mut plane = Plane::new().host(&one).start().await;
    let twice = one.entry(one.address());
    plane.add_entry(twice);
    until("the refusal in the log", || {
        let log = plane.process().log();
        async move { log.contains("remote_runtimes").then_some(()) }
    })
    .await;
    plane.runtime_is("one", RuntimeStatus::Running).await;
    plane.spawn("one", "builtin:coder").await.send("hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_host_costs_a_list_only_its_diagnostic() {
    // acceptance 16, 68
    let cat = || Profile::text(["cat"]);
    let mut dead = Host::named("dead").profile("builtin:coder", cat()).start().await;
    let live = Host::named("live").profile("builtin:coder", cat()).start().await;
    let plane = Plane::new().profile("builtin:coder", cat()).host(&dead).host(&live).start().await;
    let lost = plane.spawn("dead", "builtin:coder").await;
    let local = plane.spawn(EMBEDDED, "builtin:coder").await;
    let remote = plane.spawn("live", "builtin:coder").await;
    assert_eq!(list(&plane).await.workers.len(), 3);
    dead.process().kill().await;

    let listed = until("the list to miss the host", || async {
        Some(list(&plane).await).filter(|listed| !listed.diagnostics.is_empty())
    })
    .await;
    assert_eq!(listed.diagnostics.len(), 1, "{:?}", listed.diagnostics);
    assert_eq!(listed.diagnostics[0].severity(), v1::DiagnosticSeverity::Error);
    let by_id = |id: &str| listed.workers.iter().find(|worker| worker.worker_id == id);
    for worker in [&local, &remote] {
        assert!(!by_id(&worker.worker_id).expect("it is listed").stale);
    }
    // unreachable_is_not_gone: what is known of the lost one is told as old.
    for told in [by_id(&lost.worker_id).expect("it is still listed"), &lost.get().await] {
        assert!(told.stale && told.state() == v1::WorkerState::Running, "{told:?}");
    }
    plane.runtime_is("dead", RuntimeStatus::Unavailable).await;
    // Its own calls say that it cannot be known.
    let refused = lost.try_send(lost.input("hello?")).await.unwrap_err();
    assert_eq!(refusal(&refused).code, Code::Unavailable);
    // The others take input as ever.
    local.send("hello").await;
    remote.send("hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_never_there_is_configured_and_nothing_else() {
    // acceptance 68
    let host = Host::named("one").start().await;
    let nowhere = Proxy::to(host.address()).await;
    nowhere.refuse();
    let plane = Plane::new().host_via(&host, nowhere.address()).start().await;
    let runtime = plane.runtime("one").await.expect("it is listed");
    assert_eq!(runtime.status(), RuntimeStatus::Configured);
    assert_eq!(runtime.diagnostics.len(), 1, "{:?}", runtime.diagnostics);
    let capabilities = runtime.capabilities.unwrap();
    assert_eq!((capabilities.os.as_str(), capabilities.arch.as_str()), ("remote", "remote"));
    nowhere.open();
    let runtime = plane.runtime_is("one", RuntimeStatus::Running).await;
    assert_eq!(runtime.capabilities.unwrap().os, std::env::consts::OS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lost_its_memory_refuses_old_cursors() {
    // acceptance 112, 116
    let mut host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    worker.send("hello").await;
    let mut stream = worker.observe().await;
    let cursor = stream.first("an item", |frame| frame.item().is_some()).await.cursor.clone();
    let before = plane.runtime("one").await.unwrap().incarnation;
    host.restart().await;

    let after = until("the host to be known anew", || async {
        plane.runtime("one").await.map(|runtime| runtime.incarnation).filter(|incarnation| *incarnation != before)
    })
    .await;
    assert!(!after.is_empty());
    let refused = until("the old cursor to be refused", || async {
        worker.try_resume(&cursor).await.err().map(|status| refusal(&status)).filter(|it| it.code != Code::Unavailable)
    })
    .await;
    assert_eq!(refused.is(), (Code::OutOfRange, "CURSOR_EXPIRED"), "{refused:?}");
    // A new worker of the new incarnation is served as ever.
    let fresh = plane.spawn("one", "builtin:coder").await;
    assert_ne!(fresh.worker_id, worker.worker_id);
    let first = fresh.observe().await.frame().await.cursor.clone();
    assert!(fresh.try_resume(&first).await.is_ok());
    // The observer of the lost worker is not left waiting.
    let ended = within("the old stream to end", async {
        loop {
            match stream.next().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    })
    .await;
    assert!(ended.is_err(), "the stream ended as if the worker had");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_another_identity_is_not_used() {
    // acceptance 72
    let host = Host::named("other").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let mut entry = host.entry(host.address());
    "one".clone_into(&mut entry.runtime_id);
    let plane = Plane::new().remote(entry).start().await;
    let refused = plane.client().workers().spawn_worker(Worker::request("one", "builtin:coder")).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::FailedPrecondition, "REMOTE_RUNTIME_WRONG_IDENTITY"));
    let runtime = plane.runtime("one").await.unwrap();
    let codes: Vec<_> = runtime.diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    assert!(codes.contains(&"remote_runtime_wrong_identity"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_refuses_the_control_planes_token_is_not_the_callers_fault() {
    // acceptance 81, 86
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let stranger = Host::named("two").start().await;
    let mut entry = host.entry(host.address());
    entry.token_file = stranger.entry(stranger.address()).token_file;
    let plane = Plane::new().remote(entry).start().await;
    let refused = plane.client().workers().spawn_worker(Worker::request("one", "builtin:coder")).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::FailedPrecondition, "REMOTE_RUNTIME_AUTH_FAILED"));
    let runtime = plane.runtime("one").await.unwrap();
    let codes: Vec<_> = runtime.diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    assert!(codes.contains(&"remote_runtime_auth_failed"), "{codes:?}");
    assert!(runtime.diagnostics.iter().any(|it| it.message.contains("[[remote_runtimes]]")), "where to look");
    // acceptance 84: neither where it is nor what opens it is told to anybody.
    let told = format!("{runtime:?}");
    assert!(!told.contains(&host.address().port().to_string()) && !told.contains("token-of"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_is_told_when_the_host_is_lost_and_found() {
    // acceptance 119
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let wire = Proxy::to(host.address()).await;
    let plane = Plane::new().host_via(&host, wire.address()).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    let mut stream = worker.observe_now().await;
    stream.frame().await;
    wire.refuse();
    stream.first("the loss", |frame| frame.diagnostic() == Some("upstream_disconnect")).await;
    let lost = worker.get().await;
    assert!(lost.stale && lost.state() == v1::WorkerState::Running, "{lost:?}");
    let connections = wire.connections();
    wire.open();
    stream.first("the host again", |frame| frame.diagnostic() == Some("upstream_reconnected")).await;
    assert!(wire.connections() > connections);
    worker.send("hello").await;
    stream.first("the answer", |frame| frame.item().is_some_and(|item| item.sequence == 2)).await;
    worker.stop(StopMode::Graceful).await;
    assert!(stream.rest().await.last().unwrap().termination().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_falls_silent_is_not_waited_for() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let wire = Proxy::to(host.address()).await;
    let plane = Plane::new().host_via(&host, wire.address()).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    wire.hold();
    let mut request = tonic::Request::new(worker.input("hello?"));
    request.set_timeout(std::time::Duration::from_secs(3));
    let refused = within("an answer", plane.client().workers().send_input(request)).await.unwrap_err();
    let id = refused.metadata().get("workplane-request-id").expect("it can be sent again under its id").clone();
    let told = refusal(&refused);
    assert!(matches!(told.code, Code::DeadlineExceeded | Code::Unavailable), "{told:?}");
    wire.open();
    // Sent again under that id, it is one input, whether or not the first reached the host.
    let again = v1::SendInputRequest { request_id: id.to_str().unwrap().to_owned(), ..worker.input("hello?") };
    let taken = until("the input to be taken", || async { worker.try_send(again.clone()).await.ok() }).await;
    assert_eq!(taken.transcript_sequence, Some(1));
    worker.stop(StopMode::Graceful).await;
    assert_eq!(worker.transcript(0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_restarts_is_called_as_if_nothing_had_been() {
    let mut host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    plane.spawn("one", "builtin:coder").await.send("hello").await;
    for _ in 0..3 {
        host.restart().await;
        // The broken connection is found by this call, or by the one before it; its caller does not notice.
        plane.spawn("one", "builtin:coder").await.send("hello").await;
    }
}
