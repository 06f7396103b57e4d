//! As much of DER (X.690) as it takes to read what a certificate says of itself. What cannot be read is `None`, never a
//! panic: certificates come from files, and from the other side.

use std::time::SystemTime;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// The tag that the bytes begin with, its value, and what follows.
pub(super) fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((*tag, value, rest))
}

/// The value of this tag that the bytes begin with, and what follows.
pub(super) fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(is, ..)| *is == tag).map(|(_, value, rest)| (value, rest))
}

/// What follows a value of this tag, where the bytes begin with one.
pub(super) fn without(bytes: &[u8], tag: u8) -> &[u8] {
    value(bytes, tag).map_or(bytes, |(_, rest)| rest)
}

/// All values that the bytes are, with their tags.
pub(super) fn each(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (tag, value, rest) = any(bytes)?;
        all.push((tag, value));
        bytes = rest;
    }
    Some(all)
}

/// The time that the bytes begin with, and what follows.
pub(super) fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (text, rest) = value(bytes, GENERALIZED_TIME).or_else(|| value(bytes, UTC_TIME))?;
    let text = str::from_utf8(text).ok()?;
    let text = match (text.len(), text.as_bytes().first()?) {
        // Of two digits, those from 50 on are of the century before.
        (13, b'5'..=b'9') => format!("19{text}"),
        (13, _) => format!("20{text}"),
        _ => text.to_owned(),
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, hour) =
        ([part(0, 4)?, part(4, 6)?, part(6, 8)?].join("-"), [part(8, 10)?, part(10, 12)?, part(12, 14)?]);
    let time = humantime::parse_rfc3339(&format!("{date}T{}Z", hour.join(":"))).ok()?;
    Some((time, rest))
}
