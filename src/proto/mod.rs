//! The wire: generated code, and the only conversions between it and the model.
//!
//! What callers send is checked here and becomes model values; what the model has becomes messages here; errors become
//! statuses by one table. No room but `server` and `runtime::remote` looks in, and nothing here decides anything.

mod bad_field;
pub mod codec;
pub mod convert;
pub mod fingerprint;
pub mod frames;
pub mod host_client;
pub mod page_token;
pub mod raw;
pub mod records;
pub mod status;
#[cfg(test)]
mod tests;
pub mod walk;

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// What `build.rs` made of `proto/`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/workplane.rs"));
}

/// The public API.
pub use generated::workplane::v1;

/// What a host offers to the control plane.
pub use generated::workplane::runtime::v1 as runtime_v1;

/// What a data directory keeps.
pub(crate) use generated::workplane::store::v1 as store_v1;

pub use bad_field::bad_field;
pub use codec::ProtoCodec;
pub use records::ProtoRecords;

/// All our files that are served, with their imports and comments, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// The same, to be looked up by name.
pub static DESCRIPTORS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());
