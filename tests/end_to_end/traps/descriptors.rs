//! No descriptors left: who is there is served, and nobody spins.

use std::time::Duration;

use tokio::time::Instant;
use workplane::proto::v1::ListRuntimesRequest;

use super::wire::Wire;
use crate::support::{Plane, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_serves_whom_it_has_and_waits() {
    let mut plane = Plane::new().start().await;
    let (address, client) = (plane.address(), plane.client());
    let call = || async { within("a call", client.runtimes().list_runtimes(ListRuntimesRequest::default())).await };
    call().await.unwrap();
    let process = plane.process();
    let said = || process.log().matches("cannot accept connections").count();
    process.limit_files(process.files() + 8);
    let began = Instant::now();
    let mut wires = Vec::new();
    for _ in 0..50 {
        // The kernel takes them for the server.
        wires.push(Wire::silent(address).await);
    }
    until("the log to say so", || std::future::ready((said() > 0).then_some(()))).await;
    for _ in 0..100 {
        call().await.unwrap();
    }
    let (before, resting) = (process.processor_time(), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (spent, rested) = (process.processor_time().saturating_sub(before), resting.elapsed());
    println!("without descriptors: {spent:?} of processor time in {rested:?}");
    assert!(spent * 4 < rested, "it spins: {spent:?} of processor time in {rested:?}");
    let (lines, time) = (said() as u64, began.elapsed());
    assert!(lines <= 1 + time.as_secs() / 5, "{lines} lines in {time:?}");
    drop(wires);
    let another = plane.client();
    within("a new connection", another.runtimes().list_runtimes(ListRuntimesRequest::default())).await.unwrap();
}
