//! Bodies of requests that are not what they should be.

use tonic::Code;

use super::ask::Asking;
use super::beside::beside;
use super::scene::{Scene, TOKEN};
use super::wire::{DATA, END_HEADERS, END_STREAM, HEADERS, call, frame, message};
use crate::support::until;

const METHOD: &str = "/workplane.v1.WorkerService/SendInput";
const LIST: &str = "/workplane.v1.RuntimeService/ListRuntimes";
const BUNDLE: &str = "/workplane.v1.ConfigBundleService/SyncConfigBundle";

/// What is wrong with a body, headers that say something of it, and the body.
type Case = (&'static str, &'static [(&'static str, &'static str)], Vec<u8>);

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_end_end_with_their_deadline() {
    // It holds for the calls of the client that goes on, too.
    let scene = Scene::with(&[("default_deadline", "\"10s\"")]).await;
    let begin = async |asking: &Asking, headers: &[(&str, &str)]| {
        let mut calls = Vec::new();
        for n in 0..64 {
            let mut call = asking.begin(if n % 2 == 0 { METHOD } else { BUNDLE }, headers).await;
            call.say(&message(0, 200_000, &vec![b'x'; 50_000]));
            calls.push(call);
        }
        calls
    };
    let asking = Asking::at(scene.plane.address()).await;
    for call in begin(&asking, &[]).await {
        assert_eq!(call.told().await.0, Code::DeadlineExceeded);
    }
    assert_eq!(asking.told(LIST, &[], message(0, 0, &[])).await.0, Code::Ok, "and all the room is there again");
    scene.end("endless bodies").await;
    beside("endless bodies", async |server| {
        let asking = Asking::at(server).await;
        loop {
            for call in begin(&asking, &[("grpc-timeout", "100m")]).await {
                call.told().await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_what_it_says_and_no_larger_than_its_method_takes() {
    let scene = Scene::with(&[]).await;
    let asking = Asking::at(scene.plane.address()).await;
    let cases: [Case; 13] = [
        ("nothing", &[], Vec::new()),
        ("half a prefix", &[], vec![0, 0, 0]),
        ("less than it says", &[], message(0, 100, &[0; 10])),
        ("more than it says", &[], message(0, 2, &[0x0a; 90])),
        ("two messages", &[], message(0, 0, &[]).repeat(2)),
        ("four gigabytes, it says", &[], message(0, u32::MAX, &[])),
        ("more than the method takes, it says", &[], message(0, 256 * 1024 + 1, &[])),
        ("more than the method takes", &[], message(0, 300_000, &vec![0; 300_000])),
        ("compressed, it says", &[], message(1, 4, &[0; 4])),
        ("compressed in a way that is not spoken", &[("grpc-encoding", "gzip")], message(1, 4, &[0; 4])),
        ("a flag that is none", &[], message(7, 4, &[0; 4])),
        ("a field of a wrong type", &[], message(0, 3, &[0x0a, 0xff, 0xff])),
        ("a group that never ends", &[], message(0, 100, &[0x0b; 100])),
    ];
    for (what, headers, body) in cases {
        let (code, reason) = asking.told(METHOD, headers, body).await;
        let refused = matches!(code, Code::InvalidArgument | Code::Unimplemented);
        assert!(refused && !reason.is_empty(), "{what}: {code:?} {reason}");
    }
    for bad in ["", "S", "1", "123456789S", "-1S", "1.5S", "1s", "0x1S"] {
        let told = asking.told(LIST, &[("grpc-timeout", bad)], message(0, 0, &[])).await;
        assert_eq!(told, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "{bad:?}");
    }
    assert_eq!(asking.told(LIST, &[], message(0, 0, &[])).await.0, Code::Ok);
    scene.end("odd bodies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_longer_than_its_head_says_is_an_error_of_its_stream() {
    let scene = Scene::with(&[]).await;
    let mut wire = scene.wire().await;
    for stream in (1..400).step_by(2) {
        let head = frame(HEADERS, END_HEADERS, stream, &call(METHOD, TOKEN, &[("content-length", "5")]));
        let body = frame(DATA, END_STREAM, stream, &message(0, 10, &[0; 10]));
        if !wire.send(&[head, body].concat()).await {
            break;
        }
    }
    let heard = wire.until("a reset", |heard| heard.resets > 0).await;
    println!("lengths that are wrong: {heard:?}");
    scene.end("lengths that are wrong").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bodies_together_take_so_much_and_no_more() {
    let scene = Scene::with(&[("request_memory", "\"1MiB\"")]).await;
    let asking = Asking::at(scene.plane.address()).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        let mut call = asking.begin(METHOD, &[]).await;
        call.say(&message(0, 200_000, &vec![0; 199_999]));
        calls.push(call);
    }
    // What is over it is told so; once there are no more than five, they have room for all but their last byte.
    let mut waiting = calls;
    while waiting.len() > 5 {
        waiting = until("room for those that are left", || {
            let before = waiting.len();
            for call in std::mem::take(&mut waiting) {
                match call.told_already() {
                    Ok(told) => assert_eq!(told, (Code::ResourceExhausted, "OVERLOADED".to_owned())),
                    Err(call) => waiting.push(call),
                }
            }
            std::future::ready((waiting.len() < before).then(|| std::mem::take(&mut waiting)))
        })
        .await;
    }
    for mut call in waiting {
        call.body.send_data(bytes::Bytes::from_static(&[0]), true).unwrap();
        assert_eq!(call.told().await.0, Code::InvalidArgument, "it is read, and is no input");
    }
    assert_eq!(asking.told(LIST, &[], message(0, 0, &[])).await.0, Code::Ok);
    scene.end("bodies together").await;
}
