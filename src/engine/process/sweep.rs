//! The end of all processes that belong to a worker, also of those that left its group or its session.
//!
//! What belongs to it is stopped first, and looked for again, until nothing more is found: what is stopped starts
//! nothing, and its children keep their parent, so that they are found by it. Then all of it is killed, and waited for.
//! Signals go through pidfds, and only once the process behind one is known to be the one that was found: a process id
//! that was given to another process meanwhile is never signalled.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::Instant;

use super::table::{self, Seen};
use super::{Target, cgroup};

/// How often what was started meanwhile is looked for: more than this only a program needs that runs away from it.
const ROUNDS: usize = 64;

/// What became of the processes that were looked for.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Found, and gone now.
    pub ended: Vec<i32>,
    /// Found, and still there.
    pub left: Vec<i32>,
    /// In the group of a recorded process that is gone, but without a marker: they may be anyone's, and were left alone.
    pub doubtful: Vec<i32>,
}

/// Ends all processes of `targets`; waits for the last of them as long as `patience`. Blocks.
pub(super) fn sweep(targets: &[Target], patience: Duration) -> Swept {
    let deadline = Instant::now() + patience;
    let own = std::process::id().cast_signed();
    let boot = table::boot();
    let since = targets.iter().map(|target| target.since).min().unwrap_or(0);
    let mut held: BTreeMap<i32, Held> = BTreeMap::new();
    let mut doubtful = Vec::new();
    for _ in 0..ROUNDS {
        let seen = table::read(since);
        let known = held.values().map(|held| (held.pid, held.start_time)).collect();
        let found = Found::of(&seen, targets, &known, boot, own);
        doubtful = found.doubtful;
        let mut fresh = found.ours.iter().filter(|one| !known.contains(&(one.pid, one.start_time))).peekable();
        if fresh.peek().is_none() {
            break;
        }
        held.extend(fresh.filter_map(|one| Some((one.pid, Held::stopped(one)?))));
    }
    for target in targets {
        if let Some(group) = &target.cgroup {
            cgroup::kill(group);
        }
    }
    let mut swept = Swept { doubtful, ..Swept::default() };
    for held in held.values() {
        held.signal(Signal::KILL);
    }
    for held in held.into_values() {
        let gone = held.is_gone_by(deadline);
        if gone { &mut swept.ended } else { &mut swept.left }.push(held.pid);
    }
    swept
}

/// A process that can be signalled without fear of meeting another one.
struct Held {
    pid: i32,
    start_time: u64,
    fd: OwnedFd,
}

impl Held {
    /// Takes hold of a process and stops it; `None` where it has ended.
    fn stopped(seen: &Seen) -> Option<Self> {
        let fd = match pidfd_open(Pid::from_raw(seen.pid)?, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return None,
            Err(error) => {
                tracing::warn!(pid = seen.pid, %error, "a worker's process cannot be taken hold of");
                return None;
            }
        };
        // The descriptor is of whoever has this id now; it stays with that one.
        if table::stat(seen.pid)?.start_time != seen.start_time {
            return None;
        }
        let held = Self { pid: seen.pid, start_time: seen.start_time, fd };
        held.signal(Signal::STOP);
        Some(held)
    }

    fn signal(&self, signal: Signal) {
        // One that has ended is what is wanted; one that may not be signalled is told as left.
        let _ = pidfd_send_signal(&self.fd, signal);
    }

    fn is_gone_by(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        // A pidfd can be read once its process has ended.
        matches!(poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)), Ok(1..))
    }
}

/// What a table has of the targets.
#[derive(Debug, PartialEq, Eq)]
struct Found<'t> {
    ours: Vec<&'t Seen>,
    doubtful: Vec<i32>,
}

