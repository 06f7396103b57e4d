//! Which methods answer with a stream: read from the descriptors, so that it cannot drift from the protos. And which
//! of them anybody may call.

use std::collections::HashSet;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::proto::FILE_DESCRIPTOR_SET;

/// The services that are ours: their statuses are ours to say, and their streams end by themselves. Those of health and
/// reflection are their own protocols'.
pub(super) const OURS: &str = "/workplane.";

/// Streams of services that are not ours.
const OTHERS: [&str; 3] = [
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Methods that anybody may call, by their exact paths.
const OPEN: [&str; 3] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List"];

static STREAMS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    // What the build wrote decodes; if it did not, reflection would not be served either.
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let mut paths: HashSet<_> = OTHERS.map(str::to_owned).into();
    for file in &files.file {
        for service in &file.service {
            let streams = service.method.iter().filter(|method| method.server_streaming());
            paths.extend(streams.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())));
        }
    }
    paths
});

/// Whether the method at `path` answers with a stream.
pub(super) fn is_stream(path: &str) -> bool {
    STREAMS.contains(path)
}

/// Every method of ours.
static KNOWN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let ours = files.file.iter().filter(|file| file.package().starts_with("workplane."));
    let services = ours.flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
    let paths = services.flat_map(|(package, service)| {
        service.method.iter().map(move |method| format!("/{package}.{}/{}", service.name(), method.name()))
    });
    paths.collect()
});

/// Whether one of the two roles has the method at `path`.
pub(super) fn is_known(path: &str) -> bool {
    KNOWN.contains(path)
}

/// Every method that either role serves, by its path, and whether it answers with a stream.
pub(super) fn all() -> impl Iterator<Item = (String, bool)> {
    let others = OPEN.iter().chain(OTHERS.iter().filter(|path| !OPEN.contains(path)));
    let all = others.map(|path| (*path).to_owned()).chain(KNOWN.iter().cloned());
    all.map(|path| {
        let is_stream = is_stream(&path);
        (path, is_stream)
    })
}

/// Whether the method at `path` asks for no token.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Methods that are given a config bundle, by their exact paths.
const BUNDLES: [&str; 2] = [
    "/workplane.v1.ConfigBundleService/SyncConfigBundle",
    "/workplane.runtime.v1.WorkerRuntimeService/SyncConfigBundle",
];

/// Whether the method at `path` takes a config bundle, which may be large.
pub(super) fn takes_a_bundle(path: &str) -> bool {
    BUNDLES.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_from_unary_methods() {
        for path in [
            "/workplane.v1.ObservationService/ObserveWorker",
            "/workplane.v1.TranscriptService/StreamTranscript",
            "/workplane.runtime.v1.WorkerRuntimeService/ObserveWorker",
        ] {
            assert!(is_stream(path), "{path}");
        }
        assert!(!is_stream("/workplane.v1.WorkerService/GetWorker"));
    }

    #[test]
    fn the_methods_that_take_bundles_are_there() {
        assert!(BUNDLES.iter().all(|path| is_known(path)));
    }
}
