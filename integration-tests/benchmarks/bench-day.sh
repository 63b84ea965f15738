#!/usr/bin/env bash
# Measures a day of a messenger, and prints a table of docs/performance.md:
#
#     integration-tests/benchmarks/bench-day.sh                                        # about five minutes
#     integration-tests/benchmarks/bench-day.sh --groups 5 --members 10 --messages 100 --away 50
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --release -p benchmarks --bin bench-day --bin bench-keep
cargo build --quiet --release --locked --manifest-path integration-tests/benchmarks/peers/Cargo.toml
target="${CARGO_TARGET_DIR:-target}"
peers="${CARGO_TARGET_DIR:-integration-tests/benchmarks/peers/target}"
exec "$target/release/bench-day" --keep "$target/release/bench-keep" --peers "$peers/release/mls-keep-peers" "$@"
