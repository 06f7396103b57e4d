//! Room that comes back on a disk that is full, by what is deleted there and by nothing else.

use super::bed::{change, content, options, owner};
use super::odd::OddDisk;
use super::writer::writer;
use crate::engine::store::StoreFault;
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::writer::Writer;
use crate::engine::store::log::{LogOptions, Reader};

const OWNERS: u8 = 10;
/// What one event has.
const LONG: usize = 1_000;

/// A disk that was filled to the last by events of owners who take turns of so many.
fn filled(room: u64, turn: u64, options: LogOptions) -> (SimulatedDisk, Writer) {
    let disk = SimulatedDisk::new(1);
    disk.set_room(room);
    let mut writer = writer(&OddDisk::new(&disk), options);
    for nth in 0.. {
        let name = u8::try_from(nth / turn % u64::from(OWNERS)).unwrap();
        if let Err(fault) = writer.one(change(name).event(1, &[name; LONG]), false) {
            assert_eq!(fault, StoreFault::Full);
            assert!(nth > 20, "it holds next to nothing");
            break;
        }
    }
    (disk, writer)
}

/// Lets the writer clean; how many pieces it took.
fn rest(writer: &mut Writer, most: usize) -> usize {
    let mut pieces = 0;
    while pieces < most && writer.is_cleaning_due() {
        writer.quiet();
        pieces += 1;
    }
    pieces
}

/// As many events as there is room for.
fn write_on(writer: &mut Writer, name: u8) -> u64 {
    (0..100_000).take_while(|_| writer.one(change(name).event(1, &[name; LONG]), false).is_ok()).count() as u64
}

/// How many events of an owner are there, all of them as they were.
fn events(writer: &Writer, name: u8) -> u64 {
    let content = content(&Reader { shared: std::sync::Arc::clone(&writer.shared) });
    let Some(owned) = content.get(&owner(name)) else { return 0 };
    let events = &owned.as_ref().unwrap().events;
    assert!(events.iter().all(|event| *event.payload == [name; LONG]));
    events.len() as u64
}

/// The disks: one segment at most, a few, many.
const ROOMS: [u64; 3] = [150 << 10, 400 << 10, 3 << 20];

#[test]
fn on_a_full_disk_what_was_deleted_gives_room_whoever_lies_first() {
    for (room, turn) in ROOMS.into_iter().flat_map(|room| [(room, 1), (room, room / 20 / LONG as u64)]) {
        for kept in [0, OWNERS / 2, OWNERS - 1] {
            let (disk, mut writer) = filled(room, turn, options());
            let before = events(&writer, kept);
            let all: u64 = (0..OWNERS).map(|name| events(&writer, name)).sum();
            for name in (0..OWNERS).filter(|name| *name != kept) {
                writer.one(change(name).wipe(), true).unwrap_or_else(|fault| panic!("{room} {turn} {kept}: {fault:?}"));
            }
            let pieces = rest(&mut writer, 1_000);
            let used = disk.used();
            assert!(pieces < 1_000, "{room} {turn} {kept}: it does not come to an end");
            assert_eq!(events(&writer, kept), before);
            let more = write_on(&mut writer, OWNERS);
            let gone = all - before;
            assert!(more * 10 > gone * 7, "{room} {turn} {kept}: {gone} went and {more} came; {used} bytes were used");
        }
    }
}

#[test]
fn on_a_full_disk_room_comes_back_again_and_again() {
    for (room, turn) in ROOMS.into_iter().flat_map(|room| [(room, 1), (room, room / 20 / LONG as u64)]) {
        let (disk, mut writer) = filled(room, turn, options());
        let mut last = OWNERS;
        for round in 0..30u8 {
            // The one who was there longest goes, or a newer one; the oldest segment may be whole.
            let gone = if round % 3 == 0 { last } else { round };
            writer.one(change(gone).wipe(), true).unwrap_or_else(|fault| panic!("{room} {turn} {round}: {fault:?}"));
            assert!(rest(&mut writer, 10_000) < 10_000);
            last = OWNERS + 1 + round;
            write_on(&mut writer, last);
        }
        let before = content(&Reader { shared: std::sync::Arc::clone(&writer.shared) });
        drop(writer);
        let (reader, recovered) = Reader::open(&disk.restart(), super::bed::dir(), None).unwrap();
        assert_eq!((content(&reader), recovered.damage), (before, vec![]));
    }
}

#[test]
fn who_asks_again_and_again_on_a_full_disk_keeps_no_room_from_being_made() {
    let (_disk, mut writer) = filled(400 << 10, 1, options());
    for name in 1..OWNERS {
        writer.one(change(name).wipe(), true).unwrap();
        writer.clean_beside_work();
    }
    let asked = (0..50).position(|_| {
        let taken = writer.one(change(0).event(1, &[0; LONG]), false).is_ok();
        writer.clean_beside_work();
        taken
    });
    assert!(asked.is_some(), "there is never a time without work");
}

#[test]
fn a_segment_that_is_all_there_is_gives_room_back_too() {
    let disk = SimulatedDisk::new(1);
    let mut writer = writer(&OddDisk::new(&disk), options());
    for nth in 0..50 {
        writer.one(change(nth % OWNERS).event(1, &[nth % OWNERS; LONG]), false).unwrap();
    }
    assert_eq!((writer.head.newest, rest(&mut writer, 100)), (1, 0));
    let before = disk.used();
    for name in 1..OWNERS {
        writer.one(change(name).wipe(), true).unwrap();
    }
    assert!(rest(&mut writer, 100) < 100);
    assert!(disk.used() < before / 2, "{} of {before} bytes", disk.used());
    assert_eq!(events(&writer, 0), 5);
    // Nothing is left to be done: what is written now is too little to close a segment for.
    let newest = writer.head.newest;
    writer.one(change(0).wipe(), true).unwrap();
    assert_eq!((rest(&mut writer, 100), writer.head.newest), (0, newest));
}

#[test]
fn a_log_that_was_full_is_opened_and_makes_room() {
    for room in ROOMS {
        let (disk, mut writer) = filled(room, 1, options());
        for name in 1..OWNERS {
            writer.one(change(name).wipe(), true).unwrap();
        }
        drop(writer);
        let disk = disk.restart();
        let mut writer = super::writer::writer(&OddDisk::new(&disk), options());
        rest(&mut writer, 1_000);
        writer.one(change(0).event(1, &[0; LONG]), false).unwrap();
    }
}

#[test]
fn segments_are_short_where_little_is_kept_and_a_new_log_takes_little() {
    let disk = SimulatedDisk::new(1);
    let mut writer = writer(&OddDisk::new(&disk), LogOptions::default());
    writer.one(change(1).event(1, &[1; LONG]), false).unwrap();
    assert!(disk.used() <= 2 << 20, "{}", disk.used());
    while writer.head.newest < 3 {
        writer.one(change(1).event(1, &vec![1; 100_000]), false).unwrap();
        rest(&mut writer, 1);
    }
    let kept = Reader { shared: std::sync::Arc::clone(&writer.shared) }.stats().bytes;
    assert!(kept < 9 << 20, "{kept}");
    assert!(disk.used() - kept < 7 << 20, "{} more than what is kept", disk.used() - kept);
}
