//! Times and durations. Neither direction panics: what does not fit is the nearest value, or none.

use std::time::{Duration, SystemTime};

/// A time of day for the wire.
#[must_use]
pub fn timestamp(at: SystemTime) -> prost_types::Timestamp {
    at.into()
}

/// A time of day off the wire; `None` where it is out of range.
#[must_use]
pub fn system_time(at: &prost_types::Timestamp) -> Option<SystemTime> {
    if !(0..1_000_000_000).contains(&at.nanos) {
        return None;
    }
    SystemTime::try_from(*at).ok()
}

/// A duration for the wire.
#[must_use]
pub fn duration(of: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(of.as_secs()).unwrap_or(i64::MAX),
        // Below 10^9.
        nanos: of.subsec_nanos().cast_signed(),
    }
}

/// A duration off the wire; `None` where it is negative or out of range.
#[must_use]
pub fn std_duration(of: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(of.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(of.seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_time_off_the_wire_panics(seconds in any::<i64>(), nanos in any::<i32>()) {
            if let Some(at) = system_time(&prost_types::Timestamp { seconds, nanos }) {
                prop_assert_eq!(timestamp(at), prost_types::Timestamp { seconds, nanos });
            }
            if let Some(of) = std_duration(&prost_types::Duration { seconds, nanos }) {
                prop_assert_eq!(duration(of), prost_types::Duration { seconds, nanos });
            }
        }

        #[test]
        fn durations_come_back(seconds in 0..i64::MAX.cast_unsigned(), nanos in 0_u32..1_000_000_000) {
            let of = Duration::new(seconds, nanos);
            prop_assert_eq!(std_duration(&duration(of)), Some(of));
        }
    }
}
