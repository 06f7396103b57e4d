//! What makes two requests the same: the SHA-256 of their encoding without their id (at a host, without their
//! context). Unknown fields are not in it, and maps are encoded in the order of their keys.

use prost::Message;
use sha2::{Digest, Sha256};

use super::{runtime_v1, v1};
use crate::model::Fingerprint;

/// A request that changes something, and so carries what names it.
pub trait Mutating: Message {
    /// What names it: a request id, or at a host the whole context.
    type Name;

    /// Takes the name out.
    fn take_name(&mut self) -> Self::Name;
}

/// Takes the name out of a request, and tells what is left.
pub fn fingerprint<M: Mutating>(request: &mut M) -> (M::Name, Fingerprint) {
    let name = request.take_name();
    (name, Fingerprint(Sha256::digest(request.encode_to_vec()).into()))
}

macro_rules! mutating {
    ($package:ident . $field:ident: $name:ty => $($message:ident),* $(,)?) => {$(
        impl Mutating for $package::$message {
            type Name = $name;

            fn take_name(&mut self) -> $name {
                std::mem::take(&mut self.$field)
            }
        }
    )*};
}

mutating!(v1.request_id: String =>
    SpawnWorkerRequest, SendInputRequest, StopWorkerRequest, CancelWorkerRequest, DeleteWorkerRequest,
    SyncConfigBundleRequest, RemoveConfigBundleRequest, AnswerApprovalRequest,
    InterruptWorkerRequest,
);
mutating!(runtime_v1.context: Option<runtime_v1::RequestContext> =>
    CreateWorkerRequest, SendInputRequest, StopWorkerRequest, CancelWorkerRequest, DeleteWorkerRequest,
    SyncConfigBundleRequest, RemoveConfigBundleRequest, AnswerApprovalRequest,
    InterruptWorkerRequest,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_under_another_id_is_the_same() {
        let send = |request_id: &str, content: &str| {
            let (request_id, content) = (request_id.to_owned(), content.to_owned());
            fingerprint(&mut v1::SendInputRequest { request_id, content, ..Default::default() })
        };
        let (name, first) = send("a", "hi");
        assert_eq!(name, "a");
        assert_eq!(first, send("b", "hi").1);
        assert_ne!(first, send("a", "ho").1);
    }

    #[test]
    fn at_a_host_the_context_does_not_count() {
        let stop = |caller: &str, reason: &str| {
            let context = Some(runtime_v1::RequestContext { caller: caller.to_owned(), ..Default::default() });
            let reason = reason.to_owned();
            fingerprint(&mut runtime_v1::StopWorkerRequest { context, reason, ..Default::default() }).1
        };
        assert_eq!(stop("a", "why"), stop("b", "why"));
        assert_ne!(stop("a", "why"), stop("a", ""));
    }

    #[test]
    fn labels_have_one_encoding() {
        let spawn = |labels: [(&str, &str); 2]| {
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            fingerprint(&mut v1::SpawnWorkerRequest { labels, ..Default::default() }).1
        };
        assert_eq!(spawn([("a", "1"), ("b", "2")]), spawn([("b", "2"), ("a", "1")]));
    }
}
