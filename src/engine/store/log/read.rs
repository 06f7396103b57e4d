//! Reads records back: their places come from the index, their bytes from the files, and every checksum is looked at.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::format::{RECORD_HEADER, RecordHeader};
use super::index::{Entry, Loc};
use super::scan::scan;
use super::shared::{Segment, Shared, State};
use super::types::{LogId, LogStats, Owner, OwnerState, Recovered, Slot, StoredEvent, StoredValue};
use super::window::read_full;
use super::{Doubt, StoreFault};
use crate::engine::store::Select;
use crate::engine::store::disk::Disk;

/// At most this much is read at once, but for a single record that is longer.
const PIECE: u64 = 256 << 10;
/// Records are read together while less than this lies between them.
const NEAR: u64 = 16 << 10;

/// Reads a log. All of it but [`Self::owner`], [`Self::owners`] and [`Self::stats`] reads files and blocks.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
}

/// A record on its way from the disk.
struct Wanted {
    loc: Loc,
    segment: Arc<Segment>,
}

impl Reader {
    /// Opens a log to read only: writes nothing and takes no lock. For a log that nobody has open for writing.
    ///
    /// # Errors
    /// As with [`Log::open`](super::Log::open).
    pub fn open(disk: &dyn Disk, dir: &Path, numbered_tag: Option<u8>) -> io::Result<(Self, Recovered)> {
        let scanned = scan(disk, dir, numbered_tag)?;
        let recovered = scanned.recovered();
        let log = scanned.log.unwrap_or(LogId([0; 16]));
        Ok((Self { shared: Arc::new(scanned.into_shared(log)) }, recovered))
    }

    /// Whether the writer of this log can write nothing any more, and not for want of room.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    /// Whether the writer of this log found no room the last time, but for what is vital.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// Whether a submission that failed in this doubt will never be found: a segment has begun behind its own.
    #[must_use]
    pub fn is_void(&self, Doubt(segment): Doubt) -> bool {
        let state = self.shared.state.read();
        state.segments.keys().next_back().is_some_and(|newest| u64::from(*newest) > segment)
    }

