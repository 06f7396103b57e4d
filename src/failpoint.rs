//! Places at which a test from outside lets the process panic or stall: one at each durable boundary.
//!
//! They are there only with the feature `failpoints`, which nobody turns on but the tests of `tests/crash`; without it
//! [`failpoint!`] is nothing, and neither its library nor its names are in the binary (CI holds that). What a place does
//! is said in `FAILPOINTS`, as in `log-after-sync=20*off->1*panic`.

/// Names a place.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}
pub(crate) use failpoint;

/// Takes what the environment says, until what is returned is dropped.
#[cfg(feature = "failpoints")]
#[must_use = "dropped, it takes back what the environment says"]
pub fn from_environment() -> impl Sized {
    fail::FailScenario::setup()
}
