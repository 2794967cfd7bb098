#!/bin/bash
# Runs the stages of `make test`, or those named as arguments, one after the other.
#
# A stage that fails does not stop the others. Each prints PASS, FAIL or SKIP with its time; its
# full log is kept in target/test-logs and the end of it shown when it failed. The last line is
# the count of everything that was checked: single tests where a stage counts them, else stages.
set -u
cd "$(dirname "$0")/.." || exit 1

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
logs=$target/test-logs
export WEIR_BIN=${WEIR_BIN:-$target/lab/weir}
fuzz_seconds=${SECONDS_PER_FUZZ_TARGET:-60}
python=/usr/bin/python3
skip=77 # exit status of a stage that could not run; its last line says why
passed=0 failed=0 skipped=0
child=
export CARGO_TERM_COLOR=never
export CARGO_NET_RETRY=10 # a registry may be slow to answer
mkdir -p "$logs"

# -- the stages ---------------------------------------------------------------------------------

stage_fmt() { cargo fmt --all --check -- --color=never; }
stage_clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }
stage_docs() { RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked; }
stage_build() { cargo build --profile lab --locked; }
stage_unit() { cargo test --workspace --locked --no-fail-fast; }

# The safe wrappers whose unsafe code needs no foreign function.
stage_miri() {
    cargo +nightly miri --version >/dev/null 2>&1 || unavailable "Miri is not installed"
    cargo +nightly miri test -p weir-prefetch -p weir-wire --lib
}

stage_deny() {
    cargo deny --version >/dev/null 2>&1 || unavailable "cargo-deny is not installed"
    cargo deny --workspace check licenses bans sources
}

stage_advisories() {
    cargo deny --version >/dev/null 2>&1 || unavailable "cargo-deny is not installed"
    timeout 60 cargo deny --workspace fetch db >/dev/null 2>&1 ||
        unavailable "the advisory database cannot be reached"
    cargo deny --workspace check --disable-fetch advisories
}

stage_oracle-tools() { $python tests/oracle/selftest.py; }

# The recordings are what a kernel really answers: a few of each kind are recorded anew.
stage_oracle-kernel() {
    [ "$(id -u)" -eq 0 ] || unavailable "root is needed for TAP devices"
    command -v linux.uml >/dev/null || unavailable "user-mode-linux is not installed"
    $python tests/oracle/record.py --verify dr-tcp nat-icmp sched-wlc v6-tun-64
}

stage_oracle() {
    [ "$(id -u)" -eq 0 ] || unavailable "root is needed for veth devices"
    $python tests/oracle/compare.py --all
}

# Instructions of the engine's parts against bench/budgets.json: slower fails.
stage_gate() {
    command -v valgrind >/dev/null || unavailable "valgrind is not installed"
    $python -B bench/instructions.py
}

stage_demo() { lab deploy/lab/demo.py; }

stage_fuzz() {
    cargo +nightly --version >/dev/null 2>&1 || unavailable "no nightly toolchain for cargo-fuzz"
    cargo +nightly fuzz --version >/dev/null 2>&1 || unavailable "cargo-fuzz is not installed"
    local targets status=0
    targets=$(cargo +nightly fuzz list --fuzz-dir tests/fuzz) || return 1
    for name in $targets; do
        echo "fuzzing $name for $fuzz_seconds s"
        mkdir -p "tests/fuzz/corpus/$name" # what is found goes here; the seeds are only read
        cargo +nightly fuzz run --fuzz-dir tests/fuzz "$name" \
            "tests/fuzz/corpus/$name" "tests/fuzz/seeds/$name" -- \
            -max_total_time="$fuzz_seconds" -rss_limit_mb=4096 >"$logs/fuzz-$name.log" 2>&1 &&
            tail -1 "$logs/fuzz-$name.log" && continue
        status=1
        # The input is among the last lines, in base64; the stack above them.
        tail -60 "$logs/fuzz-$name.log"
    done
    return $status
}

# Each script in tests/labs is a stage of its own, called lab-NAME.
lab() {
    [ "$(id -u)" -eq 0 ] || unavailable "root is needed for namespaces"
    exec $python "$1" # exec: a signal must find the script, which cleans up
}

unavailable() { echo "$1"; exit $skip; }

stages="fmt deny advisories clippy docs build unit miri gate oracle-tools oracle-kernel oracle"
for script in tests/labs/*.py; do
    [ "$(head -c 2 "$script")" = "#!" ] && stages="$stages lab-$(basename "$script" .py)"
done
stages="$stages demo fuzz"

# Seconds after which a stage counts as hung. The sum of what they really take is under 45 minutes.
limit_of() {
    case $1 in
    clippy | docs | build | unit | gate | oracle) echo 1200 ;;
    fuzz) echo $((1200 + 10 * fuzz_seconds)) ;;
    *) echo 300 ;;
    esac
}

# -- running them -------------------------------------------------------------------------------

run_stage() { # NAME
    local name=$1 log=$logs/$1.log start=$SECONDS status took
    printf '%-20s ' "$name"
    case $name in
    lab-*) bounded "$name" lab "tests/labs/${name#lab-}.py" ;;
    *) bounded "$name" "stage_$name" ;;
    esac >"$log" 2>&1
    status=$?
    took=$((SECONDS - start))
    case $status in
    0) printf 'PASS  %4d s\n' $took ;;
    "$skip") printf 'SKIP  %4d s  %s\n' $took "$(tail -1 "$log")" ;;
    *)
        printf 'FAIL  %4d s  exit %d, log: %s\n' $took $status "$log"
        tail -80 "$log" | sed 's/^/    | /'
        ;;
    esac
    count "$name" $status "$log"
}

# Runs a stage in a process group of its own, so that its end, or its time's, ends all of it.
bounded() { # NAME COMMAND...
    local limit
    limit=$(limit_of "$1")
    shift
    timeout --kill-after=20 "$limit" "$BASH" "$0" --inner "$@" &
    child=$!
    wait $child
}

interrupted() {
    trap '' INT TERM
    [ -n "$child" ] && kill "$child" 2>/dev/null && wait "$child"
    echo "interrupted" >&3 # a stage's own output goes to its log
    exit 130
}

count() { # NAME STATUS LOG
    local p=0 f=0 s=0
    if [ "$2" -eq $skip ]; then
        s=1
    else
        # cargo's `test result: ok. 12 passed; 0 failed; 1 ignored; …` and the labs' own last line.
        read -r p f s < <(awk '
            /^test result:/ { p += $4; f += $6; s += $8 }
            /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped/ { p += $1; f += $3; s += $5 }
            END { print p + 0, f + 0, s + 0 }' "$3")
        if [ "$2" -eq 0 ]; then
            [ $((p + f)) -gt 0 ] || p=1
        else
            [ "$f" -gt 0 ] || f=1
        fi
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

if [ "${1:-}" = --inner ]; then
    shift
    "$@"
    exit
fi

exec 3>&1
trap interrupted INT TERM
for stage in ${*:-$stages}; do
    case " $stages " in
    *" $stage "*) run_stage "$stage" ;;
    *) echo "no stage '$stage'; there are: $stages" >&2; exit 2 ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
