//! What is in one simulated file: in sectors, each as programs see it and as the power leaves it.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;

/// How many bytes land together or not at all.
pub(super) const SECTOR: u64 = 512;

type Bytes = [u8; 512];

#[derive(Debug, Clone)]
struct Sector {
    /// What reads see.
    live: Bytes,
    /// What a power cut leaves.
    durable: Bytes,
    /// The next sync writes it.
    dirty: bool,
}

const ZEROS: Sector = Sector { live: [0; 512], durable: [0; 512], dirty: false };

#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Those that were ever written; all others are zeros.
    sectors: BTreeMap<u64, Sector>,
    length: u64,
    durable_length: u64,
    /// Lengths between the durable one and the present one, this included: a power cut leaves any of them.
    lengths: Vec<u64>,
}

impl Contents {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let count = self.length.saturating_sub(offset).min(buffer.len() as u64);
        let count = usize::try_from(count).unwrap();
        for (number, within, range) in pieces(offset, count) {
            match self.sectors.get(&number) {
                Some(sector) => {
                    let length = range.len();
                    buffer[range].copy_from_slice(&sector.live[within..within + length]);
                }
                None => buffer[range].fill(0),
            }
        }
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, chance: &mut StdRng) {
        for (number, within, range) in pieces(offset, bytes.len()) {
            let sector = self.sectors.entry(number).or_insert(ZEROS);
            // What was written before may have landed meanwhile.
            if sector.dirty && chance.random_bool(0.25) {
                sector.durable = sector.live;
            }
            sector.dirty = true;
            sector.live[within..within + range.len()].copy_from_slice(&bytes[range]);
        }
        self.grow(offset + bytes.len() as u64);
    }

    /// Where it was that long already, a sync that failed may have forgotten it: the next one is to write it again.
    pub(super) fn grow(&mut self, length: u64) {
        if length > self.length {
            self.set_length(length);
        } else if length > self.durable_length && self.lengths.is_empty() {
            self.lengths.push(self.length);
        }
    }

    pub(super) fn truncate(&mut self, length: u64, chance: &mut StdRng) {
        if length < self.length {
            let cut_off = usize::try_from(self.length - length).unwrap();
            self.write(&vec![0; cut_off], length, chance);
        }
        self.set_length(length);
    }

    fn set_length(&mut self, length: u64) {
        self.length = length;
        self.lengths.push(length);
    }

    /// All of it lands.
    pub(super) fn sync(&mut self) {
        for sector in self.sectors.values_mut().filter(|sector| sector.dirty) {
            sector.durable = sector.live;
            sector.dirty = false;
        }
        self.durable_length = self.lengths.drain(..).next_back().unwrap_or(self.durable_length);
    }

    /// Some of it lands, and the system takes all of it for written: no later sync writes it again, unless it is written
    /// anew. What did not land is seen until its page is dropped.
    pub(super) fn sync_badly(&mut self, chance: &mut StdRng) {
        let dropped = chance.random_bool(0.5);
        for sector in self.sectors.values_mut().filter(|sector| sector.dirty) {
            if chance.random_bool(0.5) {
                sector.durable = sector.live;
            } else if dropped {
                sector.live = sector.durable;
            }
            sector.dirty = false;
        }
        self.durable_length = self.any_length(chance);
        self.lengths.clear();
    }

    /// The power goes: of what was not synced, any sectors are there and any not.
    pub(super) fn cut(&mut self, chance: &mut StdRng) {
        let share = [0.0, 0.1, 0.5, 0.9, 1.0][chance.random_range(0..5)];
        self.durable_length = self.any_length(chance);
        self.length = self.durable_length;
        self.lengths.clear();
        for (number, sector) in &mut self.sectors {
            if sector.dirty && chance.random_bool(share) {
                sector.durable = sector.live;
            }
            let within = self.length.saturating_sub(number * SECTOR).min(SECTOR);
            sector.durable[usize::try_from(within).unwrap()..].fill(0);
            sector.live = sector.durable;
            sector.dirty = false;
        }
    }

    fn any_length(&self, chance: &mut StdRng) -> u64 {
        match chance.random_range(0..=self.lengths.len()) {
            0 => self.durable_length,
            nth => self.lengths[nth - 1],
        }
    }

    /// A byte goes bad, for good.
    pub(super) fn flip(&mut self, offset: u64, mask: u8) {
        let (within, number) = (usize::try_from(offset % SECTOR).unwrap(), offset / SECTOR);
        let sector = self.sectors.entry(number).or_insert(ZEROS);
        sector.live[within] ^= mask;
        sector.durable[within] ^= mask;
    }
}

/// A stretch of a file by sectors: each one's number, where in it the piece begins, and what part of the stretch it is.
fn pieces(offset: u64, count: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == count {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % SECTOR).unwrap();
        let length = (count - done).min(size_of::<Bytes>() - within);
        done += length;
        Some((at / SECTOR, within, done - length..done))
    })
}
