//! A disk that fails, and one that is full.

use std::sync::Arc;

use super::bed::{Bed, change, dir, options, owner, slot, wait};
use super::odd::OddDisk;
use crate::engine::store::StoreFault;
use crate::engine::store::disk::Disk;
use crate::engine::store::disk::simulated::{Fault, SimulatedDisk};
use crate::engine::store::log::{Log, LogOptions, Submission, UNREAD};

#[test]
fn what_a_failed_sync_or_write_brought_is_not_there_and_the_next_one_lands_in_a_new_segment() {
    for fault in [Fault::Sync, Fault::Write] {
        for seed in 0..50 {
            let bed = Bed::new(seed);
            bed.land(vec![change(1).at(0).event(1, b"before")]).unwrap();
            bed.disk.fail_next(fault);
            assert_eq!(bed.land(vec![change(1).at(1).event(1, &[7; 2_000])]), Err(StoreFault::Failed));
            assert_eq!(bed.log.reader().owner(owner(1)).unwrap().last_sequence, 1);
            // What was staged on it does not land.
            assert_eq!(bed.land(vec![change(1).at(2).event(1, b"on what failed")]), Err(StoreFault::OutOfOrder));
            assert_eq!(bed.land(vec![change(1).at(1).event(1, b"after")]), Ok(2));
            assert_eq!(bed.segments().len(), 2);
            let before = bed.content();
            let bed = if seed % 2 == 0 { bed.killed() } else { bed.without_power() };
            assert_eq!(bed.content(), before, "seed {seed}: a ghost");
            assert_eq!(bed.recovered.damage, []);
            assert_eq!(bed.recovered.last_position, 2);
        }
    }
}

#[test]
fn no_ghost_comes_when_nothing_was_written_after_the_failure() {
    for seed in 0..50 {
        let bed = Bed::new(seed);
        bed.land(vec![change(1).event(1, b"before")]).unwrap();
        let before = bed.content();
        bed.disk.fail_next(Fault::Sync);
        assert_eq!(bed.land(vec![change(1).event(1, &[7; 2_000])]), Err(StoreFault::Failed));
        let bed = if seed % 2 == 0 { bed.killed() } else { bed.without_power() };
        assert_eq!(bed.content(), before, "seed {seed}: a ghost");
    }
}

/// A write of its header fails in part, its file is removed, and the power brings it back.
#[test]
fn a_segment_that_could_not_be_begun_is_none_when_it_comes_back() {
    for written in [0, 1, 8, 60, 127] {
        let bed = Bed::new(1);
        bed.land(vec![change(1).event(1, b"before")]).unwrap();
        let before = bed.content();
        let mut head = [0; 128];
        let first = bed.segments().remove(0);
        bed.disk.open(&first, false).unwrap().read_at(&mut head, 0).unwrap();
        let next = bed.disk.create(&first.with_file_name("00000000000000000002.seg")).unwrap();
        next.allocate(32 << 10).unwrap();
        next.write_at(&head[..written], 0).unwrap();
        let bed = bed.killed();
        assert_eq!(bed.recovered.damage, [], "{written} bytes of the header");
        assert_eq!(bed.content(), before);
        bed.land(vec![change(1).event(1, b"after")]).unwrap();
        let after = bed.content();
        assert_eq!(bed.without_power().content(), after);
    }
}

#[test]
fn a_group_fails_whole() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).at(0).put(1, b"x")]).unwrap();
    bed.disk.fail_next(Fault::Sync);
    let submit = |revision| {
        let changes = vec![change(1).at(revision).event(1, b"x")];
        bed.log.commit(Submission { changes, vital: false })
    };
    let commits: Vec<_> = (1..40).map(submit).collect();
    // Those of the group failed with it; those behind were staged on it.
    for outcome in commits.into_iter().map(wait) {
        assert!(matches!(outcome, Err(StoreFault::Failed | StoreFault::OutOfOrder)), "{outcome:?}");
    }
    assert_eq!(bed.land(vec![change(1).at(1).put(1, b"y")]), Ok(2));
}

#[test]
fn a_full_disk_takes_what_is_vital_and_takes_all_once_there_is_room() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).put(1, b"before")]).unwrap();
    bed.disk.set_room(bed.disk.used());
    let mut landed = 0;
    let full = loop {
        match bed.land(vec![change(1).event(1, &[1; 500])]) {
            Ok(_) => landed += 1,
            Err(fault) => break fault,
        }
    };
    assert_eq!(full, StoreFault::Full);
    let before = bed.content();
    assert_eq!(before[&owner(1)].as_ref().unwrap().events.len(), landed);
    assert_eq!(bed.land(vec![change(1).event(1, &[1; 500])]), Err(StoreFault::Full), "it stays full");
    // Half of the reserve, one by one; and beside one that is refused.
    for at in 0..8u8 {
        assert!(bed.land_vital(vec![change(2).put(at, &[2; 300])]).is_ok(), "vital {at}");
    }
    let refused = bed.log.commit(Submission { changes: vec![change(1).event(1, &[1; 500])], vital: false });
    let vital = bed.log.commit(Submission { changes: vec![change(2).put(9, b"beside")], vital: true });
    assert_eq!((wait(refused), wait(vital).is_ok()), (Err(StoreFault::Full), true));
    bed.disk.set_room(u64::MAX);
    bed.land(vec![change(1).event(1, b"room again")]).unwrap();
    let content = bed.content();
    let bed = bed.without_power();
    assert_eq!(bed.content(), content);
    assert_eq!(bed.recovered.damage, []);
}

