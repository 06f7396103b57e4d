//! How much room is kept, and what for: so that what ends something, and what makes room, finds some on a full disk.
//!
//! Behind what has landed, the segment that is written to holds room that was taken ahead: the **reserve** for what is
//! vital, and what **cleaning** the costliest segment would take. Ordinary commits leave both; cleaning leaves a quarter of
//! the reserve; what is vital may use all. So a segment can be cleaned on a disk that was filled to the last byte, and by
//! going it gives back at least what its copies took.
//!
//! For that to be little, segments are short where little is kept: a sixteenth of it.

use std::io;

use super::format::HEAD;
use super::index::{Index, Weight};
use super::segment::{Active, is_full};
use super::shared::State;
use super::types::LogOptions;
use super::writer::Writer;

/// Whatever little is kept, segments are not shorter than this, unless the options say so.
const SHORTEST: u64 = 4 << 20;
/// A segment is as long as what is kept, divided by this.
const SHARE: u64 = 16;
/// Older segments may be longer. For one that is more than this part of the log, and more than that long, no room is kept.
const CAP_SHARE: u64 = 8;
const CAP: u64 = 2 * SHORTEST;
/// Even on a full disk it is not worth while to clean for less.
const LEAST: u64 = 4 * HEAD;

/// Which room is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// All that is kept must stay.
    Ordinary,
    /// What is kept for cleaning may be used, and the reserve but for a quarter.
    Cleaning,
    /// All may be used.
    Vital,
}

/// What is to be kept now, and how long a segment may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) longest: u64,
    pub(super) reserve: u64,
    pub(super) cleaning: u64,
    /// In which steps room is taken ahead.
    pub(super) step: u64,
}

impl Keep {
    /// In a copy, where nothing is cleaned: the longer the more segments there are.
    pub(super) fn of_copy(options: &LogOptions, number: u32) -> Self {
        let longest = (u64::from(number) << 20).clamp(SHORTEST.min(options.segment_bytes), options.segment_bytes);
        Self { longest, reserve: options.reserve_bytes, cleaning: 0, step: options.allocate_step.max(1) }
    }

    /// What is to be kept behind a group of this size, which goes to the newest segment.
    pub(super) fn new(options: &LogOptions, state: &State, bytes: u64) -> Self {
        let all = state.index.weight_of_all();
        let newest = state.ends.keys().next_back().copied();
        let cost = |(number, end): (&u32, &u64)| {
            let more = if Some(*number) == newest { bytes } else { 0 };
            cost(state.index.weight(*number), *end, more)
        };
        let costliest = state.ends.iter().map(cost).max().unwrap_or(0);
        Self {
            longest: longest(options, &state.index),
            reserve: options.reserve_bytes,
            cleaning: costliest.min(CAP.max(all.total / CAP_SHARE)),
            step: options.allocate_step.max(1),
        }
    }

    pub(super) fn all(&self) -> u64 {
        self.reserve + self.cleaning
    }

    /// What nobody but who is vital may use.
    pub(super) fn margin(&self) -> u64 {
        self.reserve / 4
    }

    /// What must stay behind a group.
    pub(super) fn behind(&self, room: Room) -> u64 {
        match room {
            Room::Ordinary => self.all(),
            Room::Cleaning => self.margin(),
            Room::Vital => 0,
        }
    }
}

impl Writer {
    pub(super) fn try_make_room(&mut self, bytes: u64, room: Room) -> io::Result<()> {
        let keep = self.keep(bytes);
        if self.active.as_ref().is_none_or(|active| active.is_too_long_for(bytes, &keep)) {
            let begun = self.begin_segment(bytes, room);
            // All but the ordinary goes on in the old one where there is no room for a new one.
            if self.active.is_none() || begun.is_err() && room == Room::Ordinary {
                return begun;
            }
        }
        match &mut self.active {
            Some(active) => active.take_room(bytes, room, &keep),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Takes what is to be kept, as far as it can be had.
    pub(super) fn refill(&mut self) {
        let keep = self.keep(0);
        if let Some(active) = &mut self.active {
            let _ = active.take_room(0, Room::Ordinary, &keep);
        }
    }

    fn keep(&self, bytes: u64) -> Keep {
        Keep::new(&self.options, &self.shared.state.read(), bytes)
    }

    pub(super) fn create_segment(&mut self, number: u32, bytes: u64, room: Room) -> io::Result<Active> {
        let keep = self.keep(bytes);
        let create = |behind| Active::create(&*self.disk, &self.dir, number, bytes, behind);
        let created = create(keep.all());
        if !created.as_ref().is_err_and(is_full) {
            return created;
        }
        let Some(old) = &mut self.active else { return create(keep.behind(room)) };
        // Each of them has what is kept for those who are vital at any time.
        old.give_back_but(keep.margin());
        create(keep.margin()).inspect_err(|_| {
            // Of others on this disk one may have been faster.
            let _ = old.take_room(0, Room::Ordinary, &keep);
        })
    }
}

/// How long a segment may become, by what is kept.
fn longest(options: &LogOptions, index: &Index) -> u64 {
    let shortest = SHORTEST.min(options.segment_bytes);
    (index.weight_of_all().live / SHARE).clamp(shortest, options.segment_bytes)
}

/// What cleaning a segment takes at most: its copies, and what lies around them. So many more bytes are about to count.
fn cost(weight: Weight, end: u64, more: u64) -> u64 {
    // How long its records are is not known where there are long ones.
    let copies = if weight.has_long { end } else { weight.live.min(end) } + more;
    // The copies' groups, the heads of segments that are begun meanwhile, and what the file system rounds up.
    copies + copies / 256 + 4 * HEAD
}

/// Whether there is more that does not count than may be left lying.
pub(super) fn is_heavy(index: &Index, is_full: bool) -> bool {
    let Weight { total, live, .. } = index.weight_of_all();
    // On a full disk less is worth the copying. Copies alone never weigh so much more than what they hold.
    live * 2 < total || is_full && total.saturating_sub(live) >= (total / SHARE).max(LEAST)
}

/// Whether there is so much that does not count that the only segment is closed for it.
pub(super) fn is_worth_closing(options: &LogOptions, index: &Index, is_full: bool) -> bool {
    let Weight { total, live, .. } = index.weight_of_all();
    total.saturating_sub(live) >= if is_full { LEAST } else { longest(options, index) / 2 }
}
