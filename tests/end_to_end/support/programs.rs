//! The programs that workers run in these tests.

use std::env;
use std::path::Path;

/// Whether a program is on this machine. Where it is not, its test is left out and says so; with
/// `WORKPLANE_REQUIRE_PROGRAMS` set, as in CI, it fails.
pub(crate) fn program_is_here(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let here = env::split_paths(&path).any(|directory| directory.join(name).is_file());
    let required = env::var_os("WORKPLANE_REQUIRE_PROGRAMS").is_some();
    assert!(here || !required, "{name} is not on this machine, and WORKPLANE_REQUIRE_PROGRAMS is set");
    if !here {
        println!("left out: {name} is not on this machine");
    }
    here
}

/// The path of a program in `agents/`.
pub(crate) fn agent(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/agents").join(name);
    path.to_str().expect("the path is UTF-8").to_owned()
}
