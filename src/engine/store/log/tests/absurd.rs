//! Logs whose checksums are all sound and whose numbers are not: nobody writes such a log by accident, and one that is
//! opened must break nothing.

use proptest::prelude::*;

use super::bed::{Bed, NUMBERED, change, content, dir, options};
use crate::engine::store::disk::Disk;
use crate::engine::store::disk::simulated::SimulatedDisk;
use crate::engine::store::log::Reader;
use crate::engine::store::log::format::{
    ALIGN, GROUP_HEADER, GroupHeader, HEAD, Kind, RECORD_HEADER, RecordHeader, Seal, SegmentHeader, TRAILER, numbers,
    table_checksum,
};
use crate::engine::store::log::shared::segment_path;
use crate::engine::store::log::types::{LogId, Owner};

const LOG: LogId = LogId([3; 16]);

/// Numbers that fit, and numbers that do not.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..12_u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1), 1 => Just(1 << 40), 1 => Just(1 << 55)]
}

fn segment_number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 1..5_u32, 1 => Just(u32::MAX)]
}

fn record() -> impl Strategy<Value = RecordHeader> {
    let kind = prop::sample::select(vec![Kind::Event, Kind::Put, Kind::Delete, Kind::Trim, Kind::Wipe]);
    let marks = (prop_oneof![Just(NUMBERED), Just(1)], any::<bool>(), 0..3_u8);
    (kind, marks, [number(), number(), number(), number(), number(), number()]).prop_map(
        |(kind, (tag, moved, owner), [position, count, ordinal, revision, first, second])| RecordHeader {
            kind,
            tag,
            moved,
            length: 0,
            payload: 0,
            position,
            owner: Owner([owner; 16]),
            key: numbers(first, second),
            count,
            ordinal,
            revision,
            previous: 0,
        },
    )
}

/// A group as one that counts wildly would write it.
#[derive(Debug, Clone)]
struct Wild {
    submissions: u32,
    position: u64,
    ordinal: u64,
    oldest: u32,
    records: Vec<RecordHeader>,
}

fn wild() -> impl Strategy<Value = Wild> {
    let header = (any::<u32>(), number(), number(), segment_number());
    (header, prop::collection::vec(record(), 0..5)).prop_map(|((submissions, position, ordinal, oldest), records)| {
        Wild { submissions, position, ordinal, oldest, records }
    })
}

impl Wild {
    fn encode(&self, seal: Seal, offset: u64) -> Vec<u8> {
        let mut bytes = vec![0; GROUP_HEADER];
        let mut table = Vec::new();
        for record in &self.records {
            let at = bytes.len();
            bytes.resize(at + RECORD_HEADER.next_multiple_of(ALIGN), 0);
            record.encode(seal, offset + at as u64, &mut bytes[at..]);
            table.extend_from_slice(&record.entry().encode());
        }
        let Self { submissions, position, ordinal, oldest, .. } = *self;
        let records = u32::try_from(self.records.len()).unwrap();
        let length = u32::try_from(bytes.len() - GROUP_HEADER).unwrap();
        let table_sum = table_checksum(&table);
        let header =
            GroupHeader { flags: 0, submissions, records, length, position, ordinal, table: table_sum, oldest };
        bytes.extend_from_slice(&table);
        bytes.extend_from_slice(&TRAILER);
        header.encode(seal, offset, &mut bytes[..GROUP_HEADER]);
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_log_that_counts_wildly_opens_and_goes_on(
        segments in prop::collection::vec(
            ((segment_number(), number(), number(), number()), prop::collection::vec(wild(), 0..4)), 1..4)
    ) {
        let disk = SimulatedDisk::new(1);
        disk.create_dir(dir()).unwrap();
        for (number, ((oldest, position, ordinal, before), groups)) in (1..).zip(segments) {
            let file = disk.create(&segment_path(dir(), number)).unwrap();
            let header = SegmentHeader { log: LOG, number, oldest, position, ordinal, before };
            file.write_at(&header.encode_head(), 0).unwrap();
            let mut offset = HEAD;
            for group in groups {
                let bytes = group.encode(Seal::new(LOG, number), offset);
                file.write_at(&bytes, offset).unwrap();
                offset += bytes.len() as u64;
            }
        }
        // A file whose number no segment can have.
        disk.create(&segment_path(dir(), u32::MAX)).unwrap().write_at(b"x", 0).unwrap();
        let (reader, _) = Reader::open(&disk, dir(), Some(NUMBERED)).unwrap();
        let _ = content(&reader);
        let bed = Bed::open(disk, options());
        bed.land(vec![change(9).put(1, b"x").event(NUMBERED, b"y").trim(1)]).unwrap();
        let bed = bed.reopened();
        prop_assert_eq!(bed.content()[&Owner([9; 16])].as_ref().unwrap().events.len(), 1);
    }
}
