//! A file system that takes no room ahead: files grow as they are written, and a write may find no room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bed::{change, content, dir, options, owner, wait};
use super::odd::OddDisk;
use crate::engine::store::StoreFault;
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::{Change, Log, Submission};

fn open(disk: &SimulatedDisk) -> (Log, Vec<crate::engine::store::log::Damage>) {
    let disk = OddDisk::new(disk);
    disk.odd().plain.store(true, Ordering::Relaxed);
    let (log, recovered) = Log::open(Arc::new(disk), dir(), options()).unwrap();
    (log, recovered.damage)
}

fn land(log: &Log, change: Change) -> Result<u64, StoreFault> {
    wait(log.commit(Submission { changes: vec![change], vital: false }))
}

#[test]
fn a_write_that_finds_no_room_is_full_and_leaves_nothing() {
    let disk = SimulatedDisk::new(1);
    let (log, _) = open(&disk);
    land(&log, change(1).event(1, b"before")).unwrap();
    disk.set_room(disk.used() + 300);
    assert_eq!(land(&log, change(1).event(1, &[1; 5_000])), Err(StoreFault::Full));
    assert_eq!(land(&log, change(1).event(1, &[1; 5_000])), Err(StoreFault::Full));
    // A small one still fits where the large one did not.
    assert_eq!(land(&log, change(1).event(1, b"small")), Ok(2));
    disk.set_room(u64::MAX);
    assert_eq!(land(&log, change(1).event(1, &[1; 5_000])), Ok(3));
    let before = content(log.reader());
    assert_eq!(before[&owner(1)].as_ref().unwrap().events.len(), 3);
    disk.cut_power();
    let (log, damage) = open(&disk.restart());
    assert_eq!((content(log.reader()), damage), (before, vec![]));
}
