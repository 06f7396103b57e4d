//! What the control plane costs beside the bare stack, in one run: calls a second against the health check behind the
//! same layers, and deliveries a second to many observers. Real binary, real sockets, two processes on one machine.
//!
//! `cargo bench --bench edge`

mod plane;

use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use workplane::proto::v1;
use workplane::proto::v1::observation_service_client::ObservationServiceClient;
use workplane::proto::v1::worker_service_client::WorkerServiceClient;

use plane::{Plane, RUNTIME, connect, input, spawn};

const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 4;
const OBSERVERS: usize = 100;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
const INPUTS: usize = 10_000;

/// Calls a second with `IN_FLIGHT` at once, and the median and 99th percentile of one.
async fn rate<F, R>(call: impl Fn(usize) -> F) -> (f64, Duration, Duration)
where
    F: Fn() -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let until = Instant::now() + ROUND;
    let loops = (0..IN_FLIGHT).map(|n| {
        let call = call(n);
        async move {
            let mut taken = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                call().await;
                taken.push(begun.elapsed());
            }
            taken
        }
    });
    let mut taken: Vec<_> = futures_util::future::join_all(loops).await.concat();
    taken.sort_unstable();
    let calls = taken.len();
    (per_second(calls, ROUND), taken[calls / 2], taken[calls * 99 / 100])
}

fn per_second(count: usize, over: Duration) -> f64 {
    f64::from(u32::try_from(count).expect("a round is short")) / over.as_secs_f64()
}

fn told(what: &str, (rate, p50, p99): (f64, Duration, Duration), limit: f64) {
    println!("{what:<44} {rate:>9.0}/s  p50 {p50:>9.1?}  p99 {p99:>9.1?}  ratio {:.2}", rate / limit);
}

async fn calls(channels: &[Channel]) {
    let mut workers = Vec::new();
    for _ in 0..IN_FLIGHT {
        workers.push(spawn(channels[0].clone()).await);
    }
    let on = |n: usize| channels[n % CONNECTIONS].clone();
    let health = rate(|n| {
        let client = HealthClient::new(on(n));
        move || {
            let mut client = client.clone();
            async move { drop(client.check(HealthCheckRequest::default()).await.expect("it is healthy")) }
        }
    })
    .await;
    told("Health.Check (the stack and our layers)", health, health.0);
    for (what, one) in [("SendInput, 64 workers", false), ("SendInput, one worker", true)] {
        let sent = rate(|n| {
            let client = WorkerServiceClient::new(on(n));
            let request = input(&workers[if one { 0 } else { n }]);
            move || {
                let (mut client, request) = (client.clone(), request.clone());
                async move { drop(client.send_input(request).await.expect("it is taken")) }
            }
        })
        .await;
        told(what, sent, health.0);
    }
}

/// Durable frames a second over all observers of one worker, from the first input to the last frame.
async fn deliveries(channels: &[Channel]) {
    let worker_id = spawn(channels[0].clone()).await;
    let observe = (0..OBSERVERS).map(|n| {
        let mut client = ObservationServiceClient::new(channels[n % CONNECTIONS].clone());
        let request = v1::ObserveWorkerRequest {
            runtime_id: RUNTIME.to_owned(),
            worker_id: worker_id.clone(),
            ..v1::ObserveWorkerRequest::default()
        };
        async move { client.observe_worker(request).await.expect("it is observed").into_inner() }
    });
    let streams = futures_util::future::join_all(observe).await;
    let begun = Instant::now();
    let readers = streams.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            let mut frames = 0;
            // The snapshot, then two frames for each input.
            while frames < 1 + 2 * INPUTS {
                stream.next().await.expect("it goes on").expect("it goes on");
                frames += 1;
            }
            frames - 1
        })
    });
    let readers: Vec<_> = readers.collect();
    let sends = (0..IN_FLIGHT).map(|n| {
        let mut client = WorkerServiceClient::new(channels[0].clone());
        let request = input(&worker_id);
        async move {
            for _ in (n..INPUTS).step_by(IN_FLIGHT) {
                client.send_input(request.clone()).await.expect("it is taken");
            }
        }
    });
    futures_util::future::join_all(sends).await;
    let mut frames = 0;
    for reader in readers {
        frames += reader.await.expect("it reads to the end");
    }
    let rate = per_second(frames, begun.elapsed());
    println!("{OBSERVERS} observers of one worker, 200 bytes {rate:>12.0} deliveries/s");
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let plane = Plane::start(&[]);
    let channels = connect(&plane.endpoint, CONNECTIONS).await;
    for round in 1..=ROUNDS {
        println!("round {round}");
        calls(&channels).await;
        deliveries(&channels).await;
    }
}
