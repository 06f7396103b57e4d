//! The writer without its thread, so that what comes between what is up to the test.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::Mutex;

use super::bed::{Bed, change, content, dir, options, owner};
use super::odd::OddDisk;
use crate::engine::store::disk::simulated::{Chances, Fault, SimulatedDisk};
use crate::engine::store::log::open::open;
use crate::engine::store::log::queue::Waiting;
use crate::engine::store::log::room::Room;
use crate::engine::store::log::stage::cost;
use crate::engine::store::log::writer::Writer;
use crate::engine::store::log::{Change, LogOptions, Reader, Submission};
use crate::engine::store::{Commit, Doubt, StoreFault};

impl Writer {
    /// Lands one submission, as its thread would.
    pub(super) fn one(&mut self, change: Change, vital: bool) -> Result<u64, StoreFault> {
        let submission = Submission { changes: vec![change], vital };
        let (settle, commit) = Commit::pending();
        self.land(vec![Waiting { cost: cost(&submission), submission, settle }]);
        super::bed::wait(commit)
    }
}

pub(super) fn writer(disk: &OddDisk, options: LogOptions) -> Writer {
    open(Arc::new(disk.clone()), dir(), options).unwrap().0
}

#[test]
fn what_counts_again_while_its_segment_is_cleaned_is_moved_all_the_same() {
    let disk = OddDisk::new(&SimulatedDisk::new(1));
    let mut writer = writer(&disk, LogOptions { segment_bytes: 8 << 20, ..options() });
    // An owner that has nothing, whose trim stands at the very beginning; then more than one piece of cleaning takes.
    writer.one(change(1).at(0).event(1, b"gone").trim(u64::MAX), false).unwrap();
    let long = vec![1; 100_000];
    while writer.head.newest == 1 {
        writer.one(change(2).event(1, &long).put(1, &long), false).unwrap();
    }
    writer.one(change(2).trim(u64::MAX), false).unwrap();
    let mut pieces = 0;
    while writer.is_cleaning_due() && writer.head.oldest == 1 {
        writer.clean();
        pieces += 1;
        if pieces == 1 {
            writer.one(change(1).at(1).event(1, b"again"), false).unwrap();
        }
    }
    assert!(pieces > 2, "it was cleaned at once");
    assert_eq!(writer.head.oldest, 2, "the segment stays");
    let before = content(&Reader { shared: Arc::clone(&writer.shared) });
    assert_eq!(before[&owner(1)].as_ref().unwrap().events[0].sequence, 2);
    drop(writer);
    let (reader, recovered) = Reader::open(&disk, dir(), None).unwrap();
    assert_eq!((content(&reader), recovered.damage), (before, vec![]));
}

#[test]
fn a_sync_that_finds_no_room_is_full_only_where_what_it_brought_is_void() {
    let disk = SimulatedDisk::new(1);
    let odd = OddDisk::new(&disk);
    let mut writer = writer(&odd, options());
    writer.one(change(1).put(1, b"before"), false).unwrap();
    odd.odd().full_at_sync.store(true, Ordering::Relaxed);
    // The next segment cannot be begun either: nobody knows what a restart would find.
    assert_eq!(writer.one(change(1).put(1, b"not known"), false), Err(StoreFault::Unknown(Doubt(1))));
    assert_eq!(writer.one(change(1).put(1, b"not written"), false), Err(StoreFault::Full));
    odd.odd().full_at_sync.store(false, Ordering::Relaxed);
    writer.one(change(1).put(2, b"room again"), false).unwrap();
    let before = content(&Reader { shared: Arc::clone(&writer.shared) });
    drop(writer);
    let bed = Bed::open(disk.restart(), options());
    assert_eq!((bed.content(), bed.recovered.damage), (before, vec![]));
}

#[test]
fn a_group_that_a_restart_may_find_is_not_said_to_have_failed() {
    for void in [true, false] {
        let disk = SimulatedDisk::new(1);
        let odd = OddDisk::new(&disk);
        // Nothing was taken ahead that would be given back, and the group with it.
        odd.odd().plain.store(true, Ordering::Relaxed);
        let mut writer = writer(&odd, options());
        writer.one(change(1).put(1, b"before"), false).unwrap();
        if void {
            disk.fail_next(Fault::Sync);
        } else {
            // It syncs and says that it does not, also where the next segment is begun.
            odd.odd().full_at_sync.store(true, Ordering::Relaxed);
        }
        let told = if void { StoreFault::Failed } else { StoreFault::Unknown(Doubt(1)) };
        assert_eq!(writer.one(change(1).put(2, b"after"), false), Err(told));
        drop(writer);
        let (reader, _) = Reader::open(&disk.restart(), dir(), None).unwrap();
        assert_eq!(reader.get(owner(1), super::bed::slot(2)).unwrap().is_some(), !void);
    }
}

