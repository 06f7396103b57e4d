//! How much memory the index takes, and that its words hold what they must.

use proptest::prelude::*;

use crate::engine::store::log::dense::Dense;
use crate::engine::store::log::index::{Loc, MAX_OFFSET, MAX_SEGMENT};

proptest! {
    #[test]
    fn a_place_comes_back(segment in 1..=MAX_SEGMENT, offset in 512..MAX_OFFSET / 8, length in 11..40_000u64) {
        let (offset, length) = (offset * 8 % MAX_OFFSET, length * 8);
        let loc = Loc::new(segment, offset, length);
        prop_assert_eq!((loc.segment(), loc.offset()), (segment, offset));
        prop_assert!(!loc.is_none());
        prop_assert_eq!(loc.is_long(), length >= (1 << 15) * 8 - 8);
        prop_assert!(loc.is_long() || loc.length() == length);
    }

    #[test]
    fn a_dense_run_is_a_map(steps in prop::collection::vec((0..3u8, 1..60u64), 0..60)) {
        let mut run = Dense::<u32>::new();
        let mut map = std::collections::BTreeMap::new();
        let mut floor = 1;
        for (value, (step, number)) in (1..).zip(steps) {
            if step == 0 {
                run.drop_below(number, drop);
                map.retain(|other, _| *other >= number);
                floor = floor.max(number);
            } else if number >= floor {
                run.set(number, value);
                map.insert(number, value);
            }
            let held: std::collections::BTreeMap<_, _> = run.from(0).filter(|(_, value)| *value != 0).collect();
            prop_assert_eq!(&held, &map);
            prop_assert_eq!(run.is_empty(), map.is_empty());
            if let (Some((first, _)), Some((last, _))) = (map.first_key_value(), map.last_key_value()) {
                prop_assert!(run.first() <= *first);
                prop_assert_eq!(run.last(), *last);
            }
        }
    }
}
