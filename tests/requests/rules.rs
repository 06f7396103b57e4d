//! What each field of a request may be, by its name: a value within its rule, and values outside of it. This is written from the
//! comments of the protos, not from the code that checks.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, Value};
use workplane::model::RuntimeId;

use crate::bed::{RUNTIME, WORKSPACE};
use crate::sample::Maker;

const IDENTIFIER: &str = "INVALID_IDENTIFIER";
const REQUEST: &str = "INVALID_REQUEST";

/// A value outside of a field's rule.
#[derive(Clone)]
pub(crate) struct Bad {
    pub(crate) value: Value,
    /// What follows the field's name in the path, as in `[1]`.
    pub(crate) place: &'static str,
    pub(crate) reason: &'static str,
}

/// The rule of a field.
pub(crate) enum Rule {
    /// It has bounds.
    Bounded {
        /// A value within; `None`: to be left unset, since a good one is handed out by the server.
        good: Option<Value>,
        bad: Vec<Bad>,
    },
    /// Any value is legal, for this reason.
    Any(&'static str),
}

/// The rule of a field; `None`: nobody has thought of it. A message without a rule of its own has those of its fields.
pub(crate) fn rule(field: &FieldDescriptor, worker: &str, is_host: bool) -> Option<Rule> {
    let message = field.parent_message().name().to_owned();
    Some(match (message.as_str(), field.name()) {
        ("ConfigBundleMetadata", "digest") => bounded(Some(text("")), bads(REQUEST, digests())),
        ("ConfigBundleMetadata", "workspace_id" | "revision" | "created_at")
        | ("Provenance", "source" | "detail")
        | ("ProfileDescriptor", "label")
        | ("Declaration", "name") => bounded(Some(text("2026-06-26T00:00:00Z")), bads(REQUEST, bundle_texts())),
        ("Declaration", "kind") => bounded(Some(Value::EnumNumber(6)), numbers(&[0, 99, -1])),
        ("Declaration", "reference") => {
            let bad = ["", "read", "capability:", "vault:x", "capability:a b", "capability:/x", "capability:a.sock"];
            bounded(Some(text("capability:read")), bads(REQUEST, bad.map(text)))
        }
        ("ConfigBundle", "profiles" | "declarations") => {
            let Kind::Message(entry) = field.kind() else { return None };
            Rule::Bounded { good: None, bad: many(Maker { worker, is_host }.good(&entry), 1_001) }
        }
        ("ConfigBundleRef" | "ConfigBundleMetadata", "id") => bounded(
            Some(text("bundle-1")),
            bads(IDENTIFIER, [String::new(), ".a".to_owned(), "a b".to_owned(), "a".repeat(129)].map(text)),
        ),
        ("ConfigBundleRef", "digest") => {
            let bad = bads(REQUEST, digests().into_iter().chain([text("")]));
            bounded(Some(text("0".repeat(64))), bad)
        }
        ("RequestContext", "request_id") => request_id(["", "a b", "é"]),
        (_, "request_id") => request_id(["a b", "a/b", "é"]),
        ("RequestContext", "caller") => bounded(Some(text("alice")), bads(REQUEST, [text("a".repeat(121))])),
        ("RequestContext", "fence") => Rule::Any("a number to compare with; a lower one than is stored is STALE_FENCE"),
        ("RoleIntent", "role") | ("CapabilityRequest", "name") => words(120),
        ("TaskIntent", "objective") => words(2_048),
        ("AcceptanceRequirement", "socket_ready") if is_host => {
            let Kind::Message(empty) = field.kind() else { return None };
            let value = Value::Message(DynamicMessage::new(empty));
            bounded(None, vec![Bad { value, place: "", reason: REQUEST }])
        }
        ("RunAccepted", "expected_segments") => {
            Rule::Any("any number; those that do not come are told in a diagnostic")
        }
        (_, "runtime_id") => identifier(RUNTIME),
        (_, "worker_id") => identifier(worker),
        (_, "approval_id") => identifier("approval-1"),
        (_, "decision") => words(128),
        (_, "workspace_id") => identifier(WORKSPACE),
        (_, "host_id") => identifier(RuntimeId::new(RUNTIME).unwrap().host_id("embedded-").as_str()),
        (_, "ticket_id") => identifier("T-1"),
        ("TicketRole", "role") => bounded(Some(Value::EnumNumber(3)), numbers(&[0, 5, -1])),
        (_, "kind" | "delivery" | "mode" | "start") if matches!(field.kind(), Kind::Enum(_)) => {
            bounded(Some(Value::EnumNumber(1)), numbers(&[99, -1]))
        }
        (_, "states") => states(),
        (_, "labels") => labels(),
        (_, "reason" | "purpose") => bounded(Some(text("because")), bads(REQUEST, [text("x".repeat(2_049))])),
        (_, "content") => {
            let bad = [String::new(), " \n\t".to_owned(), "x".repeat(128 * 1024 + 1)];
            bounded(Some(text("hi")), bads(REQUEST, bad.map(text)))
        }
        (_, "builtin" | "named") => {
            let bad = [String::new(), "a b".to_owned(), "é".to_owned(), "a".repeat(129)];
            bounded(Some(text("builtin:coder")), bads(REQUEST, bad.map(text)))
        }
        (_, "requested_capabilities") => {
            let Kind::Message(entry) = field.kind() else { return None };
            Rule::Bounded { good: None, bad: many(Maker { worker, is_host }.good(&entry), 65) }
        }
        (_, "workspace_refs" | "mount_refs") => references(),
        (_, "requested_worker_name") => Rule::Any("what is fit of it becomes the label"),
        (_, "page_size") => bounded(Some(Value::I32(10)), bads(REQUEST, [Value::I32(-1), Value::I32(i32::MIN)])),
        (_, "page_token") => bounded(None, bads("INVALID_PAGE_TOKEN", ["x".to_owned(), "A".repeat(600)].map(text))),
        (_, "limit") => {
            let mut bad = bads(REQUEST, [Value::I32(-1), Value::I32(i32::MIN)]);
            bad.extend(bads("LIMIT_TOO_LARGE", [Value::I32(257), Value::I32(i32::MAX)]));
            bounded(Some(Value::I32(1)), bad)
        }
        (_, "cursor") => {
            let bad = [String::new(), "x".to_owned(), "A".repeat(66), "A".repeat(201), "é".to_owned()];
            bounded(None, bads("CURSOR_MALFORMED", bad.map(text)))
        }
        (_, "heartbeat_interval") => heartbeat(field),
        (_, "start") => Rule::Any("any place; past the end it gives no items"),
        (_, "stop_after") => Rule::Any("any place; past the end it goes on"),
        (_, "follow" | "force" | "fresh" | "cordoned") => Rule::Any("a bool has no other values"),
        _ => return None,
    })
}

fn bounded(good: Option<Value>, bad: Vec<Bad>) -> Rule {
    Rule::Bounded { good, bad }
}

pub(crate) fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

fn bads(reason: &'static str, values: impl IntoIterator<Item = Value>) -> Vec<Bad> {
    values.into_iter().map(|value| Bad { value, place: "", reason }).collect()
}

fn numbers(values: &[i32]) -> Vec<Bad> {
    bads(REQUEST, values.iter().map(|number| Value::EnumNumber(*number)))
}

fn identifier(good: &str) -> Rule {
    let bad = [String::new(), "a.b".to_owned(), "a/b".to_owned(), "a b".to_owned(), "é".to_owned(), "a".repeat(121)];
    bounded(Some(text(good)), bads(IDENTIFIER, bad.map(text)))
}

/// A good request id would make every case a repeat of the first.
fn request_id(bad: [&str; 3]) -> Rule {
    bounded(Some(text("r-1")), bads(IDENTIFIER, bad.map(str::to_owned).into_iter().chain(["a".repeat(129)]).map(text)))
}

fn words(max: usize) -> Rule {
    bounded(Some(text("read")), bads(REQUEST, [String::new(), " \n".to_owned(), "x".repeat(max + 1)].map(text)))
}

fn digests() -> Vec<Value> {
    ["0".repeat(63), "0".repeat(65), "A".repeat(64), "g".repeat(64)].map(text).into()
}

fn bundle_texts() -> Vec<Value> {
    let short = ["", " ", "a\nb", "/etc", "~/x", "C:\\x", "a/.cache/b", "see /run/x", "a.sock", "session_path"];
    short.map(text).into_iter().chain([text("x".repeat(2_049))]).collect()
}

/// One entry of a list, in second place.
fn second(good: &Value, bad: impl IntoIterator<Item = Value>) -> Vec<Bad> {
    let list = |bad| Value::List(vec![good.clone(), bad]);
    bad.into_iter().map(|bad| Bad { value: list(bad), place: "[1]", reason: REQUEST }).collect()
}

fn states() -> Rule {
    let mut bad = second(&Value::EnumNumber(2), [0, 99, -1].map(Value::EnumNumber));
    bad.extend(bads(REQUEST, [Value::List(vec![Value::EnumNumber(2); 17])]));
    bounded(Some(Value::List(vec![Value::EnumNumber(2)])), bad)
}

fn references() -> Rule {
    let short = ["", " ", "/etc", "~/x", "a\nb"].map(text);
    let mut bad = second(&text("workspace:a"), short.into_iter().chain([text("x".repeat(2_049))]));
    bad.extend(bads(REQUEST, [Value::List(vec![text("workspace:a"); 17])]));
    bounded(Some(Value::List(vec![text("workspace:a")])), bad)
}

fn labels() -> Rule {
    let map = |entries: Vec<(String, String)>| {
        let entries = entries.into_iter().map(|(key, value)| (MapKey::String(key), Value::String(value)));
        Value::Map(entries.collect::<HashMap<_, _>>())
    };
    let one = |key: &str, value: &str| map(vec![(key.to_owned(), value.to_owned())]);
    let mut bad = bads(REQUEST, [one("", "v"), one("a b", "v"), one("é", "v"), one(&"k".repeat(64), "v")]);
    bad.extend(bads(REQUEST, [map((0..17).map(|n| (n.to_string(), String::new())).collect())]));
    let value = |value: &str| Bad { value: one("k", value), place: "[k]", reason: REQUEST };
    bad.extend([value("b c"), value("é"), value(&"v".repeat(257))]);
    bounded(Some(one("team", "a")), bad)
}

/// So many entries, each within its rules.
fn many(entry: DynamicMessage, count: usize) -> Vec<Bad> {
    bads(REQUEST, [Value::List(vec![Value::Message(entry); count])])
}

fn heartbeat(field: &FieldDescriptor) -> Rule {
    let Kind::Message(duration) = field.kind() else { return Rule::Any("not a duration") };
    let of = |seconds: i64, nanos: i32| {
        let mut message = DynamicMessage::new(duration.clone());
        message.set_field_by_name("seconds", Value::I64(seconds));
        message.set_field_by_name("nanos", Value::I32(nanos));
        Value::Message(message)
    };
    let bad = [of(0, 0), of(0, 999_999_999), of(300, 1), of(-1, 0), of(5, -1), of(5, 1_000_000_000), of(i64::MAX, 0)];
    bounded(Some(of(2, 0)), bads(REQUEST, bad))
}
