//! Many observers of one worker on a host cost the host one.

use workplane::proto::v1::StopMode;

use crate::support::{CountingRelay, Host, Plane, Profile, within};

const OBSERVERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn all_observers_of_a_hosts_worker_share_one_stream_from_it() {
    // acceptance 122
    let host = Host::named("one").profile("builtin:coder", Profile::text(["cat"])).start().await;
    let relay = CountingRelay::to(host.address()).await;
    let plane = Plane::new().host_via(&host, relay.address()).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;

    let mut observers = Vec::new();
    for _ in 0..OBSERVERS {
        let mut stream = worker.observe_now().await;
        stream.frame().await;
        observers.push(tokio::spawn(stream.rest()));
    }
    for n in 0..50 {
        worker.send(&format!("input {n}")).await;
    }
    worker.stop(StopMode::Graceful).await;

    let mut seen = Vec::new();
    for observer in observers {
        let frames = within("an observer to end", observer).await.unwrap();
        let durable: Vec<_> = frames.into_iter().filter(crate::support::Frame::is_durable).collect();
        assert!(durable.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
        seen.push(durable);
    }
    // The ones that came later may have missed the end of the spawn: all have what came after the last of them.
    let shortest = seen.iter().map(Vec::len).min().unwrap();
    assert!(shortest >= 50);
    for frames in &seen {
        assert!(
            frames[frames.len() - shortest..] == seen[0][seen[0].len() - shortest..],
            "two observers saw two things"
        );
    }
    assert_eq!(relay.calls("ObserveWorker"), 1);
}
