//! What a reader that has fallen behind the relay's tail reads: the host's own store, by bounded replays.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::Core;
use super::Lease;
use super::backoff::Backoff;
use super::follow::is_passing;
use super::follower::{Follower, Step};
use super::gap::Gap;
use super::upstream::Upstream;
use crate::engine::{History, ObserveFrom, Progress, Published, Tail};
use crate::model::{Error, EventKind, Incarnation, Reason, Result, WorkerId};
use crate::proto::host_client::malformed;

/// How many events one replay asks for.
const PAGE: u64 = 256;
/// How many bytes one replay takes; what is more is asked for again.
const PAGE_BYTES: usize = 1024 * 1024;

/// The stored events of one worker, on its host. It also holds the reader's share in the relay.
pub(super) struct HostHistory {
    pub core: Arc<Core>,
    pub worker_id: WorkerId,
    pub incarnation: Incarnation,
    pub tail: Arc<Tail>,
    pub _lease: Lease,
}

#[async_trait]
impl History for HostHistory {
    async fn read(&self, after: u64, until: u64) -> Result<Vec<Published>> {
        let mut backoff = Backoff::new();
        loop {
            match self.page(after, until.min(after.saturating_add(PAGE))).await {
                Err(error) if is_passing(&error) => {
                    if !backoff.wait().await {
                        return Err(error);
                    }
                }
                Err(error) => return self.gap(after, &error).map(|gap| vec![gap]).ok_or(error),
                page => return page,
            }
        }
    }
}

impl HostHistory {
    /// What stands for events that the host does not keep any more, where that is why it refused.
    fn gap(&self, after: u64, error: &Error) -> Option<Published> {
        let Self { core, worker_id, incarnation, tail, _lease } = self;
        let gap = Gap { runtime_id: &core.runtime_id, worker_id, incarnation: *incarnation, after };
        let gap = gap.of(error, tail.view().last_event_id)?;
        let first = gap.sequence + 1;
        tail.publish(|worker| worker.first_sequence = worker.first_sequence.max(first), Progress::Kept, []);
        Some(gap)
    }

    /// Events after `after`, up to `until`: at least one, each checked like a live one.
    async fn page(&self, after: u64, until: u64) -> Result<Vec<Published>> {
        let core = &self.core;
        let mut follower = Follower::new(&core.runtime_id, &self.worker_id, self.incarnation, after);
        let from = ObserveFrom::After(follower.cursor());
        let mut upstream = Upstream::open(core, &self.worker_id, from, Some(until)).await?;
        if upstream.incarnation() != self.incarnation {
            return Err(Error::new(Reason::CursorExpired, "the runtime has another incarnation now"));
        }
        let first = upstream.next(core).await?.ok_or_else(|| malformed("a stream without a snapshot"))?;
        follower.resume(&first)?;
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES && follower.cursor().sequence < until {
            let Some(frame) = upstream.next(core).await? else { break };
            let Step::Publish(publication) = follower.take(frame)? else { continue };
            let frame = publication.frame;
            if frame.kind.is_durable() || frame.kind == EventKind::Gap {
                bytes += frame.wire.len();
                frames.push(frame);
            }
        }
        // Nothing at all would be taken for the end of what is stored, and events be skipped in silence.
        if frames.is_empty() { Err(malformed("a replay without events")) } else { Ok(frames) }
    }
}
