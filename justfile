# What people do here, in short. Everything works without `just` too.

# Lists what there is.
default:
    @just --list

# Formatting, lints, protos.
check: proto
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --features failpoints -- -D warnings

# All tests.
test *arguments:
    cargo test {{arguments}}

# The checks of the protos: style, comments, format, and nothing broken that landed.
proto:
    .ci/protos check

# The tests with agents that others wrote, which it installs.
agents:
    WORKPLANE_FOREIGN_AGENTS=$(.ci/tool agents) cargo test --test end_to_end foreign_agents

# Writes docs/situations.md anew from what is told.
situations:
    WORKPLANE_WRITE_SITUATIONS=1 cargo test --test end_to_end situations

# Formats the protos.
proto-format:
    .ci/tool buf format -w proto

# Writes docs/acceptance.md anew from the marks in the tests.
acceptance:
    WORKPLANE_WRITE_ACCEPTANCE=1 cargo test --test acceptance

# Records the protos as landed, unless they break what landed before.
proto-land:
    .ci/protos land

# The long forms: a million requests, ten thousand seeds of the log's simulations, the tests of chance again and again,
# each time with another seed, hostile clients (with an optimised build, since how long others wait for them is held) and
# ten times as many callers for longer, and a list over 32 hosts, which may take at most 1.3 times as long
# as one over a single one.
nightly times="20": fuzz
    WORKPLANE_SEEDS=10000 cargo test --lib simulations -- --nocapture
    for n in $(seq {{times}}); do cargo test --test end_to_end -- resumption conversation --nocapture || exit 1; done
    WORKPLANE_TRAPS=long cargo test --release --test end_to_end -- traps drain --nocapture --test-threads 1
    WORKPLANE_OVERLOAD=60 cargo bench --bench overload -- target
    WORKPLANE_FAN_OUT_MOST=1.3 cargo bench --bench fan_out

# A Python client drives every method of the public API against real servers.
cross-check:
    python3 -m venv target/cross-check
    target/cross-check/bin/pip install --quiet -r tests/python/requirements.txt
    cargo build
    target/cross-check/bin/python tests/python/cross_check.py target/debug/workplane

# What stands in deploy/ is looked through; it needs what cross-check installs.
deploy:
    cargo build
    target/cross-check/bin/python tests/python/deploy.py target/debug/workplane

# A million random and mutated requests, in process; CI sends 50,000.
fuzz times="1000000":
    WORKPLANE_FUZZ={{times}} cargo test --test requests -- fuzz --nocapture

# The long form of the crash harness: real servers are killed 300 times, each must be SERVING within 2 s, and a panic and a
# stall at each durable boundary. CI kills 30 times and prints how long it took. As people run them: their stores grow to
# a million items meanwhile.
crash rounds="300":
    WORKPLANE_CRASH_ROUNDS={{rounds}} cargo test --release --test crash -- --nocapture
    cargo test --features failpoints --test crash -- failpoints

# The benches: each beside its raw limit, in one run.
bench:
    cargo bench

# What durability costs, beside the bare disk, the store in memory and etcd (Debian: etcd-server); on the disk of DIR. With
# WORKPLANE_STORE_LONG=1 a restart with 100,000 ended workers, with WORKPLANE_STORE_BOUNDS=1 it fails where a bound is missed.
bench-store dir="target":
    mkdir -p {{dir}}
    cargo bench --bench store -- {{dir}}

# What CI does.
ci:
    .ci/run
