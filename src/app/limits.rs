//! What this process may take of the system.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit on open descriptors to the hard one: every connection and every worker needs some.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open descriptors could not be raised");
    }
}
