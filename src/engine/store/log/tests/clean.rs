//! Room that is made: what counts is moved, and nothing of it is lost on the way.

use super::bed::{Bed, NUMBERED, change, options, owner, slot};
use crate::engine::store::Select;
use crate::engine::store::disk::simulated::{Fault, SimulatedDisk};
use crate::engine::store::log::{LogOptions, Reader};

fn small() -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, ..options() }
}

/// Waits until the log's thread has no cleaning left to do.
fn cleaned(bed: &Bed, segments: usize) {
    while bed.log.reader().stats().segments > segments {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_replaced_again_and_again_takes_no_more_room() {
    let bed = Bed::open(SimulatedDisk::new(1), small());
    bed.land(vec![change(1).at(0).event(NUMBERED, b"the first").put(7, b"kept").event(1, b"the second")]).unwrap();
    for round in 0..2_000u32 {
        bed.land(vec![change(2).at(u64::from(round)).put(1, &[round.to_le_bytes()[0]; 300])]).unwrap();
    }
    cleaned(&bed, 4);
    let weight = bed.log.reader().stats();
    assert!(weight.bytes < 80 << 10, "{weight:?}");
    let before = bed.content();
    assert_eq!(before[&owner(1)].as_ref().unwrap().events.len(), 2);
    assert_eq!(bed.log.reader().owner(owner(2)).unwrap().revision, 2_000);
    let bed = bed.without_power();
    assert_eq!(bed.content(), before);
    assert_eq!((bed.recovered.damage.clone(), bed.recovered.last_position), (vec![], 2_001));
    let state = bed.log.reader().owner(owner(1)).unwrap();
    assert_eq!((state.revision, state.first_sequence, state.last_sequence, state.last_number), (1, 1, 2, 1));
    bed.land(vec![change(1).at(1).event(NUMBERED, b"the third")]).unwrap();
    let items = bed.log.reader().read(owner(1), Select::ItemsAfter(1), 9, 99).unwrap();
    assert_eq!((items[0].sequence, items[0].number), (3, 2));
}

#[test]
fn an_owner_that_has_nothing_is_forgotten_with_its_last_record_and_counts_anew() {
    let bed = Bed::open(SimulatedDisk::new(1), small());
    bed.land(vec![change(1).at(0).event(1, b"x").put(1, b"x")]).unwrap();
    bed.land(vec![change(1).at(1).wipe()]).unwrap();
    for _ in 0..1_000 {
        bed.land(vec![change(2).put(1, &[1; 300])]).unwrap();
    }
    cleaned(&bed, 4);
    assert_eq!(bed.log.reader().owner(owner(1)), None);
    bed.land(vec![change(1).at(0).event(1, b"anew")]).unwrap();
    let before = bed.content();
    let bed = bed.killed();
    assert_eq!((bed.content(), bed.recovered.damage), (before, vec![]));
}

#[test]
fn readers_go_on_while_the_file_beneath_them_goes() {
    let bed = Bed::open(SimulatedDisk::new(1), small());
    for at in 0..20u8 {
        bed.land(vec![change(1).event(1, &[at; 200])]).unwrap();
    }
    let reader: Reader = bed.log.reader().clone();
    let first = bed.segments()[0].clone();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut rounds = 0;
            while reader.stats().submissions < 2_000 || rounds < 10 {
                let events = reader.read(owner(1), Select::EventsAfter(0), 100, 1 << 20).unwrap();
                assert!(events.iter().zip(0..20u8).all(|(event, at)| *event.payload == [at; 200]));
                assert_eq!(events.len(), 20);
                rounds += 1;
            }
        });
        for _ in 0..2_000 {
            bed.land(vec![change(2).put(1, &[1; 300])]).unwrap();
        }
        reading.join().unwrap();
    });
    cleaned(&bed, 4);
    assert!(!bed.segments().contains(&first));
}

#[test]
fn faults_while_cleaning_lose_nothing_and_it_goes_on_later() {
    for seed in 0..20 {
        let bed = Bed::open(SimulatedDisk::new(seed), small());
        for at in 0..30u8 {
            bed.land(vec![change(at % 5).event(NUMBERED, &[at; 200]).put(at, &[at; 100])]).unwrap();
        }
        for round in 0..600u32 {
            if round % 50 == 0 {
                bed.disk.fail_next([Fault::Sync, Fault::Write, Fault::SyncDir][round as usize / 50 % 3]);
            }
            // One that failed is made again.
            while bed.land(vec![change(9).put(1, &[1; 300])]).is_err() {}
        }
        cleaned(&bed, 6);
        let before = bed.content();
        assert_eq!(before.len(), 6);
        let bed = bed.without_power();
        assert_eq!((bed.content(), bed.recovered.damage), (before, vec![]), "seed {seed}");
    }
}

