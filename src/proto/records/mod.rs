//! Records as bytes: the engine's [`RecordCodec`], in protobuf (`workplane.store.v1`, which is never served).
//!
//! What is decoded was written by this program, possibly by an earlier version of it; that the bytes are the same is the
//! log's business. Decoding takes every message apart field by field, and a value that no version has written is refused
//! by its path, never guessed.

mod receipt;
#[cfg(test)]
mod tests;
mod text;
mod worker;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::codec::{field_of_kind, kind_of_field};
use super::convert::{self, Scope as _};
use super::host_client::request;
use super::{store_v1 as stored, v1};
use crate::engine::store::{Kept, RecordCodec, RecordFault, StoredWorker};
use crate::engine::{Receipt, WorkerOrigin};
use crate::model::{ConfigBundle, Error, EventKind, Result};

/// Records as the messages of `workplane.store.v1`; bundles as those of `workplane.v1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProtoRecords;

impl RecordCodec for ProtoRecords {
    fn origin(&self, origin: &WorkerOrigin) -> Bytes {
        worker::origin(origin).encode_to_vec().into()
    }

    fn read_origin(&self, bytes: &[u8]) -> Result<WorkerOrigin, RecordFault> {
        read(bytes, worker::read_origin, "worker_origin")
    }

    fn row(&self, stored: &StoredWorker) -> Bytes {
        worker::row(stored).encode_to_vec().into()
    }

    fn read_row(&self, origin: Arc<WorkerOrigin>, bytes: &[u8]) -> Result<StoredWorker, RecordFault> {
        read(bytes, |from| worker::read_row(origin, from), "worker_row")
    }

    fn receipt(&self, receipt: &Receipt) -> Bytes {
        receipt::receipt(receipt).encode_to_vec().into()
    }

    fn read_receipt(&self, bytes: &[u8]) -> Result<Receipt, RecordFault> {
        read(bytes, receipt::read_receipt, "receipt")
    }

    fn bundle(&self, bundle: &ConfigBundle) -> Bytes {
        request::bundle(bundle).encode_to_vec().into()
    }

    fn read_bundle(&self, bytes: &[u8]) -> Result<ConfigBundle, RecordFault> {
        // Its own path begins with `bundle`.
        decode(bytes).and_then(|bundle: v1::ConfigBundle| convert::bundle(Some(bundle))).map_err(|error| fault(&error))
    }

    fn text(&self, kept: &Kept<'_>) -> Option<String> {
        text::text(kept)
    }

    fn tag(&self, kind: EventKind) -> u8 {
        // The numbers of the contract end at 24, which a test holds.
        u8::try_from(field_of_kind(kind)).expect("fits a byte")
    }

    fn kind(&self, tag: u8) -> Option<EventKind> {
        kind_of_field(tag.into())
    }
}

fn read<M: Message + Default, T>(
    bytes: &[u8],
    take: impl FnOnce(M) -> Result<T>,
    name: &str,
) -> Result<T, RecordFault> {
    decode(bytes).and_then(take).scope(name).map_err(|error| fault(&error))
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|error| Error::field("message", format!("does not decode: {error}")))
}

fn fault(error: &Error) -> RecordFault {
    RecordFault(error.message().to_owned())
}

/// The value of an enum; a number that is none of its values is named.
fn known<E: TryFrom<i32>>(number: i32, field: &str) -> Result<E> {
    E::try_from(number).map_err(|_| unknown(number, field))
}

fn unknown(number: i32, field: &str) -> Error {
    Error::field(field, format!("{number} is none of its values"))
}

/// A time that must be there and be one.
fn time(at: Option<prost_types::Timestamp>, field: &str) -> Result<std::time::SystemTime> {
    let at = convert::required(at, field)?;
    convert::system_time(&at).ok_or_else(|| Error::field(field, "is out of range"))
}
