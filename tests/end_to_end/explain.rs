//! `workplane explain`: how a worker is, in words, as JSON and as an exit code.

use serde_json::Value;
use workplane::proto::v1::WorkerState;

use crate::support::{Console, EMBEDDED, Host, Plane, Profile, until};

/// What is found of a worker, by name, and the exit code.
async fn found(console: &Console, worker: &str) -> (Value, Option<i32>) {
    let output = console.run(&["explain", worker, "--output", "json"], "").await;
    let said = String::from_utf8(output.stderr).unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (told, output.status.code())
}

fn answers(told: &Value) -> Vec<&str> {
    told["findings"].as_array().unwrap().iter().map(|finding| finding["answer"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lives_is_explained_with_its_last_five_events() {
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).host(&host).start().await;
    let console = Console::of(&plane);
    for runtime_id in [EMBEDDED, "one"] {
        let worker = plane.spawn(runtime_id, "builtin:coder").await;
        for said in ["a", "b", "c\x1b[2J"] {
            worker.send(said).await;
        }
        let echoed = || async { (worker.get().await.transcript_length == 6).then_some(()) };
        until("three echoes", echoed).await;
        let name = format!("{runtime_id}/{}", worker.worker_id);
        let told = console.types(&format!("explain {name}")).await;
        assert!(told.contains("alive") && told.contains("running, run 1"), "{told}");
        let events: Vec<_> = told.lines().skip_while(|line| !line.starts_with("The last events")).skip(1).collect();
        assert_eq!(events.len(), 5, "{told}");
        assert!(told.contains("c\\u{1b}[2J"), "what a worker says steers nothing: {told}");
        let (told, code) = found(&console, &name).await;
        assert_eq!((answers(&told), code), (vec!["yes", "yes", "no", "no", "no"], Some(0)));
        assert_eq!(told["worker"]["worker_id"], worker.worker_id);
        assert_eq!(told["events"].as_array().unwrap().len(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_worker_ended_is_explained_and_its_code_says_whether_it_was_asked_to() {
    let plane = Plane::new().profile("builtin:coder", Profile::script("read line; exit 7")).start().await;
    let console = Console::of(&plane);
    let (failed, stopped) =
        (plane.spawn(EMBEDDED, "builtin:coder").await, plane.spawn(EMBEDDED, "builtin:coder").await);
    failed.send("go").await;
    failed.state_is(WorkerState::Failed).await;
    console.types(&format!("stop {} --reason enough", stopped.worker_id)).await;

    let output = console.run(&["explain", &failed.worker_id], "").await;
    let (told, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(told.contains("exited, exit code 7") && said.contains("it has failed"), "{told}{said}");
    let (told, code) = found(&console, &stopped.worker_id).await;
    assert_eq!((answers(&told), code), (vec!["yes", "no", "no", "no", "yes"], Some(0)));
    assert!(told["findings"][4]["evidence"].as_str().unwrap().starts_with("stopped"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_worker_whose_host_is_gone_it_is_said_that_nothing_is_known() {
    let mut host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let plane = Plane::new().host(&host).start().await;
    let console = Console::of(&plane);
    let worker = plane.spawn("one", "builtin:coder").await;
    worker.get().await;
    host.process().kill().await;
    let name = format!("one/{}", worker.worker_id);
    let (told, code) = found(&console, &name).await;
    assert_eq!(
        (answers(&told), code),
        (vec!["no", "not known", "not known", "not known", "not known"], Some(5)),
        "{told}"
    );
    assert!(told["events_note"].as_str().unwrap().contains("cannot be reached"), "{told}");
    let unknown =
        console.run(&["explain", "embedded-worker-runtime/worker-0198a000-0000-7000-8000-000000000000"], "").await;
    assert_eq!(unknown.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_worker_with_many_events_the_last_items_are_told() {
    let plane = Plane::new().profile("builtin:coder", Profile::script("seq 3000; exec cat")).start().await;
    let console = Console::of(&plane);
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    until("all lines", || async { (worker.get().await.transcript_length == 3000).then_some(()) }).await;
    let told = console.types_json(&format!("explain {}", worker.worker_id)).await;
    let items: Vec<_> =
        told["events"].as_array().unwrap().iter().map(|it| it["item_appended"]["item"]["content"].clone()).collect();
    assert_eq!(items, ["2996", "2997", "2998", "2999", "3000"]);
    assert!(told["events_note"].as_str().unwrap().contains("only the last items"), "{told}");
}
