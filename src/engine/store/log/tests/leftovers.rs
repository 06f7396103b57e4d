//! Files that should not be there any more, and heads that were never whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bed::{Bed, NUMBERED, change, content, dir, options, owner};
use super::odd::OddDisk;
use super::writer::writer;
use crate::engine::store::disk::Disk;
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::shared::segment_path;
use crate::engine::store::log::writer::Writer;
use crate::engine::store::log::{LogOptions, Reader};

fn small() -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, ..options() }
}

#[test]
fn what_was_removed_does_not_come_back_with_a_file_that_could_not_be_removed() {
    let disk = SimulatedDisk::new(1);
    let odd = OddDisk::new(&disk);
    let mut writer = writer(&odd, small());
    let fill = |writer: &mut Writer, until: u32| {
        while writer.head.newest < until {
            writer.one(change(2).put(1, &[1; 900]), false).unwrap();
        }
    };
    writer.one(change(1).event(NUMBERED, b"gone").put(1, b"gone"), false).unwrap();
    writer.one(change(3).put(1, b"deleted").put(2, b"stays"), false).unwrap();
    fill(&mut writer, 2);
    writer.one(change(1).wipe(), false).unwrap();
    writer.one(change(3).delete(1), false).unwrap();
    fill(&mut writer, 3);
    // The first segment stays; the second one, with all that was taken back in it, goes.
    odd.odd().keeps.store(true, Ordering::Relaxed);
    while writer.head.oldest < 3 {
        assert!(writer.is_cleaning_due());
        writer.clean();
    }
    disk.remove(&segment_path(dir(), 2)).unwrap();
    fill(&mut writer, 4);
    let before = content(&Reader { shared: Arc::clone(&writer.shared) });
    assert_eq!(before.keys().collect::<Vec<_>>(), [&owner(2), &owner(3)]);
    drop(writer);
    let bed = Bed::open(disk.restart(), small());
    assert_eq!((bed.content(), bed.recovered.damage.clone()), (before, vec![]));
    assert!(!bed.segments().contains(&segment_path(dir(), 1)), "it is removed when the log is opened");
    // An owner that was forgotten counts anew.
    bed.land(vec![change(1).at(0).event(NUMBERED, b"anew")]).unwrap();
    let before = bed.content();
    let bed = bed.killed();
    assert_eq!((bed.content(), bed.recovered.damage), (before, vec![]));
}

#[test]
fn a_segment_whose_head_was_not_written_whole_costs_nobody_anything() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).put(1, b"x")]).unwrap();
    let before = bed.content();
    let mut head = vec![0; 4096];
    bed.disk.open(&bed.segments()[0], false).unwrap().read_at(&mut head, 0).unwrap();
    for written in [1, 70, 127] {
        let disk = bed.disk.restart();
        let file = disk.create(&segment_path(dir(), 2)).unwrap();
        file.write_at(&head[..written], 0).unwrap();
        let (_, recovered) = Reader::open(&disk, dir(), Some(NUMBERED)).unwrap();
        assert_eq!((recovered.damage, recovered.notes.len()), (vec![], 1));
        disk.remove(&segment_path(dir(), 2)).unwrap();
    }
    let disk = bed.disk.restart();
    disk.create(&segment_path(dir(), 2)).unwrap().write_at(&head[..70], 0).unwrap();
    let bed = Bed::open(disk, LogOptions { segment_bytes: 8 << 10, ..options() });
    assert_eq!(bed.content(), before);
    for _ in 0..10 {
        bed.land(vec![change(1).put(1, &[1; 2_000])]).unwrap();
    }
    let before = bed.content();
    let bed = bed.without_power();
    assert_eq!((bed.content(), bed.recovered.damage), (before, vec![]));
}

#[test]
fn a_segment_with_many_hits_is_not_read_again_for_each() {
    let large = LogOptions { segment_bytes: 16 << 20, ..options() };
    let bed = Bed::open(SimulatedDisk::new(1), large);
    let mut groups = Vec::new();
    for at in 0..1_500u32 {
        groups.push(bed.log.reader().stats().bytes);
        bed.land(vec![change(at.to_le_bytes()[0]).event(1, &[1; 2_000])]).unwrap();
    }
    bed.log.close();
    let path = bed.segments()[0].clone();
    for offset in groups.iter().step_by(2) {
        bed.disk.flip(&path, *offset, 1);
    }
    let odd = OddDisk::new(&bed.disk.restart());
    let length = odd.open(&path, false).unwrap().length().unwrap();
    let (_, recovered) = Reader::open(&odd, dir(), Some(NUMBERED)).unwrap();
    assert!(recovered.notes.len() >= 700, "{}", recovered.notes.len());
    let read = odd.odd().read.load(Ordering::Relaxed);
    assert!(read < 10 * length, "{read} bytes of {length}");
}
