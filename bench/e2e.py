"""Section `e2e`: Weir against DPDK's own forwarder, on the same devices and core.

Method (more in bench/README.md): contenders that share traffic are all started, and then have the
forwarding core in turns of less than a second, round after round, the baseline first: what disturbs
the machine disturbs them alike. Before a contender is timed, one run through files proves that its
output is right, and in each timed turn counters prove that every flow was there before and nothing
was dropped.

Rates count frames per second that the forwarding thread was on its CPU, so that a machine with
other work disturbs them little; the share of the CPU that it got is printed next to them.
"""

import statistics

import ring
from frames import Traffic
from host import BenchError
from section import Line, Plot, Row, Section
from session import BURST, FIXED_MEMORY, Group, Session

K, M = 1000, 1_000_000
WORDS = {
    "macswap": "C1, macswap in Rust", "dr": "DR", "nat": "NAT", "reply": "NAT reply",
    "tunnel": "IPIP", "hashbrown": "C2, DR by hashbrown", "rte_hash": "C3, DR by rte_hash",
}
ALL = tuple(WORDS)
TAX_MAX = {("dr", "1k flows"): 26, ("dr", "1M flows"): 45, ("dr", "10M flows"): 70}  # ns, P2–P4
RATIO_MIN = {("macswap", "1k flows"): 0.97}  # P1
ADDED_MAX = {"nat": 11, "reply": 11, "tunnel": 9}  # ns above DR, P5
ADDED_GROUPS = ("1k flows", "1M flows")
GROWTH_ROW, GROWTH_MAX = "DR, tax at 10M flows ÷ tax at 1M flows", 1.4  # P6
ABSENT_ROW = "FULLNAT, GRE, GUE above DR"
MEMORY_ROW = "Memory of the director with the demo's settings, under traffic"
MEMORY_MAX = 512  # MiB
BUSY_MIN = 0.95  # share of time in turns that moved frames, of who is the limit

PROSE = """
Frames from a `net_pcap` with `infinite_rx=1` to another that drops what it is given, bursts of
{burst}, one direction, eight servers, one worker; 60 octets over IPv4 and 78 over IPv6 unless said
otherwise, UDP unless said otherwise. C0 is `dpdk-testpmd --forward-mode=macswap` on the same
devices and core. *Tax* is what a contender takes for a frame above C0 in the same round; medians
and quartiles of {rounds} rounds ({rounds_long} with 10M flows). In a round all contenders of that
traffic have the core for {seconds} s each, after they have met every frame. What else runs on the
host may double what a frame takes, C0's too, for seconds or for hours. So each row also tells its
tax *at their quickest*: the first decile of the contender's rounds less that of C0's. It is judged
by its median all the same.
The flows of a row were established before, in another order than they are replayed in, so memory
is met at random. With 1M flows and more, packet buffers have 256 octets for all contenders. IMIX
is 28 × 60, 16 × 566 and 4 × 1514 octets. Times count while the forwarding thread was on its CPU;
*CPU* is the least share of it that a run got.

Over memif a second process replays the files and takes what is sent, testpmd on the control CPU;
C0 forwards between the same memifs. Over `net_ring` the generator is in the worker's own process
(bench/src/bin/rig; TCP), and C0 a MAC swap in Rust: testpmd cannot reach rings there. Both times a
frame costs a copy or a cache line of another core's, and who generates has a limit of its own. So
what a frame took is the time of turns that moved frames, testpmd's from `--record-core-cycles`, by
the number of frames; *busy* is the share of such turns. Where it is below {busy_min:.0%} the
generator was the limit: the rate is the generator's, and bursts are smaller.

C1 is a macswap in Rust on Weir's I/O layer. C2 and C3 are the work of DR (recognise, check, look
up, new MACs, TTL, touch the flow, count) on the same layer with other flow tables: `hashbrown` with
`ahash`, key by key, and DPDK's `rte_hash` looked up in bulk; both know one kind of packet and
nothing else.

For scale: DPVS 1.10 on DPDK 24.11, built and measured by us with the same kind of files on an
Intel Emerald Rapids virtual machine, reaches 0.13 of testpmd `macswap` with 1k flows and 0.09 with
1M (DR; 7.2 and 1.8 Mpps). Ratios from different machines are near each other, not comparable digit
by digit.
"""


