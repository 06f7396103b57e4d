//! What durability costs: `cargo bench --bench store [-- DIR [PART]]`, with `DIR` on the disk that is meant (`target/`),
//! and `PART` one of `rounds`, `growth`, `restart` where not all is wanted.
//!
//! All of a round is done one after the other on the same disk, and what counts is the ratio within a round: disks
//! throttle, and neighbours come and go. Printed is the median over all rounds.
//!
//! - **In process**: `Engine::send_input` itself, callers and engine on one runtime of two threads, without gRPC:
//!   catalog workers, inputs of 200 bytes. On the store on disk beside the same engine on the store in memory, and
//!   beside a bare loop that appends 200 bytes and syncs.
//! - **Over gRPC**: the binary, with and without `--data-dir`, 64 calls at once over four connections, beside `etcd`
//!   where it is installed: puts of 200 bytes by a client of the same make, its data on the same disk.
//! - **On tmpfs**, to take the disk out: an input to a worker with 100,000 items, and with 10,000 workers, beside one
//!   to a new worker in a store of its own.
//! - **Restart**: 10,000 ended workers with 100,000 items; with `WORKPLANE_STORE_LONG=1`, ten times as many.
//!
//! It judges nothing by itself: a busy machine is nobody's fault. With `WORKPLANE_STORE_BOUNDS=1` it fails where a bound
//! is missed.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed, and says where")]

mod bed;
mod etcd;
mod growth;
mod grpc;
mod load;
#[path = "../plane/mod.rs"]
mod plane;
mod processor;
mod restart;
mod rounds;
mod verdict;

use std::env;
use std::path::PathBuf;

use tokio::runtime;
use verdict::Verdict;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if first.as_deref() == Some(restart::REOPEN) {
        return runtime.block_on(restart::reopen(arguments.next().unwrap().as_ref()));
    }
    let disk = first.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let part = arguments.next();
    let wanted = |name| part.as_deref().is_none_or(|part| part == name);
    let mut verdict = Verdict::default();
    runtime.block_on(async {
        if wanted("rounds") {
            rounds::run(&disk, &mut verdict).await;
        }
        if wanted("growth") {
            growth::run(&mut verdict).await;
        }
        if wanted("restart") {
            restart::run(&disk, &mut verdict).await;
        }
    });
    verdict.tell();
}
