//! Where an owner's values lie. Most owners have two or three, some have many thousands.

use std::collections::HashMap;

use super::index::Loc;
use super::types::Slot;

/// Up to this many, a list is smaller than a map, and no slower.
const FEW: usize = 16;

#[derive(Debug)]
pub(super) enum Slots {
    Few(Vec<(Slot, Loc)>),
    #[expect(clippy::box_collection, reason = "few owners have many, and all pay for the larger of the two")]
    Many(Box<HashMap<Slot, Loc>>),
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many(map) => map.is_empty(),
        }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<Loc> {
        match self {
            Self::Few(list) => list.iter().find(|(other, _)| *other == slot).map(|(_, loc)| *loc),
            Self::Many(map) => map.get(&slot).copied(),
        }
    }

    /// Gives what was there before.
    pub(super) fn set(&mut self, slot: Slot, loc: Loc) -> Option<Loc> {
        match self {
            Self::Many(map) => map.insert(slot, loc),
            Self::Few(list) => {
                if let Some((_, old)) = list.iter_mut().find(|(other, _)| *other == slot) {
                    return Some(std::mem::replace(old, loc));
                }
                list.push((slot, loc));
                if list.len() > FEW {
                    *self = Self::Many(Box::new(list.drain(..).collect()));
                }
                None
            }
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Loc> {
        match self {
            Self::Many(map) => {
                let old = map.remove(&slot);
                if map.len() * 8 < map.capacity() {
                    map.shrink_to(map.len() * 2);
                }
                old
            }
            Self::Few(list) => {
                let at = list.iter().position(|(other, _)| *other == slot)?;
                Some(list.swap_remove(at).1)
            }
        }
    }

    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = (Slot, Loc)> + '_> {
        match self {
            Self::Few(list) => Box::new(list.iter().copied()),
            Self::Many(map) => Box::new(map.iter().map(|(slot, loc)| (*slot, *loc))),
        }
    }

    pub(super) fn shrink(&mut self) {
        match self {
            Self::Few(list) => list.shrink_to_fit(),
            Self::Many(map) => map.shrink_to_fit(),
        }
    }
}
