//! The worker runtime of one host: it makes workers, runs their programs, keeps what they are told and say, and lets
//! anyone watch. It knows no wire and no neighbour; everything it touches is handed in.
//!
//! A worker's life:
//!
//! ```text
//!                 program executed,
//!                 record durable        ready            stop, cancel, drain              its program is gone
//!   (nothing) ───────────────────▶ STARTING ──▶ RUNNING ────────────────────▶ STOPPING ─────────────────────────▶ STOPPED
//!       │                              │           │                              │                              CANCELLED
//!       │ cannot be executed,          │           │  its program ends by itself  │ (stop and cancel: the first
//!       │ or the commit fails          └───────────┴──────────────────────▶ FAILED │  one says which)
//!       ▼                                                                     ▲    │
//!   nothing was done                       the runtime went away beneath it ──┴────┘
//! ```
//!
//! - *Good*: STARTING and RUNNING land in one commit with the first input; an agent is STARTING until it has a session, and
//!   its inputs wait. STOPPING lands before the program is told;
//!   the input is closed, then TERM after 2 s, then the whole group is killed after the grace. The end lands with the
//!   fate of every input that was not delivered, the final state and the `end` event in one commit.
//! - *Its program ends by itself*, also with code 0: FAILED, with the code or signal and the end of its standard error.
//!   Where its profile says `restart = "on-failure"` and it was a failure (another code, a signal, a runtime that was
//!   killed): STARTING with the next run generation lands, then it is executed, then RUNNING lands; a few times, after
//!   growing pauses.
//! - *FORCE after GRACEFUL* kills at once. A stop or cancel of what has ended answers with the event of its end.
//! - *It asks for leave*, where its profile says that somebody is asked: the question is durable and it waits. The first answer is
//!   stored before the program hears it; one that is late, or for what is over, is refused. Nobody waits past the end of a turn.
//! - *A commit fails*: callers get an error and nothing of theirs was done; what the program said and did is staged anew.
//! - *The store is full*: what is new is refused, what the program says waits at its pipe, and a wish to end is stored in room
//!   that is kept back. Once its program is gone, a worker that was asked to end does so without what found no room, and says
//!   how much that was. When there is room again, all goes on by itself.
//! - *It is deleted*: only after its end, which force brings about; what it was asked before is still answered as it was.
//! - *Its records cannot be read*: it is listed as FAILED with the place, and can only be deleted.
//! - *The runtime goes away*: at the next start the worker ends as FAILED, `RUNTIME_LOST`, or has another run as above;
//!   what was handed over and not reported ends as `RUNTIME_LOST`, and is never given again.
//!
//! The rule for all of it: durable commit, then state in memory and publication in one step, then the acknowledgement.

mod answer;
mod bundles;
mod census;
mod clock;
mod core;
mod delete;
mod driver;
mod frame;
mod history;
mod in_step;
mod interrupt;
mod observe;
mod parts;
mod process;
mod profile;
mod quarantine;
mod read;
mod receipts;
mod restarts;
mod retention;
mod row;
mod spawn;
mod stop;
pub mod store;
mod tail;
#[cfg(test)]
mod tests;
mod worker;

pub use self::census::Census;
pub use self::core::Engine;
pub use clock::{Clock, SystemClock};
pub use frame::{Envelope, Frame, FrameCodec, Published, StoredInput};
pub use observe::{History, Observation, ObserveFrom, Observed, SnapshotView};
pub use parts::{EngineLimits, EngineParts};
pub use process::{CgroupRoot, Chance, Machine, control_group_root};
pub use profile::{InputForm, Permissions, Profile, Profiles, Protocol, Restart};
pub use read::TranscriptRead;
pub use receipts::{Outcome, Receipt, ReceiptKey, ShortKey};
pub use restarts::Restarts;
pub use retention::Retention;
pub use row::{ProcessRecord, WorkerOrigin, WorkerRow};
pub use tail::{Closed, Progress, Tail};
