//! The file `identity` of a data directory, as text: what the directory is, twice over, so that one damaged sector does
//! not keep a runtime from starting.
//!
//! A block is 512 bytes, lines of `name value` and spaces behind them; its last line is the CRC32C of all before it. The
//! file is two blocks that say the same.

use std::fmt::Write as _;
use std::str::Lines;

use crate::model::{Incarnation, RuntimeId};

/// The version of the format that is written, of the whole directory.
pub(super) const VERSION: u32 = 1;
const TITLE: &str = "workplane data directory";
const BLOCK: usize = 512;

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirRole {
    /// That of `workplane serve`.
    ControlPlane,
    /// That of `workplane runtime`.
    Host,
}

impl DirRole {
    /// The word in the file, which is that of the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "serve",
            Self::Host => "runtime",
        }
    }
}

/// What a data directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub role: DirRole,
    pub incarnation: Incarnation,
    /// The runtime whose state it holds; none where a control plane has no embedded one.
    pub runtime_id: Option<RuntimeId>,
    /// The inode of the very file: in a copy of the directory it is another.
    pub inode: u64,
}

/// A file that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sound {
    pub identity: Identity,
    /// Where one of the two blocks is damaged.
    pub damaged_at: Option<usize>,
}

/// Why a file is no identity of this version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsound {
    /// It is of another version.
    Version(u32),
    /// Neither block is sound.
    Damaged,
}

impl Identity {
    /// The whole file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { role, incarnation, runtime_id, inode } = self;
        let mut text = format!("{TITLE}\nversion {VERSION}\nrole {}\nincarnation {incarnation}\n", role.as_str());
        // Writing into a text cannot fail.
        let _ = runtime_id.as_ref().map(|runtime_id| writeln!(text, "runtime_id {runtime_id}"));
        let _ = writeln!(text, "inode {inode}");
        let checksum = crc32c::crc32c(text.as_bytes());
        let _ = write!(text, "checksum {checksum:08x}");
        let mut block = text.into_bytes();
        // An id has at most 120 bytes, so that all of it has room.
        block.resize(BLOCK - 1, b' ');
        block.push(b'\n');
        block.repeat(2)
    }

    /// Reads a whole file.
    pub(super) fn decode(file: &[u8]) -> Result<Sound, Unsound> {
        let blocks = [0, BLOCK].map(|at| (at, file.get(at..at + BLOCK).and_then(block)));
        match blocks {
            [(_, Some(first)), (_, Some(second))] if first == second => Ok(Sound { identity: first, damaged_at: None }),
            // They never differ but by damage, of which a checksum in 2^32 tells nothing.
            [(_, Some(first)), (other, _)] => Ok(Sound { identity: first, damaged_at: Some(other) }),
            [(other, None), (_, Some(second))] => Ok(Sound { identity: second, damaged_at: Some(other) }),
            [(_, None), (_, None)] => match version(file) {
                Some(version) if version != VERSION => Err(Unsound::Version(version)),
                _ => Err(Unsound::Damaged),
            },
        }
    }
}

/// The version that a file says it has.
fn version(file: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(&file[..file.len().min(BLOCK)]);
    let mut lines = text.lines();
    (lines.next()? == TITLE).then_some(())?;
    value(&mut lines, "version")?.trim_end().parse().ok()
}

/// A block whose checksum and values are good.
fn block(block: &[u8]) -> Option<Identity> {
    let text = str::from_utf8(block).ok()?;
    let (body, checksum) = text.split_at(text.rfind("checksum ")?);
    let checksum = checksum.strip_prefix("checksum ")?.strip_suffix('\n')?;
    let checksum = checksum.trim_end_matches(' ');
    if checksum != format!("{:08x}", crc32c::crc32c(body.as_bytes())) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != TITLE || value(&mut lines, "version")?.parse() != Ok(VERSION) {
        return None;
    }
    let role = value(&mut lines, "role")?;
    let role = [DirRole::ControlPlane, DirRole::Host].into_iter().find(|known| known.as_str() == role)?;
    let incarnation = Incarnation::parse(value(&mut lines, "incarnation")?)?;
    let mut rest = lines.clone();
    let runtime_id = match value(&mut rest, "runtime_id") {
        Some(id) => {
            lines = rest;
            Some(RuntimeId::new(id).ok()?)
        }
        None => None,
    };
    let inode = value(&mut lines, "inode")?.parse().ok()?;
    lines.next().is_none().then_some(Identity { role, incarnation, runtime_id, inode })
}

/// The value of the next line, which must have this name.
fn value<'t>(lines: &mut Lines<'t>, name: &str) -> Option<&'t str> {
    lines.next()?.strip_prefix(name)?.strip_prefix(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(runtime_id: Option<&str>) -> Identity {
        let runtime_id = runtime_id.map(|id| RuntimeId::new(id).unwrap());
        Identity { role: DirRole::Host, incarnation: Incarnation::generate(), runtime_id, inode: u64::MAX }
    }

    #[test]
    fn an_identity_comes_back_as_it_went() {
        for id in [None, Some("host-a"), Some(&*"a".repeat(120))] {
            let identity = identity(id);
            let file = identity.encode();
            assert_eq!(file.len(), 2 * BLOCK);
            assert_eq!(Identity::decode(&file), Ok(Sound { identity, damaged_at: None }));
        }
    }

    #[test]
    fn a_hit_anywhere_is_found_and_hides_nothing() {
        let identity = identity(Some("host-a"));
        let file = identity.encode();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut hit = file.clone();
                hit[at] ^= 1 << bit;
                let damaged_at = Some(at / BLOCK * BLOCK);
                let read = Identity::decode(&hit);
                assert_eq!(read, Ok(Sound { identity: identity.clone(), damaged_at }), "byte {at}, bit {bit}");
            }
        }
        assert_eq!(Identity::decode(&file[..BLOCK]).unwrap().damaged_at, Some(BLOCK));
    }

    #[test]
    fn other_versions_and_no_identities_are_told_apart() {
        let file = |version: &str| format!("{TITLE}\nversion {version}\nand more\n").into_bytes();
        assert_eq!(Identity::decode(&file("2")), Err(Unsound::Version(2)));
        assert_eq!(Identity::decode(&file("0")), Err(Unsound::Version(0)));
        for damaged in [&file("1")[..], &file("x"), b"", b"something else", &[0xff; 1024]] {
            assert_eq!(Identity::decode(damaged), Err(Unsound::Damaged));
        }
    }
}
