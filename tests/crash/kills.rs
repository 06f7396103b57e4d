//! Servers that are killed again and again under load.

use std::collections::VecDeque;
use std::env;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use workplane::proto::v1::{OperationState, StopMode};

use crate::book::Book;
use crate::fleet::{Fleet, Kill, RUNTIMES, STUBBORN, man, programs_of, spawned};
use crate::jobs::Jobs;
use crate::load::{Load, asked};
use crate::stock::{ITEMS, Stock};
use crate::support::{Chance, Client, Worker, chance};

/// How often servers are killed where nothing else is said.
const ROUNDS: usize = 30;
/// Acknowledged inputs a second that a round must have had to count.
const LEAST: f64 = 100.0;
/// How often a round is run again because its load was not reached.
const AGAIN: usize = 10;
/// How soon a server that was killed must be SERVING.
const BACK: Duration = Duration::from_secs(2);
/// How many workers lie in each store that have ended.
const STOCK: usize = 1_000;
/// A worker is told things in at most this many rounds: then another takes its place.
const LIVES: usize = 5;
/// So many workers that are told nothing any more stay; older ones are deleted, so that a long run's stores are cleaned
/// and not only grow.
const KEPT: usize = 60;

/// How many rounds; the long form is the one that says so.
fn rounds() -> (usize, bool) {
    let rounds = env::var_os("WORKPLANE_CRASH_ROUNDS");
    let is_long = rounds.is_some();
    let number = |text: std::ffi::OsString| text.to_str()?.parse().ok();
    (rounds.map_or(ROUNDS, |text| number(text).expect("WORKPLANE_CRASH_ROUNDS is a number")), is_long)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_every_kill() {
    // acceptance 128
    let (rounds, is_long) = rounds();
    let mut chance = chance();
    let mut fleet = Fleet::start().await;
    let begun = Instant::now();
    let client = fleet.client();
    let lay_in = |runtime_id| Stock::lay_in(&client, runtime_id, STOCK);
    let stocks = join_all(RUNTIMES.map(lay_in)).await;
    println!("{STOCK} workers with {ITEMS} items each are in both stores after {:.1?}", begun.elapsed());

    let (mut live, mut gone, mut again) = (Vec::new(), VecDeque::new(), 0);
    let (mut inputs, mut deleted) = (0, 0);
    let mut slowest = Duration::ZERO;
    let mut round = 0;
    while round < rounds {
        man(&fleet.client(), &RUNTIMES, &mut live).await;
        let told = one(&mut fleet, &mut live, &format!("{round}-{again}"), &mut chance).await;
        slowest = slowest.max(told.back);
        retire(&mut live, &mut gone, round).await;
        while gone.len() > KEPT {
            let Some(book) = gone.pop_front() else { break };
            book.check().await;
            inputs += book.accepted();
            delete(&book.worker, &format!("delete-{deleted}")).await;
            deleted += 1;
        }
        if told.rate < LEAST {
            again += 1;
            assert!(again <= AGAIN, "{AGAIN} rounds did not reach {LEAST} acknowledged inputs a second");
            println!("round {round} does not count: {:.0} inputs a second", told.rate);
            continue;
        }
        println!("round {round}: {:.0} inputs a second, {}", told.rate, told.what);
        round += 1;
    }
    // Also what ended long ago is still there.
    gone.extend(live);
    for book in &gone {
        book.check().await;
    }
    for stock in stocks {
        stock.check().await;
    }
    inputs += gone.iter().map(Book::accepted).sum::<usize>();
    let workers = gone.len() + deleted;
    println!(
        "{rounds} kills, {workers} workers, {deleted} of them deleted, {inputs} inputs; back after {slowest:.2?} at the latest"
    );
    assert!(!is_long || slowest <= BACK, "SERVING after {slowest:?}: more than {BACK:?}");
}

/// What is told of a round.
struct Told {
    rate: f64,
    back: Duration,
    what: String,
}

/// Load, a kill in the middle of it, a restart, and a look at all that was told.
async fn one(fleet: &mut Fleet, live: &mut [Book], name: &str, chance: &mut Chance) -> Told {
    let kill = [Kill::Plane, Kill::Host, Kill::PlaneThenHost, Kill::HostThenPlane][chance.below(4)];
    let long = Duration::from_millis(300 + chance.below(700) as u64);
    let pause = Duration::from_millis(chance.below(50) as u64);
    let stubborn = Box::pin(stubborn(&fleet.client(), name)).await;
    let load = Load::new();
    let mut jobs = Jobs::new(fleet.client(), name);
    let crash = async {
        let begun = Instant::now();
        sleep(long).await;
        let rate = f64::from(load.acknowledged()) / begun.elapsed().as_secs_f64();
        let crashed = fleet.crash(kill, pause);
        // They end once what they have begun is answered, by whatever is up then.
        load.end();
        (rate, crashed.await)
    };
    let ((rate, took), (), ()) = tokio::join!(crash, load.run(live, name, chance), jobs.run(&load, &RUNTIMES));
    Box::pin(end_stubborn(&stubborn, kill)).await;
    fleet.all_run().await;
    for book in live.iter() {
        book.check().await;
        book.repeat(3).await;
    }
    jobs.check().await;
    let back = took.iter().map(|(_, took)| *took).max().unwrap_or_default();
    let what = took.iter().map(|(name, took)| format!("{name} back after {took:.2?}")).collect::<Vec<_>>().join(", ");
    Told { rate, back, what: format!("{kill:?}: {what}") }
}

/// Workers that nothing but a KILL ends, one on each runtime.
async fn stubborn(client: &Client, name: &str) -> Vec<Worker> {
    let up = RUNTIMES.map(async |runtime_id| {
        let worker = spawned(client, runtime_id, STUBBORN, format!("{name}-stubborn-{runtime_id}")).await;
        worker.observe().await.first("that it is deaf", |frame| frame.item().is_some()).await;
        worker
    });
    join_all(up).await
}

/// What a killed runtime left behind was ended before it served, however deaf it is; the others are ended now.
async fn end_stubborn(workers: &[Worker], kill: Kill) {
    for worker in workers {
        let runs = usize::from(!kill.takes(&worker.runtime_id));
        assert_eq!(programs_of(worker), runs, "{kill:?}: the program of {} on {}", worker.worker_id, worker.runtime_id);
        asked("a stop", || worker.try_stop(StopMode::Force)).await;
    }
}

/// Deletes a worker, whatever it does: once, however often it is asked for.
async fn delete(worker: &Worker, request_id: &str) {
    let deleted = asked("a deletion", || worker.try_delete(true, request_id)).await;
    assert_eq!(deleted.state(), OperationState::Accepted, "{deleted:?}");
}

/// Lays aside the books of those that have ended, and of those that were told enough.
async fn retire(live: &mut Vec<Book>, gone: &mut VecDeque<Book>, round: usize) {
    for book in std::mem::take(live) {
        if book.has_ended().await || round % LIVES == LIVES - 1 {
            gone.push_back(book);
        } else {
            live.push(book);
        }
    }
}
