//! That the simulated disk is as bad as it says, and no worse.

use super::*;

const SEEDS: u64 = 200;

fn dir() -> &'static Path {
    Path::new("/d")
}

fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    disk.create_dir(dir()).unwrap();
    disk
}

fn all(disk: &SimulatedDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, false).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// A durable file of four sectors, each full of its letter.
fn abcd(disk: &SimulatedDisk) -> Arc<dyn DiskFile> {
    let file = disk.create(&dir().join("f")).unwrap();
    for (letter, at) in b"abcd".iter().zip((0..).step_by(512)) {
        file.write_at(&[*letter; 512], at).unwrap();
    }
    file.sync_data().unwrap();
    disk.sync_dir(dir()).unwrap();
    file
}

/// The first byte of each sector, all of whose bytes must be the same.
fn letters(bytes: &[u8]) -> String {
    let one = |sector: &[u8]| {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is torn");
        char::from(sector[0])
    };
    bytes.chunks(512).map(one).collect()
}

/// What was found over all seeds, each once.
fn outcomes(of: impl Fn(u64) -> String) -> std::collections::BTreeSet<String> {
    (0..SEEDS).map(of).collect()
}

#[test]
fn what_was_synced_survives_a_power_cut() {
    for seed in 0..SEEDS {
        let disk = disk(seed);
        abcd(&disk);
        disk.cut_power();
        assert_eq!(letters(&all(&disk.restart(), &dir().join("f"))), "abcd");
    }
}

#[test]
fn what_was_not_synced_survives_a_power_cut_by_any_sectors_and_as_it_was_at_any_time() {
    let found = outcomes(|seed| {
        let disk = disk(seed);
        let file = abcd(&disk);
        file.write_at(&[b'X'; 1024], 512).unwrap();
        file.write_at(&[b'Y'; 512], 512).unwrap();
        disk.cut_power();
        letters(&all(&disk.restart(), &dir().join("f")))
    });
    let possible = ["aXXd", "aXcd", "aYXd", "aYcd", "abXd", "abcd"];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), possible);
}

#[test]
fn a_file_that_grew_has_after_a_power_cut_any_length_it_had_and_zeros_where_nothing_landed() {
    let found = outcomes(|seed| {
        let disk = disk(seed);
        let file = abcd(&disk);
        file.allocate(5 * 512).unwrap();
        file.write_at(&[b'e'; 512], 4 * 512).unwrap();
        disk.cut_power();
        letters(&all(&disk.restart(), &dir().join("f"))).replace('\0', "0")
    });
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["abcd", "abcd0", "abcde"]);
}

#[test]
fn names_that_were_not_synced_survive_a_power_cut_in_order_up_to_any_point() {
    let found = outcomes(|seed| {
        let disk = disk(seed);
        abcd(&disk);
        disk.create(&dir().join("g")).unwrap().sync_data().unwrap();
        disk.rename(&dir().join("f"), &dir().join("h")).unwrap();
        disk.remove(&dir().join("h")).unwrap();
        disk.cut_power();
        let names = disk.restart().list(dir()).unwrap();
        names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
    });
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["f", "fg", "g", "gh"]);
}

#[test]
fn names_that_were_synced_survive_a_power_cut() {
    for seed in 0..SEEDS {
        let disk = disk(seed);
        abcd(&disk);
        disk.rename(&dir().join("f"), &dir().join("h")).unwrap();
        disk.sync_dir(dir()).unwrap();
        disk.cut_power();
        assert_eq!(disk.restart().list(dir()).unwrap(), [dir().join("h")]);
    }
}

#[test]
fn after_a_failed_sync_the_next_one_says_yes_and_writes_nothing() {
    let found = outcomes(|seed| {
        let disk = disk(seed);
        let file = abcd(&disk);
        file.write_at(&[b'X'; 1024], 0).unwrap();
        disk.fail_next(Fault::Sync);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(disk.syncs(), 3);
        disk.cut_power();
        letters(&all(&disk.restart(), &dir().join("f")))
    });
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["XXcd", "Xbcd", "aXcd", "abcd"]);
}

