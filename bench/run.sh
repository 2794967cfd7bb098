#!/bin/sh
# `make bench`: the benchmarks, on the release build, in a network namespace of their own (TAPs and
# veths vanish with it, however the run ends).
#
#   SECTIONS=a,b  only these sections (bench/bench.py lists them); the results of others are kept
#   ROWS=REGEX    only the rows whose name matches
#   QUICK=1       few and short repetitions, printed but kept out of results/
#   SAVE=1        keep them all the same, also those of ROWS; the command is told with them
#   SOAK=1        long repetitions, and half an hour of soak
#   BENCH_WEIR    the `weir` to measure, default: what `cargo build --release` makes
#   BENCH_PROFILE lab: build what is measured in a third of the time, for developing a section
set -eu
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

if [ "$(id -u)" -ne 0 ]; then
    echo "bench: needs root: network namespaces, hugepages and TAPs" >&2
    exit 1
fi
# Programs are built by the sections that want them, where there is no network any more.
cargo fetch --quiet --locked
exec unshare --net /usr/bin/python3 -B bench/bench.py "$@"
