//! What the durable log does beside the disk it lies on: `cargo bench --bench log [-- DIR]`.
//!
//! In each round, one after the other on the same disk: a bare loop that appends 200 bytes and syncs; the same with 64
//! times as much at once; the log with one submission waiting and with 64, each of one event of 200 bytes, without and
//! with a value beside it. Then a log of
//! 100,000 owners and one of a million events are opened. It judges nothing.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed, and says where")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use workplane::engine::store::disk::RealDisk;
use workplane::engine::store::log::{Change, Log, LogOptions, NewEvent, Owner, Slot, Submission};

const ROUNDS: usize = 3;
const LASTING: Duration = Duration::from_secs(2);
const PAYLOAD: usize = 200;
const WAITING: usize = 64;

/// How many a second, and how long one took: the median and the 99th of a hundred.
struct Measured {
    rate: f64,
    p50: Duration,
    p99: Duration,
    syncs: u64,
}

fn measured(mut times: Vec<Duration>, took: Duration, syncs: u64) -> Measured {
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100];
    let rate = u32::try_from(times.len()).map_or(f64::MAX, f64::from) / took.as_secs_f64();
    Measured { rate, p50: at(50), p99: at(99), syncs }
}

fn bare(dir: &Path, length: usize) -> Measured {
    let path = dir.join("bare");
    let mut file = File::create(&path).unwrap();
    let bytes = vec![7; length];
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < LASTING {
        let began = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        times.push(began.elapsed());
    }
    let syncs = times.len() as u64;
    let measured = measured(times, start.elapsed(), syncs);
    fs::remove_file(path).unwrap();
    measured
}

fn open(dir: &Path) -> Log {
    Log::open(Arc::new(RealDisk), dir, LogOptions::default()).unwrap().0
}

fn submission(number: usize, with_value: bool) -> Submission {
    let mut owner = [0; 16];
    owner[..8].copy_from_slice(&(number % WAITING).to_le_bytes());
    let payload = Bytes::from_static(&[7; PAYLOAD]);
    let events = vec![NewEvent { tag: 1, payload: payload.clone() }];
    let puts = if with_value { vec![(Slot([1; 16]), payload)] } else { Vec::new() };
    Submission { changes: vec![Change { owner: Owner(owner), events, puts, ..Change::default() }], vital: false }
}

async fn load(log: &Log, waiting: usize, with_value: bool) -> Measured {
    let before = log.reader().stats().groups;
    let (start, mut times, mut number) = (Instant::now(), Vec::new(), 0);
    let mut pending = FuturesUnordered::new();
    let commit = |number| {
        let began = Instant::now();
        let commit = log.commit(submission(number, with_value));
        async move {
            commit.await.unwrap();
            began.elapsed()
        }
    };
    while start.elapsed() < LASTING {
        while pending.len() < waiting {
            pending.push(commit(number));
            number += 1;
        }
        times.extend(pending.next().await);
    }
    while let Some(time) = pending.next().await {
        times.push(time);
    }
    measured(times, start.elapsed(), log.reader().stats().groups - before)
}

fn tell(what: &str, measured: &Measured) {
    let Measured { rate, p50, p99, syncs } = measured;
    println!("  {what:<34} {rate:>9.0}/s   p50 {p50:>9.1?}   p99 {p99:>9.1?}   {syncs} syncs");
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Owners with two values and four events each, as workers that ended have them.
async fn many_owners(dir: &Path) {
    let log = open(dir);
    let mut pending = FuturesUnordered::new();
    for number in 0..100_000u128 {
        let payload = Bytes::from_static(&[7; PAYLOAD]);
        let events = vec![NewEvent { tag: 1, payload: payload.clone() }; 4];
        let puts = vec![(Slot([1; 16]), payload.clone()), (Slot([2; 16]), payload)];
        let owner = Owner(number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_le_bytes());
        let changes = vec![Change { owner, events, puts, ..Change::default() }];
        pending.push(log.commit(Submission { changes, vital: false }));
        if pending.len() >= 2_000 {
            pending.next().await.unwrap().unwrap();
        }
    }
    while let Some(landed) = pending.next().await {
        landed.unwrap();
    }
    drop(pending);
    drop(log);
    let (before, start) = (resident(), Instant::now());
    let log = open(dir);
    let (took, after) = (start.elapsed(), resident());
    let owners = log.reader().owners().len() as u64;
    println!(
        "opened {owners} owners in {took:.2?}; {} bytes of memory each",
        after.saturating_sub(before) * 1_024 / owners
    );
}

async fn a_million(dir: &Path) {
    let log = open(dir);
    let mut pending = FuturesUnordered::new();
    for number in 0..1_000_000 {
        pending.push(log.commit(submission(number * 1_543, false)));
        if pending.len() >= 2_000 {
            pending.next().await.unwrap().unwrap();
        }
    }
    while let Some(landed) = pending.next().await {
        landed.unwrap();
    }
    drop(pending);
    drop(log);
    let (before, start) = (resident(), Instant::now());
    let log = open(dir);
    let took = start.elapsed();
    let stats = log.reader().stats();
    println!(
        "opened 1,000,000 events, {} MiB, in {took:.2?}; {} KiB more memory",
        stats.bytes >> 20,
        resident() - before
    );
}

fn main() {
    let dir = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let root = dir.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for round in 1..=ROUNDS {
        let dir = tempfile::tempdir_in(&root).unwrap();
        println!("round {round}");
        tell("bare: append and sync", &bare(dir.path(), PAYLOAD));
        tell("bare: 64 at once, times 64", &bare(dir.path(), PAYLOAD * WAITING));
        let log = open(&dir.path().join("log"));
        tell("log: one waits", &runtime.block_on(load(&log, 1, false)));
        tell("log: 64 wait", &runtime.block_on(load(&log, WAITING, false)));
        tell("log: 64 wait, a value beside", &runtime.block_on(load(&log, WAITING, true)));
    }
    let dir = tempfile::tempdir_in(&root).unwrap();
    runtime.block_on(many_owners(&dir.path().join("owners")));
    runtime.block_on(a_million(&dir.path().join("log")));
}
