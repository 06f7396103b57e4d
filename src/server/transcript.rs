//! Transcripts, page by page and followed, for both roles.
//!
//! Following opens an observation from now on *before* it reads pages, so that no item falls between the two: what the
//! pages had already is recognised by its sequence. A hole between what was sent and what comes live is read as pages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, stream};
use tokio::time::Instant;
use tonic::Status;

use super::ends::Ends;
use super::page::fitting;
use super::source::Source;
use crate::engine::{Observation, ObserveFrom, Observed};
use crate::model::TranscriptPage;
use crate::model::{CallContext, Error, EventKind, MAX_PAGE_BYTES, Reason, Result, TRANSCRIPT_PAGE_MAX};
use crate::proto::status::to_status;
use crate::proto::walk;

/// How long one page may take while a stream is open.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Cuts a page to its size. Items of a page follow one another without a hole.
pub(super) fn cut_page(mut page: TranscriptPage, start: u64) -> TranscriptPage {
    let fit = fitting(&page.items, Bytes::len);
    if fit < page.items.len() {
        page.items.truncate(fit);
        page.next_start = Some(start + fit as u64);
    }
    page
}

/// Some items, and where to go on after them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub items: Vec<Bytes>,
    pub next_start: u64,
}

/// A transcript from `start` on, in batches. The first is waited for, so that what cannot be read at all is told before
/// the stream begins.
pub(super) async fn batches(
    source: Arc<dyn Source>,
    ctx: CallContext,
    start: u64,
    follow: bool,
    ends: Ends,
) -> Result<impl Stream<Item = Result<Batch, Status>>> {
    let live = if follow { Some(source.observe(&ctx, ObserveFrom::Now, None).await?) } else { None };
    let first = source.transcript(&ctx, start, TRANSCRIPT_PAGE_MAX).await?;
    let until = if follow { None } else { Some(first.total_items) };
    let mut reader = Reader { source, ctx, at: start, until, live, phase: Phase::Pages, ready: VecDeque::new(), ends };
    reader.take_page(first);
    Ok(stream::unfold(reader, |mut reader| async move { reader.next().await.map(|batch| (batch, reader)) }))
}

struct Reader {
    source: Arc<dyn Source>,
    ctx: CallContext,
    /// The sequence of the last item that was taken in.
    at: u64,
    /// Where to end; the end of the worker where unset.
    until: Option<u64>,
    live: Option<Observation>,
    phase: Phase,
    /// Items to be sent, the last of them with sequence `at`.
    ready: VecDeque<Bytes>,
    ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is more to read as pages.
    Pages,
    /// What comes, comes live.
    Live,
    /// Nothing more comes.
    Ended,
    /// The stream has said so.
    Over,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Batch, Status>> {
        while self.ready.is_empty() {
            let filled = match self.phase {
                Phase::Pages => self.page().await,
                Phase::Live => self.live().await,
                Phase::Ended | Phase::Over => return None,
            };
            if let Err(error) = filled {
                self.phase = Phase::Over;
                return Some(Err(to_status(&error)));
            }
        }
        Some(Ok(self.batch()))
    }

    /// As much of what is ready as one batch may hold.
    fn batch(&mut self) -> Batch {
        let ready = self.ready.make_contiguous();
        let fit = fitting(ready, Bytes::len).min(TRANSCRIPT_PAGE_MAX);
        let items: Vec<_> = self.ready.drain(..fit).collect();
        Batch { items, next_start: self.at - self.ready.len() as u64 }
    }

    async fn page(&mut self) -> Result<()> {
        let limit = self.until.map_or(TRANSCRIPT_PAGE_MAX, |until| left(self.at, until));
        if limit == 0 {
            self.phase = Phase::Ended;
            return Ok(());
        }
        // The deadline of the call was for the opening; that of the stream is the layer's.
        self.ctx.deadline = Instant::now() + PAGE_TIMEOUT;
        let ends = self.ends.clone();
        let page = tokio::select! {
            biased;
            end = ends.coming() => return Err(end.into()),
            page = self.source.transcript(&self.ctx, self.at, limit) => page?,
        };
        self.take_page(page);
        Ok(())
    }

    fn take_page(&mut self, page: TranscriptPage) {
        let TranscriptPage { total_items: _, next_start, items } = page;
        let taken = self.until.map_or(items.len(), |until| left(self.at, until)).min(items.len());
        self.ready.extend(items.into_iter().take(taken));
        self.at += taken as u64;
        let more = next_start.is_some() && self.until.is_none_or(|until| self.at < until);
        self.phase = match (more, &self.live) {
            (true, _) => Phase::Pages,
            (false, Some(_)) => Phase::Live,
            (false, None) => Phase::Ended,
        };
    }

    /// Waits for one item, and takes those that are ready behind it.
    async fn live(&mut self) -> Result<()> {
        let ends = self.ends.clone();
        // Only a reader that follows is ever live.
        let Some(live) = &mut self.live else {
            self.phase = Phase::Ended;
            return Ok(());
        };
        let first = tokio::select! {
            biased;
            end = ends.coming() => return Err(end.into()),
            next = live.next() => next?,
        };
        self.take_live(first)?;
        let mut bytes: usize = self.ready.iter().map(Bytes::len).sum();
        while self.phase == Phase::Live && bytes < MAX_PAGE_BYTES && self.ready.len() < TRANSCRIPT_PAGE_MAX {
            // What is not ready is not waited for; dropping that wait loses nothing.
            let Some(next) = self.live.as_mut().and_then(|live| live.next().now_or_never()) else { break };
            let before = self.ready.len();
            self.take_live(next?)?;
            bytes += self.ready.iter().skip(before).map(Bytes::len).sum::<usize>();
        }
        Ok(())
    }

    fn take_live(&mut self, next: Option<Observed>) -> Result<()> {
        let frame = match next {
            Some(Observed::Frame(frame)) => frame,
            Some(Observed::Snapshot(_) | Observed::Notice(_)) => return Ok(()),
            None => {
                self.phase = Phase::Ended;
                return Ok(());
            }
        };
        match frame.kind {
            EventKind::ItemAppended => {}
            EventKind::Gap => {
                self.phase = Phase::Pages;
                return Ok(());
            }
            _ => return Ok(()),
        }
        let item = walk::frame(&frame.wire).ok().and_then(|walked| walk::item_of(&walked.body));
        let (item, sequence) = item
            .and_then(|item| walk::item_sequence(&item).map(|sequence| (item, sequence)))
            .ok_or_else(|| Error::new(Reason::StoreError, "an item cannot be read"))?;
        if sequence == self.at + 1 {
            self.ready.push_back(item);
            self.at = sequence;
        } else if sequence > self.at {
            self.phase = Phase::Pages;
        }
        Ok(())
    }
}

/// How many items are left, as the size of a page.
fn left(at: u64, until: u64) -> usize {
    usize::try_from(until.saturating_sub(at)).map_or(TRANSCRIPT_PAGE_MAX, |left| left.min(TRANSCRIPT_PAGE_MAX))
}

#[cfg(test)]
mod tests;
