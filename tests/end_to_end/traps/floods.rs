//! More of something than anybody needs, as fast as it goes.

use super::beside::beside;
use super::scene::{Scene, TOKEN, times};
use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RESET, SETTINGS, WINDOW_UPDATE, Wire, block,
    call, frame,
};
use crate::support::{EMBEDDED, Mute, Plane, Profile, TOKEN as TOKEN_ALONE};

const METHOD: &str = "/workplane.v1.WorkerService/SendInput";
/// How many frames are written at once.
const BATCH: usize = 100;

/// The odd ids that a client gives its streams, a batch at a time.
fn streams(batch: usize) -> impl Iterator<Item = u32> {
    let first = u32::try_from(batch * BATCH).expect("a test has not so many");
    (first..).take(BATCH).map(|n| 2 * n + 1)
}

/// Floods a server with what is made for each batch of streams, until it ends the connection, which it must.
async fn flood(what: &str, frames: usize, batch: impl Fn(usize) -> Vec<u8>) {
    let scene = Scene::with(&[]).await;
    let mut wire = scene.wire().await;
    let sent = wire.flood(frames / BATCH, &batch).await * BATCH;
    println!("{what}: ended after {sent} of {frames}, {:?}", wire.closed().await);
    // Who floods fills no log either: it may come again as often as it likes.
    assert!(!scene.plane.log().contains("h2::"), "{what} is in the log");
    scene.end(what).await;
    beside(what, async |server| {
        Wire::open(server).await.flood(frames / BATCH, &batch).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_streams_are_not_opened() {
    let head = call(METHOD, TOKEN, &[]);
    let open = |batch| streams(batch).flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &head)).collect();
    flood("opened streams", 200_000, open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_as_soon_as_they_are_opened_end_their_connection() {
    let head = call(METHOD, TOKEN, &[]);
    let pair = |stream| [frame(HEADERS, END_HEADERS, stream, &head), frame(RESET, 0, stream, &[0, 0, 0, 8])].concat();
    flood("resets", 200_000, |batch| streams(batch).flat_map(pair).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_make_the_server_reset_them_end_their_connection() {
    // A window is made larger by nothing, which is an error of the stream.
    let head = call(METHOD, TOKEN, &[]);
    let pair = |stream| [frame(HEADERS, END_HEADERS, stream, &head), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat();
    flood("errors", 200_000, |batch| streams(batch).flat_map(pair).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_end_their_connection() {
    let part = block(&[("x", &"y".repeat(16_000))]);
    let more = move |batch: usize| match batch {
        0 => frame(HEADERS, 0, 1, &call(METHOD, TOKEN, &[])),
        _ => frame(CONTINUATION, 0, 1, &part),
    };
    flood("header fragments", 10_000 * BATCH, more).await;
    // And those that take no room.
    let more = |batch: usize| match batch {
        0 => frame(HEADERS, 0, 1, &call(METHOD, TOKEN, &[])),
        _ => frame(CONTINUATION, 0, 1, &[]).repeat(BATCH),
    };
    flood("empty header fragments", 1_000_000, more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_unpack_to_megabytes_take_no_room() {
    let scene = Scene::with(&[]).await;
    let mut wire = scene.wire().await;
    // Kept once in the table, and then referred to by a byte.
    let mut bomb = call(METHOD, TOKEN, &[]);
    let kept = block(&[("x", &"y".repeat(3_000))]);
    bomb.extend([&[0x40], &kept[1..], &[0xbe; 8_000]].concat());
    let bombs = |stream| frame(HEADERS, END_HEADERS | END_STREAM, u32::try_from(2 * stream + 1).unwrap(), &bomb);
    let sent = wire.flood(times(200, 2_000), bombs).await;
    println!("packed headers: {sent} were read");
    drop(wire);
    scene.end("packed headers").await;
    beside("packed headers", async |server| _ = Wire::open(server).await.flood(2_000, bombs).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_what_asks_for_nothing_all_the_time_is_ended() {
    let nothing: [(&str, Vec<u8>); 7] = [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("window updates", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("frames of an unknown kind", frame(99, 0, 0, &[])),
        ("resets of what is over", frame(RESET, 0, 1, &[0, 0, 0, 8])),
        ("data without a byte", frame(DATA, 0, 1, &[])),
    ];
    for (what, one) in nothing {
        let head = frame(HEADERS, END_HEADERS, 1, &call(METHOD, TOKEN, &[]));
        let batch = |batch: usize| if batch == 0 { head.clone() } else { one.repeat(BATCH) };
        flood(what, times(1_000_000, 10_000_000), batch).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_and_asks_all_the_time_holds_nobody_up() {
    let head = call(METHOD, "Bearer of-nobody", &[]);
    let ask = |batch| {
        streams(batch).flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)).collect::<Vec<_>>()
    };
    let scene = Scene::with(&[]).await;
    // Each batch is answered before the next: more at once is not let in anyway.
    let guess = async |server, batches| {
        let mut wire = Wire::open(server).await;
        for batch in 0..batches {
            _ = wire.send(&ask(batch)).await;
            wire.until("answers", |heard| heard.answers + heard.resets >= (batch + 1) * BATCH).await;
        }
    };
    guess(scene.plane.address(), times(10, 1_000)).await;
    scene.end("guessed tokens").await;
    beside("guessed tokens", async |server| guess(server, 1_000).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_at_all_is_ended() {
    // They hold for the client that goes on, too: it has seconds to answer.
    let plane = Plane::new().metrics().limit("keepalive_interval", "\"1s\"").limit("keepalive_timeout", "\"8s\"");
    let plane = plane.profile("builtin:coder", Profile::text(["cat"])).start().await;
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    let scene = Scene::at(plane).await;
    // It lets as much be sent as there can be, and takes nothing of it: more than stands in all buffers on the way.
    let path = "/workplane.v1.ObservationService/ObserveWorker";
    let _mute = Mute::open(scene.plane.address(), path, TOKEN_ALONE, &worker.observation(), 20).await;
    for _ in 0..3 {
        worker.send(&"x".repeat(100 * 1024)).await;
    }
    scene.ended("it reads nothing at all", 1).await;
    scene.end("unread").await;
}
