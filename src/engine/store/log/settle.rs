//! Tells those who wait how their submissions went. Where there is a runtime, its own threads do so, a group at once:
//! one wake-up for all, those who were answered together go on together, and what a submission held is given back where
//! it was taken.

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::StoreFault;
use super::queue::Waiting;

/// So many groups may wait to be settled; the writer settles more than that itself. What they hold counts no more in
/// what may wait to be written.
const GROUPS: usize = 4;

/// Submissions and their outcomes, in order.
type Settled = Vec<(Waiting, Result<u64, StoreFault>)>;

/// Settles groups.
#[derive(Debug)]
pub(super) struct Settle(Option<mpsc::Sender<Settled>>);

impl Settle {
    /// On the threads of a runtime, if there is one.
    pub(super) fn on(handle: Option<&Handle>) -> Self {
        Self(handle.map(|handle| {
            let (groups, settled) = mpsc::channel(GROUPS);
            let mut settled = Groups(settled);
            handle.spawn(async move {
                while let Some(group) = settled.0.recv().await {
                    settle(group);
                }
            });
            groups
        }))
    }

    /// Settles a group.
    pub(super) fn group(&self, group: Settled) {
        match &self.0 {
            // One alone needs no other task in between.
            Some(groups) if group.len() > 1 => {
                if let Err(mpsc::error::TrySendError::Full(group) | mpsc::error::TrySendError::Closed(group)) =
                    groups.try_send(group)
                {
                    settle(group);
                }
            }
            _ => settle(group),
        }
    }
}

/// What waits to be settled. Where the runtime goes away meanwhile, that is done at the last moment.
struct Groups(mpsc::Receiver<Settled>);

impl Drop for Groups {
    fn drop(&mut self) {
        self.0.close();
        while let Ok(group) = self.0.try_recv() {
            settle(group);
        }
    }
}

fn settle(group: Settled) {
    for (waiting, outcome) in group {
        waiting.settle(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Queue;
    use super::super::types::{Change, Submission};
    use super::super::{Commit, queue::Next};
    use super::*;

    fn group(count: u64) -> (Settled, Vec<Commit>) {
        let queue = Queue::new(100, 1 << 20);
        let submission = || Submission { changes: vec![Change::default()], vital: false };
        let commits = (0..count).map(|_| queue.submit(submission())).collect();
        let Next::Group(waiting) = queue.take(None) else { panic!("nothing waits") };
        (waiting.into_iter().zip(1..).map(|(waiting, position)| (waiting, Ok(position))).collect(), commits)
    }

    #[test]
    fn a_group_is_settled_on_the_runtime_and_by_the_writer_where_that_is_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let settle = Settle::on(Some(runtime.handle()));
        let (some, mut commits) = group(3);
        settle.group(some);
        assert!(commits.iter_mut().all(|commit| commit.now().is_none()), "nobody is awake yet");
        let outcomes = runtime.block_on(futures_util::future::join_all(commits));
        assert_eq!(outcomes, [Ok(1), Ok(2), Ok(3)]);

        // One alone, and what is more than may wait.
        let (one, mut commit) = group(1);
        settle.group(one);
        assert_eq!(commit[0].now(), Some(Ok(1)));
        let groups: Vec<_> = (0..=GROUPS).map(|_| group(2)).collect();
        let mut commits: Vec<Commit> = groups
            .into_iter()
            .flat_map(|(group, commits)| {
                settle.group(group);
                commits
            })
            .collect();
        assert_eq!(commits.iter_mut().filter_map(Commit::now).count(), 2);

        drop(runtime);
        assert_eq!(commits.iter_mut().filter_map(Commit::now).count(), 2 * GROUPS, "those that waited");
        let (late, mut commits) = group(2);
        settle.group(late);
        assert_eq!(commits.iter_mut().map(Commit::now).collect::<Vec<_>>(), [Some(Ok(1)), Some(Ok(2))]);
    }
}