def groups():
    """All traffic, and who forwards it."""
    even = lambda flows, **more: Traffic(4, flows, max(flows, K), **more)
    six = lambda flows: Traffic(6, flows, flows)
    return [
        Group("1 flow", even(1), ("dr",)),
        Group("1k flows", even(K), ALL, quick=("macswap", "dr", "nat", "reply", "tunnel")),
        Group("64k flows", even(64 * K), ("dr",)),
        Group("1M flows", even(M), ALL, mbuf_data=256, quick=("dr",)),
        Group("10M flows", even(10 * M), ("dr", "hashbrown", "rte_hash"), mbuf_data=256),
        Group("1M flows by zipf(1.0)", even(M, order="zipf"), ("dr",), mbuf_data=256),
        Group("1k flows of TCP", even(K, protocol="tcp"), ("dr", "nat")),
        Group("1M flows of TCP", even(M, protocol="tcp"), ("dr",), mbuf_data=256),
        Group("1k flows over IPv6", six(K), ("dr", "nat", "tunnel"), quick=("dr",)),
        Group("1M flows over IPv6", six(M), ("dr",), mbuf_data=256),
        Group("1k flows, IMIX", Traffic(4, K, 5 * K, size="imix"), ("dr", "nat")),
        Group("1k flows, 1514 octets", even(K, size="max"), ("dr", "nat")),
        Group("1k flows over memif", even(K), ("dr", "nat"), quick=("dr",), memif=True),
        Group("1M flows over memif", even(M), ("dr",), mbuf_data=256, memif=True),
    ]


def name_of(contender, group):
    """A contender's row."""
    return f"{WORDS[contender]}, {group.words}"


def added_name(contender, group):
    """The row of what a mode adds to DR."""
    return f"{WORDS[contender]} above DR, {group.words}"


def order():
    """All rows."""
    names = []
    for group in groups():
        names += [name_of(contender, group) for contender in group.contenders]
        if group.words in ADDED_GROUPS:
            names += [added_name(contender, group) for contender in ADDED_MAX]
    return [*names, *ring.names(), GROWTH_ROW, ABSENT_ROW, MEMORY_ROW]


def needed(context, group):
    """The contenders of a group that wanted rows are made from."""
    there = group.quick if context.quick else group.contenders
    wanted = {contender for contender in there if context.wants(name_of(contender, group))}
    for contender in ADDED_MAX:
        if group.words in ADDED_GROUPS and context.wants(added_name(contender, group)):
            wanted |= {contender, "dr"}
    if group.words in ("1M flows", "10M flows") and context.wants(GROWTH_ROW):
        wanted.add("dr")
    return tuple(contender for contender in there if contender in wanted)


def taxes(pairs):
    """What each frame took more than the baseline's of the same round, in nanoseconds."""
    return [run["nanos"] - base["nanos"] for base, run in pairs]


def tax_row(group, contender, pairs):
    """What a contender takes above the baseline, and the ratio of their rates."""
    share = min(run["cpu_share"] for pair in pairs for run in pair)
    row = compared(name_of(contender, group), pairs, f"CPU {share:.0%}")
    if group.memif:
        row.note += busy_note(pairs)
    most = TAX_MAX.get((contender, group.words))
    least = RATIO_MIN.get((contender, group.words))
    row.target = f"≤ {most} ns" if most else f"rate ÷ C0's ≥ {least}" if least else ""
    row.passed = row.value <= most if most else row.ratio >= least if least else None
    row.details |= {"flows": group.traffic.flows, "frames": group.traffic.frames}
    return row


def compared(name, pairs, note):
    """A row of what a frame took above the baseline."""
    found, ratios = taxes(pairs), [base["nanos"] / run["nanos"] for base, run in pairs]
    base, own = medians(pairs, "mpps")
    least, best = (quickest(pair[side] for pair in pairs) for side in (0, 1))
    return Row(name, statistics.median(found), "ns", quartiles(found),
               baseline=medians(pairs, "nanos")[0], ratio=statistics.median(ratios),
               ratio_spread=quartiles(ratios),
               note=f"{own:.2f} of {base:.2f} Mpps; {note}; at their quickest "
                    f"{best - least:.1f} ns above {least:.1f}",
               details={"rounds": pairs, "quickest": best - least, "quickest_baseline": least})


def quickest(runs):
    """The first decile of what a frame took in each run, in nanoseconds."""
    return statistics.quantiles([run["nanos"] for run in runs], n=10, method="inclusive")[0]


def medians(pairs, key):
    """The baseline's and the contender's."""
    return [statistics.median(pair[side][key] for pair in pairs) for side in (0, 1)]


def busy_note(pairs):
    """How busy both were, and so whom the generator was too slow for."""
    base, own = medians(pairs, "busy")
    slow = [name for name, busy in (("C0", base), ("Weir", own)) if busy < BUSY_MIN]
    limit = " and ".join(slow) or "nobody"
    return f"; busy {own:.0%}, C0 {base:.0%}: the generator limits {limit}"