#[test]
fn what_is_written_anew_after_a_failed_sync_is_synced_in_truth_as_long_as_it_is() {
    for seed in 0..SEEDS {
        let disk = disk(seed);
        let file = abcd(&disk);
        file.write_at(&[b'X'; 1024], 2048).unwrap();
        disk.fail_next(Fault::Sync);
        file.sync_data().unwrap_err();
        file.write_at(&[b'X'; 1024], 2048).unwrap();
        file.sync_data().unwrap();
        disk.cut_power();
        assert_eq!(letters(&all(&disk.restart(), &dir().join("f"))), "abcdXX");
    }
}

#[test]
fn a_failed_write_has_written_a_part_from_its_beginning() {
    let lengths: std::collections::BTreeSet<usize> = (0..SEEDS)
        .map(|seed| {
            let disk = disk(seed);
            let file = disk.create(&dir().join("f")).unwrap();
            disk.fail_next(Fault::Write);
            file.write_at(&[b'X'; 8], 0).unwrap_err();
            all(&disk, &dir().join("f")).len()
        })
        .collect();
    assert_eq!(lengths, (0..=8).collect());
}

#[test]
fn a_killed_process_loses_nothing_and_what_it_held_is_dead() {
    let disk = disk(1);
    let lock = disk.lock(&dir().join("LOCK")).unwrap();
    let file = disk.create(&dir().join("f")).unwrap();
    file.write_at(b"abc", 0).unwrap();
    let next = disk.restart();
    assert_eq!(all(&next, &dir().join("f")), b"abc");
    assert!(disk.is_dead() && !next.is_dead());
    file.write_at(b"x", 0).unwrap_err();
    file.read_at(&mut [0], 0).unwrap_err();
    disk.create(&dir().join("g")).unwrap_err();
    let held = next.lock(&dir().join("LOCK")).unwrap();
    drop(lock);
    assert_eq!(next.lock(&dir().join("LOCK")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(held);
}

#[test]
fn no_room_is_told_before_a_byte_of_what_is_allocated_and_ends_when_there_is_room() {
    let disk = disk(1);
    let (a, b) = (disk.create(&dir().join("a")).unwrap(), disk.create(&dir().join("b")).unwrap());
    disk.set_room(2048);
    a.allocate(1024).unwrap();
    assert_eq!(b.allocate(1025).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(b.length().unwrap(), 0);
    assert_eq!(b.write_at(&[1; 1025], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(b.length().unwrap(), 1024);
    a.write_at(&[1; 1024], 0).unwrap();
    assert_eq!(a.write_at(&[1; 1], 1024).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.remove(&dir().join("b")).unwrap();
    a.allocate(1025).unwrap_err();
    // It takes room until the last one closes it.
    drop(b);
    a.allocate(1025).unwrap();
    disk.set_room(4096);
    a.write_at(&[1; 4096], 0).unwrap();
}

#[test]
fn the_power_goes_at_the_operation_that_was_named() {
    let found = outcomes(|seed| {
        let disk = disk(seed);
        let file = abcd(&disk);
        disk.cut_power_at(disk.operations() + 2);
        file.write_at(&[b'X'; 512], 0).unwrap();
        file.sync_data().unwrap_err();
        assert!(disk.is_dead());
        letters(&all(&disk.restart(), &dir().join("f")))
    });
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["Xbcd", "abcd"]);
}

#[test]
fn faults_come_by_chance_too() {
    let disk = disk(1);
    let file = disk.create(&dir().join("f")).unwrap();
    disk.set_chances(Chances { write: 0.2, sync: 0.2, sync_dir: 0.2 });
    let failed = |operation: &dyn Fn() -> io::Result<()>| (0..1000).filter(|_| operation().is_err()).count();
    for count in [failed(&|| file.write_at(b"x", 0)), failed(&|| file.sync_data()), failed(&|| disk.sync_dir(dir()))] {
        assert!((100..300).contains(&count), "{count}");
    }
    disk.fail_next(Fault::Read);
    file.read_at(&mut [0], 0).unwrap_err();
    file.read_at(&mut [0], 0).unwrap();
}

#[test]
fn a_flipped_bit_stays() {
    let disk = disk(1);
    abcd(&disk);
    disk.flip(&dir().join("f"), 513, 1);
    disk.cut_power();
    assert_eq!(all(&disk.restart(), &dir().join("f"))[511..515], *b"abcb");
}
