//! Of the old runtime's process: `main`, and what its core told of itself. The other tests of its core stand beside the
//! engine.

use tonic::Code;
use workplane::proto::runtime_v1::GetRuntimeRequest;
use workplane::proto::v1::StopMode;
use workplane::proto::{runtime_v1, v1};

use crate::support::{Client, EMBEDDED, Host, Plane, Profile, both, refusal, run};

#[tokio::test(flavor = "multi_thread")]
async fn stop_and_cancel_workers_update_summary() {
    // acceptance 96, 135
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let workers = [
        plane.spawn("one", "builtin:coder").await,
        plane.spawn("one", "builtin:coder").await,
        plane.spawn("one", "builtin:coder").await,
    ];
    workers[0].stop(StopMode::Graceful).await;
    workers[1].cancel("").await;
    let told = host.client().worker_runtime().get_runtime(GetRuntimeRequest {}).await.unwrap().into_inner();
    let runtime_v1::WorkerCounts { total, active, stopped, cancelled, failed } = told.counts.unwrap();
    assert_eq!((total, active, stopped, cancelled, failed), (3, 1, 1, 1, 0));
    let limits = told.limits.unwrap();
    assert_eq!((limits.max_transcript_limit, limits.max_page_size, limits.max_input_bytes), (256, 1_000, 128 * 1024));
    assert!(limits.max_workers > 0);
    assert_eq!((told.store_backend.as_str(), told.diagnostics.len()), ("memory", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_worker_refs_from_another_runtime() {
    // acceptance 88, 135
    let (_plane, _host, [here, there]) = both(Profile::text(["cat"])).await;
    for (worker, other) in [(&here, "one"), (&there, EMBEDDED)] {
        let mut strayed = worker.clone();
        other.clone_into(&mut strayed.runtime_id);
        for refused in [
            strayed.try_get().await.map(drop),
            strayed.try_send(strayed.input("hello")).await.map(drop),
            strayed.try_stop(StopMode::Force).await.map(drop),
            strayed.page(0, 0).await.map(drop),
            strayed.try_observe(strayed.observation()).await.map(drop),
        ] {
            let refused = refusal(&refused.unwrap_err());
            assert_eq!(refused.is(), (Code::NotFound, "UNKNOWN_WORKER"));
            assert_eq!(
                (refused.metadata["runtime_id"].as_str(), &refused.metadata["worker_id"]),
                (other, &worker.worker_id)
            );
        }
        assert_eq!(worker.get().await.state(), v1::WorkerState::Running, "it was not stopped by another's name");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn main_takes_flags_with_a_space_and_with_an_equals_sign() {
    // acceptance 125, 135
    let host = Host::named("one").start().await;
    let taken = host.address().to_string();
    for listen in [vec!["--listen".to_owned(), taken.clone()], vec![format!("--listen={taken}")]] {
        let arguments: Vec<_> = ["runtime"].into_iter().chain(listen.iter().map(String::as_str)).collect();
        // Both are understood: what fails is that the address is taken, which is no wrong configuration.
        let output = run(&arguments).await;
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn main_rejects_unknown_flags_and_an_empty_token_file() {
    // acceptance 125, 135
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("tokens");
    std::fs::write(&empty, "").unwrap();
    for arguments in [
        &["runtime", "--lisen=x"][..],
        &["runtime", "--listen"],
        &["runtime", "--listen", "127.0.0.1:0", "--token-file", empty.to_str().unwrap()],
    ] {
        assert_eq!(run(arguments).await.status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn main_serves_only_those_who_show_its_token() {
    // acceptance 123, 135
    let host = Host::named("one").start().await;
    for token in [None, Some("wrong")] {
        let stranger = Client::new(host.address(), token);
        let refused = stranger.worker_runtime().get_runtime(GetRuntimeRequest {}).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::Unauthenticated, "UNAUTHENTICATED"));
    }
    assert!(host.client().worker_runtime().get_runtime(GetRuntimeRequest {}).await.is_ok());
}
