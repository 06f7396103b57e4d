//! The durable log: bytes of owners, in segments on a disk. It knows events and slots, and nothing of what they mean.
//!
//! Per [`Owner`] it keeps **events**, numbered from 1 without a gap, and **slots**, of which the last value counts. A
//! [`Submission`] lands whole or not at all, in the order of submission, and is settled only once the disk has said
//! that it is durable. What was acknowledged and cannot be read any more is told with file and offset and laid to its
//! owner; the others go on.
//!
//! ```text
//! commit ─▶ queue ─▶ writer ─▶ stage ─▶ group ─▶ segment ─▶ write, sync ─▶ index ─▶ settled
//! open   ─▶ scan  ─▶ walk (what stands there) ─▶ damage (whose it was) ─▶ index
//! read   ─▶ index (where) ─▶ file
//! ```
//!
//! - *A write or sync fails*: that group fails, its segment is closed for good, and the header of the next one says how
//!   much of it counts: `Failed`. Where that one cannot be made now, `Unknown`: if the process ends before it could be,
//!   what failed may be there after all, once and whole. Nothing else is written before; once that header has landed, what
//!   was in doubt is void ([`Reader::is_void`]). The writer tries by itself.
//! - *The disk is full*: noticed before a byte is written, `Full`; what is vital goes on into the reserve. Every commit
//!   tries again.
//! - *The process ends at any point*: what was acknowledged is there; the last write may be there or not, whole.

mod by_owner;
mod clean;
mod copy;
mod damage;
mod dense;
mod format;
mod group;
mod index;
mod mark;
mod measures;
mod open;
mod queue;
mod read;
mod room;
mod scan;
mod segment;
mod settle;
mod shared;
mod slots;
mod stage;
mod trouble;
mod types;
mod walk;
mod window;
mod writer;

#[cfg(test)]
mod simulations;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

pub(in crate::engine::store) use damage::UNREAD;

pub use copy::{Beginning, LogCopy};
pub use format::FORMAT_VERSION;
pub use read::Reader;
pub use types::{
    Change, Damage, Expect, LogId, LogOptions, LogStanding, LogStats, NewEvent, Owner, OwnerState, Reached, Recovered,
    Slot, StoredEvent, StoredValue, Submission,
};

use self::queue::Queue;
use super::disk::Disk;
use super::{Commit, Doubt, StoreFault};
use crate::engine::in_step::in_step_blocking;

/// A log that is open for writing. One at a time: it holds `LOCK` in its directory until it is closed or dropped.
#[derive(Debug)]
pub struct Log {
    reader: Reader,
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The last position when it was opened.
    opened_at: u64,
}

impl Log {
    /// Opens the log in a directory, which is made where it is not there. Blocks while it reads all of it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another has it; [`io::ErrorKind::InvalidData`] where it is of a newer format
    /// version; what the disk says. Damage is no error: it is in [`Recovered`].
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: LogOptions) -> io::Result<(Self, Recovered)> {
        let (writer, recovered) = open::open(disk, dir, options)?;
        let reader = Reader { shared: Arc::clone(&writer.shared) };
        let queue = Arc::clone(&writer.queue);
        let thread =
            thread::Builder::new().name("log-writer".to_owned()).spawn(move || in_step_blocking(|| writer.run()))?;
        let opened_at = recovered.last_position;
        Ok((Self { reader, queue, thread: Mutex::new(Some(thread)), opened_at }, recovered))
    }

    /// Submits. What was submitted lands in this order; dropping the commit takes nothing back.
    ///
    /// Settles with the submission's position, or with `Overloaded` (at once: too much waits), `OutOfOrder` (what it
    /// expects is not so), `Full` (no room on the disk), `Failed` (nothing of it is there), `Unknown` (a restart may find it).
    #[must_use = "what was submitted may not have landed"]
    pub fn commit(&self, submission: Submission) -> Commit {
        self.queue.submit(submission)
    }

    /// What reads it, beside the writer and on any thread that may block.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// How far it has come.
    #[must_use]
    pub fn reached(&self) -> Reached {
        let state = self.reader.shared.state.read();
        let segment = state.segments.values().next_back().map(|segment| segment.path.clone());
        Reached { position: self.opened_at + state.submissions, segment }
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> LogStanding {
        let (stats, waiting) = (self.reader.stats(), self.queue.len());
        LogStanding { stats, waiting, is_full: self.reader.is_full(), is_failing: self.reader.is_failing() }
    }

    /// Writes what waits, marks the end and gives the directory back. Dropping does the same. Blocks. What is
    /// submitted afterwards is `Failed`; reading goes on.
    pub fn close(&self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().take() {
            // A writer that panics ends the process.
            let _ = thread.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}
