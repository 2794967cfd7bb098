"""Rows of section `e2e` over `net_ring`: a generator and the director's worker in one process.

The rig (bench/src/bin/rig) measures them. testpmd cannot take part: the rings are in the memory of
that process.
"""

from churn import rig
from host import BenchError
from section import Row

FLOWS = {"1k flows": 1 << 10, "1M flows": 1 << 20}
QUICK = ("1k flows",)
LOST_MAX = 1e-3  # of all frames: those that find the ring back full while the generator is held up


def name_of(words):
    """A row's name."""
    return f"DR, {words} over net_ring"


def names():
    """All rows."""
    return [name_of(words) for words in FLOWS]


def wanted(context):
    """Names and flows of the rows to measure."""
    return [(name_of(words), flows) for words, flows in FLOWS.items()
            if context.wants(name_of(words)) and (words in QUICK or not context.quick)]


def measure(context, flows, rounds, seconds):
    """In rounds, what a frame took in the floor and in the director.

    Raises BenchError if the director did not do the work.
    """
    found = rig(context, "forward", "--flows", flows, "--pairs", rounds, "--window", seconds)
    for pair in found["pairs"]:
        verify(pair["director"])
    problems = {
        f"{found['wrong']} of {found['judged']} frames were wrong":
            found["wrong"] or found["judged"] != flows,
        f"{found['flows']} flows instead of {flows}": found["flows"] != flows,
        f"{found['moved'] + found['broken']} flows are not with their servers":
            found["moved"] or found["broken"],
        f"drops: {found['drops']}": set(found["drops"]) - {"tx_full"},
        f"{found['mbufs_leaked']} mbufs leaked": found["mbufs_leaked"],
    }
    wrong = [problem for problem, is_so in problems.items() if is_so]
    if wrong:
        raise BenchError("the director did not do the work: " + "; ".join(wrong))
    return [(run(pair["floor"]), run(pair["director"])) for pair in found["pairs"]]


def verify(window):
    """Raises BenchError if frames were lost or strange."""
    lost = window["sent"] - window["returned"]
    if abs(lost) > LOST_MAX * window["sent"] or window["strange"]:
        raise BenchError(f"{lost} of {window['sent']} frames lost, {window['strange']} strange")


def run(window):
    """A window, as the section knows it."""
    return {key: window[key] for key in ("mpps", "nanos", "busy")}