def added_row(group, contender, pairs, dr_pairs):
    """What a mode takes above DR."""
    found = [run["nanos"] - dr["nanos"] for (_, run), (_, dr) in zip(pairs, dr_pairs)]
    added, most = statistics.median(found), ADDED_MAX[contender]
    least = quickest(run for _, run in pairs) - quickest(run for _, run in dr_pairs)
    return Row(added_name(contender, group), added, "ns", quartiles(found), target=f"≤ {most} ns",
               passed=added <= most, note=f"at their quickest {least:.1f} ns",
               details={"quickest": least})


def quartiles(values):
    """The middle half of the values."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def ring_row(name, context, flows, session):
    """A row over `net_ring`."""
    pairs = ring.measure(context, flows, session.rounds, session.seconds)
    return compared(name, pairs, "C0: the rig's MAC swap" + busy_note(pairs))


def growth_row(context, measured):
    """How the tax grows from 1M to 10M flows."""
    few, many = (measured.get(words) for words in ("1M flows", "10M flows"))
    if not (few and many):
        context.say(f"{GROWTH_ROW}: needs both")
        return []
    few, many = taxes(few["dr"]), taxes(many["dr"])
    growth = statistics.median(many) / statistics.median(few)
    (few_low, few_high), (many_low, many_high) = quartiles(few), quartiles(many)
    return [Row(GROWTH_ROW, growth, "×", (many_low / few_high, many_high / few_low),
                target=f"≤ {GROWTH_MAX}", passed=growth <= GROWTH_MAX)]


def memory_row(session):
    """What the director holds with the demo's settings."""
    held = {key: octets / (1 << 20) for key, octets in session.demo_memory().items()}
    total = sum(held.values())
    return Row(MEMORY_ROW, total, "MiB", target=f"≤ {MEMORY_MAX} MiB", passed=total <= MEMORY_MAX,
               note=f"{held['rss']:.0f} resident, {held['hugepages']:.0f} in hugepages")


def group_rows(context, group, contenders, measured, session):
    """The rows of a group; those of a group that fails are results too."""
    context.say(f"{group.words}:")
    try:
        pairs = measured[group.words] = session.pairs(group, contenders)
    except (BenchError, OSError) as error:
        context.say(f"  failed: {error}")
        return [Row.failed(name_of(contender, group), error) for contender in contenders]
    rows = [tax_row(group, contender, pairs[contender]) for contender in contenders]
    if group.words in ADDED_GROUPS and "dr" in contenders:
        rows += [added_row(group, contender, pairs[contender], pairs["dr"])
                 for contender in ADDED_MAX if contender in contenders]
    return [row for row in rows if context.wants(row.name)]


def measure(context):
    """All rows that are wanted."""
    chosen = [(group, needed(context, group)) for group in groups()]
    chosen = [(group, contenders) for group, contenders in chosen if contenders]
    session, rows, measured = Session(context), [], {}
    with context.hugepages(max([FIXED_MEMORY, *(group.needs(some) for group, some in chosen)])):
        for group, contenders in chosen:
            rows += group_rows(context, group, contenders, measured, session)
        if context.wants(GROWTH_ROW) and not context.quick:
            rows += growth_row(context, measured)
        if context.wants(MEMORY_ROW):
            limit = f"≤ {MEMORY_MAX} MiB"
            rows.append(context.row(MEMORY_ROW, lambda: memory_row(session), limit))
    rows += [context.row(name, lambda: ring_row(name, context, flows, session))
             for name, flows in ring.wanted(context)]
    if context.wants(ABSENT_ROW):
        rows.append(Row(ABSENT_ROW, target="≤ 15 / 11 / 15 ns", note="not in this release"))
    prose = PROSE.format(rounds=session.rounds, rounds_long=session.rounds_long,
                         seconds=session.seconds, burst=BURST, busy_min=BUSY_MIN)
    return Section("e2e", "Weir against testpmd, one core", prose, rows, plots=plots(),
                   commands=session.commands, value_is="tax", baseline_is="C0, ns",
                   ratio_is="rate ÷ C0's", order=order())


def plots():
    """Tax by the number of flows and the mode; points are rows."""
    there = {group.words: group for group in groups()}
    counts = ("1 flow", "1k flows", "64k flows", "1M flows", "10M flows")
    line = lambda contender: Line(WORDS[contender], [
        (there[words].traffic.flows, name_of(contender, there[words])) for words in counts
        if contender in there[words].contenders])
    tables = Plot("Tax by flows: Weir's table, and others in the same pipeline", "flows",
                  "ns per frame above testpmd", [line(c) for c in ("dr", "hashbrown", "rte_hash")],
                  x_log=True)
    modes = Plot("Tax by flows and mode", "flows", "ns per frame above testpmd",
                 [line(c) for c in ("dr", "nat", "reply", "tunnel")], x_log=True)
    return [modes, tables]
