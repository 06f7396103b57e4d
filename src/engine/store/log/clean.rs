//! Makes room: what still counts in the oldest segment is copied to the head, a piece at a time, then the segment goes.
//!
//! Only the oldest segment is cleaned, so that segments always follow each other without a gap, and a removal can be
//! forgotten with its segment: all that it removes is older.
//!
//! Damage that was found when the log was opened keeps nobody from that. It is marked first, so that it is told as before;
//! then all that can be read goes on in the head, and the file itself stays where it is, outside of the log, until a start
//! finds that nothing is damaged any more. What is found damaged only now stays with its segment, and ends the cleaning
//! until the next start, which lays it to its owner.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::damage::Pin;
use super::format::{Kind, MOVED, RecordHeader};
use super::group::{GROUP_OVERHEAD, Placed, record_cost};
use super::index::Loc;
use super::mark::mark;
use super::queue::Waiting;
use super::read::Reader;
use super::room::{Room, is_heavy, is_worth_closing};
use super::shared::segment_path;
use super::stage::cost;
use super::types::{Owner, Submission};
use super::walk::{Item, Step, Walk};
use super::window::Window;
use super::writer::Writer;

/// One piece of work: so much is copied, or looked at, before commits come in again.
const COPIED: u64 = 256 << 10;
const LOOKED_AT: u64 = 1 << 20;
/// Beside work, one piece is done for so many bytes written.
const WRITTEN: u64 = 256 << 10;

/// So many owners' damage is marked at once.
const MARKED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Cleaning {
    /// The segment that is being cleaned.
    current: Option<Pass>,
    /// Damage that was found when the log was opened, the oldest segment's last.
    pins: Vec<Pin>,
    /// That of the segment that is being cleaned, once it was marked: where, and whose.
    marked: HashSet<(u64, Option<Owner>)>,
    blocked: Option<Blocked>,
    /// Some of it was not read by the disk when the log was opened. The next start may read it: until then it all stays.
    is_unread: bool,
    /// Written since the last piece.
    pub(super) written: u64,
    /// It could not go on; it is tried again after the next commit.
    stuck: bool,
}

/// The oldest segment cannot be cleaned, for what was found of this owner, where that is known.
#[derive(Debug)]
struct Blocked {
    segment: u32,
    owner: Option<Owner>,
}

#[derive(Debug)]
struct Pass {
    segment: u32,
    walk: Walk,
    /// Items of the group that the walk is in.
    items: Vec<Item>,
    /// It is the second one of this segment.
    again: bool,
}

impl Cleaning {
    pub(super) fn new(mut pins: Vec<Pin>, is_unread: bool) -> Self {
        pins.sort_by_key(|pin| Reverse((pin.segment, pin.damage.offset)));
        Self { pins, is_unread, ..Self::default() }
    }
}

impl Writer {
    /// Whether there is something to clean that can be cleaned.
    pub(super) fn is_cleaning_due(&self) -> bool {
        if self.cleaning.stuck || self.active.is_none() {
            return false;
        }
        if self.cleaning.current.is_some() {
            return true;
        }
        let state = self.shared.state.read();
        let Some(oldest) = state.segments.keys().next().copied() else { return false };
        if self.cleaning.is_unread || self.cleaning.blocked.as_ref().is_some_and(|blocked| blocked.segment == oldest) {
            return false;
        }
        let is_heavy = is_heavy(&state.index, self.is_full);
        if oldest == self.head.newest {
            return is_heavy && is_worth_closing(&self.options, &state.index, self.is_full);
        }
        is_heavy || state.index.weight(oldest).live == 0
    }

    /// A piece of cleaning between commits, if enough was written since the last one.
    pub(super) fn clean_beside_work(&mut self) {
        self.cleaning.stuck = false;
        // Where all is refused, nothing is written, and who asks again and again leaves no time without work.
        if (self.cleaning.written >= WRITTEN || self.is_full) && self.is_cleaning_due() {
            self.clean();
        }
    }

