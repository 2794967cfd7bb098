#!/usr/bin/python3
"""The gate: instructions of the engine's parts, counted by valgrind, against committed budgets.

    bench/instructions.py              counts, compares, fails where a budget is exceeded
    BLESS=1 bench/instructions.py      writes what was counted to bench/budgets.json

Instruction counts do not wobble on a busy machine, so a small band is enough to see a change of
the code. Two runs that differ only in how many rounds they make give the cost of one frame, flow
or key by subtraction, without start and set-up; the cost of handing out frames is taken off too.

Counts depend on the compiler. With another rustc than the one that the budgets were made with, a
case is judged by how it changed against all the others: its factor over the median's, in a wider
band. That finds a part that became slow, and not a compiler that is better or worse throughout.
"""

import doctest
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
BUDGETS = REPOSITORY / "bench" / "budgets.json"
FLOWS = 1024
ROUNDS = (1, 11)
BAND = 0.03  # part of a budget that a count may differ by: what unrelated changes move
BAND_OTHER_RUSTC = 0.10  # of the relative change; compilers change parts unevenly
# The C library chooses its memcpy by the CPU: the same one everywhere.
TUNABLES = ("glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,"
            "-ERMS,-FSRM")
RECOUNTS = 2  # of what seems slower: maps draw their hash keys per run, and seldom badly
HARNESS = {4: "frames-v4", 6: "frames-v6"}
WITHOUT_FRAMES = ("expire", "sweep", "parse", "lookup", "insert", "maglev", "checksum")


def binary():
    """Builds what is counted as packages are built, and returns its path."""
    # The compiler's flags are those of .cargo/config.toml, whatever the caller's shell says.
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS")}
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "-p", "weir-bench",
                    "--example", "bursts"], cwd=REPOSITORY, env=environment, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return target / "release" / "examples" / "bursts"


def rustc():
    """The compiler, as it names itself."""
    done = subprocess.run(["rustc", "--version"], cwd=REPOSITORY, capture_output=True, text=True,
                          check=True)
    return done.stdout.strip()


def run(program, directory, case, rounds):
    """Instructions of a run, and how often it did its thing."""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out", program,
               case, FLOWS, rounds]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "GLIBC_TUNABLES": TUNABLES},
                          check=False)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not collected:
        raise SystemExit(f"{case}: {done.stderr[-2000:]}")
    return int(collected.group(1)), int(done.stdout)


def cases_of(program):
    """All cases that can be counted."""
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()


def measure(program, cases):
    """Instructions per frame, flow or key, by case."""
    gross = {}
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as directory:
        for case in dict.fromkeys([*HARNESS.values(), *cases]):
            (few, less), (many, more) = (run(program, directory, case, n) for n in ROUNDS)
            gross[case] = (many - few) / (more - less)
    return {case: count for case, count in net(gross).items() if case in cases}


def recount(program, counts, budgets, same_rustc):
    """Counts again what seems slower, and keeps the least."""
    for _ in range(RECOUNTS):
        verdicts = judge(counts, budgets, same_rustc)
        slower = [case for case, (word, _) in verdicts.items() if word == "slower"]
        again = measure(program, slower) if slower else {}
        counts |= {case: min(counts[case], count) for case, count in again.items()}


def net(gross):
    """Counts without the harness.

    >>> net({"frames-v4": 10.0, "frames-v6": 20.0, "dr-v4": 110.0, "dr-v6": 220.5, "sweep": 5.0})
    {'dr-v4': 100.0, 'dr-v6': 200.5, 'sweep': 5.0}
    """
    return {case: round(count - harness(case, gross), 1) for case, count in gross.items()
            if case not in HARNESS.values()}


def harness(case, gross):
    """What handing out frames costs in a case."""
    if case.startswith(WITHOUT_FRAMES):
        return 0
    return gross[HARNESS[6 if "-v6" in case else 4]]


def judge(counts, budgets, same_rustc=True):
    """Compares counts with budgets: {case: (verdict, factor)}, ordered as counted.

    The factor is count over budget, with another compiler in terms of the median of all. A verdict
    is `ok`, `slower` (fails), `faster` (the budget should be lowered), `new` or `gone` (both fail,
    until budgets are written anew).

    >>> judge({"a": 103.0, "b": 104.0, "c": 90.0}, {"a": 100.0, "b": 100.0, "c": 100.0})
    {'a': ('ok', 1.03), 'b': ('slower', 1.04), 'c': ('faster', 0.9)}
    >>> judge({"a": 1.0}, {"b": 1.0})
    {'a': ('new', None), 'b': ('gone', None)}

    Another compiler makes everything a fifth slower, and somebody `b` by half:

    >>> judge({"a": 120.0, "b": 180.0, "c": 12.0}, {"a": 100.0, "b": 100.0, "c": 10.0}, False)
    {'a': ('ok', 1.0), 'b': ('slower', 1.5), 'c': ('ok', 1.0)}
    """
    factors = {case: counts[case] / budgets[case] for case in counts if case in budgets}
    middle = 1.0 if same_rustc or not factors else statistics.median(factors.values())
    band = BAND if same_rustc else BAND_OTHER_RUSTC
    verdicts = {}
    for case in counts:
        factor = round(factors[case] / middle, 4) if case in factors else None
        verdicts[case] = (verdict(factor, band), factor)
    return verdicts | {case: ("gone", None) for case in budgets if case not in counts}


def verdict(factor, band):
    """What a factor means."""
    if factor is None:
        return "new"
    if factor > 1 + band:
        return "slower"
    return "faster" if factor < 1 - band else "ok"


def show(counts, budgets, verdicts):
    """The table."""
    print(f"{'case':16} {'instructions':>12} {'budget':>8}")
    for case, (word, factor) in verdicts.items():
        count = f"{counts[case]:.1f}" if case in counts else "-"
        budget = f"{budgets[case]:.1f}" if case in budgets else "-"
        change = "" if factor is None else f"{factor - 1:+.1%}"
        print(f"{case:16} {count:>12} {budget:>8} {change:>7}  {'' if word == 'ok' else word}")


def bless(counts):
    """Writes budgets."""
    record = {"rustc": rustc(), "flows": FLOWS, "instructions": counts}
    BUDGETS.write_text(json.dumps(record, indent=1) + "\n", encoding="ascii")
    print(f"written to {BUDGETS.relative_to(REPOSITORY)}")


def main():
    """Returns the exit status."""
    if doctest.testmod().failed:
        return 1
    program = binary()
    counts = measure(program, cases_of(program))
    if os.environ.get("BLESS"):
        bless(counts)
        return 0
    record = json.loads(BUDGETS.read_text(encoding="ascii"))
    same = record["rustc"] == rustc()
    if not same:
        print(f"This is {rustc()}, the budgets are of {record['rustc']}: changes are relative to "
              "the median of all.")
    budgets = record["instructions"]
    recount(program, counts, budgets, same)
    verdicts = judge(counts, budgets, same)
    show(counts, budgets, verdicts)
    words = [word for word, _ in verdicts.values()]
    failed = sum(word in ("slower", "new", "gone") for word in words)
    if "faster" in words:
        print("Faster: lower the budget with BLESS=1 bench/instructions.py")
    if failed:
        print("Where that is the price of something worth it, say so in the commit and write the "
              "budgets anew: BLESS=1 bench/instructions.py")
    print(f"{len(words) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