impl<'t> Found<'t> {
    /// Processes are the targets' own when they bear a marker, are recorded, held or in a control group of theirs, or
    /// come from one that is: as its child, or as a member of the group or session that it leads.
    fn of(seen: &'t [Seen], targets: &[Target], held: &BTreeSet<(i32, u64)>, boot: u64, own: i32) -> Self {
        let recorded = targets.iter().flat_map(|target| &target.recorded).filter(|process| process.boot == boot);
        let recorded: BTreeMap<i32, u64> = recorded.map(|process| (process.pid, process.start_time)).collect();
        let members: BTreeSet<i32> =
            targets.iter().filter_map(|target| target.cgroup.as_deref()).flat_map(cgroup::members).collect();
        let is_marked = |one: &&Seen| {
            one.marker.as_ref().is_some_and(|marker| targets.iter().any(|target| marker.starts_with(&target.marker)))
        };
        let is_root = |one: &&Seen| {
            is_marked(one)
                || members.contains(&one.pid)
                || held.contains(&(one.pid, one.start_time))
                || recorded.get(&one.pid) == Some(&one.start_time)
        };
        let mut ids: BTreeSet<i32> = seen.iter().filter(is_root).map(|one| one.pid).collect();
        // A recorded group whose leader is gone is known by a member's marker: its id is nobody else's while it lives.
        let marked_groups = seen.iter().filter(is_marked).map(|one| one.group);
        ids.extend(marked_groups.filter(|group| recorded.contains_key(group)));
        // This process may itself have been started by a worker: it is not ended, nor is what it started.
        ids.remove(&own);
        let others = || seen.iter().filter(|one| one.pid != own);
        let mut before = 0;
        while before < ids.len() {
            before = ids.len();
            let born = others().filter(|one| [one.parent, one.group, one.session].iter().any(|id| ids.contains(id)));
            let born: Vec<_> = born.map(|one| one.pid).collect();
            ids.extend(born);
        }
        let is_there = |id: i32| seen.iter().any(|one| one.pid == id);
        let in_doubt =
            |one: &&Seen| !ids.contains(&one.pid) && recorded.contains_key(&one.group) && !is_there(one.group);
        Self {
            doubtful: others().filter(in_doubt).map(|one| one.pid).collect(),
            ours: others().filter(|one| ids.contains(&one.pid)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::*;
    use crate::engine::row::ProcessRecord;
    use crate::model::{Incarnation, WorkerId};

    const OWN: i32 = 1000;
    const BOOT: u64 = 7;

    fn seen(pid: i32, parent: i32, group: i32, session: i32) -> Seen {
        Seen { pid, parent, group, session, start_time: u64::from(pid.unsigned_abs()), marker: None }
    }

    fn target(pid: i32, start_time: u64) -> (Target, String) {
        let run = Run { incarnation: Incarnation::generate(), worker_id: WorkerId::generate(), generation: 3 };
        (Target::worker(&run, ProcessRecord { pid, start_time, boot: BOOT }), run.marker().1)
    }

    fn found(seen: &[Seen], target: &Target) -> (Vec<i32>, Vec<i32>) {
        let found = Found::of(seen, std::slice::from_ref(target), &BTreeSet::new(), BOOT, OWN);
        (found.ours.iter().map(|one| one.pid).collect(), found.doubtful)
    }

    #[test]
    fn what_comes_from_a_recorded_process_is_found_without_any_marker() {
        let (target, _) = target(10, 10);
        // Its child that left the session, a member of its group whose parent is gone, and a grandchild of the first.
        let table =
            [seen(1, 0, 1, 1), seen(10, 1, 10, 5), seen(11, 10, 11, 11), seen(12, 1, 10, 5), seen(13, 1, 13, 11)];
        assert_eq!(found(&table, &target), (vec![10, 11, 12, 13], vec![]));
    }

    #[test]
    fn a_process_id_that_was_given_to_another_process_is_left_alone() {
        let (target, _) = target(10, 9);
        assert_eq!(found(&[seen(10, 1, 10, 5), seen(11, 10, 10, 5)], &target), (vec![], vec![]));
        // So is one of another boot.
        let (mut target, _) = self::target(10, 10);
        target.recorded[0].boot = BOOT + 1;
        assert_eq!(found(&[seen(10, 1, 10, 5)], &target), (vec![], vec![]));
    }

    #[test]
    fn a_group_whose_leader_is_gone_is_known_by_the_marker_of_a_member() {
        let (target, marker) = target(10, 10);
        let bare = seen(12, 1, 10, 5);
        assert_eq!(found(std::slice::from_ref(&bare), &target), (vec![], vec![12]));
        let member = Seen { marker: Some(marker), ..seen(13, 1, 10, 5) };
        assert_eq!(found(&[bare, member], &target), (vec![12, 13], vec![]));
    }

    #[test]
    fn a_marker_of_another_runtime_or_worker_is_not_meant() {
        let ((target, _), (_, other)) = (target(10, 10), self::target(10, 10));
        assert_eq!(found(&[Seen { marker: Some(other), ..seen(20, 1, 20, 20) }], &target), (vec![], vec![]));
    }

    #[test]
    fn a_runtime_that_a_worker_started_ends_neither_itself_nor_what_it_started() {
        let (target, marker) = target(10, 10);
        let with_it = |one: Seen| Seen { marker: Some(marker.clone()), ..one };
        let table = [with_it(seen(10, 1, 10, 5)), with_it(seen(OWN, 10, OWN, 5)), seen(1001, OWN, 1001, 5)];
        assert_eq!(found(&table, &target).0, [10]);
    }
}
