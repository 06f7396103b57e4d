# What people do here, in short. Everything works without `just` too.

# Lists what there is.
default:
    @just --list

# Formatting, lints, protos.
check: proto
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# All tests.
test *arguments:
    cargo test {{arguments}}

# The checks of the protos: style, comments, format, and nothing broken that landed.
proto:
    .ci/protos check

# Formats the protos.
proto-format:
    .ci/tool buf format -w proto

# Writes docs/acceptance.md anew from the marks in the tests.
acceptance:
    WORKPLANE_WRITE_ACCEPTANCE=1 cargo test --test acceptance

# Records the protos as landed, unless they break what landed before.
proto-land:
    .ci/protos land

# The long forms: a million requests, the tests of chance again and again, each time with another seed, and a list over
# 32 hosts, which may take at most 1.3 times as long as one over a single host.
nightly times="20": fuzz
    for n in $(seq {{times}}); do cargo test --test end_to_end -- resumption conversation --nocapture || exit 1; done
    WORKPLANE_FAN_OUT_MOST=1.3 cargo bench --bench fan_out

# A Python client drives every method of the public API against real servers.
cross-check:
    python3 -m venv target/cross-check
    target/cross-check/bin/pip install --quiet -r tests/python/requirements.txt
    cargo build
    target/cross-check/bin/python tests/python/cross_check.py target/debug/workplane

# A million random and mutated requests, in process; CI sends 50,000.
fuzz times="1000000":
    WORKPLANE_FUZZ={{times}} cargo test --test requests -- fuzz --nocapture

# The benches: each beside its raw limit, in one run.
bench:
    cargo bench

# What CI does.
ci:
    .ci/run
