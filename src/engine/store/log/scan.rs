//! Reads a whole log: what it holds, what was hit, and where it goes on. It writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::{Findings, Ledger, Place};
use super::format::{GroupHeader, HEAD, Head, Kind, RecordHeader, SECOND_HEADER, SEGMENT_HEADER, Seal, SegmentHeader};
use super::group::overhead;
use super::index::{Index, Loc};
use super::mark::marked;
use super::shared::{Segment, segment_number, segment_path};
use super::types::{LogId, Owner, Slot};
use super::walk::{Item, Step, Walk};
use super::window::Window;
use crate::engine::store::disk::Disk;

/// What a log was found to be.
#[derive(Debug)]
pub(super) struct Scanned {
    /// `None`: no header is left, or there is no segment at all.
    pub(super) log: Option<LogId>,
    pub(super) index: Index,
    pub(super) segments: BTreeMap<u32, Arc<Segment>>,
    pub(super) ends: BTreeMap<u32, u64>,
    pub(super) findings: Findings,
    /// The oldest segment that belongs to the log, there or not.
    pub(super) oldest: u32,
    /// Of the next submission and the next record.
    pub(super) position: u64,
    pub(super) ordinal: u64,
    /// The newest segment; `None` where there is none.
    pub(super) tail: Option<Tail>,
    /// Older segments, of which nothing counts any more.
    pub(super) leftovers: Vec<u32>,
}

/// How the newest segment ends.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) number: u32,
    pub(super) end: u64,
    pub(super) header: Option<SegmentHeader>,
    /// It can be gone on with: its last group is sound, or it holds nothing yet.
    pub(super) resumable: bool,
    /// That group is a marker, or there is none.
    pub(super) marked: bool,
    /// The last group that counts.
    pub(super) last: Option<Range<u64>>,
    /// A write that was cut short.
    pub(super) torn: Option<Range<u64>>,
}

/// A segment's file before it is walked.
struct Candidate {
    number: u32,
    path: PathBuf,
    window: Window,
    segment: Arc<Segment>,
    header: Option<SegmentHeader>,
}

struct Scan {
    index: Index,
    ledger: Ledger,
    /// The ordinal that the next record must have.
    expected: Option<u64>,
    position: u64,
    oldest: u32,
    /// The log is there from its first record on.
    complete: bool,
    segments: BTreeMap<u32, Arc<Segment>>,
    ends: BTreeMap<u32, u64>,
    leftovers: Vec<u32>,
    /// The segment in which a record or a group was seen last.
    seen: u32,
    /// Owners that have, or had, a mark of damage.
    marked: BTreeSet<Owner>,
}

/// Reads the log in a directory.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for a newer format; what the disk says where files cannot be listed or opened.
pub(super) fn scan(disk: &dyn Disk, dir: &Path, numbered: Option<u8>) -> io::Result<Scanned> {
    let scanned = scan_from(disk, dir, numbered, 0)?;
    // What was read of a leftover may have been taken back in a segment that is gone.
    if scanned.leftovers.is_empty() { Ok(scanned) } else { scan_from(disk, dir, numbered, scanned.oldest) }
}

/// Reads the segments from a number on; older ones are leftovers.
fn scan_from(disk: &dyn Disk, dir: &Path, numbered: Option<u8>, from: u32) -> io::Result<Scanned> {
    let mut ledger = Ledger::default();
    let mut candidates = candidates(disk, dir)?;
    while let Some(last) = candidates.pop_if(Candidate::was_never_begun) {
        last.tell_of_its_head(&mut ledger);
    }
    let leftovers: Vec<_> = candidates.extract_if(.., |it| it.number < from).map(|it| it.number).collect();
    let log = candidates.iter().find_map(|candidate| candidate.header).map(|header| header.log);
    for candidate in &mut candidates {
        candidate.judge(log, &mut ledger);
    }
    let headers = candidates.iter().filter_map(|candidate| candidate.header);
    let oldest = headers.map(|header| header.oldest.min(header.number)).max().unwrap_or(1);
    let befores: BTreeMap<u32, u64> =
        candidates.iter().filter_map(|next| Some((next.number.checked_sub(1)?, next.header?.before))).collect();
    let complete = candidates.first().is_some_and(|first| first.number == 1 && first.header.is_some());
    let mut scan = Scan {
        index: Index::new(numbered),
        ledger,
        expected: None,
        position: 0,
        oldest,
        complete,
        segments: BTreeMap::new(),
        ends: BTreeMap::new(),
        leftovers,
        seen: 0,
        marked: BTreeSet::new(),
    };
    let newest = candidates.last().map(|last| last.number);
    let mut tail = None;
    for candidate in candidates {
        let before = befores.get(&candidate.number).copied();
        let is_last = Some(candidate.number) == newest;
        tail = Some(scan.segment(candidate, log.unwrap_or(LogId([0; 16])), before, is_last));
    }
    Ok(scan.finish(dir, log, tail))
}

