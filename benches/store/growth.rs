//! Whether an input costs more because of what is stored already: processor time, which no neighbour takes part in, and in
//! memory's own file system, so that no disk hides it.

use std::path::Path;

use futures_util::StreamExt as _;
use workplane::model::WorkerId;

use crate::bed::Bed;
use crate::processor::{SELF, processor_time};
use crate::verdict::{Verdict, median};

const SHM: &str = "/dev/shm";
const ITEMS: usize = 100_000;
const WORKERS: usize = 10_000;
/// How many inputs are taken the time of, so many of them at once.
const BLOCK: usize = 2_048;
const BLOCKS: usize = 25;
const WAITING: usize = 64;

pub(crate) async fn run(verdict: &mut Verdict) {
    if !Path::new(SHM).is_dir() {
        return verdict.skipped("tmpfs: the cost of an input in a large store", "there is no /dev/shm");
    }
    let dir = tempfile::tempdir_in(SHM).unwrap();
    let [empty, long, wide] = ["empty", "long", "wide"].map(|name| dir.path().join(name));
    let (empty, long, wide) = (Bed::on_disk(&empty).await, Bed::on_disk(&long).await, Bed::on_disk(&wide).await);
    let old = [long.spawn().await];
    send(&long, &old, ITEMS).await;
    let many = wide.spawn_many(WORKERS).await;
    send(&wide, &many, WORKERS).await;
    // What is told of these is not the store's: of many, less is found in the processor's caches.
    let bare = Bed::in_memory().await;
    let bare_many = bare.spawn_many(WORKERS).await;
    send(&bare, &bare_many, WORKERS).await;
    let mut costs = [const { Vec::new() }; 7];
    for block in 0..BLOCKS {
        // What is compared is new in every block, and so never has more than a block's items.
        let (new, few) = ([empty.spawn().await], empty.spawn_many(WAITING).await);
        let among = [many[block * WORKERS / BLOCKS].clone()];
        let by_turns =
            |many: &[WorkerId]| -> Vec<_> { many.iter().cycle().skip(block * BLOCK).take(BLOCK).cloned().collect() };
        let (spread, bare_spread) = (by_turns(&many), by_turns(&bare_many));
        let bare_few = &bare_many[..WAITING];
        let blocks = [
            (&empty, &new[..]),
            (&long, &old[..]),
            (&wide, &among[..]),
            (&empty, &few[..]),
            (&wide, &spread[..]),
            (&bare, bare_few),
            (&bare, &bare_spread[..]),
        ];
        for (costs, (bed, workers)) in costs.iter_mut().zip(blocks) {
            costs.push(send(bed, workers, BLOCK).await);
        }
    }
    let [new, long, among, few, spread, bare_few, bare_spread] = costs.map(median);
    println!("on tmpfs: processor time for an input, {WAITING} at once, medians of {BLOCKS} blocks by turns");
    println!(
        "  to one worker: {new:.1} µs where it is new; {long:.1} µs after {ITEMS} items; {among:.1} µs where there"
    );
    println!("  are {WORKERS} others. To {WAITING} workers {few:.1} µs; to {WORKERS} by turns {spread:.1} µs");
    println!("  in memory, to {WAITING} workers {bare_few:.1} µs; to {WORKERS} by turns {bare_spread:.1} µs");
    let mut judge = |what, cost, of| verdict.at_most(&format!("tmpfs: {what}"), cost / of, 1.2);
    judge("after 100,000 items ÷ to a new worker", long, new);
    judge("to one of 10,000 workers ÷ to a new one", among, new);
    judge("to 10,000 workers by turns ÷ to 64", spread, few);
    verdict.told("the same on the store in memory", bare_spread / bare_few);
}

/// Sends so many inputs, by turns to these workers: how many microseconds of processor time each took, of callers and
/// all.
async fn send(bed: &Bed, workers: &[WorkerId], count: usize) -> f64 {
    let before = processor_time(SELF);
    let inputs = workers.iter().cycle().take(count).map(|worker| bed.send(worker));
    futures_util::stream::iter(inputs).buffer_unordered(WAITING).for_each(|()| async {}).await;
    let float = |n| u32::try_from(n).map_or(f64::MAX, f64::from);
    float(processor_time(SELF) - before) / 1e3 / float(count as u64)
}
