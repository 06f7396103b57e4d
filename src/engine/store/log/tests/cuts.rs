//! Logs whose last write is there in part only, and bytes that were never a log.

use proptest::prelude::*;

use super::bed::{Bed, NUMBERED, change, content, dir, options, owner, segments};
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::disk::{Disk, DiskFile};
use crate::engine::store::log::{Log, Reader};
use std::path::PathBuf;
use std::sync::Arc;

fn read_all(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Files by their paths, with what is in them.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// A disk with these files.
fn copy(files: &[(PathBuf, Vec<u8>)]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(7);
    disk.create_dir(dir()).unwrap();
    for (path, bytes) in files {
        disk.create(path).unwrap().write_at(bytes, 0).unwrap();
    }
    disk
}

fn files(disk: &SimulatedDisk) -> Files {
    let file = |path: PathBuf| (path.clone(), read_all(&*disk.open(&path, false).unwrap()));
    segments(disk).into_iter().map(file).collect()
}

/// A log, and how long it was before its last group, whose end is also given.
fn with_last_group() -> (Files, std::ops::Range<usize>, Bed) {
    let bed = Bed::new(1);
    for at in 0..6 {
        bed.land(vec![change(at % 3).event(NUMBERED, &[at; 150]).put(1, &[at; 60])]).unwrap();
    }
    let end = |bed: &Bed| usize::try_from(bed.log.reader().stats().bytes).unwrap();
    let before = end(&bed);
    // Several records of several owners in one group.
    let last = vec![change(1).event(NUMBERED, &[9; 700]).put(1, b"last"), change(2).trim(2), change(4).put(1, b"new")];
    bed.land(last).unwrap();
    let range = before..end(&bed);
    (files(&bed.disk), range, bed)
}

#[test]
fn a_last_group_that_is_cut_anywhere_takes_nothing_else_with_it() {
    // acceptance 132
    let (files, range, whole) = with_last_group();
    let whole = whole.content();
    let mut sound = None;
    let (path, bytes) = files[0].clone();
    for cut in range.clone() {
        // The file ends there; or what lies behind was never written.
        let mut zeros = bytes.clone();
        zeros[cut..].fill(0);
        for bytes in [bytes[..cut].to_vec(), zeros] {
            let disk = copy(&[(path.clone(), bytes)]);
            let bed = Bed::open(disk, options());
            assert_eq!(bed.recovered.damage, [], "cut at {cut}");
            let told = bed.recovered.notes.iter().any(|note| note.offset == range.start as u64);
            assert!(told || cut == range.start, "cut at {cut}: not told: {:?}", bed.recovered.notes);
            let held = bed.content();
            assert_eq!(&held, sound.get_or_insert_with(|| held.clone()), "cut at {cut}");
            assert_ne!(held, whole);
            // The next one gets the same position and lands behind it.
            assert_eq!(bed.land(vec![change(3).put(1, b"next")]), Ok(7), "cut at {cut}");
            let before = bed.content();
            let bed = bed.without_power();
            assert_eq!((bed.content(), bed.recovered.damage), (before, vec![]), "cut at {cut}");
        }
    }
    let sound = sound.unwrap();
    assert_eq!(sound[&owner(1)].as_ref().unwrap().events.len(), 2);
    assert_eq!(sound.len(), 3);
}

#[test]
fn a_last_group_of_which_a_sector_was_not_written_is_torn_and_one_with_a_flip_is_damaged() {
    let (files, range, _) = with_last_group();
    let (path, bytes) = files[0].clone();
    let mut at = range.start / 512 * 512;
    while at < range.end {
        let sector = at.max(range.start)..(at + 512).min(range.end);
        let mut without = bytes.clone();
        without[sector.clone()].fill(0);
        let bed = Bed::open(copy(&[(path.clone(), without)]), options());
        assert_eq!(bed.recovered.damage, [], "without {sector:?}");
        assert_eq!(bed.content().len(), 3, "without {sector:?}");
        let kept: Vec<_> = bed.disk.list(&dir().join("aside")).unwrap();
        assert_eq!(kept.len(), 1, "what was torn is kept");
        at += 512;
    }
    // In the middle of the first record's payload: this may have been acknowledged.
    let mut flipped = bytes;
    flipped[range.start + 64 + 88 + 300] ^= 4;
    let bed = Bed::open(copy(&[(path, flipped)]), options());
    assert_eq!(bed.recovered.damage.len(), 1, "{:?}", bed.recovered.damage);
    assert_eq!(bed.recovered.damage[0].owner, Some(owner(1)));
}

#[test]
fn at_most_sixteen_torn_tails_are_kept() {
    let mut bed = Bed::new(1);
    for _ in 0..20 {
        bed.land(vec![change(1).put(1, &[1; 100])]).unwrap();
        bed.land(vec![change(1).put(1, &[2; 100])]).unwrap();
        bed.disk.cut_power();
        let disk = bed.disk.restart();
        let path = segments(&disk).pop().unwrap();
        let file = disk.open(&path, true).unwrap();
        let used = read_all(&*file).iter().rposition(|byte| *byte != 0).unwrap();
        file.truncate(used as u64 - 20).unwrap();
        bed = Bed::open(disk, options());
        assert!(bed.recovered.notes.iter().any(|note| note.what.contains("cut short")), "{:?}", bed.recovered.notes);
    }
    assert_eq!(bed.disk.list(&dir().join("aside")).unwrap().len(), 16);
}

#[test]
fn a_newer_version_is_refused_in_plain_words() {
    // acceptance 130
    let bed = Bed::new(1);
    bed.land(vec![change(1).put(1, b"x")]).unwrap();
    let mut files = files(&bed.disk);
    for at in [0, 2048] {
        let header = &mut files[0].1[at..at + 128];
        header[8] = 2;
        let checksum = crc32c::crc32c(&header[..124]);
        header[124..].copy_from_slice(&checksum.to_le_bytes());
    }
    let error = Log::open(Arc::new(copy(&files)), dir(), options()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("version 2"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_log_of_any_bytes_opens(
        many in prop::collection::vec((1..6u32, prop::collection::vec(any::<u8>(), 0..9_000)), 0..4)
    ) {
        let path = |number: u32| dir().join(format!("{number:020}.seg"));
        let files: std::collections::BTreeMap<_, _> = many.into_iter().map(|(number, bytes)| (path(number), bytes)).collect();
        let files: Vec<_> = files.into_iter().collect();
        let (reader, _) = Reader::open(&copy(&files), dir(), None).unwrap();
        prop_assert!(content(&reader).is_empty());
        let bed = Bed::open(copy(&files), options());
        bed.land(vec![change(1).put(1, b"x")]).unwrap();
        prop_assert_eq!(bed.reopened().content().len(), 1);
    }

    #[test]
    fn a_log_of_changed_bytes_opens_and_goes_on(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1..3_000usize), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        doubled in any::<(prop::sample::Index, prop::sample::Index, u16)>(),
    ) {
        let (mut files, _, _) = with_last_group();
        let bytes = &mut files[0].1;
        for (at, byte, length) in edits {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            // Alone, or all of a range.
            if length % 2 == 0 { bytes[at..end].fill(byte) } else { bytes[at] = byte }
        }
        let (from, to) = (doubled.0.index(bytes.len()) / 8 * 8, doubled.1.index(bytes.len()) / 8 * 8);
        let length = usize::from(doubled.2).min(bytes.len() - from.max(to));
        bytes.copy_within(from..from + length, to);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let bed = Bed::open(copy(&files), options());
        let _ = bed.content();
        bed.land(vec![change(9).put(1, b"x")]).unwrap();
        let bed = bed.killed();
        prop_assert!(bed.content()[&owner(9)].is_ok());
    }
}