#[test]
fn a_segment_with_a_value_that_was_hit_meanwhile_stays() {
    let bed = Bed::open(SimulatedDisk::new(1), small());
    bed.land(vec![change(1).put(1, b"hit"), change(3).put(1, b"sound")]).unwrap();
    let path = bed.segments()[0].clone();
    bed.disk.flip(&path, 4096 + 64 + 88, 1);
    for _ in 0..500 {
        bed.land(vec![change(2).put(1, &[1; 300])]).unwrap();
    }
    let bed = bed.reopened();
    assert!(bed.segments().contains(&path), "the evidence is gone");
    assert!(bed.recovered.damage_of(owner(1)).is_some());
    assert!(bed.log.reader().get(owner(3), slot(1)).unwrap().is_some());
}

/// Fills the first segment with what others than owner 2 have, and hits something there.
fn hit(hit: impl Fn(&SimulatedDisk, &std::path::Path)) -> Bed {
    let bed = Bed::open(SimulatedDisk::new(1), small());
    bed.land(vec![change(1).at(0).put(1, b"hit").event(NUMBERED, b"sound")]).unwrap();
    bed.land(vec![change(3).put(1, b"sound").event(1, b"gone")]).unwrap();
    bed.land(vec![change(4).put(1, b"sound")]).unwrap();
    let bed = bed.reopened();
    hit(&bed.disk, &bed.segments()[0]);
    bed.reopened()
}

fn write_much(bed: &Bed) {
    for _ in 0..1_000 {
        bed.land(vec![change(2).put(1, &[1; 300])]).unwrap();
    }
}

#[test]
fn damage_keeps_no_room_from_being_made_and_is_told_until_its_owner_is_wiped() {
    let mut bed = hit(|disk, path| disk.flip(path, 4096 + 64 + 88 + 8 + 88, 1));
    let (path, told) = (bed.segments()[0].clone(), bed.recovered.damage.clone());
    assert_eq!(told.iter().map(|damage| damage.owner).collect::<Vec<_>>(), [Some(owner(1))]);
    for _ in 0..3 {
        write_much(&bed);
        cleaned(&bed, 4);
        assert!(bed.segments().contains(&path), "the evidence stays");
        bed = bed.without_power();
        assert_eq!(bed.recovered.damage, told);
        for sound in [3, 4] {
            assert_eq!(bed.log.reader().get(owner(sound), slot(1)).unwrap().unwrap().value, "sound");
        }
        let slots = bed.log.reader().owner(owner(1)).unwrap().slots;
        assert!(slots.iter().all(|at| *at == slot(1)), "a mark is nobody's value: {slots:?}");
    }
    bed.land(vec![change(1).wipe()]).unwrap();
    bed = bed.killed();
    assert_eq!(bed.recovered.damage, []);
    assert!(!bed.segments().contains(&path), "nothing is left to be looked at");
}

#[test]
fn an_owner_keeps_what_can_be_read_beside_what_was_hit() {
    // Its event, and its value: the records lie in this order.
    for (offset, reads) in [(64 + 88, (false, true)), (64 + 96 + 88, (true, false))] {
        let mut bed = hit(|disk, path| disk.flip(path, 4096 + offset, 1));
        write_much(&bed);
        cleaned(&bed, 4);
        bed = bed.killed();
        assert!(bed.recovered.damage_of(owner(1)).is_some());
        let reader = bed.log.reader();
        let event = reader.read(owner(1), Select::EventsAfter(0), 9, 99).is_ok_and(|events| events.len() == 1);
        let value = reader.get(owner(1), slot(1)).is_ok_and(|value| value.is_some());
        assert_eq!((event, value), reads);
    }
}

#[test]
fn what_is_missing_and_nobodys_is_told_for_ever_and_keeps_no_room_from_being_made() {
    let group = |nth: u64| 4096 + nth * 512;
    let erase = |disk: &SimulatedDisk, path: &std::path::Path| {
        let file = crate::engine::store::disk::Disk::open(disk, path, true).unwrap();
        let mut bytes = vec![0; usize::try_from(group(4)).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        let marker = b"\x93group\xC5\n";
        let groups: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(marker)).collect();
        // The third one, of owner 4.
        file.write_at(&vec![0; groups[3] - groups[2]], groups[2] as u64).unwrap();
    };
    let mut bed = hit(erase);
    let told = bed.recovered.damage.clone();
    assert_eq!(told.iter().map(|damage| damage.owner).collect::<Vec<_>>(), [None], "{told:?}");
    for _ in 0..3 {
        write_much(&bed);
        cleaned(&bed, 4);
        bed = bed.without_power();
        assert_eq!(bed.recovered.damage, told);
        assert_eq!(bed.log.reader().get(owner(3), slot(1)).unwrap().unwrap().value, "sound");
    }
}
