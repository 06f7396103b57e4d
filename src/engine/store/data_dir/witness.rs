//! The file `witness` of a data directory, as text: what the directory was like when it was last begun or ended, so that
//! one that was restored over itself is told from one that was only stopped.
//!
//! A copy brings what is in files along, their names and most of their times, but neither an inode, nor when a file was
//! made, nor when it was last changed. That of `identity` cannot be noted in itself, so it is noted here; how far the
//! logs had come is noted for what restores them alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::str::SplitWhitespace;

use super::files::{contents, is_segment, replace};
use crate::engine::store::disk::{Disk, FileIdentity};

const NAME: &str = "witness";
const TITLE: &str = "workplane witness";

/// What was noted. Files are named from the directory on. Without a note it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Witness {
    /// The last position of each log that was ever made.
    pub reached: BTreeMap<String, u64>,
    /// Files that are not touched before the next note, but after `identity` was made anew.
    pub untouched: BTreeMap<String, Mark>,
    /// Files that are written, and never made anew.
    pub kept: BTreeMap<String, Mark>,
}

/// Which file: its inode, and when that was changed or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64, i128);

impl Mark {
    pub(super) fn changed(file: FileIdentity) -> Self {
        Self(file.inode, file.changed)
    }

    pub(super) fn born(file: FileIdentity) -> Self {
        Self(file.inode, file.born)
    }
}

impl Witness {
    /// What was noted in a directory.
    ///
    /// # Errors
    /// What the disk says. One that is damaged is as none.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Self>> {
        match contents(disk, &dir.join(NAME)) {
            Ok(bytes) => Ok(Some(Self::decode(&bytes).unwrap_or_else(|| {
                let file = dir.join(NAME);
                tracing::warn!("{}: offset 0: it is damaged, and says nothing", file.display());
                Self::default()
            }))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts it in place of the one before.
    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        replace(disk, dir, NAME, |_| self.encode()).map(drop)
    }

    /// A log that was made and of which no segment is there.
    pub(super) fn lost(&self, disk: &dyn Disk, dir: &Path) -> io::Result<Option<&str>> {
        for log in self.reached.keys() {
            match disk.list(&dir.join(log)) {
                Ok(files) if files.iter().any(|file| is_segment(file)) => {}
                Ok(_) => return Ok(Some(log)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(log)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A file that is another one than was noted; `inode` is that which `identity` says of itself.
    pub(super) fn contradicted(&self, disk: &dyn Disk, dir: &Path, inode: u64) -> io::Result<Option<&str>> {
        for (name, mark) in &self.kept {
            if look(disk, dir, name)?.is_some_and(|now| Mark::born(now) != *mark) {
                return Ok(Some(name));
            }
        }
        // Of another `identity` than this one: the process ended between the two, and may have touched what it begins with.
        if self.untouched.get("identity").is_none_or(|mark| mark.0 != inode) {
            return Ok(None);
        }
        for (name, mark) in &self.untouched {
            if look(disk, dir, name)?.is_some_and(|now| Mark::changed(now) != *mark) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn encode(&self) -> Vec<u8> {
        let Self { reached, untouched, kept } = self;
        let mut text = format!("{TITLE}\nversion 1\n");
        // Writing into a text cannot fail.
        for (log, position) in reached {
            let _ = writeln!(text, "reached {log} {position}");
        }
        for (word, marks) in [("untouched", untouched), ("kept", kept)] {
            for (file, Mark(inode, at)) in marks {
                let _ = writeln!(text, "{word} {file} {inode} {at}");
            }
        }
        let checksum = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "checksum {checksum:08x}");
        text.into_bytes()
    }

    fn decode(file: &[u8]) -> Option<Self> {
        let text = str::from_utf8(file).ok()?;
        let (body, checksum) = text.split_at(text.rfind("checksum ")?);
        if checksum != format!("checksum {:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return None;
        }
        let mut witness = Self::default();
        for line in body.strip_prefix(&format!("{TITLE}\nversion 1\n"))?.lines() {
            let mut words = line.split_whitespace();
            match words.next()? {
                "reached" => drop(witness.reached.insert(words.next()?.to_owned(), words.next()?.parse().ok()?)),
                "untouched" => drop(witness.untouched.insert(words.next()?.to_owned(), mark(&mut words)?)),
                "kept" => drop(witness.kept.insert(words.next()?.to_owned(), mark(&mut words)?)),
                _ => return None,
            }
        }
        Some(witness)
    }
}

fn mark(words: &mut SplitWhitespace<'_>) -> Option<Mark> {
    Some(Mark(words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// What a file is now, where it is there.
pub(super) fn look(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<Option<FileIdentity>> {
    match disk.open(&dir.join(name), false).and_then(|file| file.identity()) {
        Ok(identity) => Ok(Some(identity)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_comes_back_as_it_went_and_a_damaged_one_says_nothing() {
        let marks = |name: &str| BTreeMap::from([(name.to_owned(), Mark(u64::MAX, -1)), ("b".to_owned(), Mark(0, 7))]);
        let reached = BTreeMap::from([("log".to_owned(), u64::MAX)]);
        let witness = Witness { reached, untouched: marks("identity"), kept: marks("log/1.seg") };
        let file = witness.encode();
        assert_eq!(Witness::decode(&file), Some(witness));
        for at in 0..file.len() {
            let mut hit = file.clone();
            hit[at] ^= 1;
            assert_eq!(Witness::decode(&hit), None, "byte {at}");
            assert_eq!(Witness::decode(&file[..at]), None, "cut at {at}");
        }
    }
}