#[test]
fn a_reserve_that_is_used_up_is_full_for_all() {
    let bed = Bed::new(1);
    bed.disk.set_room(bed.disk.used());
    let mut vital = 0;
    while bed.land_vital(vec![change(2).put(1, &[2; 900])]).is_ok() {
        vital += 1;
    }
    assert!(vital >= 4, "only {vital} fitted into the reserve");
    assert!(bed.content()[&owner(2)].is_ok());
    bed.disk.set_room(u64::MAX);
    assert!(bed.land(vec![change(2).put(1, b"room")]).is_ok());
}

#[test]
fn a_log_on_a_full_disk_opens_and_reads_and_goes_on_once_there_is_room() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).put(1, b"before")]).unwrap();
    let before = bed.content();
    bed.disk.set_room(0);
    let bed = bed.killed();
    assert_eq!(bed.content(), before);
    assert_eq!(bed.land(vec![change(1).put(1, &[1; 20_000])]), Err(StoreFault::Full));
    assert_eq!(bed.land_vital(vec![change(1).put(2, b"x")]), Ok(2), "the reserve outlives the process");
    bed.disk.set_room(u64::MAX);
    assert_eq!(bed.land(vec![change(1).put(1, &[1; 20_000])]), Ok(3));
}

#[test]
fn a_rotation_that_finds_no_room_is_handed_what_the_old_segment_kept_for_what_is_vital() {
    let small = LogOptions { segment_bytes: 16 << 10, ..options() };
    let bed = Bed::open(SimulatedDisk::new(1), small);
    while bed.log.reader().stats().bytes < 15 << 10 {
        bed.land(vec![change(1).event(1, &[1; 400])]).unwrap();
    }
    bed.disk.set_room(bed.disk.used());
    assert_eq!(bed.land(vec![change(1).event(1, &[1; 1_000])]), Err(StoreFault::Full));
    let vital = (0..1_000).take_while(|_| bed.land_vital(vec![change(1).event(1, &[1; 1_000])]).is_ok()).count();
    assert!((8..1_000).contains(&vital), "{vital}");
    assert!(bed.segments().len() > 1);
    assert_eq!(bed.land(vec![change(1).event(1, &[1; 1_000])]), Err(StoreFault::Full));
    bed.disk.set_room(u64::MAX);
    assert!(bed.land(vec![change(1).event(1, &[1; 1_000])]).is_ok());
    let before = bed.content();
    assert_eq!(bed.without_power().content(), before);
}

#[test]
fn a_read_that_fails_is_no_damage() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).put(1, b"x")]).unwrap();
    bed.disk.fail_next(Fault::Read);
    assert_eq!(bed.log.reader().get(owner(1), slot(1)), Err(StoreFault::Failed));
    assert!(bed.log.reader().get(owner(1), slot(1)).is_ok());
}

#[test]
fn what_the_disk_does_not_read_costs_its_owner_alone_and_only_until_it_does() {
    let bed = Bed::new(1);
    for n in 1..=3 {
        bed.land(vec![change(n).put(1, &[b'x'; 3 * 512])]).unwrap();
    }
    let (_, offset) = bed.log.reader().place(owner(2), slot(1)).unwrap();
    let (before, disk) = (bed.content(), bed.disk.restart());
    drop(bed);
    let odd = OddDisk::new(&disk);
    // In the middle of its value.
    let sector = (offset + 512).next_multiple_of(512);
    *odd.odd().unreadable.lock() = sector..sector + 512;
    let (log, recovered) = Log::open(Arc::new(odd.clone()), dir(), options()).unwrap();
    let told: Vec<_> = recovered.damage.iter().map(|it| (it.owner, it.offset, it.what.as_str())).collect();
    assert_eq!(told, [(Some(owner(2)), offset, UNREAD)]);
    let mut read = Vec::new();
    let owners = [1, 2, 3].map(owner);
    log.reader().each_value(&owners, |owner, _, value| read.push((owner, value.map(|it| it.value.len()))));
    read.sort_unstable_by_key(|(owner, _)| *owner);
    assert_eq!(read, [(owner(1), Ok(1_536)), (owner(2), Err(StoreFault::Failed)), (owner(3), Ok(1_536))]);
    // Nothing is thrown away, although there is much to be cleaned.
    for _ in 0..200 {
        let changes = vec![change(9).put(1, &[b'y'; 2_000])];
        wait(log.commit(Submission { changes, vital: false })).unwrap();
    }
    wait(log.commit(Submission { changes: vec![change(9).wipe()], vital: false })).unwrap();
    drop(log);
    let bed = Bed::open(disk.restart(), options());
    assert_eq!((bed.content(), bed.recovered.damage), (before, vec![]));
}

#[test]
fn an_idle_log_marks_its_end_once() {
    let quick = LogOptions { idle_after: std::time::Duration::from_millis(1), ..options() };
    let bed = Bed::open(SimulatedDisk::new(1), quick);
    bed.land(vec![change(1).put(1, b"x")]).unwrap();
    while bed.log.reader().stats().groups < 2 {
        std::thread::yield_now();
    }
    // Now a flip in what was the last group is damage, whatever it looks like.
    let path = bed.segments().pop().unwrap();
    let marked = bed.log.reader().stats();
    assert_eq!((marked.groups, marked.submissions), (2, 1));
    let disk = bed.disk.restart();
    crate::engine::store::disk::Disk::open(&disk, &path, true).unwrap().write_at(&[0; 512], 4096).unwrap();
    let bed = Bed::open(disk, options());
    assert!(!bed.recovered.damage.is_empty(), "a sector of zeros before a marker is no torn write");
}
