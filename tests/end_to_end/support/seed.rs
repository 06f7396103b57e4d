//! Chance that can be repeated.

use std::env;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// A source of chance. Its seed is printed; `WORKPLANE_SEED` sets it.
pub(crate) struct Chance(StdRng);

/// A new one.
pub(crate) fn chance() -> Chance {
    let seed = env::var_os("WORKPLANE_SEED").and_then(|seed| seed.to_str()?.parse().ok()).unwrap_or_else(rand::random);
    println!("WORKPLANE_SEED={seed}");
    Chance(StdRng::seed_from_u64(seed))
}

/// Characters of one to four bytes, and those that need care on their way through JSON and lines.
const CHARACTERS: &[char] = &[
    'a',
    'Z',
    '7',
    ' ',
    '"',
    '\'',
    '\\',
    '/',
    '{',
    '}',
    ':',
    ',',
    '\t',
    '\n',
    'é',
    'ß',
    'Ω',
    '\u{a0}',
    '東',
    '京',
    '\u{2028}',
    '\u{feff}',
    '\u{202e}',
    '\u{fffd}',
    '🦀',
    '𝒳',
    '\u{10ffff}',
    '\u{7f}',
    '\u{85}',
    '\u{1}',
];

impl Chance {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// A length from 1 to `max`, of any order of magnitude alike.
    pub(crate) fn length(&mut self, max: usize) -> usize {
        let magnitude = self.below(usize::BITS as usize - max.leading_zeros() as usize);
        1 + self.below(max.min(1 << magnitude))
    }

    /// A text of exactly `length` bytes that is not blank, with characters of every width.
    pub(crate) fn text(&mut self, length: usize, allowed: fn(char) -> bool) -> String {
        let mut text = String::with_capacity(length);
        text.push('x');
        while text.len() < length {
            let c = *CHARACTERS.choose(&mut self.0).expect("it is not empty");
            if allowed(c) && text.len() + c.len_utf8() <= length {
                text.push(c);
            } else if text.len() + 4 > length {
                text.push('.');
            }
        }
        text
    }
}
