//! What the log promises, held against faults, cuts and flips. Lives by seed, against a model, are in `simulations`.

mod absurd;
mod bed;
mod broken;
mod clean;
mod cuts;
mod faults;
mod flips;
mod format;
mod index;
mod leftovers;
mod odd;
mod plain;
mod room;
mod stories;
mod writer;