    /// Reads events in order: at most `max_count`, and at most `max_bytes` of payload but at least one. An owner that
    /// is not there has none. `ItemsAfter` gives the numbered events only, and none where the one that comes next was
    /// removed.
    ///
    /// # Errors
    /// `Damaged` where the next event is missing or is not what was written; `Failed` where the disk does not read it.
    /// What comes before such an event is given first.
    pub fn read(
        &self,
        owner: Owner,
        select: Select,
        max_count: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreFault> {
        let (wanted, sound) = self.plan(owner, select, max_count, max_bytes);
        let mut events = Vec::with_capacity(wanted.len());
        let mut bytes = 0;
        let mut fault = (!sound).then_some(StoreFault::Damaged);
        self.records(&wanted, |at, record| {
            match record.and_then(|(header, payload)| event(owner, wanted[at].0, &header, payload)) {
                Ok(event) => {
                    bytes += event.payload.len();
                    if bytes > max_bytes && !events.is_empty() {
                        fault = None;
                        return false;
                    }
                    events.push(event);
                    true
                }
                Err(other) => {
                    fault = Some(other);
                    false
                }
            }
        });
        match fault {
            Some(fault) if events.is_empty() => Err(fault),
            _ => Ok(events),
        }
    }

    /// The value of a slot.
    ///
    /// # Errors
    /// As with [`Self::read`].
    pub fn get(&self, owner: Owner, slot: Slot) -> Result<Option<StoredValue>, StoreFault> {
        let wanted = {
            let state = self.shared.state.read();
            let Some(loc) = state.index.get(owner).and_then(|entry| entry.slots.get(slot)) else { return Ok(None) };
            (slot, wanted(&state, loc)?)
        };
        let mut value = Err(StoreFault::Failed);
        self.records(&[wanted], |_, record| {
            value = record.and_then(|(header, payload)| stored(owner, slot, &header, payload));
            true
        });
        value.map(Some)
    }

    /// Where the value of a slot lies: in which file, and at which offset.
    #[must_use]
    pub fn place(&self, owner: Owner, slot: Slot) -> Option<(PathBuf, u64)> {
        let state = self.shared.state.read();
        let loc = state.index.get(owner)?.slots.get(slot)?;
        Some((state.segments.get(&loc.segment())?.path.clone(), loc.offset()))
    }

    /// Where the first of the events lies that are asked for, as [`Reader::place`] does.
    #[must_use]
    pub fn event_place(&self, owner: Owner, select: Select) -> Option<(PathBuf, u64)> {
        let state = self.shared.state.read();
        let (_, loc) = selected(state.index.get(owner)?, select).next()?;
        Some((state.segments.get(&loc.segment())?.path.clone(), loc.offset()))
    }

    /// How many bytes the events of an owner take that are kept.
    #[must_use]
    pub fn event_bytes(&self, owner: Owner) -> u64 {
        self.shared.state.read().index.get(owner).map_or(0, |entry| entry.event_bytes)
    }

    /// The first event that is kept of an owner; one more than the last where there is none.
    #[must_use]
    pub fn first_sequence(&self, owner: Owner) -> u64 {
        self.shared.state.read().index.get(owner).map_or(1, |entry| entry.events.first())
    }

    /// Every slot of these owners that has a value, in the order in which they lie on the disk: the cheapest way to read
    /// many.
    pub fn each_value(&self, owners: &[Owner], mut visit: impl FnMut(Owner, Slot, Result<StoredValue, StoreFault>)) {
        let mut all = Vec::new();
        {
            let state = self.shared.state.read();
            for (owner, entry) in owners.iter().filter_map(|owner| Some((*owner, state.index.get(*owner)?))) {
                let slots = entry.slots.iter().filter(|(slot, _)| !slot.is_mark());
                all.extend(slots.filter_map(|(slot, loc)| Some(((owner, slot), wanted(&state, loc).ok()?))));
            }
        }
        all.sort_unstable_by_key(|(_, wanted)| wanted.loc);
        self.records(&all, |at, record| {
            let (owner, slot) = all[at].0;
            visit(owner, slot, record.and_then(|(header, payload)| stored(owner, slot, &header, payload)));
            true
        });
    }

    /// What is known of an owner, where it has landed anything that still counts.
    #[must_use]
    pub fn owner(&self, owner: Owner) -> Option<OwnerState> {
        self.shared.state.read().index.state(owner)
    }

    /// Every owner that has an event or a slot; in order.
    #[must_use]
    pub fn owners(&self) -> Vec<Owner> {
        self.shared.state.read().index.owners()
    }

    /// What is known of each of them.
    pub fn states(&self) -> impl Iterator<Item = OwnerState> {
        self.owners().into_iter().filter_map(|owner| self.owner(owner))
    }

    /// What the log weighs and what it did.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.shared.state.read().stats()
    }

    /// Where the events lie that are asked for, by their sequences; and whether none was missed because it is missing.
    fn plan(&self, owner: Owner, select: Select, max_count: usize, max_bytes: usize) -> (Vec<(u64, Wanted)>, bool) {
        let state = self.shared.state.read();
        let Some(entry) = state.index.get(owner) else { return (Vec::new(), true) };
        let mut plan = Vec::new();
        let mut bytes = 0;
        for (sequence, loc) in selected(entry, select).take(max_count) {
            let Ok(wanted) = wanted(&state, loc) else { return (plan, false) };
            // Never too much: a record is at most a few bytes longer than the index says, or much longer.
            bytes += loc.length().saturating_sub((RECORD_HEADER + 7) as u64);
            if bytes > max_bytes as u64 && !plan.is_empty() {
                break;
            }
            plan.push((sequence, wanted));
        }
        (plan, true)
    }

    /// Reads records, several at once where they lie close together, and gives each to `visit` until it has enough.
    fn records<K>(
        &self,
        wanted: &[(K, Wanted)],
        mut visit: impl FnMut(usize, Result<(RecordHeader, Bytes), StoreFault>) -> bool,
    ) {
        let mut at = 0;
        while at < wanted.len() {
            let run = run(&wanted[at..]);
            let first = wanted[at].1.loc;
            let last = wanted[at + run - 1].1.loc;
            let length = last.offset() + last.length() - first.offset();
            let piece = read_piece(&wanted[at].1.segment, first.offset(), length);
            for (index, (_, wanted)) in wanted.iter().enumerate().skip(at).take(run) {
                let record = match &piece {
                    Ok(piece) => self.record(wanted, piece, first.offset()),
                    // One place that is not read costs its neighbours nothing.
                    Err(_) if run > 1 => self.alone(wanted),
                    Err(fault) => Err(*fault),
                };
                if !visit(index, record) {
                    return;
                }
            }
            at += run;
        }
    }

