//! More of what is allowed than is allowed.

use tonic::Code;

use super::ask::{Asking, Call};
use super::scene::Scene;
use super::wire::{Wire, message};
use crate::support::{EMBEDDED, Plane, Profile, refusal, until};

const METHOD: &str = "/workplane.v1.WorkerService/SendInput";
const LIST: &str = "/workplane.v1.RuntimeService/ListRuntimes";
const GET: &str = "/workplane.v1.WorkerService/GetWorker";

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_so_many_calls_and_room_for_what_ends_things() {
    let scene = Scene::with(&[]).await;
    let asking = Asking::at(scene.plane.address()).await;
    let mut calls: Vec<Call> = Vec::new();
    for _ in 0..64 {
        calls.push(asking.begin(METHOD, &[]).await);
    }
    let overloaded = (Code::ResourceExhausted, "OVERLOADED".to_owned());
    // They come in no order: a probe may take the place of one, which is refused then.
    while asking.told(METHOD, &[], message(0, 0, &[])).await != overloaded {
        calls.push(asking.begin(METHOD, &[]).await);
    }
    assert_eq!(asking.told(LIST, &[], message(0, 0, &[])).await, overloaded);
    assert_eq!(asking.told(GET, &[], message(0, 0, &[])).await.0, Code::InvalidArgument);
    assert_eq!(asking.told("/grpc.health.v1.Health/Check", &[], message(0, 0, &[])).await.0, Code::Ok);
    loop {
        let mut call = calls.pop().expect("not all of them were refused");
        // Who was refused may know it by now.
        _ = call.body.send_data(message(0, 0, &[]).into(), true);
        match call.told().await {
            (Code::InvalidArgument, _) => break,
            told => assert_eq!(told, overloaded),
        }
    }
    assert_eq!(asking.told(LIST, &[], message(0, 0, &[])).await.0, Code::Ok, "there is room for one again");
    scene.end("calls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_has_so_many_connections_and_the_next_is_told_and_ended() {
    // One is that of the client that goes on.
    let scene = Scene::with(&[("max_connections_per_caller", "3")]).await;
    let address = scene.plane.address();
    let (first, second) = (Asking::at(address).await, Asking::at(address).await);
    for asking in [&first, &second] {
        assert_eq!(asking.told(LIST, &[], message(0, 0, &[])).await.0, Code::Ok);
    }
    let third = Asking::at(address).await;
    let told = third.told(LIST, &[], message(0, 0, &[])).await;
    assert_eq!(told, (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    third.ended().await;
    assert_eq!(second.told(LIST, &[], message(0, 0, &[])).await.0, Code::Ok);
    scene.end("connections").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_has_so_many_streams() {
    let plane = Plane::new().profile("builtin:coder", Profile::catalog()).limit("max_streams_per_caller", "2");
    let plane = plane.start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let scene = Scene::at(plane).await;
    // Over other connections: it is the caller who counts.
    let again = worker.through(scene.plane.client());
    let (first, _second) = (worker.observe_now().await, again.observe_now().await);
    let refused = again.try_observe(again.observation()).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::ResourceExhausted, "OVERLOADED"));
    drop(first);
    until("the room of the one that is over", || async { worker.try_observe(worker.observation()).await.ok() }).await;
    scene.end("streams").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_reached_its_age_is_told_to_go_and_finishes_what_it_has() {
    let plane = Plane::new().limit("max_connection_age", "\"6s\"").limit("connection_age_grace", "\"15s\"");
    // It is by its age that a connection ends, and not for what it has not asked.
    let plane = plane.limit("first_request_timeout", "\"1h\"").start().await;
    let asking = Asking::at(plane.address()).await;
    let mut call = asking.begin(METHOD, &[]).await;
    // It answers nothing, not even the ping that goes with it: what it may still send is waited for.
    let mut wire = Wire::open(plane.address()).await;
    let heard = wire.until("the word to go", |heard| heard.goaway.is_some()).await;
    assert_eq!((heard.goaway, heard.closed), (Some(0), false), "it is told, and of no error");
    call.body.send_data(message(0, 0, &[]).into(), true).unwrap();
    assert_eq!(call.told().await.0, Code::InvalidArgument, "what was begun is finished");
    asking.ended().await;
    wire.closed().await;
    let late = Asking::at(plane.address()).await;
    assert_eq!(late.told(LIST, &[], message(0, 0, &[])).await.0, Code::Ok);
}
