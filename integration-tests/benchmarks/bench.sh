#!/usr/bin/env bash
# Measures mls-keep and its peers, and prints the tables of docs/performance.md:
#
#     integration-tests/benchmarks/bench.sh                      # everything, about ten minutes
#     integration-tests/benchmarks/bench.sh --sizes 10,1000 --rounds 1
#     integration-tests/benchmarks/bench.sh --json figures.jsonl # the raw figures as well
#
# Where `strace` is installed it also counts the flushes and bytes of each operation, in a pass of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --release -p benchmarks --bin bench --bin bench-keep
cargo build --quiet --release --locked --manifest-path integration-tests/benchmarks/peers/Cargo.toml
target="${CARGO_TARGET_DIR:-target}"
peers="${CARGO_TARGET_DIR:-integration-tests/benchmarks/peers/target}"
exec "$target/release/bench" --keep "$target/release/bench-keep" --peers "$peers/release/mls-keep-peers" "$@"
