//! What operators read: a line for what failed, with the id that the error has, and none for what a client did wrong.

use std::time::Duration;

use tonic::Code;
use workplane::proto::{runtime_v1, v1};

use crate::support::{Answer, EMBEDDED, Hostile, Plane, Running, hello, refusal, until, worker};

/// The first line of a log that has all of these words, once it is there.
async fn line(process: &Running, words: &[&str]) -> String {
    until(&format!("a line with {words:?}"), async || {
        let log = process.log();
        log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
    })
    .await
}

fn get(runtime_id: &str) -> v1::GetWorkerRequest {
    v1::GetWorkerRequest { runtime_id: runtime_id.to_owned(), worker_id: "worker-1".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_failed_has_one_line_with_the_id_that_its_error_names() {
    let host = Hostile::named("one").await;
    let mut plane = Plane::new().hostile(&host).start().await;
    host.answers("GetWorker", Answer::Bytes(b"\0\0\0\0\x03\xff\xff\xff"[..].into()));
    let failed = refusal(&plane.client().workers().get_worker(get("one")).await.unwrap_err());
    assert_eq!(failed.is(), (Code::Internal, "REMOTE_RUNTIME_MALFORMED_RESPONSE"));
    let unknown = refusal(&plane.client().workers().get_worker(get(EMBEDDED)).await.unwrap_err());
    assert_eq!(unknown.is(), (Code::NotFound, "UNKNOWN_WORKER"));
    let [failed, unknown] = [failed, unknown].map(|refused| refused.metadata["call_id"].clone());
    assert_ne!(failed, unknown);
    // A stream's end names its call, too.
    host.answers("ObserveWorker", Answer::Bytes(b"\0\0\0\0\x03\xff\xff\xff"[..].into()));
    let request =
        v1::ObserveWorkerRequest { runtime_id: "one".into(), worker_id: "worker-1".into(), ..Default::default() };
    let ended = match plane.client().observations().observe_worker(request).await {
        Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        Err(refused) => refused,
    };
    let ended = refusal(&ended).metadata["call_id"].clone();

    for (call_id, method) in [(&failed, "GetWorker"), (&ended, "ObserveWorker")] {
        let line = line(plane.process(), &["ERROR", "a call failed", call_id]).await;
        for word in [method, "Internal", "REMOTE_RUNTIME_MALFORMED_RESPONSE", "caller=\"tests\"", "took_ms="] {
            assert!(line.contains(word), "{word}: {line}");
        }
        let log = plane.process().log();
        let lines = log.lines().filter(|line| line.contains("a call failed") && line.contains(call_id.as_str()));
        assert_eq!(lines.count(), 1);
    }
    assert!(!plane.process().log().contains(&unknown), "what a client did wrong is its own business");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_come_in_great_numbers_is_told_now_and_then() {
    let host = Hostile::named("one").await;
    let mut plane = Plane::new().hostile(&host).start().await;
    host.answers("GetWorker", Answer::refusal(Code::DeadlineExceeded, None));
    for _ in 0..50 {
        plane.client().workers().get_worker(get("one")).await.unwrap_err();
    }
    line(plane.process(), &["WARN", "calls fail", "REMOTE_RUNTIME_TIMEOUT"]).await;
    let lines = plane.process().log().lines().filter(|line| line.contains("calls fail")).count();
    assert!(lines < 25, "{lines} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_call_to_a_host_is_told_with_its_name() {
    let host = Hostile::named("one").await;
    let mut plane = Plane::new().hostile(&host).start().await;
    host.answers("GetRuntime", Answer::message(&hello("one")));
    let answer = runtime_v1::GetWorkerResponse { worker: Some(worker("one", "worker-1")) };
    let Answer::Message(answer) = Answer::message(&answer) else { unreachable!() };
    host.answers("GetWorker", Answer::After(Duration::from_millis(1_100), answer));
    plane.client().workers().get_worker(get("one")).await.unwrap();
    let line = line(plane.process(), &["a call to a host was slow"]).await;
    for word in ["runtime_id=one", "method=\"GetWorker\"", "attempts=1", "WARN"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    let took = line.split_whitespace().find_map(|word| word.strip_prefix("took_ms=")?.parse::<u64>().ok());
    assert!(took.is_some_and(|took| took >= 1_000), "{line}");
}
