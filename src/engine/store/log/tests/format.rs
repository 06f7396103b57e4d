//! Headers come back as they went, and are told from everything else.

use proptest::prelude::*;

use crate::engine::store::log::format::{
    GROUP_HEADER, GroupHeader, HEAD, Head, Kind, RECORD_HEADER, RecordHeader, SECOND_HEADER, SEGMENT_HEADER, Seal,
    SegmentHeader, TableEntry, record_length,
};
use crate::engine::store::log::types::{LogId, Owner};

/// As far as a log counts.
fn counts<const N: usize>() -> impl Strategy<Value = [u64; N]> {
    any::<[u64; N]>().prop_map(|numbers| numbers.map(|number| number >> 8))
}

fn segment_header() -> impl Strategy<Value = SegmentHeader> {
    (any::<[u8; 16]>(), any::<[u32; 2]>(), counts()).prop_map(|(log, [number, oldest], [position, ordinal, before])| {
        SegmentHeader { log: LogId(log), number, oldest, position, ordinal, before }
    })
}

fn group_header() -> impl Strategy<Value = GroupHeader> {
    (any::<[u32; 6]>(), counts()).prop_map(
        |([flags, submissions, records, length, table, oldest], [position, ordinal])| GroupHeader {
            flags,
            submissions,
            records,
            length,
            position,
            ordinal,
            table,
            oldest,
        },
    )
}

fn record_header() -> impl Strategy<Value = RecordHeader> {
    let kind = prop::sample::select(vec![Kind::Event, Kind::Put, Kind::Delete, Kind::Trim, Kind::Wipe]);
    let keys = any::<([u8; 16], [u8; 16])>();
    (kind, any::<(u8, bool)>(), any::<[u32; 3]>(), counts(), keys).prop_map(
        |(kind, (tag, moved), [length, payload, previous], [position, count, ordinal, revision], (owner, mut key))| {
            // Both of its numbers, where it is numbers.
            (key[7], key[15]) = (0, 0);
            RecordHeader {
                kind,
                tag,
                moved,
                length,
                payload,
                position,
                owner: Owner(owner),
                key,
                count,
                ordinal,
                revision,
                previous,
            }
        },
    )
}

fn seal() -> impl Strategy<Value = Seal> {
    any::<([u8; 16], u32)>().prop_map(|(log, segment)| Seal::new(LogId(log), segment))
}

proptest! {
    #[test]
    fn a_segments_header_comes_back_from_either_place(header in segment_header()) {
        let head = header.encode_head();
        prop_assert_eq!(head.len() as u64, HEAD);
        prop_assert_eq!(SegmentHeader::decode(&head), Head::Sound(header));
        prop_assert_eq!(SegmentHeader::decode(&head[SECOND_HEADER..]), Head::Sound(header));
    }

    #[test]
    fn a_groups_header_comes_back(header in group_header(), seal in seal(), offset: u64) {
        let mut bytes = [0; GROUP_HEADER];
        header.encode(seal, offset, &mut bytes);
        prop_assert_eq!(GroupHeader::decode(seal, offset, &bytes), Some(header));
    }

    #[test]
    fn a_records_header_comes_back_with_its_checksum(header in record_header(), seal in seal(), offset: u64) {
        let mut bytes = [0; RECORD_HEADER];
        let checksum = header.encode(seal, offset, &mut bytes);
        prop_assert_eq!(RecordHeader::decode(seal, offset, &bytes), Some((header, checksum)));
    }

    #[test]
    fn what_the_table_says_comes_back(owner: [u8; 16], length: u32, key: u32) {
        let entry = TableEntry { owner: Owner(owner), length, key };
        prop_assert_eq!(TableEntry::decode(&entry.encode()), Some(entry));
    }

    #[test]
    fn no_header_with_a_bit_flipped_is_sound(
        segment in segment_header(), group in group_header(), record in record_header(),
        seal in seal(), offset: u64, bit: usize
    ) {
        let flip = |bytes: &mut [u8]| {
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        };
        let mut bytes = segment.encode();
        flip(&mut bytes);
        prop_assert_eq!(SegmentHeader::decode(&bytes), Head::Bad);
        let mut bytes = [0; GROUP_HEADER];
        group.encode(seal, offset, &mut bytes);
        flip(&mut bytes);
        prop_assert_eq!(GroupHeader::decode(seal, offset, &bytes), None);
        let mut bytes = [0; RECORD_HEADER];
        record.encode(seal, offset, &mut bytes);
        flip(&mut bytes);
        prop_assert_eq!(RecordHeader::decode(seal, offset, &bytes), None);
    }

    #[test]
    fn a_header_is_sound_only_in_its_own_place(
        group in group_header(), record in record_header(), log: [u8; 16], segment: u32, offset in 0..u64::MAX
    ) {
        let seal = Seal::new(LogId(log), segment);
        let mut other = log;
        other[3] ^= 4;
        let elsewhere = [
            (Seal::new(LogId(log), segment ^ 1), offset),
            (Seal::new(LogId(other), segment), offset),
            (seal, offset + 1),
        ];
        let mut of_group = [0; GROUP_HEADER];
        group.encode(seal, offset, &mut of_group);
        let mut of_record = [0; RECORD_HEADER];
        record.encode(seal, offset, &mut of_record);
        for (seal, offset) in elsewhere {
            prop_assert_eq!(GroupHeader::decode(seal, offset, &of_group), None);
            prop_assert_eq!(RecordHeader::decode(seal, offset, &of_record), None);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_header_and_no_fault(bytes in prop::collection::vec(any::<u8>(), 0..300), seal in seal()) {
        prop_assert_eq!(SegmentHeader::decode(&bytes), Head::Bad);
        prop_assert_eq!(GroupHeader::decode(seal, 0, &bytes), None);
        prop_assert_eq!(RecordHeader::decode(seal, 0, &bytes), None);
    }
}

#[test]
fn a_header_of_another_version_is_told_from_a_bad_one() {
    let log = LogId([7; 16]);
    let mut bytes = SegmentHeader { log, number: 1, oldest: 1, position: 1, ordinal: 1, before: 0 }.encode();
    bytes[8] = 2;
    let checksum = crc32c::crc32c(&bytes[..SEGMENT_HEADER - 4]);
    bytes[SEGMENT_HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Head::Version(2));
}

#[test]
fn a_record_ends_where_the_next_may_begin() {
    assert_eq!(record_length(0), 88);
    assert_eq!(record_length(1), 96);
    assert_eq!(record_length(8), 96);
}
