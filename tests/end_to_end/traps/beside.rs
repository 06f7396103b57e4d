//! The long form of a trap: whether another client waits longer for the server that is under attack, beside the same attack
//! on another server of the same machine. Who floods takes processor time of this machine, too, which is not the server's
//! doing: it is in both. What is held is held of what people run, an optimised build.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::scene::{GROWTH, call, is_long, p99};
use crate::support::Plane;

/// How often each of the three comes, by turns, so that what else this machine does is in all of them.
const ROUNDS: usize = 12;
/// How long a phase is.
const PHASE: Duration = Duration::from_millis(800);
/// What is left out between two.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two calls of the other client: 4,800 of them are measured of each of the three.
const EVERY: Duration = Duration::from_millis(2);
/// How many times as long a hundredth of its calls may take.
const MOST: f64 = 2.0;
/// No phase.
const NONE: usize = usize::MAX;

/// Whom the offender offends in a phase.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Nobody,
    /// The server that the other client calls.
    Same,
    Another,
}

/// In this order, and again: each comes after each of the others as often.
const ORDER: [Target; 6] =
    [Target::Nobody, Target::Same, Target::Another, Target::Nobody, Target::Another, Target::Same];

/// How often it is measured before it is held against the server: a busy machine makes it longer, and never shorter for
/// long. Each is printed.
const TRIES: usize = 3;

/// In the long form: lets `offend` happen to a control plane again and again, as soon as it is over, and holds how long
/// another client's calls take.
pub(crate) async fn beside(what: &str, offend: impl AsyncFn(SocketAddr)) {
    if !is_long() {
        return;
    }
    let mut waits = Vec::new();
    while waits.len() < TRIES && waits.iter().all(|waits| *waits >= MOST) {
        waits.push(measure(what, &offend).await);
    }
    let held = waits.iter().any(|waits| *waits < MOST);
    assert!(cfg!(debug_assertions) || held, "{what}: another client waits {waits:.2?} times as long");
}

/// How many times as long another client's calls take as beside another server that is offended.
async fn measure(what: &str, offend: impl AsyncFn(SocketAddr)) -> f64 {
    let (mut same, another) = (Plane::new().start().await, Plane::new().start().await);
    let phase = Arc::new(AtomicUsize::new(NONE));
    let calls = honest(same.address(), Arc::clone(&phase));
    // Both have been called, and offended, before anything is measured.
    for server in [&same, &another] {
        during(PHASE, &offend, Some(server.address())).await;
    }
    let before = same.process().memory().now;
    for (n, target) in phases() {
        sleep(PAUSE).await;
        phase.store(n, Ordering::Relaxed);
        let server = match target {
            Target::Nobody => None,
            Target::Same => Some(same.address()),
            Target::Another => Some(another.address()),
        };
        during(PHASE, &offend, server).await;
        phase.store(NONE, Ordering::Relaxed);
    }
    drop(phase);
    let times = calls.join().expect("every call is answered");
    let grown = same.process().memory().most.saturating_sub(before);
    let [calm, attacked, beside] =
        [Target::Nobody, Target::Same, Target::Another].map(|target| quiet_p99(&times, target));
    let ratio = |to: Duration| attacked.as_secs_f64() / to.as_secs_f64();
    println!(
        "{what}: p99 {attacked:.2?}, {beside:.2?} beside another server that has it ({:.2}), {calm:.2?} without ({:.2}); \
         grown by {} KiB at most",
        ratio(beside),
        ratio(calm),
        grown >> 10,
    );
    assert!(grown <= GROWTH, "{what}: the server has grown by {} MiB", grown >> 20);
    ratio(beside)
}

/// All phases, by number.
fn phases() -> impl Iterator<Item = (usize, Target)> {
    ORDER.into_iter().cycle().take(3 * ROUNDS).enumerate()
}

/// Offends a server for so long, or nobody.
async fn during(time: Duration, offend: impl AsyncFn(SocketAddr), server: Option<SocketAddr>) {
    let offending = async {
        let Some(server) = server else { return std::future::pending().await };
        loop {
            offend(server).await;
        }
    };
    _ = timeout(time, offending).await;
}

/// Of the p99 of each phase with this target that which a quarter of them stay under: what a server does is in all of them,
/// and what else this machine does makes some of them longer.
fn quiet_p99(times: &[Vec<Duration>], target: Target) -> Duration {
    let mut p99s: Vec<_> = phases().filter(|(_, of)| *of == target).map(|(n, _)| p99(times[n].clone())).collect();
    p99s.sort_unstable();
    p99s[p99s.len() / 4]
}

/// A client on a thread of its own, that calls at its rate whether it was answered or not, until nobody has `phase` any
/// more: how long the calls of each phase took.
fn honest(server: SocketAddr, phase: Arc<AtomicUsize>) -> JoinHandle<Vec<Vec<Duration>>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || runtime.block_on(calls(server, phase)))
}

async fn calls(server: SocketAddr, phase: Arc<AtomicUsize>) -> Vec<Vec<Duration>> {
    let (client, mut calls, mut times) = (Plane::client_at(server), JoinSet::new(), vec![Vec::new(); 3 * ROUNDS]);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while Arc::strong_count(&phase) > 1 {
        tokio::select! {
            _ = ticks.tick() => {
                let (client, phase) = (client.clone(), phase.load(Ordering::Relaxed));
                calls.spawn(async move { (phase, call(&client).await) });
            }
            Some(called) = calls.join_next() => keep(&mut times, called.unwrap()),
        }
    }
    for called in calls.join_all().await {
        keep(&mut times, called);
    }
    times
}

fn keep(times: &mut [Vec<Duration>], (phase, took): (usize, Duration)) {
    if let Some(times) = times.get_mut(phase) {
        times.push(took);
    }
}
