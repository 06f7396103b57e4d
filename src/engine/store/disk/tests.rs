//! What every disk promises, held against each of them.

use std::io;
use std::path::Path;

use super::simulated::SimulatedDisk;
use super::{Disk, RealDisk};

fn on_every_disk(claim: impl Fn(&dyn Disk, &Path)) {
    let top = tempfile::tempdir().unwrap();
    claim(&RealDisk, top.path());
    let simulated = SimulatedDisk::new(1);
    simulated.create_dir(Path::new("/data/dir")).unwrap();
    claim(&simulated, Path::new("/data/dir"));
}

fn read(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, false).unwrap();
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

#[test]
fn what_is_written_is_read_and_a_read_is_short_only_at_the_end() {
    on_every_disk(|disk, dir| {
        let file = disk.create(&dir.join("a")).unwrap();
        file.write_at(b"hello", 3).unwrap();
        file.write_at(b"L", 5).unwrap();
        let mut buffer = [9; 10];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 8);
        assert_eq!(&buffer, b"\0\0\0heLlo\x09\x09");
        assert_eq!(file.read_at(&mut buffer, 8).unwrap(), 0);
        assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
        assert_eq!(file.read_at(&mut buffer[..3], 4).unwrap(), 3);
        assert_eq!(&buffer[..3], b"eLl");
        file.sync_data().unwrap();
        assert_eq!(file.length().unwrap(), 8);
    });
}

#[test]
fn allocated_room_is_zeros_and_shortens_nothing() {
    on_every_disk(|disk, dir| {
        let file = disk.create(&dir.join("a")).unwrap();
        file.write_at(b"xyz", 0).unwrap();
        match file.allocate(1000) {
            Ok(()) => assert_eq!(read(disk, &dir.join("a"))[..5], *b"xyz\0\0"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                return;
            }
        }
        assert_eq!(file.length().unwrap(), 1000);
        file.allocate(10).unwrap();
        assert_eq!(file.length().unwrap(), 1000);
    });
}

#[test]
fn what_is_cut_off_is_zeros_when_it_grows_again() {
    on_every_disk(|disk, dir| {
        let file = disk.create(&dir.join("a")).unwrap();
        file.write_at(b"abcdef", 0).unwrap();
        file.truncate(2).unwrap();
        assert_eq!(file.length().unwrap(), 2);
        file.write_at(b"z", 4).unwrap();
        assert_eq!(read(disk, &dir.join("a")), b"ab\0\0z");
    });
}

#[test]
fn a_file_is_made_once_and_opened_only_where_it_is() {
    on_every_disk(|disk, dir| {
        let path = dir.join("a");
        assert_eq!(disk.open(&path, false).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.create(&path).unwrap();
        assert_eq!(disk.create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.create(&dir.join("none/a")).unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn a_file_that_was_opened_to_read_is_not_written() {
    on_every_disk(|disk, dir| {
        disk.create(&dir.join("a")).unwrap();
        let file = disk.open(&dir.join("a"), false).unwrap();
        file.write_at(b"x", 0).unwrap_err();
        file.truncate(0).unwrap_err();
        file.allocate(9).unwrap_err();
        assert_eq!(file.length().unwrap(), 0);
    });
}

#[test]
fn a_list_has_all_that_is_in_a_directory_in_order() {
    on_every_disk(|disk, dir| {
        for name in ["c", "a", "b"] {
            disk.create(&dir.join(name)).unwrap();
        }
        disk.create_dir(&dir.join("aa")).unwrap();
        disk.create(&dir.join("aa/x")).unwrap();
        assert_eq!(disk.list(dir).unwrap(), ["a", "aa", "b", "c"].map(|name| dir.join(name)));
        assert_eq!(disk.list(&dir.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn a_rename_takes_the_place_of_what_had_the_name() {
    on_every_disk(|disk, dir| {
        let (a, b) = (dir.join("a"), dir.join("b"));
        disk.create(&a).unwrap().write_at(b"new", 0).unwrap();
        let old = disk.create(&b).unwrap();
        old.write_at(b"old", 0).unwrap();
        disk.rename(&a, &b).unwrap();
        disk.sync_dir(dir).unwrap();
        assert_eq!(disk.list(dir).unwrap(), [b.as_path()]);
        assert_eq!(read(disk, &b), b"new");
        let mut buffer = [0; 3];
        assert_eq!(old.read_at(&mut buffer, 0).unwrap(), 3);
        assert_eq!(&buffer, b"old");
    });
}

#[test]
fn a_file_that_was_removed_lives_on_with_those_who_have_it_open() {
    on_every_disk(|disk, dir| {
        let path = dir.join("a");
        let file = disk.create(&path).unwrap();
        file.write_at(b"still here", 0).unwrap();
        disk.remove(&path).unwrap();
        assert_eq!(disk.remove(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut buffer = [0; 10];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 10);
        assert_eq!(&buffer, b"still here");
    });
}

#[test]
fn a_lock_has_one_holder_and_is_free_when_dropped() {
    on_every_disk(|disk, dir| {
        let path = dir.join("LOCK");
        let lock = disk.lock(&path).unwrap();
        assert_eq!(disk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        disk.lock(&path).unwrap();
    });
}

#[test]
fn a_copy_has_another_identity() {
    on_every_disk(|disk, dir| {
        let (a, b) = (disk.create(&dir.join("a")).unwrap(), disk.create(&dir.join("b")).unwrap());
        assert_ne!(a.identity().unwrap(), b.identity().unwrap());
        assert_eq!(a.identity().unwrap(), disk.open(&dir.join("a"), false).unwrap().identity().unwrap());
        disk.rename(&dir.join("a"), &dir.join("c")).unwrap();
        assert_eq!(a.identity().unwrap(), disk.open(&dir.join("c"), false).unwrap().identity().unwrap());
    });
}
