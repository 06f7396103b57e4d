//! Connections on which little or nothing is said.

use std::net::{SocketAddr, UdpSocket};

use super::beside::beside;
use super::scene::{Scene, TOKEN};
use super::wire::{END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, Wire, call, frame, message};
use crate::support::{EMBEDDED, Plane, Profile, until};

/// The windows of new streams: none.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_get_to_the_point_is_let_go() {
    // They hold for the client that goes on, too: it has seconds.
    let scene = Scene::with(&[("preface_timeout", "\"6s\""), ("first_request_timeout", "\"6s\"")]).await;
    let settings = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut wires = Vec::new();
    for said in [&b""[..], &PREFACE[..12], &PREFACE[..23], PREFACE, &settings, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        for _ in 0..50 {
            let mut wire = Wire::silent(scene.plane.address()).await;
            wire.send(said).await;
            wires.push(wire);
        }
    }
    for wire in wires {
        wire.closed().await;
    }
    // Whoever is refused has asked for nothing.
    let mut wire = scene.wire().await;
    let refused = call("/workplane.v1.RuntimeService/ListRuntimes", "Bearer of-nobody", &[]);
    assert!(wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &refused)).await);
    let heard = wire.until("an answer", |heard| heard.answers > 0).await;
    println!("refused: {heard:?}, and then {:?}", wire.closed().await);
    scene.end("silence").await;
    beside("silence", async |server| {
        for said in [&b""[..], &PREFACE[..12], PREFACE, &settings] {
            let mut wires = Vec::new();
            for _ in 0..16 {
                let mut wire = Wire::silent(server).await;
                wire.send(said).await;
                wires.push(wire);
            }
        }
    })
    .await;
}

/// An address of this machine that is not loopback. Nothing is sent to find it.
fn own_address(port: u16) -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| SocketAddr::new(address, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections_without_a_token_and_no_more() {
    // Those who say nothing stay for as long as the test goes.
    let plane = Plane::new().everywhere().limit("max_connections_per_address", "8");
    let plane = plane.limit("preface_timeout", "\"1h\"").limit("first_request_timeout", "\"1h\"").start().await;
    let port = plane.address().port();
    let Some(address) = own_address(port) else {
        println!("left out: this machine has no address but loopback");
        return;
    };
    let scene = Scene::at(plane).await;
    // None of them is taken for a client for as long as the test goes.
    let mut first = Vec::new();
    for _ in 0..8 {
        first.push(Wire::silent(address).await);
    }
    for _ in 0..100 {
        Wire::silent(address).await.closed().await;
    }
    // One of them says who it is: there is room for another.
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &call("/workplane.v1.None/None", TOKEN, &[]));
    assert!(first[0].send(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &request].concat()).await);
    let another = until("room for another", || async {
        let mut wire = Wire::silent(address).await;
        // Nobody announces it: what is turned away is closed before this is answered.
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &request].concat()).await;
        let heard = wire.until("an answer", |heard| heard.answers > 0).await;
        (!heard.closed).then_some(wire)
    })
    .await;
    assert!(!another.is_closed() && first.iter().all(|wire| !wire.is_closed()));
    scene.end("one address").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_an_answer_or_a_stream_is_ended_and_who_waits_for_more_is_not() {
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"]));
    let plane = plane.limit("stalled_stream_timeout", "\"1s\"").metrics().start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let mut observed = worker.observe_now().await;
    observed.frame().await;
    let scene = Scene::at(plane).await;
    let mut wires = Vec::new();
    for path in ["/workplane.v1.RuntimeService/ListRuntimes", "/grpc.health.v1.Health/Watch"] {
        let mut wire = Wire::silent(scene.plane.address()).await;
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &NO_WINDOW)].concat();
        let asked = (0..60).flat_map(|n| {
            let head = frame(HEADERS, END_HEADERS, 2 * n + 1, &call(path, TOKEN, &[]));
            [head, frame(0, END_STREAM, 2 * n + 1, &message(0, 0, &[]))].concat()
        });
        assert!(wire.send(&hello.into_iter().chain(asked).collect::<Vec<_>>()).await);
        wires.push(wire);
    }
    for wire in wires {
        wire.closed().await;
    }
    scene.ended("an answer or a stream on it is not read", 2).await;
    worker.send("still there").await;
    observed.first("what was sent", |frame| frame.item().is_some_and(|item| item.content == "still there")).await;
    scene.end("unread answers").await;
}
