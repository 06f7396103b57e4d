//! Where a call belongs in a trace, as W3C Trace Context has it (`traceparent`, <https://www.w3.org/TR/trace-context/>).

use std::fmt;

/// The header, and its metadata.
pub const TRACEPARENT: &str = "traceparent";

/// How long a `traceparent` is; one of a later version may go on after a hyphen.
const LENGTH: usize = 55;
/// The one flag that is known: the caller keeps the trace.
const SAMPLED: u8 = 1;

/// The trace context of a call; empty where there is none, or it was malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// The span that the call was made in.
    pub parent: Option<TraceParent>,
}

/// A span of a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// Of the trace; never all zero.
    pub trace_id: [u8; 16],
    /// Of the span in it; never all zero.
    pub span_id: [u8; 8],
    /// Whether the trace is kept.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads a `traceparent`. What is malformed is to be taken as if it were not there.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let [version] = hex(parts.next()?)?;
        let (trace_id, span_id) = (hex(parts.next()?)?, hex(parts.next()?)?);
        let [flags]: [u8; 1] = hex(parts.next()?)?;
        let is_whole = match version {
            0 => more.is_empty(),
            u8::MAX => false,
            _ => more.is_empty() || more.starts_with(b"-"),
        };
        let is_valid = is_whole && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, is_sampled: flags & SAMPLED != 0 })
    }
}

/// Bytes from twice as many hexadecimal digits, which are small letters.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// As the header has it.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(self.is_sampled))
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_malformed_is_as_if_it_were_not_there() {
        assert_eq!(TraceParent::parse(GOOD.as_bytes()).unwrap().to_string(), GOOD);
        let later = format!("cc{}-what-comes", &GOOD[2..]);
        assert_eq!(TraceParent::parse(later.as_bytes()).unwrap().to_string(), GOOD);
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &format!("cc{}0", &GOOD[2..]),
            &format!("ff{}", &GOOD[2..]),
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &GOOD.replace("-01", "-0g"),
            // Of the right length, with its hyphens in other places.
            &format!("00-{}-{}-01", "a".repeat(31), "b".repeat(17)),
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_that_is_written_is_read_again(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let parent = TraceParent { trace_id, span_id, is_sampled };
            prop_assert_eq!(TraceParent::parse(parent.to_string().as_bytes()), Some(parent));
        }

        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            if let Some(parent) = TraceParent::parse(&bytes) {
                prop_assert_eq!(TraceParent::parse(parent.to_string().as_bytes()), Some(parent));
            }
        }
    }
}
