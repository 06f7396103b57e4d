//! Identifiers: newtypes that only their validating constructor can make, and the derivation of host ids.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::text::truncate_at_char;

/// The longest identifier, in bytes (acceptance 2, 28).
pub(super) const MAX_IDENTIFIER_LEN: usize = 120;
/// The longest request id, in bytes (api.md, 3).
const MAX_REQUEST_ID_LEN: usize = 128;
/// How many hex digits of the digest a derived id carries (acceptance 2).
const ID_DIGEST_HEX_LEN: usize = 16;

/// Which identifier a refused value was meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// A [`RuntimeId`].
    Runtime,
    /// A [`HostId`].
    Host,
    /// A [`WorkerId`].
    Worker,
    /// A [`WorkspaceId`].
    Workspace,
    /// A [`RequestId`].
    Request,
    /// A [`BundleId`].
    Bundle,
    /// An [`ApprovalId`].
    Approval,
}

impl IdKind {
    /// The request field that usually carries it, as in `worker_id`.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Runtime => "runtime_id",
            Self::Host => "host_id",
            Self::Worker => "worker_id",
            Self::Workspace => "workspace_id",
            Self::Request => "request_id",
            Self::Bundle => "id",
            Self::Approval => "approval_id",
        }
    }

    const fn rule(self) -> &'static str {
        match self {
            Self::Request => "must be 1 to 128 characters of [A-Za-z0-9._:-]",
            Self::Bundle => "must be 1 to 128 characters of [A-Za-z0-9-_.:], the first a letter or digit",
            _ => "must be 1 to 120 characters of [A-Za-z0-9-_:]",
        }
    }
}

/// A text that is not a valid identifier of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", kind.field(), kind.rule())]
pub struct InvalidIdentifier {
    /// What it was meant to be.
    pub kind: IdKind,
    /// The first 120 characters of what was given.
    pub value: String,
}

impl InvalidIdentifier {
    /// The rule that was broken, in words.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        self.kind.rule()
    }

    fn new(kind: IdKind, value: &str) -> Self {
        Self { kind, value: value.chars().take(MAX_IDENTIFIER_LEN).collect() }
    }
}

fn is_identifier(value: &str) -> bool {
    (1..=MAX_IDENTIFIER_LEN).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':'))
}

fn is_request_id(value: &str) -> bool {
    (1..=MAX_REQUEST_ID_LEN).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.'))
}

fn is_bundle_id(value: &str) -> bool {
    is_request_id(value) && value.starts_with(|c: char| c.is_ascii_alphanumeric())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `value` against the rule of its kind.
            ///
            /// # Errors
            /// [`InvalidIdentifier`] names the kind and the value's first 120 characters.
            pub fn new(value: &str) -> Result<Self, InvalidIdentifier> {
                if $valid(value) { Ok(Self(value.into())) } else { Err(InvalidIdentifier::new($kind, value)) }
            }

            /// The identifier's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// A runtime: where workers run. 1 to 120 bytes of `[A-Za-z0-9-_:]`.
    RuntimeId, IdKind::Runtime, is_identifier
);
identifier!(
    /// The one host of a runtime; derived by [`derive_id`], never given by a caller.
    HostId, IdKind::Host, is_identifier
);
identifier!(
    /// A worker within its runtime: `worker-` and a `UUIDv7`, never used twice.
    WorkerId, IdKind::Worker, is_identifier
);
identifier!(
    /// The workspace a worker belongs to. 1 to 120 bytes of `[A-Za-z0-9-_:]`.
    WorkspaceId, IdKind::Workspace, is_identifier
);
identifier!(
    /// What makes a repeated request the same request. 1 to 128 characters of `[A-Za-z0-9._:-]`.
    RequestId, IdKind::Request, is_request_id
);
identifier!(
    /// A configuration bundle. 1 to 128 characters of `[A-Za-z0-9-_.:]`, the first a letter or digit.
    BundleId, IdKind::Bundle, is_bundle_id
);
identifier!(
    /// A question of a worker, unique for it. 1 to 120 bytes of `[A-Za-z0-9-_:]`.
    ApprovalId, IdKind::Approval, is_identifier
);

