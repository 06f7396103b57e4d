//! Messages from the descriptors: one that keeps every rule, and from it each that breaks one.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::rules::{Rule, rule};

/// What messages are made for.
pub(crate) struct Maker<'a> {
    /// A worker that lives.
    pub(crate) worker: &'a str,
    /// Whether they are for a host.
    pub(crate) is_host: bool,
}

/// A message with one thing wrong.
pub(crate) struct Broken {
    pub(crate) message: DynamicMessage,
    /// The path that must be named.
    pub(crate) path: String,
    pub(crate) reason: &'static str,
}

impl Maker<'_> {
    /// A message that keeps every rule, with all fields set that can be; of a oneof the first member that may be set.
    pub(crate) fn good(&self, descriptor: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            let taken = field.containing_oneof().is_some_and(|oneof| oneof.fields().any(|f| message.has_field(&f)));
            if !taken && let Some(value) = self.good_value(&field) {
                message.set_field(&field, value);
            }
        }
        message
    }

    fn good_value(&self, field: &FieldDescriptor) -> Option<Value> {
        match (rule(field, self.worker, self.is_host), field.kind()) {
            (Some(Rule::Bounded { good: Some(good), .. }), _) => Some(good),
            (Some(Rule::Bounded { .. }), _) if !field.is_list() => None,
            (Some(Rule::Any(_)) | None, Kind::Message(entry)) if field.is_list() => {
                Some(Value::List(vec![Value::Message(self.good(&entry))]))
            }
            (Some(Rule::Bounded { .. }), Kind::Message(entry)) => {
                Some(Value::List(vec![Value::Message(self.good(&entry))]))
            }
            (_, Kind::Message(inner)) => Some(Value::Message(self.good(&inner))),
            _ => None,
        }
    }

    /// Every message of this kind that breaks one rule. Fields that nobody has thought of are put into `forgotten`.
    pub(crate) fn broken(&self, descriptor: &MessageDescriptor, forgotten: &mut Vec<String>) -> Vec<Broken> {
        let good = self.good(descriptor);
        let mut all = Vec::new();
        for oneof in descriptor.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            if says(&oneof.parent_file(), oneof.path(), "Required.") {
                let mut message = good.clone();
                oneof.fields().for_each(|field| message.clear_field(&field));
                all.push(Broken { message, path: oneof.name().to_owned(), reason: "INVALID_REQUEST" });
            }
        }
        for field in descriptor.fields() {
            let with = |value| {
                let mut message = good.clone();
                message.set_field(&field, value);
                message
            };
            let found = rule(&field, self.worker, self.is_host);
            if is_required(&field) {
                let mut message = good.clone();
                message.clear_field(&field);
                let own = match &found {
                    Some(Rule::Bounded { bad, .. }) => bad.first().map(|bad| bad.reason),
                    _ => None,
                };
                let reason = own.unwrap_or("INVALID_REQUEST");
                all.push(Broken { message, path: field.name().to_owned(), reason });
            }
            match found {
                Some(Rule::Bounded { bad, .. }) => all.extend(bad.into_iter().map(|bad| Broken {
                    message: with(bad.value),
                    path: format!("{}{}", field.name(), bad.place),
                    reason: bad.reason,
                })),
                Some(Rule::Any(why)) if !why.is_empty() => {}
                // What is in a message has rules of its own.
                None if matches!(field.kind(), Kind::Message(_)) => {}
                // Without a reason it does not count.
                Some(Rule::Any(_)) | None => forgotten.push(field.full_name().to_owned()),
            }
            all.extend(self.within(&field, forgotten, &with));
        }
        all
    }

    /// What can be wrong within a field that is a message, or a list of them.
    fn within(
        &self,
        field: &FieldDescriptor,
        forgotten: &mut Vec<String>,
        with: &dyn Fn(Value) -> DynamicMessage,
    ) -> Vec<Broken> {
        let Kind::Message(inner) = field.kind() else { return Vec::new() };
        if field.is_map() || inner.full_name().starts_with("google.protobuf.") {
            return Vec::new();
        }
        let broken = self.broken(&inner, forgotten).into_iter();
        broken
            .map(|Broken { message, path, reason }| {
                let name = field.name();
                if field.is_list() {
                    let list = vec![Value::Message(self.good(&inner)), Value::Message(message)];
                    Broken { message: with(Value::List(list)), path: format!("{name}[1].{path}"), reason }
                } else {
                    Broken { message: with(Value::Message(message)), path: format!("{name}.{path}"), reason }
                }
            })
            .collect()
    }
}

/// Whether the comment of a field says that it must be there.
pub(crate) fn is_required(field: &FieldDescriptor) -> bool {
    says(&field.parent_file(), field.path(), "Required.")
}

/// Whether the comment of a thing begins so.
pub(crate) fn says(file: &prost_reflect::FileDescriptor, path: &[i32], words: &str) -> bool {
    let info = file.file_descriptor_proto().source_code_info.as_ref().expect("the descriptors have comments");
    let comment =
        info.location.iter().find(|place| place.path == path).and_then(|place| place.leading_comments.as_deref());
    comment.expect("every field has a comment").trim_start().starts_with(words)
}