fn candidates(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for path in disk.list(dir)? {
        let Some(number) = segment_number(&path) else { continue };
        let file = disk.open(&path, false)?;
        let length = file.length()?;
        let mut window = Window::new(Arc::clone(&file), length);
        let header = header(&mut window, &path)?;
        let segment = Arc::new(Segment { path: path.clone(), file });
        candidates.push(Candidate { number, path, window, segment, header });
    }
    candidates.sort_by_key(|candidate| candidate.number);
    Ok(candidates)
}

/// The header of a segment, from either of its places.
fn header(window: &mut Window, path: &Path) -> io::Result<Option<SegmentHeader>> {
    for offset in [0, SECOND_HEADER as u64] {
        match SegmentHeader::decode(window.get(offset, SEGMENT_HEADER as u64)) {
            Head::Sound(header) => return Ok(Some(header)),
            Head::Version(version) => {
                let path = path.display();
                let what = format!("{path}: format version {version}, and this program knows version 1 only");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            Head::Bad => {}
        }
    }
    Ok(None)
}

impl Candidate {
    fn place(&self, offset: u64) -> Place<'_> {
        Place { segment: self.number, path: &self.path, offset }
    }

    /// Its head was never written, or not whole: it holds nothing, and nothing was built on it.
    fn was_never_begun(&mut self) -> bool {
        self.header.is_none() && self.window.first_used(HEAD).is_none()
    }

    fn tell_of_its_head(mut self, ledger: &mut Ledger) {
        if let Some(offset) = self.window.first_used(0) {
            ledger.note(&self.place(offset), "the head of a segment that holds nothing was not written whole");
        }
    }

    /// Tells what is wrong with the header. One of another log, or of another number, is none.
    fn judge(&mut self, log: Option<LogId>, ledger: &mut Ledger) {
        let ours = self.header.filter(|header| Some(header.log) == log && header.number == self.number);
        if self.header.is_some() && ours.is_none() {
            ledger.damage(&self.place(0), "the segment does not belong here: its header names another log or number");
        } else if ours.is_none() {
            ledger.damage(&self.place(0), "both headers of the segment are damaged");
        }
        for offset in [0, SECOND_HEADER as u64] {
            let sound = matches!(SegmentHeader::decode(self.window.get(offset, SEGMENT_HEADER as u64)), Head::Sound(_));
            if ours.is_some() && !sound {
                ledger.note(&self.place(offset), "one of the two headers of the segment is damaged");
            }
        }
        self.header = ours;
    }
}

impl Scan {
    fn segment(&mut self, candidate: Candidate, log: LogId, before: Option<u64>, is_last: bool) -> Tail {
        let Candidate { number, path, mut window, segment, header } = candidate;
        self.segments.insert(number, segment);
        let at = |offset| Place { segment: number, path: &path, offset };
        if let Some(header) = &header {
            self.expect(&at(0), header.ordinal);
            self.position = self.position.max(header.position.saturating_sub(1));
        }
        self.seen = number;
        if before.is_some_and(|before| before > window.end()) {
            self.ledger.note(&at(window.end()), "the segment is shorter than it was");
        }
        window.limit(before.unwrap_or(u64::MAX));
        let mut walk = Walk::new(window, Seal::new(log, number));
        let mut tail =
            Tail { number, end: HEAD, header, resumable: header.is_some(), marked: true, last: None, torn: None };
        loop {
            let step = walk.next();
            let next = walk.at();
            if is_last && step.may_be_torn() && walk.is_at_end() {
                let offset = step.offset();
                let what = format!("{} bytes of a write that was cut short and never acknowledged", next - offset);
                self.ledger.note(&at(offset), what);
                tail.torn = Some(offset..next);
                tail.resumable = false;
                break;
            }
            if !self.step(&at(step.offset()), step, next, &mut tail) {
                break;
            }
            tail.end = next;
        }
        for offset in walk.window.take_unreadable() {
            self.ledger.unread(&at(offset));
        }
        self.ends.insert(number, tail.end);
        tail
    }

