//! What is stored, as JSON for people: a record under its name, an event as the frame that the API sends.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::engine::store::Kept;
use crate::proto::codec::{Head, kind_of_field};

/// What is served and what is kept.
static STORED: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/stored.bin")).as_slice()).ok());

pub(super) fn text(kept: &Kept<'_>) -> Option<String> {
    match kept {
        Kept::Origin(origin) => named("worker_origin", &json("workplane.store.v1.WorkerOrigin", origin)?),
        Kept::Row(row) => named("worker_row", &json("workplane.store.v1.WorkerRow", row)?),
        Kept::Event { worker_id, sequence, observed_at, tag, body } => {
            let kind = kind_of_field(u32::from(*tag))?;
            let head = Head {
                runtime_id: "",
                worker_id: worker_id.as_str(),
                cursor: "",
                sequence: *sequence,
                observed_at: *observed_at,
            };
            serde_json::to_string(&json("workplane.v1.ObservationFrame", &head.frame(kind, body))?).ok()
        }
    }
}

fn named(name: &str, record: &serde_json::Value) -> Option<String> {
    serde_json::to_string(&serde_json::json!({ name: record })).ok()
}

fn json(message: &str, bytes: &[u8]) -> Option<serde_json::Value> {
    let descriptor = STORED.as_ref()?.get_message_by_name(message)?;
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}