    /// One piece of cleaning.
    pub(super) fn clean(&mut self) {
        self.cleaning.written = 0;
        let Some(mut pass) = self.cleaning.current.take().or_else(|| self.begin_pass()) else {
            self.cleaning.stuck = true;
            return;
        };
        match self.mark_damage(pass.segment).and_then(|()| self.clean_piece(&mut pass)) {
            Ok(true) => {}
            Ok(false) => self.cleaning.current = Some(pass),
            // From the beginning, then: what was moved does not count there any more.
            Err(Stuck) => self.cleaning.stuck = true,
        }
    }

    /// A pass over the oldest segment. Where that is the one that is written to, it is closed.
    fn begin_pass(&mut self) -> Option<Pass> {
        let oldest = self.shared.state.read().segments.keys().next().copied();
        if oldest == Some(self.head.newest) {
            self.begin_segment(0, Room::Cleaning).ok()?;
        }
        // What was used up of the room that is kept is taken again, where that can be had by now.
        self.refill();
        let state = self.shared.state.read();
        let (number, segment) = state.segments.iter().next()?;
        let end = state.ends.get(number).copied()?;
        let window = Window::new(Arc::clone(&segment.file), end);
        Some(Pass {
            segment: *number,
            walk: Walk::new(window, self.shared.seal(*number)),
            items: Vec::new(),
            again: false,
        })
    }

    /// `true`: the segment is gone.
    fn clean_piece(&mut self, pass: &mut Pass) -> Result<bool, Stuck> {
        let (chosen, at_end) = self.choose(pass);
        if !chosen.is_empty() {
            self.copy(&chosen)?;
        }
        if !at_end {
            return Ok(false);
        }
        let is_done = self.shared.state.read().index.is_done_with(pass.segment);
        if !is_done && !pass.again {
            // What went with an owner that had nothing counts again where the owner got something meanwhile.
            let Some(again) = self.begin_pass() else { return Err(Stuck) };
            *pass = Pass { again: true, ..again };
            return Ok(false);
        }
        if !is_done {
            // Something that counts was not found where it was written: its evidence stays.
            return Err(self.block(Loc::new(pass.segment, 0, 0), None));
        }
        self.remove(pass.segment)?;
        Ok(true)
    }

    /// What still counts in the next piece of the segment; whether that was the last one.
    fn choose(&self, pass: &mut Pass) -> (Vec<(RecordHeader, Loc)>, bool) {
        let state = self.shared.state.read();
        let (mut chosen, mut bytes) = (Vec::new(), 0);
        let from = pass.walk.at();
        loop {
            while let Some(item) = pass.items.pop() {
                let Item::Record { offset, header, .. } = item else { continue };
                let loc = Loc::new(pass.segment, offset, header.total());
                if state.index.is_live(&header, loc) {
                    bytes += header.total();
                    chosen.push((header, loc));
                }
                if bytes >= COPIED {
                    return (chosen, false);
                }
            }
            if pass.walk.at() - from >= LOOKED_AT {
                return (chosen, false);
            }
            match pass.walk.next() {
                Step::End { .. } => return (chosen, true),
                Step::Group { mut items, .. } | Step::Stray { mut items, .. } => {
                    // Taken from the back.
                    items.reverse();
                    pass.items = items;
                }
            }
        }
    }

