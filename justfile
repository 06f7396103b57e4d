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

# The long forms: a million requests, and the tests of chance again and again, each time with another seed.
nightly times="20": fuzz
    for n in $(seq {{times}}); do cargo test --test end_to_end -- resumption conversation --nocapture || exit 1; done

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
