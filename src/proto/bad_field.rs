//! Which field of a request cannot be decoded. prost tells the messages that it was in, but neither the member of a
//! oneof nor the place in a list: this goes through the bytes once more, beside the descriptors, until it finds the
//! fault. Only for requests that were refused: it decodes nothing.

use std::collections::HashMap;

use prost::encoding::decode_varint;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::DESCRIPTORS;
use super::walk::{Fields, Value};

/// The path of the first field at fault, as in `profiles[1].selector.named`, in a request for the method of this path;
/// `None` where the fault is none of a field's.
#[must_use]
pub fn bad_field(method: &str, message: &[u8]) -> Option<String> {
    let (service, method) = method.strip_prefix('/')?.split_once('/')?;
    let service = DESCRIPTORS.as_ref()?.get_service_by_name(service)?;
    let method = service.methods().find(|known| known.name() == method)?;
    in_message(&method.input(), message).filter(|path| !path.is_empty())
}

/// The path within a message; empty where the message itself is at fault.
fn in_message(descriptor: &MessageDescriptor, bytes: &[u8]) -> Option<String> {
    let mut seen = HashMap::<u32, usize>::new();
    for field in Fields::new(bytes) {
        let Ok((number, value)) = field else { return Some(String::new()) };
        let Some(field) = descriptor.get_field(number) else { continue };
        let at = seen.entry(number).or_default();
        if let Some(inner) = in_value(&field, bytes, value) {
            let name = if field.is_list() { format!("{}[{at}]", field.name()) } else { field.name().to_owned() };
            return Some(if inner.is_empty() { name } else { format!("{name}.{inner}") });
        }
        *at += 1;
    }
    None
}

/// The path within a field's value; empty where the value itself is at fault.
fn in_value(field: &FieldDescriptor, bytes: &[u8], value: Value) -> Option<String> {
    let itself = |is_bad: bool| is_bad.then(String::new);
    match (field.kind(), value) {
        // An entry has a path by its key alone, and that may be what is at fault.
        (Kind::Message(entry), Value::Bytes(range)) if field.is_map() => {
            itself(in_message(&entry, &bytes[range]).is_some())
        }
        (Kind::Message(inner), Value::Bytes(range)) => in_message(&inner, &bytes[range]),
        (Kind::String, Value::Bytes(range)) => itself(std::str::from_utf8(&bytes[range]).is_err()),
        // No message of ours has numbers of a fixed size.
        (_, Value::Fixed) | (Kind::Message(_) | Kind::String | Kind::Bytes, Value::Varint(_)) => itself(true),
        (Kind::Bytes, Value::Bytes(_)) | (_, Value::Varint(_)) => None,
        (_, Value::Bytes(range)) => itself(!field.is_list() || !is_packed(&bytes[range])),
    }
}

/// Whether these are varints, one behind the other.
fn is_packed(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if decode_varint(&mut bytes).is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::v1;

    const SPAWN: &str = "/workplane.v1.WorkerService/SpawnWorker";
    const SYNC: &str = "/workplane.v1.ConfigBundleService/SyncConfigBundle";
    const LIST: &str = "/workplane.v1.WorkerService/ListWorkers";

    /// A field of bytes.
    fn put(number: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(number, &value.to_vec(), &mut bytes);
        bytes
    }

    #[test]
    fn members_of_oneofs_and_places_in_lists_are_named() {
        let text = put(1, &[0xff]);
        let selector = v1::ProfileDescriptor {
            selector: Some(v1::ProfileSelector { kind: Some(v1::profile_selector::Kind::Named("x".to_owned())) }),
            label: None,
        };
        let good = put(2, &selector.encode_to_vec());
        // The same profile, its name no UTF-8.
        let mut bad = good.clone();
        *bad.last_mut().unwrap() = 0xff;
        for (method, message, path) in [
            (SPAWN, put(1, &[0xff]), "runtime_id"),
            (SPAWN, put(3, &put(3, &text)), "intent.ticket_role.ticket_id"),
            (SPAWN, put(3, &[0x18, 1]), "intent.ticket_role"),
            (SPAWN, put(3, &[0xff]), "intent"),
            (SPAWN, [put(8, &[]), put(8, &text)].concat(), "requested_capabilities[1].name"),
            (SPAWN, put(10, &put(1, &[0xff])), "labels"),
            (SYNC, put(2, &[good.clone(), bad.clone(), bad].concat()), "bundle.profiles[1].selector.named"),
            (LIST, put(5, &[0x80]), "states[0]"),
            (LIST, vec![0x31], ""),
        ] {
            assert_eq!(bad_field(method, &message).unwrap_or_default(), path);
        }
    }

    #[test]
    fn what_can_be_decoded_has_no_bad_field_and_unknown_ones_are_no_fault() {
        let request = v1::ListWorkersRequest { states: vec![1, 300], ..Default::default() };
        let message = [request.encode_to_vec(), put(999, &[0xff])].concat();
        assert!(v1::ListWorkersRequest::decode(&*message).is_ok());
        assert_eq!(bad_field(LIST, &message), None);
        assert_eq!(bad_field("/no.such.Service/Method", &[0xff]), None);
    }
}
