//! Work after which memory is what the disk is. A panic in the middle of it leaves the two apart, for good: nobody would
//! go on from where it broke, and what is in memory would be told as if it were so. Such a panic ends the process; the
//! next start takes in what the disk has.
//!
//! What touches nothing durable, as the reading of what a program says, is not under this: it breaks alone.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;

use futures_util::FutureExt as _;

/// Does it; a panic ends the process.
pub(in crate::engine) async fn in_step<T>(work: impl Future<Output = T>) -> T {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done,
        Err(_) => end(),
    }
}

/// The same on a thread of its own.
pub(in crate::engine) fn in_step_blocking<T>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| end())
}

fn end() -> ! {
    // Where it broke was told when it did.
    tracing::error!(
        "what is in memory is not what is on disk any more: ending at once, to be restored at the next start"
    );
    process::abort()
}