    /// Copies records to the head, in one group.
    fn copy(&mut self, chosen: &[(RecordHeader, Loc)]) -> Result<(), Stuck> {
        let reader = Reader { shared: Arc::clone(&self.shared) };
        let mut records = Vec::with_capacity(chosen.len());
        for (header, loc) in chosen {
            match reader.record_at(*loc) {
                Ok((_, payload)) => records.push((header, payload)),
                Err(_) if self.is_marked(header, *loc) => self.shared.state.write().index.lose(header, *loc),
                // It was sound when it was written. The owner's readers are told; the segment stays.
                Err(_) => return Err(self.block(*loc, Some(header.owner))),
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let bytes = records.iter().map(|(_, payload)| record_cost(payload.len())).sum::<u64>();
        // What is copied is given back soon, when the segment goes.
        self.make_room(GROUP_OVERHEAD + bytes, Room::Cleaning).map_err(|_| Stuck)?;
        self.begin_group();
        {
            let state = self.shared.state.read();
            for (header, payload) in records {
                self.stage.moved(&state.index, &mut self.group, header, &payload);
            }
        }
        self.write_group(MOVED, 0).map_err(|_| Stuck)?;
        self.marked = false;
        Ok(())
    }

    /// Removes the oldest segment, in which nothing counts any more.
    fn remove(&mut self, segment: u32) -> Result<(), Stuck> {
        // From here on the log says of itself that it begins later; a file that stays behind is a leftover.
        self.make_room(GROUP_OVERHEAD, Room::Vital).map_err(|_| Stuck)?;
        self.begin_group();
        self.write_group_of(MOVED, 0, segment + 1).map_err(|_| Stuck)?;
        let removed = {
            let mut state = self.shared.state.write();
            state.index.forget_segment(segment);
            state.ends.remove(&segment);
            state.segments.remove(&segment)
        };
        let Some(removed) = removed else { return Ok(()) };
        if !std::mem::take(&mut self.cleaning.marked).is_empty() {
            tracing::warn!("{}: offset 0: the segment is kept beside the log for its damage", removed.path.display());
            return Ok(());
        }
        let gone = self.disk.remove(&removed.path).and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = gone {
            tracing::warn!(
                "{}: offset 0: the segment is not needed any more and stays: {error}",
                removed.path.display()
            );
        }
        Ok(())
    }

    /// Marks the damage of which the evidence would go with a segment: of each owner the first, which is what is told of it.
    fn mark_damage(&mut self, segment: u32) -> Result<(), Stuck> {
        let pins = &self.cleaning.pins;
        let pinned = &pins[pins.partition_point(|pin| pin.segment > segment)..];
        if pinned.is_empty() {
            return Ok(());
        }
        let firsts: BTreeMap<_, _> = pinned.iter().map(|pin| (pin.damage.owner, mark(pin))).collect();
        let places: Vec<_> = pinned.iter().map(|pin| (pin.damage.offset, pin.damage.owner)).collect();
        let changes: Vec<_> = firsts.into_values().collect();
        for changes in changes.chunks(MARKED) {
            let submission = Submission { changes: changes.to_vec(), vital: true };
            let (settle, mut landed) = oneshot::channel();
            self.land(vec![Waiting { cost: cost(&submission), submission, settle }]);
            if !matches!(landed.try_recv(), Ok(Ok(_))) {
                return Err(Stuck);
            }
        }
        self.cleaning.pins.retain(|pin| pin.segment > segment);
        self.cleaning.marked.extend(places);
        Ok(())
    }

    /// Whether a record of the segment that is being cleaned is one of those that were marked.
    fn is_marked(&self, header: &RecordHeader, loc: Loc) -> bool {
        self.cleaning.marked.contains(&(loc.offset(), Some(header.owner)))
    }

    fn block(&mut self, at: Loc, owner: Option<Owner>) -> Stuck {
        let path = segment_path(&self.dir, at.segment());
        let whose = owner.map(|owner| format!(" (of {owner})")).unwrap_or_default();
        tracing::error!(
            "{}: offset {}: what stands here cannot be read any more{whose}, and no room is made until the next start",
            path.display(),
            at.offset()
        );
        self.cleaning.blocked = Some(Blocked { segment: at.segment(), owner });
        Stuck
    }

    /// Damage to what an owner had does not count any more once the owner was wiped; what cannot be read may be gone with
    /// any removal.
    pub(super) fn unpin_wiped(&mut self) {
        for Placed { header, .. } in self.group.records() {
            if header.kind == Kind::Wipe {
                self.cleaning.pins.retain(|pin| pin.damage.owner != Some(header.owner));
                self.cleaning.marked.retain(|(_, owner)| *owner != Some(header.owner));
            }
            let removes = matches!(header.kind, Kind::Wipe | Kind::Trim | Kind::Delete) && !header.moved;
            if removes && self.cleaning.blocked.as_ref().is_some_and(|blocked| blocked.owner == Some(header.owner)) {
                self.cleaning.blocked = None;
            }
        }
    }
}

/// Cleaning cannot go on for now.
struct Stuck;