impl ApprovalId {
    /// The id of a worker's question of this number.
    #[must_use]
    pub fn numbered(number: u64) -> Self {
        Self(format!("approval-{number}").into())
    }

    /// Which of a worker's questions it names; `None` for an id that none ever has.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let number = self.0.strip_prefix("approval-")?.parse().ok()?;
        (Self::numbered(number) == *self).then_some(number)
    }
}

impl WorkerId {
    /// The id of a new worker; ids made by one process rise, and none can be guessed.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_uuid(rising_uuid(SystemTime::now()).into_bytes())
    }

    /// The id of a new worker, above the newest there is: also where the clock says that it is earlier.
    #[must_use]
    pub fn generate_above(newest: Option<&Self>) -> Self {
        let id = Self::generate();
        match newest.filter(|newest| id <= **newest).and_then(Self::made_at) {
            Some(at) => Self::from_uuid(uuid_of(at + Duration::from_millis(1)).into_bytes()),
            None => id,
        }
    }

    /// The id of the worker whose UUID this is.
    #[must_use]
    pub fn from_uuid(uuid: [u8; 16]) -> Self {
        Self(format!("worker-{}", uuid::Uuid::from_bytes(uuid)).into())
    }

    /// The UUID in an id that was generated; `None` in any other, however alike.
    #[must_use]
    pub fn uuid(&self) -> Option<[u8; 16]> {
        let uuid = uuid::Uuid::try_parse(self.0.strip_prefix("worker-")?).ok()?.into_bytes();
        (Self::from_uuid(uuid) == *self).then_some(uuid)
    }

    /// When it was generated, to the millisecond; `None` for an id that is not one of ours.
    #[must_use]
    pub fn made_at(&self) -> Option<SystemTime> {
        let id = uuid::Uuid::try_parse(self.0.strip_prefix("worker-")?).ok()?;
        let (seconds, nanos) = id.get_timestamp()?.to_unix();
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
    }
}

impl WorkspaceId {
    /// What stands for a workspace that cannot be known any more.
    #[must_use]
    pub fn unknown() -> Self {
        Self("unknown".into())
    }
}

impl RequestId {
    /// An id for a request whose caller gave none.
    #[must_use]
    pub fn generate() -> Self {
        // Nothing is asked of their order, and most calls need one: it is drawn without a system call.
        Self(format!("wp-{}", uuid_of(SystemTime::now())).into())
    }
}

impl RuntimeId {
    /// The id of a runtime that was started without one.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("runtime-{}", rising_uuid(SystemTime::now())).into())
    }

    /// The host of this runtime: derived, so that it is the same on every replica (acceptance 44, 69).
    #[must_use]
    pub fn host_id(&self, prefix: &str) -> HostId {
        HostId(derive_id(prefix, &self.0).into())
    }
}

/// A version 7 UUID of the present, above those that were made before it. A clock before 1970 is wrong, and by how much is
/// of no use.
fn rising_uuid(now: SystemTime) -> uuid::Uuid {
    if now < SystemTime::UNIX_EPOCH { uuid_of(SystemTime::UNIX_EPOCH) } else { uuid::Uuid::now_v7() }
}

/// A version 7 UUID of a millisecond; all else in it is drawn.
fn uuid_of(at: SystemTime) -> uuid::Uuid {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // 48 bits of it count: to the year 10889.
    let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &rand::random()).into_uuid()
}

/// `prefix`, the sanitised `raw`, `-` and the first 16 hex digits of the SHA-256 of `raw`: at most 120 bytes
/// (acceptance 29 to 33).
#[must_use]
pub fn derive_id(prefix: &str, raw: &str) -> String {
    let digest = hex(&Sha256::digest(raw.as_bytes()), ID_DIGEST_HEX_LEN);
    let tail = ID_DIGEST_HEX_LEN + 1;
    let prefix = truncate_at_char(prefix, MAX_IDENTIFIER_LEN - tail - 1);
    let room = (MAX_IDENTIFIER_LEN - tail).saturating_sub(prefix.len()).max(1);
    let body = sanitise(raw);
    let body = match body[..body.len().min(room)].trim_matches('-') {
        "" => truncate_at_char("id", room),
        kept => kept,
    };
    format!("{prefix}{body}-{digest}")
}

