"""Section `churn`: what replaying a file cannot show: connections that come and go, floods, pauses,
reloads, latency, scaling, a soak. The rig (bench/src/bin/rig) measures; here its JSON becomes rows.
"""

import json
import statistics
import subprocess

from host import BenchError
from section import Row, Section

PROSE = """
A generator on CPU 0 and the director's real worker on CPU 1, joined by `net_ring` devices of 1,024
frames; frames of 60 octets, TCP, direct routing, tables made by control's own code. The *floor* is
a plain MAC swap in Rust on the same kind of rings and the same thread, in turns with the director,
one window after the other. Values are medians of the windows with their spread. A turn is one round
of the worker's loop; its time is wall time, so what the machine takes away from the core is in it,
on both sides. *Busy* is the share of time in turns that moved frames: at 1 the worker was the limit
and not the generator. Nothing here is corrected for other work on the machine.

How much the machine takes away is measured beside: the same core, in the same run, does nothing but
watch the clock, and every step of it above 2 µs is a *gap*. An *ideal worker* is computed from this
very trace: frames flow evenly into a ring of 1,024 at the rate of the row, each takes the time that
it took the director or the floor, gaps aside, and in a gap none is served. What it loses, or lets
wait, no worker of that speed can spare when those gaps come; it needs no room for bursts and never
slows down, so the rows may well be worse.

A core of a virtual machine may also run at a tenth of its speed for some hundredths of a second,
which shows in no gap. So every 20 µs, between two turns, the forwarding core times a chain of 64
multiplications that always takes the same cycles: a *beat*, slow if it takes more than twice the
quickest one's time. *While the core keeps its speed* leaves out what falls into milliseconds with a
slow beat, into the two after them and the one before, on both sides; gaps stay in.

The soak's rate follows the machine, whose speed changes up to twofold within seconds: every 100 ms
it is set to 0.9 of what the director can by its own clock (frames over the time of turns that moved
some), at most 25 % up or down at once.
"""

FLOWS = 1 << 20
MEMORY = 1600 << 20  # octets: two flow tables of 2^22 at most, and the pool


CALM = "while the core keeps its speed"
CALM_LEAST = 20_000  # values of a window: a p99.99 of fewer says nothing
SLOW_MOST = 0.5  # share of a window in which the core may be slow, where refusals are counted


