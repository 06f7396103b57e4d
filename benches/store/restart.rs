//! How long a restart takes with many ended workers, how large their store is, and what they cost in memory. It is opened
//! by another process, so that the memory is that of a server that has just started.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::time::Instant;
use workplane::model::InputKind;

use crate::bed::{Bed, Counted, open_store};
use crate::verdict::Verdict;

/// The argument by which the other process is told what it is for.
pub(crate) const REOPEN: &str = "--reopen";
const WORKERS: u64 = 10_000;
/// Of each, answers included.
const ITEMS: u64 = 10;
const AT_ONCE: usize = 256;

pub(crate) async fn run(disk: &Path, verdict: &mut Verdict) {
    let is_long = env::var_os("WORKPLANE_STORE_LONG").is_some_and(|asked| asked == "1");
    let workers = if is_long { WORKERS * 10 } else { WORKERS };
    let dir = tempfile::tempdir_in(disk).unwrap();
    let dir = dir.path().join("store");
    println!("restart with {workers} ended workers and {} items", workers * ITEMS);
    fill(&dir, workers).await;
    println!("  on disk {} bytes for each item, all else included", size(&dir) / (workers * ITEMS));
    let mut each = 0;
    for _ in 0..3 {
        let opened = Command::new(env::current_exe().unwrap())
            .arg(REOPEN)
            .arg(&dir)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let told = String::from_utf8(opened.stdout).unwrap();
        let (text, resident) = told.trim().rsplit_once(' ').expect("it tells its memory last");
        each = resident.parse::<u64>().unwrap() / workers;
        println!("  {text} {each} bytes of memory for each worker");
    }
    let kib = f64::from(u32::try_from(each).unwrap()) / 1_024.0;
    verdict.at_most("restart: KiB of memory for each ended worker", kib, 2.0);
}

/// Makes the workers, with their items, and ends them.
async fn fill(dir: &Path, workers: u64) {
    let bed = Bed::on_disk(dir).await;
    let lives = (0..workers).map(|_| async {
        let worker = bed.spawn().await;
        // Each is answered by the worker, and so is two items.
        let inputs = (0..ITEMS / 2).map(|_| bed.send_as(&worker, InputKind::User, None));
        futures_util::future::join_all(inputs).await;
        bed.stop(&worker).await;
    });
    futures_util::stream::iter(lives).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
    bed.engine.shutdown().await;
}

/// Opens a store and an engine on it, and tells how long that took and by how much this process grew.
pub(crate) async fn reopen(dir: &Path) {
    let before = resident();
    let begun = Instant::now();
    let store = open_store(Arc::new(Counted::default()), dir);
    let (read, log) = (begun.elapsed(), resident());
    let bed = Bed::on(Arc::new(store), Arc::default()).await;
    let (ready, after) = (begun.elapsed(), resident());
    let log = (log - before) >> 20;
    println!("ready in {ready:.2?}, {read:.2?} of it for the log, which takes {log} MiB; {}", after - before);
    drop(bed);
}

/// What all files in a directory and below are long.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|it| if it.path().is_dir() { size(&it.path()) } else { it.metadata().unwrap().len() }).sum()
}

/// What this process has in memory, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}
