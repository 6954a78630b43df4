# The recipes that contributors use. `just` lists them.

# List the recipes
default:
    @just --list

# Every test, as the README says
test:
    cargo test --workspace

# Formatting and lints, as the continuous integration checks them
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Format everything
fmt:
    cargo fmt --all

# Every scenario against its expectation
scenarios *ARGS:
    cargo run --release -- test {{ ARGS }}

# The benches
bench *ARGS:
    cargo bench --workspace {{ ARGS }}

# How many seeds each strategy needs until its first finding (docs/strategies.md)
bench-strategies *ARGS:
    cargo run --release --example strategies -- {{ ARGS }}

# The documentation, with warnings as errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Coverage by line (needs cargo-llvm-cov)
cov:
    cargo llvm-cov --workspace --html

# Accept the snapshots of reports after a look at them (needs cargo-insta)
review:
    cargo insta review

# What the continuous integration runs
ci:
    .ci/run
