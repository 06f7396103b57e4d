//! What the log is told and what it tells.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

/// Whose a record is: a worker's UUID; all zero stands for the runtime itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Owner(pub [u8; 16]);

/// Which value of an owner: chosen by the caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Slot(pub [u8; 16]);

/// What tells one log from every other: drawn when it is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogId(pub [u8; 16]);

/// What lands together: all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// What changes. One owner may be named more than once: its changes then happen in order.
    pub changes: Vec<Change>,
    /// It ends something or makes room: it may use the room that is kept back when the disk is full.
    pub vital: bool,
}

/// What changes of one owner. Within one change it happens in the order of these fields.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Whose.
    pub owner: Owner,
    /// What must be so, else nothing of the submission lands. A change that expects something raises the owner's
    /// revision by one when it lands; one that expects nothing leaves it. One that holds nothing else only checks.
    pub expect: Option<Expect>,
    /// All that the owner has goes: events, slots, and what is known of damage to it. Sequences go on counting.
    pub wipe: bool,
    /// Events, which get the sequences that follow the owner's last.
    pub events: Vec<NewEvent>,
    /// Slots that get a value in place of what they had.
    pub puts: Vec<(Slot, Bytes)>,
    /// Slots whose value goes; one that has none is no fault.
    pub deletes: Vec<Slot>,
    /// Events below this sequence go. Above the last, all go; what comes then follows the last one all the same.
    pub trim: Option<u64>,
}

/// What an owner must be like for a change to land; with anything else it is
/// [`StoreFault::OutOfOrder`](super::super::StoreFault::OutOfOrder).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// How many changes that expected something have landed before.
    pub revision: u64,
    /// The owner's last sequence, 0 where it never had an event.
    pub last_sequence: Option<u64>,
}

/// An event on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// A number of the caller's.
    pub tag: u8,
    /// Its bytes.
    pub payload: Bytes,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place among the owner's events, from 1 on.
    pub sequence: u64,
    /// How many numbered events the owner has had up to and with this one.
    pub number: u64,
    /// Of the submission that it came with.
    pub position: u64,
    /// As it was given.
    pub tag: u8,
    /// As it was given.
    pub payload: Bytes,
}

/// The value of a slot as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// Of the submission that it came with.
    pub position: u64,
    /// As it was given.
    pub value: Bytes,
}

/// What is known of an owner without reading a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerState {
    /// Whose.
    pub owner: Owner,
    /// How many changes that expected something have landed.
    pub revision: u64,
    /// The first event that is kept; one more than the last where there is none.
    pub first_sequence: u64,
    /// The last event there was, 0 where there never was one.
    pub last_sequence: u64,
    /// How many numbered events were removed from the front.
    pub numbers_removed: u64,
    /// The number of the last numbered event there was.
    pub last_number: u64,
    /// Its slots that have a value.
    pub slots: Vec<Slot>,
}

/// Something that is not as it was written, or is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// In which file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong, in words; never content.
    pub what: String,
    /// Whose records were hit. `None`: it cannot be told.
    pub owner: Option<Owner>,
}

/// What a log was found to hold.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// What is missing or wrong and still counts: an owner that is named here has not all that was acknowledged.
    pub damage: Vec<Damage>,
    /// What was found and costs nothing: a torn tail that nobody was promised, damage to what was replaced or removed.
    pub notes: Vec<Damage>,
    /// The position of the last submission that landed, 0 where there is none.
    pub last_position: u64,
}

/// How far a log has come: no later state of it stands before that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// The position of the last submission that landed, 0 where there is none.
    pub position: u64,
    /// The file of its newest segment.
    pub segment: Option<PathBuf>,
}

impl Recovered {
    /// The first damage of an owner, where it has any.
    #[must_use]
    pub fn damage_of(&self, owner: Owner) -> Option<&Damage> {
        self.damage.iter().find(|damage| damage.owner == Some(owner))
    }
}

/// What the log weighs and what it did, for those who watch it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Segments there are.
    pub segments: usize,
    /// Bytes they take, without room that was taken ahead.
    pub bytes: u64,
    /// About how many of them are still needed.
    pub live: u64,
    /// Groups written since it was opened, each with one sync; those that only mark the end or move records too.
    pub groups: u64,
    /// Submissions that landed since it was opened.
    pub submissions: u64,
}

/// How a log that is open for writing stands, for those who watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStanding {
    /// What it weighs and did.
    pub stats: LogStats,
    /// How many submissions wait for the writer.
    pub waiting: usize,
    /// The last that may not use what is kept back found no room.
    pub is_full: bool,
    /// It takes nothing any more.
    pub is_failing: bool,
}

/// How a log behaves.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Whose it is, as metrics have it: `workers` or `control`. `workers`.
    pub name: &'static str,
    /// A segment is closed when it would become longer than this, or than a sixteenth of what is kept, though not before
    /// 4 MiB. 64 MiB; at most 128 MiB.
    pub segment_bytes: u64,
    /// Room kept back for what is vital, beside what cleaning a segment takes. 1 MiB.
    pub reserve_bytes: u64,
    /// In which steps room is taken ahead. 1 MiB.
    pub allocate_step: u64,
    /// How many submissions may wait. 4,096.
    pub queue_submissions: usize,
    /// How many bytes of payload may wait. 16 MiB.
    pub queue_bytes: usize,
    /// After how long without work a marker is written, so that the end of the log is never in doubt. 100 ms.
    pub idle_after: Duration,
    /// The tag of events that are numbered beside their sequence.
    pub numbered_tag: Option<u8>,
    /// Where groups are settled: on the threads that wait for them, and not by the writer. Nowhere: by the writer.
    pub settle_on: Option<Handle>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            name: "workers",
            segment_bytes: 64 << 20,
            reserve_bytes: 1 << 20,
            allocate_step: 1 << 20,
            queue_submissions: 4_096,
            queue_bytes: 16 << 20,
            idle_after: Duration::from_millis(100),
            numbered_tag: None,
            settle_on: None,
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}

/// As the id of the worker that it is.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => f.write_str("the runtime itself"),
            uuid => write!(f, "worker-{}", uuid::Uuid::from_bytes(uuid)),
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:032x})", u128::from_be_bytes(self.0))
    }
}

/// It is nobody's business: whoever knows it can write what looks like a record.
impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogId(…)")
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: offset {}: {}", self.file.display(), self.offset, self.what)
    }
}
