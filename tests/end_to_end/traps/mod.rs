//! What hostile clients do, over raw sockets where a library is too polite: whatever it is, the server does not grow by
//! more than 64 MiB, another client's calls go on, and who did it is ended. `WORKPLANE_TRAPS=long` has the long forms.

mod ask;
mod beside;
mod bodies;
mod crowds;
mod descriptors;
mod floods;
mod paths;
mod scene;
mod silence;
mod wire;

pub(crate) use scene::times;
