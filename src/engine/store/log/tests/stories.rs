//! What is told to a log that nothing befalls, and what it says.

use bytes::Bytes;

use super::bed::{Bed, NUMBERED, change, content, dir, options, owner, slot, wait};
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::{Change, Expect, LogOptions, Reader, StoredEvent, Submission};
use crate::engine::store::{Select, StoreFault};

fn payloads(events: &[StoredEvent]) -> Vec<&[u8]> {
    events.iter().map(|event| &*event.payload).collect()
}

#[test]
fn what_landed_is_there_after_every_sort_of_end() {
    // acceptance 128
    let mut bed = Bed::new(1);
    for (round, end) in [Bed::reopened, Bed::killed, Bed::without_power, Bed::reopened].into_iter().enumerate() {
        let payload = [u8::try_from(round).unwrap(); 300];
        bed.land(vec![change(1).event(3, &payload).event(NUMBERED, b"item").put(1, &payload).put(2, b"x")]).unwrap();
        bed.land(vec![change(2).put(1, &payload), change(1).delete(2)]).unwrap();
        let before = bed.content();
        bed = end(bed);
        assert_eq!(bed.content(), before);
        assert_eq!(bed.recovered.damage, []);
    }
    let state = bed.log.reader().owner(owner(1)).unwrap();
    assert_eq!((state.first_sequence, state.last_sequence, state.last_number), (1, 8, 4));
    assert_eq!(bed.recovered.last_position, 8);
}

#[test]
fn a_sound_end_is_gone_on_with_in_the_same_segment_and_a_doubtful_one_is_not() {
    let bed = Bed::new(1);
    // Long enough that nothing is to be cleaned.
    bed.land(vec![change(1).put(1, &[1; 2_000])]).unwrap();
    let bed = bed.reopened();
    assert_eq!(bed.segments().len(), 1);
    bed.land(vec![change(1).put(2, &[2; 2_000])]).unwrap();
    let bed = bed.killed();
    assert_eq!(bed.segments().len(), 1);
    bed.land(vec![change(1).put(3, &[3; 2_000])]).unwrap();
    // The last byte of the last group was not written.
    let path = bed.segments().pop().unwrap();
    let end = bed.log.reader().stats().bytes;
    bed.disk.flip(&path, end - 1, b'\n');
    let bed = bed.killed();
    assert_eq!(bed.recovered.notes.len(), 1, "{:?}", bed.recovered.notes);
    assert_eq!(bed.segments().len(), 2);
    let bed = bed.killed();
    assert_eq!(bed.segments().len(), 2, "a segment that holds nothing is used again");
    assert_eq!(bed.log.reader().owner(owner(1)).unwrap().slots, [slot(1), slot(2)]);
}

#[test]
fn a_change_lands_only_on_the_revision_and_sequence_that_it_expects() {
    let bed = Bed::new(1);
    let expecting = |revision, last_sequence| Change { expect: Some(Expect { revision, last_sequence }), ..change(1) };
    assert_eq!(bed.land(vec![expecting(1, None).put(1, b"x")]), Err(StoreFault::OutOfOrder));
    assert_eq!(bed.land(vec![expecting(0, Some(0)).event(0, b"one")]), Ok(1));
    assert_eq!(bed.land(vec![expecting(1, Some(0)).event(0, b"two")]), Err(StoreFault::OutOfOrder));
    // One that expects nothing does not count.
    assert_eq!(bed.land(vec![change(1).put(1, b"x")]), Ok(2));
    assert_eq!(bed.land(vec![change(2).put(1, b"x"), expecting(0, None).put(1, b"x")]), Err(StoreFault::OutOfOrder));
    assert_eq!(bed.land(vec![expecting(1, Some(1)).event(0, b"two"), expecting(2, Some(2)).put(1, b"y")]), Ok(3));
    let bed = bed.killed();
    let state = bed.log.reader().owner(owner(1)).unwrap();
    assert_eq!((state.revision, state.last_sequence), (3, 2));
    assert!(bed.log.reader().owner(owner(2)).is_none(), "what was refused landed in part");
    assert_eq!(bed.land(vec![expecting(3, Some(2)).event(0, b"three")]), Ok(4));
}

#[test]
fn reading_begins_where_it_is_told_and_keeps_to_what_fits() {
    let bed = Bed::new(1);
    for at in 0..20u8 {
        let tag = if at % 2 == 0 { NUMBERED } else { 1 };
        bed.land(vec![change(1).event(tag, &[at; 100])]).unwrap();
    }
    bed.land(vec![change(1).trim(6)]).unwrap();
    let bed = bed.reopened();
    let read = |select, count, bytes| bed.log.reader().read(owner(1), select, count, bytes).unwrap();
    let sequences = |events: Vec<StoredEvent>| events.iter().map(|event| event.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(read(Select::EventsAfter(0), 3, 10_000)), [6, 7, 8]);
    assert_eq!(sequences(read(Select::EventsAfter(18), 30, 10_000)), [19, 20]);
    assert_eq!(sequences(read(Select::EventsAfter(10), 30, 250)), [11, 12]);
    assert_eq!(sequences(read(Select::EventsAfter(10), 30, 1)), [11], "one at least");
    assert_eq!(sequences(read(Select::EventsAfter(20), 30, 10_000)), [0u64; 0]);
    assert_eq!(sequences(read(Select::EventsAfter(u64::MAX), 30, 10_000)), [0u64; 0]);
    // Items 1 to 3 were the events 1, 3 and 5.
    assert_eq!(sequences(read(Select::ItemsAfter(3), 2, 10_000)), [7, 9]);
    assert_eq!(sequences(read(Select::ItemsAfter(2), 2, 10_000)), [0u64; 0], "the one that comes next was removed");
    assert_eq!(sequences(read(Select::ItemsAfter(8), 30, 10_000)), [17, 19]);
    let state = bed.log.reader().owner(owner(1)).unwrap();
    assert_eq!((state.first_sequence, state.numbers_removed, state.last_number), (6, 3, 10));
    assert_eq!(payloads(&read(Select::ItemsAfter(9), 1, 1)), [&[18; 100]]);
    assert!(bed.log.reader().read(owner(9), Select::EventsAfter(0), 1, 1).unwrap().is_empty());
    assert!(bed.log.reader().get(owner(1), slot(1)).unwrap().is_none());
}

