"""Section `micro`: parts of the engine by themselves.

Maglev tables and how evenly connections are shared out, by `bench/examples/servers.rs`;
instructions of the parts, by valgrind (`instructions.py`); times of the parts, by Criterion.
"""

import json
import os
import shutil
import statistics
import subprocess
from pathlib import Path

import instructions
from host import REPOSITORY, BenchError
from section import Row, Section

BUILD_MS, MOVED_PERCENT = 1.5, 0.6
BALANCE = {"maglev": ("Maglev", 1.05), "rr": ("rr", 1.01), "lc": ("lc", 1.02)}
PROSE = """\
**Maglev** (P15): a table of 65,537 slots for 1,000 servers of one weight, built 25 times; then one
server goes, 20 times another, and slots that changed hands although their server stayed are
counted. **Balance** (P16): SYNs of a million clients to 100 servers through the engine, all of
which stay; the most that a server got over the mean.

**Instructions** are per frame, flow, key or packet, counted by valgrind on what packages are built
with, the harness taken off, 1,024 flows. `make test` compares them with `bench/budgets.json` (stage
`gate`); here the budget is the baseline. `new-…` is a client's first SYN: nothing found, a server
chosen, a flow made.

**Times** are Criterion's medians in nanoseconds per iteration with their confidence interval; the
name says what an iteration is. They are not compared with anything here.
"""


def servers_rows(context):
    """P15 and P16."""
    program = context.program("weir-bench", "servers", kind="example")
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"servers: {done.stderr}")
    told = json.loads(done.stdout)
    built, moved = told["build_ms"], told["moved_percent"]
    middle, mean = statistics.median(built), statistics.mean(moved)
    rows = [
        Row("P15 Maglev 65,537 × 1,000 built", middle, "ms", (min(built), max(built)),
            target=f"≤ {BUILD_MS} ms", passed=middle <= BUILD_MS, note="median of 25"),
        Row("P15 extra slots moved when a server goes", mean, "%", (min(moved), max(moved)),
            target=f"≤ {MOVED_PERCENT} %", passed=mean <= MOVED_PERCENT, note="mean of 20"),
    ]
    for key, (name, most) in BALANCE.items():
        value = told["most_over_mean"][key]
        rows.append(Row(f"P16 most over mean connections per server, {name}", value, "",
                        target=f"≤ {most}", passed=value <= most))
    return rows


def instruction_rows():
    """What the gate counts, beside its budgets."""
    if not shutil.which("valgrind"):
        return [Row("Instructions", note="valgrind is not installed")]
    program = instructions.binary()
    counts = instructions.measure(program, instructions.cases_of(program))
    budgets = json.loads(instructions.BUDGETS.read_text(encoding="ascii"))["instructions"]
    return [Row(f"Instructions: {case}", count, "", baseline=budgets.get(case),
                ratio=count / budgets[case] if case in budgets else None)
            for case, count in counts.items()]


def criterion_rows():
    """Runs the Criterion benches, and reads what they left."""
    home = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "criterion"
    shutil.rmtree(home, ignore_errors=True)
    words = ["cargo", "bench", "--quiet", "--locked", "-p", "weir-bench", "--benches"]
    if subprocess.run(words, cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=False).returncode:
        raise BenchError("cargo bench failed")
    rows = []
    for path in sorted(home.glob("**/new/estimates.json")):
        name = json.loads((path.parent / "benchmark.json").read_text())["full_id"]
        median = json.loads(path.read_text())["median"]
        bounds = median["confidence_interval"]
        rows.append(Row(f"Time: {name}", median["point_estimate"], "ns",
                        (bounds["lower_bound"], bounds["upper_bound"])))
    if not rows:
        raise BenchError(f"Criterion left nothing in {home}")
    return rows


def measure(context):
    """All three parts; a quick run leaves Criterion out."""
    parts = [("P15 and P16", lambda: servers_rows(context)), ("Instructions", instruction_rows)]
    if not context.quick:
        parts.append(("Times", criterion_rows))
    rows = []
    for name, part in parts:
        context.say(f"  {name}")
        try:
            rows += part()
        except (BenchError, OSError, ValueError) as error:
            rows.append(Row.failed(name, error))
    return Section("micro", "Parts", PROSE, [row for row in rows if context.wants(row.name)],
                   baseline_is="budget",
                   commands={"servers": "servers", "times": "cargo bench -p weir-bench",
                             "instructions": "bench/instructions.py"})
