//! The two places where a worker can run, which are to be told alike: the embedded runtime, and a host.

use workplane::proto::v1;

use super::{EMBEDDED, Host, Plane, Profile, Worker};

/// A control plane with a host `one`; a coder runs `profile` in both places.
pub(crate) async fn plane_and_host(profile: Profile) -> (Plane, Host) {
    let host = Host::named("one").profile("builtin:coder", profile.clone()).start().await;
    let plane = Plane::new().profile("builtin:coder", profile).host(&host).start().await;
    (plane, host)
}

/// The same with a coder in each place.
pub(crate) async fn both(profile: Profile) -> (Plane, Host, [Worker; 2]) {
    let (plane, host) = plane_and_host(profile).await;
    let workers = [plane.spawn(EMBEDDED, "builtin:coder").await, plane.spawn("one", "builtin:coder").await];
    (plane, host, workers)
}

pub(crate) fn codes(diagnostics: &[v1::Diagnostic]) -> Vec<&str> {
    diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect()
}