/// ASCII letters lowered, digits, `-` and `_` kept, all else `-`, none of it at the ends; never empty.
fn sanitise(raw: &str) -> String {
    let body: String = raw
        .chars()
        .map(|c| match c {
            'A'..='Z' => c.to_ascii_lowercase(),
            'a'..='z' | '0'..='9' | '-' | '_' => c,
            _ => '-',
        })
        .collect();
    match body.trim_matches('-') {
        "" => "id".to_owned(),
        kept => kept.to_owned(),
    }
}

/// The first `digits` lower-case hex digits of `bytes`.
pub(super) fn hex(bytes: &[u8], digits: usize) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).take(digits).filter_map(|n| char::from_digit(n.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers_follow_the_rule() {
        // acceptance 2, 28
        let long = "a".repeat(121);
        for bad in ["", &long, "a.b", "a/b", "a b", "a\0b", "é"] {
            let refused = RuntimeId::new(bad).unwrap_err();
            assert_eq!(refused.kind, IdKind::Runtime);
            assert_eq!(refused.value, bad.chars().take(120).collect::<String>());
        }
        for good in ["a".repeat(120).as_str(), "local:test", "A-b_9"] {
            assert_eq!(RuntimeId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn derived_ids_are_the_golden_ones() {
        // acceptance 29, 30, 31, 32
        for (prefix, raw, id) in [
            ("embedded-", "local:test", "embedded-local-test-a2fa388634a6e2ed"),
            ("remote-", "remote:primary", "remote-remote-primary-3e64aea0035e79af"),
            ("remote-", "", "remote-id-e3b0c44298fc1c14"),
            ("remote-", "東京", "remote-id-130016b2599bf7e5"),
        ] {
            assert_eq!(derive_id(prefix, raw), id);
        }
        let long = derive_id("remote-", &"a".repeat(300));
        assert_eq!(long.len(), 120);
        assert!(long.ends_with("-9835fa6bf4e20a9b"));
    }

    #[test]
    fn ids_that_sanitise_alike_differ() {
        // acceptance 33
        assert_ne!(derive_id("p-", "A/B"), derive_id("p-", "a-b"));
    }

    proptest! {
        #[test]
        fn derived_ids_are_always_valid(prefix in "[a-z-]{0,150}", raw in any::<String>()) {
            let id = derive_id(&prefix, &raw);
            prop_assert!(HostId::new(&id).is_ok(), "{id}");
            prop_assert_eq!(id.as_bytes()[id.len() - 17], b'-');
        }
    }

    #[test]
    fn worker_ids_rise_and_are_valid() {
        // acceptance 36
        let ids: Vec<_> = (0..1000).map(|_| WorkerId::generate()).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| WorkerId::new(id.as_str()).is_ok()));
        assert!(ids.iter().all(|id| id.uuid().map(WorkerId::from_uuid).as_ref() == Some(id)));
        let later = WorkerId::new("worker-fffffff0-0000-7cc3-98c4-dc0c0c07398f").unwrap();
        let mut above = vec![WorkerId::generate_above(None), later];
        for _ in 0..1000 {
            above.push(WorkerId::generate_above(above.last()));
        }
        assert!(above.is_sorted_by(|before, id| before < id));
        assert!(above.iter().all(|id| id.uuid().is_some()));
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rising_uuid(before_1970).get_version_num(), 7);
        let other = ids[0].as_str().to_ascii_uppercase().replacen("WORKER", "worker", 1);
        assert_eq!(WorkerId::new(&other).unwrap().uuid(), None);
        let made_at = |id| WorkerId::new(id).unwrap().made_at();
        let since = Duration::from_secs(1_645_557_742);
        assert_eq!(made_at("worker-017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), Some(SystemTime::UNIX_EPOCH + since));
        assert_eq!(made_at("worker-1"), None);
    }
}