#[test]
fn all_values_are_given_once_each() {
    let bed = Bed::new(1);
    for at in 0..200u8 {
        bed.land(vec![change(at % 50).put(at % 3, &[at; 400]).put(9, &vec![at; 300_000 * usize::from(at == 77)])])
            .unwrap();
    }
    let mut seen = Vec::new();
    let reader = bed.log.reader();
    reader.each_value(&reader.owners(), |owner, slot, value| seen.push((owner, slot, value.unwrap())));
    let mut expected = Vec::new();
    for (owner, owned) in bed.content() {
        expected.extend(owned.unwrap().values.into_iter().map(|(slot, value)| (owner, slot, value.unwrap())));
    }
    seen.sort_by_key(|(owner, slot, _)| (*owner, *slot));
    assert_eq!(seen, expected);
    assert_eq!(seen.len(), 200);
}

#[test]
fn a_wipe_leaves_nothing_but_the_count() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).at(0).event(NUMBERED, b"one").put(1, b"x").put(2, b"y")]).unwrap();
    bed.land(vec![change(1).at(1).wipe().put(3, b"receipt")]).unwrap();
    let bed = bed.killed();
    let state = bed.log.reader().owner(owner(1)).unwrap();
    assert_eq!(state.slots, [slot(3)]);
    assert_eq!((state.revision, state.first_sequence, state.last_sequence, state.last_number), (2, 2, 1, 1));
    bed.land(vec![change(1).event(NUMBERED, b"two")]).unwrap();
    let events = bed.log.reader().read(owner(1), Select::ItemsAfter(1), 9, 99).unwrap();
    assert_eq!((events[0].sequence, events[0].number), (2, 2));
}

#[test]
fn what_is_larger_than_all_that_may_wait_lands() {
    let few = LogOptions { queue_bytes: 10_000, ..options() };
    let bed = Bed::open(SimulatedDisk::new(1), few);
    assert_eq!(bed.land(vec![change(1).put(1, &[0; 20_000])]), Ok(1));
}

#[test]
fn a_log_that_is_closed_reads_and_takes_nothing() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).put(1, b"x")]).unwrap();
    let before = bed.content();
    bed.log.close();
    assert_eq!(bed.land(vec![change(1).put(1, b"y")]), Err(StoreFault::Failed));
    assert_eq!(bed.content(), before);
}

#[test]
fn a_log_has_one_writer_and_any_number_of_readers() {
    let bed = Bed::new(1);
    bed.land(vec![change(1).put(1, b"x")]).unwrap();
    let second = crate::engine::store::log::Log::open(std::sync::Arc::new(bed.disk.clone()), dir(), options());
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let (reader, _) = Reader::open(&bed.disk, dir(), Some(NUMBERED)).unwrap();
    assert_eq!(content(&reader), bed.content());
}

#[test]
fn those_who_wait_share_a_sync() {
    // acceptance 128
    let bed = Bed::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let before = bed.log.reader().stats().groups;
    for round in 0..20 {
        let submit = |at: u8| {
            let changes = vec![change(at).event(0, &[round; 200])];
            bed.log.commit(Submission { changes, vital: false })
        };
        let commits: Vec<_> = (0..64).map(submit).collect();
        let positions = commits.into_iter().map(|commit| runtime.block_on(commit).unwrap());
        assert!(positions.is_sorted(), "they land in the order of their submission");
    }
    let stats = bed.log.reader().stats();
    assert_eq!(stats.submissions, 20 * 64);
    // The writer may have begun with the first ones of a round before the others came, even many times.
    assert!(stats.groups - before < 20 * 64, "{stats:?}");
}

#[test]
fn what_waits_at_the_close_still_lands() {
    let bed = Bed::new(1);
    let commits: Vec<_> = (0..100u8)
        .map(|at| {
            let events = change(1).event(0, &[at]);
            bed.log.commit(Submission { changes: vec![events], vital: false })
        })
        .collect();
    bed.log.close();
    for (commit, position) in commits.into_iter().zip(1..) {
        assert_eq!(wait(commit), Ok(position));
    }
}

#[test]
fn long_and_empty_payloads_come_back() {
    let bed = Bed::new(1);
    let long = Bytes::from((0..700_000u32).map(|at| at.to_le_bytes()[0]).collect::<Vec<_>>());
    bed.land(vec![change(1).event(0, b"").event(0, &long).event(0, b"after").put(1, b"").put(2, &long)]).unwrap();
    let bed = bed.killed();
    let events = bed.log.reader().read(owner(1), Select::EventsAfter(0), 9, 1 << 20).unwrap();
    assert_eq!(payloads(&events), [b"" as &[u8], &long, b"after"]);
    assert_eq!(bed.log.reader().get(owner(1), slot(1)).unwrap().unwrap().value, b"" as &[u8]);
    assert_eq!(bed.log.reader().get(owner(1), slot(2)).unwrap().unwrap().value, long);
    assert_eq!(bed.recovered.last_position, 1);
}