    /// Takes in one step of the walk; `false` at the end.
    fn step(&mut self, place: &Place<'_>, step: Step, next: u64, tail: &mut Tail) -> bool {
        match step {
            Step::End { .. } => return false,
            Step::Group { offset, header, items, .. } => {
                let sound = items.iter().all(|item| matches!(item, Item::Record { sound: true, .. }));
                self.group(place, &header, &items);
                tail.last = sound.then_some(offset..next);
                tail.resumable = sound && tail.header.is_some();
                tail.marked = header.records == 0;
            }
            Step::Stray { items, .. } => {
                let what = format!("no sound group begins here; {} records were found without theirs", items.len());
                self.ledger.note(place, what);
                self.items(place, &items);
                tail.last = None;
                tail.resumable = false;
            }
        }
        true
    }

    fn group(&mut self, place: &Place<'_>, header: &GroupHeader, items: &[Item]) {
        self.expect(place, header.ordinal);
        self.items(place, items);
        // Where the table was hit, records may be missing at the end.
        self.expect(place, header.ordinal + u64::from(header.records));
        self.index.weigh(place.segment, overhead(header.records as usize));
        self.position =
            self.position.max(header.position.saturating_add(u64::from(header.submissions)).saturating_sub(1));
        self.oldest = self.oldest.max(header.oldest.min(place.segment));
        self.seen = place.segment;
    }

    /// The next record has this ordinal.
    fn expect(&mut self, place: &Place<'_>, ordinal: u64) {
        match self.expected {
            Some(expected) if ordinal > expected => self.ledger.gap(self.seen, place, ordinal - expected),
            Some(expected) if ordinal < expected => {
                self.ledger.damage(place, "what stands here is older than what is before it");
            }
            _ => {}
        }
        self.expected = Some(ordinal);
    }

    fn items(&mut self, place: &Place<'_>, items: &[Item]) {
        for item in items {
            match item {
                Item::Record { offset, header, checksum, sound } => {
                    self.record(&Place { offset: *offset, ..*place }, header, *checksum, *sound);
                }
                Item::Headless { offset, entry } => {
                    let place = Place { offset: *offset, ..*place };
                    self.ledger.headless(&mut self.index, &place, entry, self.complete);
                    self.index.weigh(place.segment, u64::from(entry.length));
                    self.expected = self.expected.map(|expected| expected + 1);
                }
                Item::Hit { offset, what } => self.ledger.note(&Place { offset: *offset, ..*place }, *what),
            }
        }
    }

    fn record(&mut self, place: &Place<'_>, header: &RecordHeader, checksum: u32, sound: bool) {
        if self.expected.is_some_and(|expected| header.ordinal < expected) {
            self.ledger.damage(place, "a record stands here that is older than what is before it");
            return;
        }
        if self.expected != Some(header.ordinal) {
            self.expect(place, header.ordinal);
        }
        self.expected = Some(header.ordinal + 1);
        self.seen = place.segment;
        let loc = Loc::new(place.segment, place.offset, header.total());
        self.ledger.follow(&self.index, place, header, self.complete);
        self.ledger.supersede(header);
        self.index.apply(header, checksum, loc);
        if !sound {
            self.ledger.payload(place, header, loc);
        }
        self.position = self.position.max(header.position);
        if header.kind == Kind::Put && Slot(header.key).is_mark() {
            self.marked.insert(header.owner);
        }
    }

    fn finish(mut self, dir: &Path, log: Option<LogId>, tail: Option<Tail>) -> Scanned {
        let present: Vec<u32> = self.segments.keys().copied().collect();
        let mut next = self.oldest;
        for number in present.iter().copied().filter(|number| *number >= self.oldest) {
            if number > next {
                let path = segment_path(dir, next);
                let place = Place { segment: next, path: &path, offset: 0 };
                self.ledger.damage(&place, format!("{} segments from this one on are missing", number - next));
            }
            next = number + 1;
        }
        self.index.shrink();
        let segment = |number: u32| Some((&**self.segments.get(&number)?, Seal::new(log?, number)));
        let marked = marked(&self.index, &self.marked, dir, segment);
        self.leftovers.extend(present.iter().copied().filter(|number| *number < self.oldest));
        Scanned {
            log,
            findings: self.ledger.finish(&self.index, marked, |number| segment_path(dir, number)),
            index: self.index,
            oldest: self.oldest,
            segments: self.segments,
            ends: self.ends,
            position: self.position + 1,
            ordinal: self.expected.unwrap_or(1),
            tail,
            leftovers: self.leftovers,
        }
    }
}
