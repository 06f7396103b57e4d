//! What the conversions of requests share: each helper checks one field and names it.

use super::bundle::bundle_reference;
use crate::model::{
    Acceptance, BundleRef, CapabilityRequest, Error, InputDelivery, InputKind, Labels, ProfileSelector, Result,
    WorkerInput,
};
use crate::proto::v1;

/// The longest text for people in a request, in bytes.
const MAX_TEXT: usize = 2_048;
const MAX_CAPABILITIES: usize = 64;
const MAX_CAPABILITY_NAME: usize = 120;

/// Puts the path of the message around a field in front of what is wrong with it.
pub trait Scope {
    /// `scope.` in front of the field's path.
    #[must_use]
    fn scope(self, scope: &str) -> Self;
}

impl<T> Scope for Result<T> {
    fn scope(self, scope: &str) -> Self {
        self.map_err(|error| error.scope(scope))
    }
}

/// A field that must be there.
///
/// # Errors
/// Names the field where it is not.
pub fn required<T>(value: Option<T>, field: &str) -> Result<T> {
    value.ok_or_else(|| Error::field(field, "is required"))
}

/// The value of an enum; a number that is none of its values is refused.
pub(super) fn enum_value<E: TryFrom<i32>>(number: i32, field: &str) -> Result<E> {
    E::try_from(number).map_err(|_| Error::field(field, "is not a known value"))
}

/// An optional text of at most 2,048 bytes.
pub(super) fn text(value: String, field: &str) -> Result<String> {
    if value.len() > MAX_TEXT {
        return Err(Error::field(field, format!("must be at most {MAX_TEXT} bytes")));
    }
    Ok(value)
}

/// A text that says something, of at most `max` bytes.
pub(super) fn words(value: String, field: &str, max: usize) -> Result<String> {
    if value.trim().is_empty() || value.len() > max {
        return Err(Error::field(field, format!("must be 1 to {max} bytes and not blank")));
    }
    Ok(value)
}

pub(super) fn objective(value: String, field: &str) -> Result<String> {
    words(value, field, MAX_TEXT)
}

pub(super) fn input_kind(number: i32) -> Result<InputKind> {
    Ok(match enum_value(number, "kind")? {
        v1::WorkerInputKind::Unspecified | v1::WorkerInputKind::User => InputKind::User,
        v1::WorkerInputKind::System => InputKind::System,
    })
}

pub(super) fn delivery(number: i32) -> Result<InputDelivery> {
    Ok(match enum_value(number, "delivery")? {
        v1::InputDelivery::Unspecified | v1::InputDelivery::Queue => InputDelivery::Queue,
        v1::InputDelivery::Interrupt => InputDelivery::Interrupt,
        v1::InputDelivery::Reject => InputDelivery::Reject,
    })
}

pub(super) fn initial_input(input: Option<v1::WorkerInput>) -> Result<Option<WorkerInput>> {
    let Some(v1::WorkerInput { kind, content }) = input else { return Ok(None) };
    input_kind(kind).and_then(|kind| WorkerInput::new(kind, content)).scope("initial_input").map(Some)
}

pub(super) fn acceptance(asked: Option<v1::AcceptanceRequirement>) -> Acceptance {
    use v1::acceptance_requirement::Kind;
    match asked.and_then(|v1::AcceptanceRequirement { kind }| kind) {
        None => Acceptance::RunAccepted { expected_segments: 0 },
        Some(Kind::SocketReady(v1::SocketReady {})) => Acceptance::SocketReady,
        Some(Kind::RunAccepted(v1::RunAccepted { expected_segments })) => Acceptance::RunAccepted { expected_segments },
    }
}

pub(super) fn profile(selector: v1::ProfileSelector) -> Result<ProfileSelector> {
    profile_of(selector).scope("profile")
}

/// As [`profile`], wherever it stands.
pub(in crate::proto) fn profile_of(selector: v1::ProfileSelector) -> Result<ProfileSelector> {
    use v1::profile_selector::Kind;
    let v1::ProfileSelector { kind } = selector;
    match required(kind, "kind") {
        Ok(Kind::RuntimeDefault(v1::RuntimeDefault {})) => Ok(ProfileSelector::RuntimeDefault),
        Ok(Kind::Builtin(name)) => ProfileSelector::builtin(name),
        Ok(Kind::Named(name)) => ProfileSelector::named(name),
        Err(missing) => Err(missing),
    }
}

pub(super) fn config_bundle(reference: Option<v1::ConfigBundleRef>) -> Result<Option<BundleRef>> {
    reference.map(bundle_reference).transpose().scope("config_bundle")
}

/// A bundle by its id and digest, for the wire.
#[must_use]
pub fn bundle_ref(from: BundleRef) -> v1::ConfigBundleRef {
    let BundleRef { id, digest } = from;
    v1::ConfigBundleRef { id: id.to_string(), digest: digest.to_string() }
}

pub(super) fn capability_requests(asked: Vec<v1::CapabilityRequest>) -> Result<Vec<CapabilityRequest>> {
    const FIELD: &str = "requested_capabilities";
    if asked.len() > MAX_CAPABILITIES {
        return Err(Error::field(FIELD, format!("must be at most {MAX_CAPABILITIES}")));
    }
    let one = |v1::CapabilityRequest { name, reason }| {
        let name = words(name, "name", MAX_CAPABILITY_NAME)?;
        Ok(CapabilityRequest { name, reason: reason.map(|reason| text(reason, "reason")).transpose()? })
    };
    asked.into_iter().enumerate().map(|(n, asked)| one(asked).scope(&format!("{FIELD}[{n}]"))).collect()
}

pub(super) fn labels(labels: std::collections::BTreeMap<String, String>) -> Result<Labels> {
    Labels::new(labels)
}

/// References to workspaces or mounts: few, short, and never paths.
pub(super) fn references(refs: Vec<String>, field: &str) -> Result<Vec<String>> {
    const MAX_REFS: usize = 16;
    if refs.len() > MAX_REFS {
        return Err(Error::field(field, format!("must be at most {MAX_REFS}")));
    }
    for (n, reference) in refs.iter().enumerate() {
        let fit = !reference.trim().is_empty()
            && reference.len() <= MAX_TEXT
            && !reference.starts_with(['/', '~'])
            && !reference.contains(char::is_control);
        if !fit {
            return Err(Error::field(format!("{field}[{n}]"), "must be a reference, not a path"));
        }
    }
    Ok(refs)
}
