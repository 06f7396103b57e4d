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

# Records the protos as landed, unless they break what landed before.
proto-land:
    .ci/protos land

# The tests of chance again and again, each time with another seed.
nightly times="20":
    for n in $(seq {{times}}); do cargo test --test end_to_end -- resumption conversation --nocapture || exit 1; done

# What CI does.
ci:
    .ci/run
