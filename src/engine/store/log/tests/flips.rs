//! Single bits that are not what they were: never a loss that nobody is told of, and never anybody else's.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::bed::{Bed, Content, NUMBERED, change, content, dir, options, owner, segments, slot};
use crate::engine::store::StoreFault;
use crate::engine::store::disk::Disk;
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::{Owner, Reader, Recovered};

const OWNERS: u8 = 10;
const FLIPS: usize = 2_000;

/// Owners of all sorts over several segments, some of it replaced and removed since, some of it moved.
fn story(seed: u64) -> (SimulatedDisk, Content) {
    let small = crate::engine::store::log::LogOptions { segment_bytes: 16 << 10, ..options() };
    let mut bed = Bed::open(SimulatedDisk::new(seed), small.clone());
    let mut chance = StdRng::seed_from_u64(seed);
    for round in 0..240u32 {
        let name = chance.random_range(0..OWNERS);
        let length = chance.random_range(0..400);
        let payload: Vec<_> = (0..length).map(|_| chance.random::<u8>()).collect();
        let mut some = change(name).put(0, &payload);
        for _ in 0..chance.random_range(0..3) {
            some = some.event(if chance.random() { NUMBERED } else { 1 }, &payload);
        }
        match chance.random_range(0..12) {
            0 => some = some.delete(1),
            1 => some = some.put(1, &payload),
            2 => some = some.trim(chance.random_range(0..4)),
            _ => {}
        }
        bed.land(vec![some]).unwrap();
        if round % 80 == 79 {
            // Ends that leave markers, and ends that leave none.
            bed.log.close();
            bed = Bed::open(bed.disk.clone(), small.clone());
        }
    }
    // Every owner has something, and nobody's last record is in doubt.
    for name in 0..OWNERS {
        bed.land(vec![change(name).event(1, b"last").put(2, b"last")]).unwrap();
    }
    bed.log.close();
    let content = bed.content();
    assert!(bed.segments().len() >= 3, "{:?}", bed.segments());
    assert_eq!(content.len(), usize::from(OWNERS));
    (bed.disk.restart(), content)
}

/// What a flip did, as far as one is told.
#[derive(Debug, Default)]
struct Tally {
    confined: usize,
    store_wide: usize,
    harmless: usize,
    unseen: usize,
}

impl Tally {
    fn judge(&mut self, recovered: &Recovered, found: &Content, sound: &Content, what: &str) {
        let named = |owner: Owner| recovered.damage_of(owner).is_some();
        let store_wide = recovered.damage.iter().filter(|damage| damage.owner.is_none()).count();
        for damage in &recovered.damage {
            assert!(damage.file.starts_with(dir()) && !damage.what.is_empty(), "{what}: {damage:?}");
        }
        let mut hurt = 0;
        for (owner, owned) in sound {
            let intact = found.get(owner) == Some(owned);
            assert!(intact || named(*owner) || store_wide > 0, "{what}: {owner} lost something and nobody was told");
            hurt += usize::from(named(*owner));
        }
        assert!(found.keys().all(|owner| sound.contains_key(owner)), "{what}: an owner that there never was");
        assert!(hurt <= 1, "{what}: one bit hurt {hurt} owners: {:?}", recovered.damage);
        let tally = match (hurt, store_wide, recovered.notes.len()) {
            (0, 0, 0) => &mut self.unseen,
            (0, 0, _) => &mut self.harmless,
            (_, 0, _) => &mut self.confined,
            _ => &mut self.store_wide,
        };
        *tally += 1;
    }
}

/// Places in the used part of all files.
fn places(disk: &SimulatedDisk, count: usize, seed: u64) -> Vec<(std::path::PathBuf, u64, u8)> {
    let mut chance = StdRng::seed_from_u64(seed);
    let files = segments(disk);
    let lengths: Vec<_> = files.iter().map(|path| disk.open(path, false).unwrap().length().unwrap()).collect();
    let mut at = |_| {
        let file = chance.random_range(0..files.len());
        (files[file].clone(), chance.random_range(0..lengths[file]), 1 << chance.random_range(0..8))
    };
    (0..count).map(&mut at).collect()
}

