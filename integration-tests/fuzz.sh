#!/usr/bin/env bash
# Runs every fuzz target of the workspace, one on each processor, for MLS_KEEP_FUZZ_SECONDS in sum (600 if it is not set):
#
#     integration-tests/fuzz.sh                # all targets
#     integration-tests/fuzz.sh root client    # those whose name contains one of the words
#
# Parsers run under libFuzzer, which follows the coverage of all code but SQLite's: stable rustc can insert the counters.
# Stores in files are changed at random, since most of their time is spent in the system. An input that fails is in a file
# that is named, below target/fuzz; docs/decisions/0008-fuzzing.md says why it is done so.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${MLS_KEEP_FUZZ_SECONDS:-600}
words=("$@")
work=$PWD/target/fuzz
corpus=$PWD/integration-tests/fuzzing/corpus
mkdir -p "$work"
# Of each run, KiB. Beyond it an allocation fails, whatever thread makes it, and the run with it.
most=$((4 << 20))

guided=(-p mls-keep-core -p mls-keep --lib)
# The build of `cargo test --workspace`, which is there already where that was run.
rest=(--workspace)

host=$(rustc -vV | sed -n 's/^host: //p')
counters="--cfg fuzzing --cfg fuzzing_libfuzzer -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
for what in inline-8bit-counters pc-table trace-compares; do
    counters+=" -Cllvm-args=-sanitizer-coverage-$what"
done

# Program, crate and test of every fuzz test that cargo builds with these arguments.
targets() {
    cargo test --locked --no-run --message-format=json "$@" 2>"$work/build.log" |
        python3 -c '
import json, subprocess, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("reason") != "compiler-artifact" or not built.get("executable") or not built["profile"]["test"]:
        continue
    crate = built["package_id"].rpartition("#")[0].rpartition("/")[2]
    tests = subprocess.run([built["executable"], "--list", "--format=terse"], capture_output=True, text=True, check=True)
    for test in tests.stdout.splitlines():
        name, _, kind = test.rpartition(": ")
        if kind == "test" and "fuzz::" in name:
            print(built["executable"], crate, name)
' || { cat "$work/build.log" >&2; return 1; }
}

wanted() {
    ((${#words[@]} == 0)) && return
    for word in "${words[@]}"; do [[ $1 == *"$word"* ]] && return; done
    return 1
}

RUSTFLAGS="$counters" targets --target "$host" "${guided[@]}" >"$work/guided"
targets "${rest[@]}" | grep -v -e ' mls-keep ' -e ' mls-keep-core ' >"$work/changed"
lines=()
for how in guided changed; do
    while read -r line; do wanted "${line#* }" && lines+=("$how $line"); done <"$work/$how"
done
((${#lines[@]})) || { echo "no such target" >&2; exit 1; }
each=$((seconds / ${#lines[@]}))
((each > 0)) || each=1
echo "${#lines[@]} targets, $each seconds each"

# One target, as `how program crate test`.
fuzz() {
    local how program crate test name log found count ok
    read -r how program crate test <<<"$1"
    name=$crate/${test##*fuzz::}
    log=$work/${name/\//-}.log
    if [ "$how" = guided ]; then
        found=$work/found/$name
        mkdir -p "$found" "$corpus/$name"
        (ulimit -v "$most" && MLS_KEEP_FUZZ_FOUND=$found BOLERO_LIBFUZZER_ARGS="$found $corpus/$name -max_total_time=$each -timeout=60 -rss_limit_mb=2048 \
-max_len=20000 -print_final_stats=1 -artifact_prefix=$work/${name/\//-}-" \
            RUST_BACKTRACE=1 "$program" "$test" --exact --nocapture --test-threads=1) >"$log" 2>&1 && ok=1 || ok=0
        count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    else
        (ulimit -v "$most" && MLS_KEEP_FUZZ_SECONDS=$each RUST_BACKTRACE=1 \
            "$program" "$test" --exact --nocapture --test-threads=1) >"$log" 2>&1 && ok=1 || ok=0
        count=$(sed -n 's/^fuzzed .*: \([0-9]*\) inputs.*/\1/p' "$log")
    fi
    printf '%-32s %10s inputs\n' "$name" "${count:-0}"
    if [ "$ok" = 0 ] || [ -z "$count" ]; then
        tail -n 60 "$log"
        echo "FAILED: $name; the whole output is in $log, the input in a file that it names"
        echo "to keep it: copy the input to integration-tests/fuzzing/corpus/$name/, then: cargo test -p $crate $test"
        echo "$name" >>"$work/failed"
    fi
}

# One on each processor.
rm -f "$work/failed"
for line in "${lines[@]}"; do
    while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n || true; done
    fuzz "$line" &
done
wait
[ ! -e "$work/failed" ]
