//! Page tokens: the key of the last item of a page, bound to the list's own filter, opaque and checksummed.
//!
//! A token is base64url (no padding) of: version 1, 8 bytes of the SHA-256 of the query (the method, and the request
//! without its paging fields), the parts of the key with a NUL between them, and 8 bytes of the SHA-256 of all that
//! stands before. It says where a list goes on; it grants nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::model::{BundleDigest, BundleId, BundleRef, Error, Reason, Result, RuntimeId, WorkerId};

const VERSION: u8 = 1;
const SUM: usize = 8;
/// Two identifiers, the two sums and the version, in base64, with room.
const MAX_TEXT: usize = 512;

/// What the items of a list are told apart by.
pub trait PageKey: Sized {
    /// Its parts; none holds a NUL.
    fn parts(&self) -> Vec<&str>;
    /// The key of these parts.
    fn from_parts(parts: &[&str]) -> Option<Self>;
}

impl PageKey for RuntimeId {
    fn parts(&self) -> Vec<&str> {
        vec![self.as_str()]
    }

    fn from_parts(parts: &[&str]) -> Option<Self> {
        let [id] = parts else { return None };
        Self::new(id).ok()
    }
}

impl PageKey for WorkerId {
    fn parts(&self) -> Vec<&str> {
        vec![self.as_str()]
    }

    fn from_parts(parts: &[&str]) -> Option<Self> {
        let [id] = parts else { return None };
        Self::new(id).ok()
    }
}

impl PageKey for (RuntimeId, WorkerId) {
    fn parts(&self) -> Vec<&str> {
        vec![self.0.as_str(), self.1.as_str()]
    }

    fn from_parts(parts: &[&str]) -> Option<Self> {
        let [runtime_id, worker_id] = parts else { return None };
        Some((RuntimeId::new(runtime_id).ok()?, WorkerId::new(worker_id).ok()?))
    }
}

impl PageKey for BundleRef {
    fn parts(&self) -> Vec<&str> {
        vec![self.id.as_str(), self.digest.as_str()]
    }

    fn from_parts(parts: &[&str]) -> Option<Self> {
        let [id, digest] = parts else { return None };
        Some(Self { id: BundleId::new(id).ok()?, digest: BundleDigest::new(digest).ok()? })
    }
}

/// A list as it was asked for: tokens of one are no good for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query([u8; SUM]);

impl Query {
    /// The query of `method` with this request, whose paging fields have been cleared.
    #[must_use]
    pub fn new(method: &str, request: &impl Message) -> Self {
        let mut hash = Sha256::new();
        hash.update(method);
        hash.update([0]);
        hash.update(request.encode_to_vec());
        Self(first(&hash.finalize()))
    }

    /// The token that goes on after `key`.
    #[must_use]
    pub fn token(self, key: &impl PageKey) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(key.parts().join("\0").as_bytes());
        let sum: [u8; SUM] = first(&Sha256::digest(&bytes));
        bytes.extend_from_slice(&sum);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The key that a token goes on after; `None` for the first page.
    ///
    /// # Errors
    /// [`Reason::InvalidPageToken`] for anything that [`Query::token`] did not write for the same query.
    pub fn after<K: PageKey>(self, token: &str) -> Result<Option<K>> {
        if token.is_empty() {
            return Ok(None);
        }
        match self.read(token) {
            Some(key) => Ok(Some(key)),
            None => Err(Error::field_as(
                Reason::InvalidPageToken,
                "page_token",
                "was not handed out, or belongs to another query; begin again without it",
            )),
        }
    }

    fn read<K: PageKey>(self, token: &str) -> Option<K> {
        if token.len() > MAX_TEXT {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
        if sum != first::<SUM>(&Sha256::digest(body)) {
            return None;
        }
        let key = body.strip_prefix(&[VERSION])?.strip_prefix(&self.0)?;
        K::from_parts(&std::str::from_utf8(key).ok()?.split('\0').collect::<Vec<_>>())
    }
}

/// The first `N` bytes of a digest, which has more.
fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&digest[..N]);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::v1::ListWorkersRequest;

    fn query(runtime_id: &str) -> Query {
        let runtime_id = Some(runtime_id.to_owned());
        Query::new("ListWorkers", &ListWorkersRequest { runtime_id, ..Default::default() })
    }

    proptest! {
        #[test]
        fn a_token_comes_back_for_its_own_query_only(runtime in "[a-z:_-]{1,120}", worker in "[A-Z0-9]{1,120}") {
            let key = (RuntimeId::new(&runtime).unwrap(), WorkerId::new(&worker).unwrap());
            let token = query("a").token(&key);
            prop_assert!(token.len() <= MAX_TEXT);
            prop_assert_eq!(query("a").after(&token).unwrap(), Some(key));
            prop_assert_eq!(
                query("b").after::<(RuntimeId, WorkerId)>(&token).unwrap_err().reason(),
                Reason::InvalidPageToken
            );
            prop_assert!(query("a").after::<WorkerId>(&token).is_err());
        }

        #[test]
        fn no_other_text_is_a_token(text in "[A-Za-z0-9_=+/.-]{1,80}|\\PC{1,20}") {
            prop_assert!(query("a").after::<WorkerId>(&text).is_err());
        }

        #[test]
        fn a_changed_token_is_refused(at in 0_usize..30, to in "[A-Za-z0-9_-]") {
            let token = query("a").token(&WorkerId::new("worker-1").unwrap());
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != token);
            prop_assert!(query("a").after::<WorkerId>(&changed).is_err());
        }
    }

    #[test]
    fn no_token_is_the_first_page() {
        assert_eq!(query("a").after::<WorkerId>("").unwrap(), None);
    }
}
