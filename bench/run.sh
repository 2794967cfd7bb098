#!/bin/sh
# `make bench`: the end-to-end benchmarks, on the release build, in a network namespace of their own
# (the director makes TAPs; they vanish with the namespace, however the run ends).
#
#   QUICK=1      two pairs and short windows, results printed but kept out of results/
#   SAVE=1       keep them all the same; the pairs and windows are told with them
#   SOAK=1       long windows
#   ROWS=REGEX   only the rows whose name matches
#   BENCH_WEIR   the `weir` to measure, default: what `cargo build --release` makes
set -eu
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

if [ "$(id -u)" -ne 0 ]; then
    echo "bench: needs root: network namespaces, hugepages and TAPs" >&2
    exit 1
fi
cargo build --quiet --release --locked -p weir-dpdk --example macswap
exec unshare --net /usr/bin/python3 -B bench/e2e.py "$@"