#[test]
fn a_doubt_is_void_once_the_next_segment_has_begun_with_work_or_without() {
    for (full, by_itself) in [(true, true), (true, false), (false, true), (false, false)] {
        let disk = SimulatedDisk::new(1);
        let odd = OddDisk::new(&disk);
        let mut writer = writer(&odd, options());
        let reader = Reader { shared: Arc::clone(&writer.shared) };
        writer.one(change(1).put(1, b"before"), false).unwrap();
        assert_eq!(writer.patience(), Some(options().idle_after), "no doubt, no trouble");
        if full {
            odd.odd().full_at_sync.store(true, Ordering::Relaxed);
        } else {
            disk.set_chances(Chances { sync: 1.0, ..Chances::default() });
        }
        let Err(StoreFault::Unknown(doubt)) = writer.one(change(1).put(2, b"in doubt"), false) else {
            panic!("{full}")
        };
        writer.quiet();
        assert!(!reader.is_void(doubt), "nothing has landed");
        assert!(writer.patience().is_some(), "nobody would end the doubt");
        odd.odd().full_at_sync.store(false, Ordering::Relaxed);
        disk.set_chances(Chances::default());
        if by_itself {
            writer.quiet();
        } else {
            writer.one(change(1).put(3, b"after"), false).unwrap();
        }
        assert!(reader.is_void(doubt) && !reader.is_void(Doubt::LASTING));
        drop(writer);
        let (reader, _) = Reader::open(&disk.restart(), dir(), None).unwrap();
        assert_eq!(reader.get(owner(1), super::bed::slot(2)).unwrap(), None);
    }
}

#[test]
fn the_room_of_a_segment_that_failed_is_the_next_ones() {
    let disk = SimulatedDisk::new(1);
    let mut writer = writer(&OddDisk::new(&disk), options());
    writer.one(change(1).put(1, b"before"), false).unwrap();
    disk.set_room(disk.used());
    disk.fail_next(Fault::Sync);
    assert_eq!(writer.one(change(1).put(1, b"failed"), false), Err(StoreFault::Unknown(Doubt(1))));
    assert_eq!(writer.one(change(1).put(1, b"vital"), true), Ok(2));
}

#[test]
fn a_disk_that_takes_nothing_is_told_until_something_lands_again() {
    for by_itself in [true, false] {
        let disk = SimulatedDisk::new(1);
        let odd = OddDisk::new(&disk);
        let mut writer = writer(&odd, options());
        let reader = Reader { shared: Arc::clone(&writer.shared) };
        writer.one(change(1).put(1, b"before"), false).unwrap();
        disk.fail_next(Fault::Sync);
        assert_eq!(writer.one(change(1).put(1, b"failed"), false), Err(StoreFault::Failed));
        assert!(!reader.is_failing(), "once is no lasting failure");
        odd.odd().broken.store(true, Ordering::Relaxed);
        writer.one(change(1).put(1, b"failed"), false).unwrap_err();
        assert!(reader.is_failing());
        writer.quiet();
        assert!(reader.is_failing(), "nothing has landed");
        odd.odd().broken.store(false, Ordering::Relaxed);
        if by_itself {
            writer.quiet();
        } else {
            writer.one(change(1).put(1, b"again"), false).unwrap();
        }
        assert!(!reader.is_failing());
    }
}

#[test]
fn a_full_disk_is_no_disk_that_takes_nothing() {
    let disk = SimulatedDisk::new(1);
    let mut writer = writer(&OddDisk::new(&disk), options());
    disk.set_room(disk.used());
    for _ in 0..3 {
        let long = change(1).put(1, &vec![0; 60_000]);
        assert_eq!(writer.one(long, false), Err(StoreFault::Full));
    }
    assert!(!Reader { shared: Arc::clone(&writer.shared) }.is_failing());
}

/// Lines that were logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn why_nothing_can_be_written_is_said_once_and_once_that_it_can() {
    let lines = Lines::default();
    let into = lines.clone();
    let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || into.clone()).finish();
    tracing::subscriber::with_default(logs, || {
        let disk = SimulatedDisk::new(1);
        let mut writer = writer(&OddDisk::new(&disk), options());
        writer.trouble.quiet = std::time::Duration::ZERO;
        disk.set_room(disk.used());
        for _ in 0..3 {
            assert_eq!(writer.make_room(60_000, Room::Ordinary), Err(StoreFault::Full));
            // That what is vital finds room says nothing of the others.
            writer.one(change(1).put(1, b"x"), true).unwrap();
        }
        disk.set_room(u64::MAX);
        writer.make_room(60_000, Room::Ordinary).unwrap();
        // A new segment that cannot be begun.
        let long = Bytes::from(vec![0; 60_000]);
        writer.one(Change { puts: vec![(super::bed::slot(1), long.clone())], ..change(1) }, false).unwrap();
        for _ in 0..3 {
            disk.fail_next(Fault::SyncDir);
            assert_eq!(writer.make_room(60_000, Room::Ordinary), Err(StoreFault::Failed));
        }
        writer.make_room(60_000, Room::Ordinary).unwrap();
    });
    let said = String::from_utf8(lines.0.lock().clone()).unwrap();
    let count = |what: &str| said.matches(what).count();
    assert_eq!(count("/data/log: no room on the disk"), 1, "{said}");
    assert_eq!(count("nothing can be written for now"), 1, "{said}");
    assert_eq!(count("00000000000000000002.seg: offset 0: the segment could not be begun"), 1, "{said}");
    assert_eq!(count("it can be written again"), 2, "{said}");
}