#[test]
fn no_flipped_bit_is_a_silent_loss_and_none_hurts_two() {
    // acceptance 130, 132
    let (disk, sound) = story(3);
    let mut tally = Tally::default();
    for (path, offset, mask) in places(&disk, FLIPS, 11) {
        let what = format!("{}: offset {offset}: mask {mask:#x}", path.display());
        disk.flip(&path, offset, mask);
        let (reader, recovered) = Reader::open(&disk, dir(), Some(NUMBERED)).unwrap();
        tally.judge(&recovered, &content(&reader), &sound, &what);
        disk.flip(&path, offset, mask);
    }
    println!("{FLIPS} flips: {tally:?}");
    assert!(tally.confined > FLIPS / 10, "{tally:?}");
    assert!(tally.store_wide < FLIPS / 100, "{tally:?}");
}

#[test]
fn a_flip_is_told_again_after_the_log_has_gone_on_and_until_its_owner_is_wiped() {
    let (disk, sound) = story(5);
    let mut hurt = 0;
    for (path, offset, mask) in places(&disk, 60, 12) {
        // Room for what is written, and what is cleaned.
        let copy = SimulatedDisk::new(1);
        copy.create_dir(dir()).unwrap();
        for file in segments(&disk) {
            let from = disk.open(&file, false).unwrap();
            let mut bytes = vec![0; usize::try_from(from.length().unwrap()).unwrap()];
            from.read_at(&mut bytes, 0).unwrap();
            copy.create(&file).unwrap().write_at(&bytes, 0).unwrap();
        }
        copy.flip(&path, offset, mask);
        let mut bed = Bed::open(copy, options());
        let Some(damage) = bed.recovered.damage.first().cloned() else { continue };
        let Some(name) = damage.owner else { continue };
        // The others write so much that all but the damage is cleaned away.
        for round in 0..300u32 {
            let other = u8::from(name == owner(1)) + 1;
            bed.land(vec![change(other).put(0, &[7; 900]).trim(u64::from(round))]).unwrap();
        }
        bed = bed.killed();
        // With what it was beside gone, it may turn out that it does not matter; but not that it never was.
        // A mark does not tell what is the runtime's own from what is nobody's.
        let told = Some(name).filter(|name| *name != Owner::default());
        let is_named = bed.recovered.damage.iter().any(|it| it.owner == Some(name) || it.owner == told);
        assert!(
            is_named || bed.content().get(&name) == sound.get(&name),
            "{damage} was forgotten: {:?}",
            bed.recovered
        );
        hurt += usize::from(is_named);
        bed.land(vec![crate::engine::store::log::Change { owner: name, ..change(0) }.wipe().put(0, b"anew")]).unwrap();
        bed = bed.killed();
        assert_eq!(bed.recovered.damage, [], "{damage} is told after all of it was wiped");
    }
    assert!(hurt > 5, "only {hurt} flips hurt anybody");
}

#[test]
fn a_flip_while_it_runs_is_found_by_the_reader_it_concerns() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).event(1, b"one"), change(2).event(1, b"two").put(1, b"value")]).unwrap();
    let path = bed.segments().pop().unwrap();
    // The payload of the first record: behind the group's header and its own.
    bed.disk.flip(&path, 4096 + 64 + 88, 1);
    let found = bed.content();
    assert_eq!(found[&owner(1)], Err(StoreFault::Damaged));
    assert!(found[&owner(2)].is_ok());
}

#[test]
fn where_the_newest_record_of_a_slot_was_hit_the_value_before_it_does_not_pass_for_it() {
    for newest in [change(1).put(1, b"new"), change(1).delete(1)] {
        let bed = Bed::new(1);
        bed.land(vec![change(1).put(1, b"old").put(2, b"beside")]).unwrap();
        let header = bed.log.reader().stats().bytes + 64;
        bed.land(vec![newest]).unwrap();
        bed.log.close();
        bed.disk.flip(&bed.segments()[0], header + 30, 1);
        let bed = bed.reopened();
        let [damage] = &bed.recovered.damage[..] else { panic!("{:?}", bed.recovered.damage) };
        assert_eq!((damage.owner, damage.offset), (Some(owner(1)), header));
        assert_eq!(bed.log.reader().get(owner(1), slot(1)), Ok(None));
        assert_eq!(bed.log.reader().get(owner(1), slot(2)).unwrap().unwrap().value, "beside");
        // Another one makes it good.
        bed.land(vec![change(1).put(1, b"again")]).unwrap();
        let bed = bed.reopened();
        assert_eq!(bed.recovered.damage, []);
        assert_eq!(bed.log.reader().get(owner(1), slot(1)).unwrap().unwrap().value, "again");
    }
}
