"""Section `lookup`: the flow table alone, against others, and what a flow takes in memory."""

import statistics
import subprocess

from host import BenchError
from section import Line, Plot, Row, Section

COUNTS = {"1k": 1000, "64k": 64_000, "1M": 1_000_000, "10M": 10_000_000}
QUICK = ("1k", "1M")
RATIO_MIN = {"1M": 1.5, "10M": 2}  # against rte_hash, P7
OTHERS = {"rte_hash_read": "rte_hash, bulk (C3)", "rte_hash": "rte_hash without the flow",
          "hashbrown": "hashbrown + ahash (C2)"}
# Octets per flow at 75 % load, P10. In NAT a flow has two slots of the same table, and room for
# both is there in any case.
MEMORY_ROWS = {"Octets per flow, DR over IPv4": ("v4", 96),
               "Octets per flow, NAT over IPv4": ("v4", 128),
               "Octets per flow, IPv6": ("v6", 192)}
CPU = 1  # the worker's
OCTETS_PER_FLOW = 400  # of all three tables in hugepages, and keys
FIXED_MEMORY = 64 << 20

PROSE = """
Nanoseconds for a lookup in random order, all flows known, in bursts of 64, tables three quarters
full, in one process that lets each table look all flows up in turn; medians and quartiles of
{rounds} rounds, of time on the CPU. Weir's table and `rte_hash` (CRC hash,
`rte_hash_lookup_bulk_data`) lie in hugepages; `hashbrown` (with `ahash`, keys of 128 bits) is on
the heap, as a program would have it. Weir's entry and `hashbrown`'s value are read in the lookup.
`rte_hash` gives a number: in C3 the 64-octet record that it stands for is prefetched and read too,
and a row shows it without that. Weir's hash is keyed against clients that choose their ports, as
`ahash` is; `rte_hash`'s CRC is not. Memory is what the tables themselves ask for.
"""


def row_name(count, other):
    """A row of two tables."""
    return f"{count} flows, against {OTHERS[other]}"


def order():
    """All rows."""
    return [*(row_name(count, other) for count in COUNTS for other in OTHERS), *MEMORY_ROWS]


def run(program, *words):
    """The lines that the program prints, as lists of numbers by their names."""
    command = [str(word) for word in (program, *words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise BenchError(f"{program.name}: {done.stderr.strip()}")
    lines = [line.split() for line in done.stdout.splitlines()]
    return {name: [float(word) for word in numbers] for name, *numbers in lines}


def compared(count, other, found):
    """A row: Weir's time, the other's, and how often Weir's goes into it."""
    ratios = [theirs / own for own, theirs in zip(found["weir"], found[other])]
    own, ratio = statistics.median(found["weir"]), statistics.median(ratios)
    least = RATIO_MIN.get(count) if other == "rte_hash_read" else None
    return Row(row_name(count, other), own, "ns", quartiles(found["weir"]),
               baseline=statistics.median(found[other]), ratio=ratio,
               ratio_spread=quartiles(ratios), target=f"{least} times as fast" if least else "",
               passed=ratio >= least if least else None, details=found)


def quartiles(values):
    """The middle half of the values."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def memory_row(name, octets):
    """A row of memory."""
    key, most = MEMORY_ROWS[name]
    return Row(name, octets[key][0], "octets", target=f"≤ {most}", passed=octets[key][0] <= most)


def lookups(context, program, count, rounds):
    """The rows of one number of flows."""
    wanted = [other for other in OTHERS if context.wants(row_name(count, other))]
    if not wanted or (context.quick and count not in QUICK):
        return []
    context.say(f"{count} flows:")
    with context.hugepages(FIXED_MEMORY + COUNTS[count] * OCTETS_PER_FLOW):
        found = run(program, COUNTS[count], rounds, CPU)
    context.say(f"  {found}")
    return [compared(count, other, found) for other in wanted]


def measure(context):
    """All rows that are wanted."""
    program = context.program("weir-bench", "lookups", kind="example")
    rounds, rows = context.chosen(quick=3, normal=9, soak=25), []
    for count in COUNTS:
        rows += lookups(context, program, count, rounds)
    octets = run(program, "memory")
    rows += [memory_row(name, octets) for name in MEMORY_ROWS if context.wants(name)]
    lines = [Line(OTHERS[other], [(COUNTS[row.name.split()[0]], row.baseline) for row in rows
                                  if OTHERS[other] in row.name]) for other in OTHERS]
    lines.insert(0, Line("Weir", [(flows, row_name(count, "rte_hash_read"))
                                  for count, flows in COUNTS.items()]))
    plot = Plot("Lookup by flows", "flows", "ns per lookup", lines, x_log=True)
    return Section("lookup", "Flow lookup alone", PROSE.format(rounds=rounds), rows, plots=[plot],
                   commands={"lookups": f"lookups FLOWS {rounds} {CPU}"}, value_is="Weir",
                   baseline_is="other, ns", ratio_is="times as fast", order=order())
