//! A run of values by number, without gaps of its own, that loses its front and seldom gains one.

use std::collections::VecDeque;

/// Values numbered from `first` on. What was never set is the default.
#[derive(Debug, Clone)]
pub(super) struct Dense<T> {
    first: u64,
    items: VecDeque<T>,
}

/// More than this many numbers are not left out between two values: there is no such log.
const MAX_GAP: u64 = 1 << 28;

impl<T: Copy + Default> Dense<T> {
    pub(super) fn new() -> Self {
        Self { first: 1, items: VecDeque::new() }
    }

    /// The number of the first value; where there is none, of the one that comes next.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the last value; one less than the first where there is none.
    pub(super) fn last(&self) -> u64 {
        self.first - 1 + self.items.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn get(&self, number: u64) -> Option<T> {
        self.items.get(self.index(number)?).copied()
    }

    /// Sets a value and gives what was there. One far from all others is left out.
    pub(super) fn set(&mut self, number: u64, value: T) -> Option<T> {
        if self.items.is_empty() {
            self.first = number.max(1);
        }
        if number < self.first {
            if self.first - number > MAX_GAP {
                return None;
            }
            while self.first > number.max(1) {
                self.items.push_front(T::default());
                self.first -= 1;
            }
        }
        let at = self.index(number)?;
        if at as u64 > self.items.len() as u64 + MAX_GAP {
            return None;
        }
        while self.items.len() <= at {
            self.items.push_back(T::default());
        }
        self.items.get_mut(at).map(|item| std::mem::replace(item, value))
    }

    /// Removes what is numbered below `number`, which becomes the first. Never goes back.
    pub(super) fn drop_below(&mut self, number: u64, mut dropped: impl FnMut(T)) {
        while self.first < number {
            let Some(item) = self.items.pop_front() else { break };
            self.first += 1;
            dropped(item);
        }
        if self.items.is_empty() {
            self.first = self.first.max(number);
        }
        if self.items.len() * 4 < self.items.capacity() && self.items.capacity() > 64 {
            self.items.shrink_to(self.items.len() * 2);
        }
    }

    /// The values from a number on, with their numbers.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = (u64, T)> + '_ {
        let from = number.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        self.items.iter().skip(skip).copied().zip(from..).map(|(item, number)| (number, item))
    }

    /// How many of the values, which must rise, satisfy `below`.
    pub(super) fn partition(&self, below: impl FnMut(&T) -> bool) -> u64 {
        self.items.partition_point(below) as u64
    }

    pub(super) fn shrink(&mut self) {
        self.items.shrink_to_fit();
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}
