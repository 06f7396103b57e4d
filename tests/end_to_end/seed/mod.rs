//! The tests of the system that workplane replaces, under their names, each doing here what its name says there. What
//! that system did over REST and WebSocket, this one does over gRPC. Two of its tests of the registry stand beside the
//! registry, those of its runtime core beside the engine, in `tests/seed.rs` there.

mod hosts;
mod runtime;
mod streams;