def rig(context, row, *flags):
    """Runs one row of the rig, before other processes, and returns what it says."""
    program = context.program("weir-bench", "rig")
    words = ["nice", "-n", "-20", program, row, *[str(flag) for flag in flags]]
    with context.hugepages(MEMORY):
        done = subprocess.run(words, capture_output=True, check=False, text=True)
    if done.returncode:
        raise BenchError(f"rig {row}: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)


def middle(values):
    """Median, and least and most."""
    values = list(values)
    return statistics.median(values), (min(values), max(values))


def figure(name, values, unit, target, passed, **more):
    """A row of a median with its spread; `passed` judges the median."""
    value, spread = middle(values)
    return Row(name, value, unit, spread, target=target, passed=passed(value), **more)


def exact(name, value, unit, target, passed, **more):
    """A row of a count."""
    return Row(name, value, unit, target=target, passed=passed, **more)


def times(context):
    """Pairs and seconds of a window."""
    pairs, window = context.chosen((2, 0.5), (5, 2.0), (9, 5.0))
    return "--pairs", pairs, "--window", window


def busy(windows):
    """A note on who was the limit."""
    return f"worker busy {statistics.median(window['busy'] for window in windows):.2f}"


def setup(context):
    """P8."""
    found = rig(context, "setup", *times(context))
    if found["insert_failures"] or found["deferred"]:
        raise BenchError("connections found no room")
    pairs = found["pairs"]
    windows = [pair["director"] for pair in pairs]
    floor = statistics.median(pair["floor"]["mpps"] for pair in pairs) / 5
    return [figure("P8 TCP connections, SYN to last ACK, a second and core",
                   [pair["connections_per_second"] / 1e6 for pair in pairs], "M/s", "≥ 1.0 M/s",
                   lambda value: value >= 1, baseline=floor,
                   note=f"5 frames each; {busy(windows)}; baseline: the floor's frames / 5",
                   details=found)]


def connection(context):
    """P9."""
    found = rig(context, "connection", *times(context))
    without = found["insert_failures"] + found["deferred"]
    if without or found["forwarded"] != found["packets"]:
        raise BenchError("not every packet was forwarded with a flow")
    extra = [pair["start"] - pair["hit"] for pair in found["pairs"]]
    return [figure("P9 insert, schedule, expiry, per connection", extra, "ns", "≤ 175 ns",
                   lambda value: value <= 175, details=found,
                   baseline=middle(pair["hit"] for pair in found["pairs"])[0],
                   note="first packet less a packet of a known flow (baseline), engine alone")]


def flood(context):
    """P11."""
    found = rig(context, "flood", *times(context))
    pairs, rows = found["pairs"], []
    for side, words in (("mixed", "every other frame a new SYN"), ("flood", "new SYNs only")):
        ratios = [pair[side]["mpps"] / pair["steady"]["mpps"] for pair in pairs]
        target = side == "mixed"
        rows.append(figure(f"P11 frames/s into a full table over steady, {words}", ratios, "",
                           "≥ 0.7" if target else "", lambda value, target=target:
                           value >= 0.7 if target else None, details=found,
                           note=f"{middle(pair[side]['mpps'] for pair in pairs)[0]:.1f} of "
                                f"{middle(pair['steady']['mpps'] for pair in pairs)[0]:.1f} Mpps"))
    # What the flood is to be met with: SYNs that leave the table alone.
    if not found["deferred"]:
        raise BenchError("no SYN was deferred: the table was not flooded")
    broken = found["broken"] + found["moved"]
    rows.append(exact("P11 established flows broken by the flood", broken, "flows", "0",
                      broken == 0, note=f"of {found['established']}"))
    return rows


def turns(name, pairs, worst, target=20.0):
    """Two rows of the time of turns: director less floor, at 99.99 % and the worst."""
    rows = []
    calm_pairs = [(pair["floor"]["turns"], pair[worst]["turns"]) for pair in pairs]
    calm_pairs = [sides for sides in calm_pairs if is_calm(sides)]
    for key, words in (("p9999", "p99.99"), ("worst", "worst")):
        floor = [max(pair["floor"]["turns"][key], pair["floor"]["turns"]["worst_empty"])
                 if key == "worst" else pair["floor"]["turns"][key] for pair in pairs]
        above = [max(pair[worst]["turns"][key], pair[worst]["turns"]["worst_empty"])
                 if key == "worst" else pair[worst]["turns"][key] for pair in pairs]
        slow = statistics.median(pair[worst]["slow"] for pair in pairs)
        gap = (middle(pair["gap_p9999"] for pair in pairs)[0] if key == "p9999" else
               max(pair["machine"]["worst"] for pair in pairs))
        rows.append(figure(f"P12 turn above the floor's, {name}, {words}",
                           [a - b for a, b in zip(above, floor)], "µs", f"≤ {target:.0f} µs",
                           lambda value: value <= target, baseline=middle(floor)[0],
                           note=f"{middle(above)[0]:.0f} µs in all; "
                                f"the machine's gaps alone: {gap:.0f} µs"))
        if not calm_pairs:
            continue  # The row of a better time is kept.
        floor, calm = zip(*[[side[f"calm_{key}"] for side in sides] for sides in calm_pairs])
        rows.append(figure(f"P12 the same, {name}, {words}, {CALM}",
                           [a - b for a, b in zip(calm, floor)], "µs", f"≤ {target:.0f} µs",
                           lambda value: value <= target, baseline=middle(floor)[0],
                           note=f"{middle(calm)[0]:.0f} µs in all; slow for {slow:.0%} of it; "
                                f"{len(calm_pairs)} of {len(pairs)} windows had calm enough"))
    return rows


def is_calm(sides):
    """Whether both sides of a window have values enough from when the core kept its speed."""
    return all(side["calm"] >= CALM_LEAST for side in sides)


def pauses(context):
    """P12."""
    found = rig(context, "pauses", *times(context))
    rows = turns("connections and reloads of 10,000 servers", found["pairs"], "director")
    found = rig(context, "expiry", "--pairs", context.chosen(1, 3, 5))
    for pair in found["pairs"]:
        if pair["flows_before"] != FLOWS or pair["flows_after"] != pair["flows_stay"]:
            raise BenchError(f"{pair['flows_before']} flows became {pair['flows_after']}")
    return rows + turns("2^20 flows end at once", found["pairs"], "director")


def lost(window):
    """Frames that found a full ring while the core kept its speed."""
    return window["refused_calm"]


def reload(context):
    """P13."""
    found = rig(context, "reload", *times(context))
    pairs = [pair for pair in found["pairs"] if max(
        pair[side]["slow"] for side in ("reloading", "calm", "floor")) <= SLOW_MOST]
    if not pairs:
        raise BenchError("the core was slow all the time: nothing can be told of losses")
    extra = [lost(pair["reloading"]) - lost(pair["calm"]) for pair in pairs]
    note = (f"at {found['rate_mpps']:.1f} Mpps; without reloads "
            f"{middle(lost(pair['calm']) for pair in pairs)[0]:.0f}, floor "
            f"{middle(lost(pair['floor']) for pair in pairs)[0]:.0f}; all {CALM}: it was slow for "
            f"{statistics.median(pair['reloading']['slow'] for pair in pairs):.0%} of it, and "
            f"{middle(pair['reloading']['refused'] for pair in pairs)[0]:.0f} in all were lost")
    reloads = sum(pair["reloads"] for pair in pairs)
    return [
        figure("P13 frames lost by reloads of 1,000 services × 10 servers", extra, "frames", "0",
               lambda value: value <= 0, note=note, details=found),
        figure("P13 worker blocked by a reload: median turn with new tables less one without",
               [pair["adopting_p50"] - pair["calm"]["turns"]["p50"] for pair in pairs], "µs",
               "≤ 20 µs", lambda value: value <= 20,
               note=f"its {reloads} turns forward frames too; the worst took "
                    f"{max(pair['adopting_worst'] for pair in pairs):.0f} µs"),
        exact("P13 flows moved or broken by reloads", found["broken"], "flows", "0",
              found["broken"] == 0, note=f"of {found['flows']}"),
    ]


def changes(context):
    """P14."""
    found = rig(context, "changes")
    rows = [exact(f"P14 flows moved: {change['change']}", change["broken"], "flows", "0",
                  change["broken"] == 0, note=f"of {found['flows']}")
            for change in found["changes"]]
    drained = found["new_to_drained"]
    return rows + [exact("P14 new flows given to a drained server", drained, "flows", "0",
                         drained == 0 and found["new"] > 0, note=f"of {found['new']}")]


def scale(context):
    """P17."""
    pairs, window = context.chosen((2, 0.5), (11, 0.7), (21, 1.0))
    found = rig(context, "scale", "--pairs", pairs, "--window", window)
    if any(side["flows"] != side["expected"] or side["handed_over"] for side in found["sides"]):
        raise BenchError("not every flow was with its owner")
    ratios = {who: [two / one for one, two in (pair[who] for pair in found["pairs"])]
              for who in ("floor", "director")}
    return [figure("P17 two workers over one, frames per second of CPU", ratios["director"], "",
                   "≥ 1.9", lambda value: value >= 1.9, baseline=middle(ratios["floor"])[0],
                   details=found,
                   note="in turns; control shares CPU 0 and waits; what the floor lacks, the "
                        "machine lacks")]


def latency(context):
    """P18."""
    found = rig(context, "latency", *times(context))
    rows, rate = [], middle(pair["rate_mpps"] for pair in found["pairs"])[0]
    for key, words, most in (("p50", "p50", 2), ("p99", "p99", 5)):
        sides = [(pair["floor"], pair["director"]) for pair in found["pairs"]]
        extra = [director[key] - floor[key] for floor, director in sides]
        ideal = [middle(side["ideal"][key] for side in both)[0] for both in zip(*sides)]
        rows.append(figure(f"P18 latency above the floor at half load, {words}", extra, "µs",
                           f"≤ {most} µs", lambda value, most=most: value <= most,
                           baseline=middle(floor[key] for floor, _ in sides)[0],
                           note=f"{rate:.1f} Mpps; an ideal worker's wait on the machine's gaps: "
                                f"{ideal[1]:.1f} µs, at the floor's speed {ideal[0]:.1f} µs",
                           details=found))
        calm_sides = [both for both in sides if is_calm(both)]
        if not calm_sides:
            continue  # The row of a better time is kept.
        calm = [director[f"calm_{key}"] - floor[f"calm_{key}"] for floor, director in calm_sides]
        slow = statistics.median(director["window"]["slow"] for _, director in sides)
        rows.append(figure(f"P18 the same, {words}, {CALM}", calm, "µs",
                           f"≤ {most} µs", lambda value, most=most: value <= most,
                           baseline=middle(floor[f"calm_{key}"] for floor, _ in calm_sides)[0],
                           note=f"slow for {slow:.0%} of the time; {len(calm_sides)} of "
                                f"{len(sides)} windows had calm enough"))
    return rows


def soak(context):
    """P20."""
    windows, seconds = context.chosen((1, 5), (1, 30), (30, 60))
    found = rig(context, "soak", "--pairs", windows, "--window", seconds)
    director, floor = found["director"], found["floor"]
    offered, gone = director["offered"], director["lost"]
    ideal = [statistics.mean(trace["loss"] for trace in side["ideal"])
             for side in (director, floor)]
    calm_loss = []
    if max(side["slow"] for side in (director, floor)) <= SLOW_MOST:
        refused = director["refused_calm"] / offered
        calm_loss = [
            exact(f"P20 frames refused in {windows * seconds} s {CALM}, of all", refused, "",
                  "≤ 1e-7", refused <= 1e-7, baseline=floor["refused_calm"] / floor["offered"],
                  note=f"{director['refused_calm']} of {offered} frames; slow for "
                       f"{director['slow']:.0%} of the time, the floor {floor['slow']:.0%}")]
    leaked = found["mbufs_leaked"] + found["flows_after"] - found["flows"]
    return [
        exact(f"P20 loss in {windows * seconds} s at 90 % load with connections", gone / offered,
              "", "≤ 1e-7", gone / offered <= 1e-7, details=found,
              baseline=floor["lost"] / floor["offered"],
              note=f"{gone} of {offered} frames, {director['mean_mpps']:.1f} Mpps, busy "
                   f"{director['busy']:.2f}; none lost in {found['readings_clean']} of "
                   f"{found['readings']} tenths of a second; an ideal worker on the machine's gaps "
                   f"{ideal[0]:.1e}, at the floor's speed {ideal[1]:.1e}"),
        *calm_loss,
        exact("P20 mbufs and flows leaked", leaked, "", "0",
              leaked == 0 and found["imbalance"] == 0,
              note=f"after {found['connections']} connections"),
        exact("P20 established flows broken", found["broken"] + found["moved"], "flows", "0",
              found["broken"] + found["moved"] == 0),
    ]


PARTS = {"P8": setup, "P9": connection, "P11": flood, "P12": pauses, "P13": reload,
         "P14": changes, "P17": scale, "P18": latency, "P20": soak}


def measure(context):
    """All parts that are wanted; one that fails is a row."""
    rows = []
    for name, part in PARTS.items():
        if not context.wants(name):
            continue
        made = context.row(name, lambda part=part: part(context))
        rows += made if isinstance(made, list) else [made]
    command = "nice -n -20 rig ROW --pairs N --window SECONDS"
    return Section("churn", "Connections that come and go", PROSE, rows,
                   commands={"rig": command}, baseline_is="floor")
