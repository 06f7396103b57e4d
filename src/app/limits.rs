//! What this process may take of the system, and what it hands down.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The first descriptor after the standard streams.
const FIRST_OF_OTHERS: i32 = 3;

/// The soft limit on open descriptors before it was raised.
static FORMER: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit on open descriptors to the hard one: every connection and every worker needs some. And forbids
/// core dumps, here and in all that is started from here: they would hold tokens, and what workers were told. What this
/// process was started with beside its standard streams is handed down to no program of a worker's: it may be a secret,
/// and a pipe that stays open somewhere never ends.
pub fn set_limits() {
    close_fds::set_fds_cloexec(FIRST_OF_OTHERS, &[]);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be forbidden");
    }
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let former = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        // It is set once, when the process starts.
        Ok(()) => former.into_iter().for_each(|former| _ = FORMER.set(former)),
        Err(error) => tracing::warn!(%error, "the limit on open descriptors could not be raised"),
    }
}

/// The limit that programs get: many of them try every descriptor that they may have.
pub(super) fn former_descriptor_limit() -> Option<u64> {
    FORMER.get().copied()
}
