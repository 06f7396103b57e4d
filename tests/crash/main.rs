//! What was acknowledged is there after any end: real binaries are killed, their disks fill up and fail, and afterwards
//! every transcript, cursor and answer is what it was.
//!
//! A test of chance prints its seed; `WORKPLANE_SEED` repeats what it draws. `WORKPLANE_CRASH_ROUNDS` says how often
//! servers are killed (30; `just crash`: 300). What needs root, or a program that is not on this machine, is left out and
//! says so, unless `WORKPLANE_REQUIRE_PROGRAMS` is set, as in CI.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]

mod book;
mod copies;
#[cfg(feature = "failpoints")]
mod failpoints;
mod faults;
mod fleet;
mod jobs;
mod kills;
mod load;
mod scene;
mod server;
mod stock;
mod watcher;

#[allow(dead_code, unused_imports, reason = "it can do more than these tests want")]
#[path = "../end_to_end/support/mod.rs"]
mod support;