    /// A record out of a piece of its file that begins at `start`.
    fn record(&self, wanted: &Wanted, piece: &Bytes, start: u64) -> Result<(RecordHeader, Bytes), StoreFault> {
        let Wanted { loc, segment } = wanted;
        let damaged = |what: &str| {
            tracing::error!("{}: offset {}: {what}", segment.path.display(), loc.offset());
            StoreFault::Damaged
        };
        let from = usize::try_from(loc.offset() - start).unwrap_or(usize::MAX);
        let bytes = piece.get(from..).unwrap_or_default();
        let seal = self.shared.seal(loc.segment());
        let Some((header, _)) = RecordHeader::decode(seal, loc.offset(), bytes) else {
            return Err(damaged("the header of a record is damaged"));
        };
        let length = header.length as usize;
        let payload = if loc.is_long() {
            read_piece(segment, loc.offset() + RECORD_HEADER as u64, u64::from(header.length))?
        } else {
            piece.slice((from + RECORD_HEADER).min(piece.len())..(from + RECORD_HEADER + length).min(piece.len()))
        };
        if payload.len() != length || crc32c::crc32c(&payload) != header.payload {
            return Err(damaged("the payload of a record is damaged"));
        }
        Ok((header, payload))
    }

    /// The record at a place, for one who moves it.
    pub(super) fn record_at(&self, loc: Loc) -> Result<(RecordHeader, Bytes), StoreFault> {
        let wanted = wanted(&self.shared.state.read(), loc)?;
        self.alone(&wanted)
    }

    fn alone(&self, wanted: &Wanted) -> Result<(RecordHeader, Bytes), StoreFault> {
        let loc = wanted.loc;
        let piece = read_piece(&wanted.segment, loc.offset(), loc.length())?;
        self.record(wanted, &piece, loc.offset())
    }
}

/// How many of these, from the first on, are read at once.
fn run<K>(wanted: &[(K, Wanted)]) -> usize {
    let first = wanted[0].1.loc;
    let near = |pair: &&[(K, Wanted)]| {
        let (one, next) = (pair[0].1.loc, pair[1].1.loc);
        let end = one.offset() + one.length();
        next.segment() == one.segment()
            && !one.is_long()
            && (end..end + NEAR).contains(&next.offset())
            && next.offset() + next.length() - first.offset() <= PIECE
    };
    1 + wanted.windows(2).take_while(near).count()
}

fn read_piece(segment: &Segment, offset: u64, length: u64) -> Result<Bytes, StoreFault> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
    match read_full(&*segment.file, &mut buffer, offset) {
        Ok(read) => buffer.truncate(read),
        Err(error) => {
            tracing::error!("{}: offset {offset}: cannot be read: {error}", segment.path.display());
            return Err(StoreFault::Failed);
        }
    }
    Ok(buffer.into())
}

fn selected(entry: &Entry, select: Select) -> Box<dyn Iterator<Item = (u64, Loc)> + '_> {
    match select {
        Select::EventsAfter(after) => Box::new(entry.events.from(after.saturating_add(1))),
        Select::ItemsAfter(after) if after.saturating_add(1) < entry.numbers.first() => Box::new(std::iter::empty()),
        Select::ItemsAfter(after) => {
            let event = |(_, sequence): (u64, u32)| {
                let sequence = u64::from(sequence);
                (sequence, entry.events.get(sequence).unwrap_or_default())
            };
            Box::new(entry.numbers.from(after.saturating_add(1)).map(event))
        }
    }
}

fn wanted(state: &State, loc: Loc) -> Result<Wanted, StoreFault> {
    let segment = state.segments.get(&loc.segment()).filter(|_| !loc.is_none());
    segment.map(|segment| Wanted { loc, segment: Arc::clone(segment) }).ok_or(StoreFault::Damaged)
}

fn event(owner: Owner, sequence: u64, header: &RecordHeader, payload: Bytes) -> Result<StoredEvent, StoreFault> {
    let (found, number) = header.numbers();
    if header.owner != owner || found != sequence {
        return Err(StoreFault::Damaged);
    }
    Ok(StoredEvent { sequence, number, position: header.position, tag: header.tag, payload })
}

fn stored(owner: Owner, slot: Slot, header: &RecordHeader, value: Bytes) -> Result<StoredValue, StoreFault> {
    if header.owner != owner || header.key != slot.0 {
        return Err(StoreFault::Damaged);
    }
    Ok(StoredValue { position: header.position, value })
}
