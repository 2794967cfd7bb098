"""What a section of `make bench` is made of: the context it gets, and the Section it returns.

A section is a module with `measure(context) -> Section`, listed in `bench.SECTIONS`. Everything in
a Section is data: it goes into `results.json` as it is, and tables and plots are made from that.
"""

import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from host import BenchError, built, hugepages


@dataclass
class Row:
    """A figure: one line of a section's table.

    `name` is unique in its section: saved results are updated by it. A figure that could not be
    had is a row too, with `error`; a row that is not built yet has neither value nor error, but
    a `note`.
    """

    name: str
    value: float = None
    unit: str = ""
    spread: tuple = None  # (least, most) of `value` over the repetitions
    baseline: float = None  # what `value` is compared with, in the same unit
    ratio: float = None  # as the prose of the section defines it, usually value / baseline
    ratio_spread: tuple = None
    target: str = ""  # as people read it, such as "≤ 26 ns"
    passed: bool = None  # None: there is no target
    note: str = ""
    error: str = ""
    details: dict = field(default_factory=dict)  # what only machines want; kept in the JSON

    @classmethod
    def failed(cls, name, error, target=""):
        """A row whose measurement failed: a result too, and never a pass."""
        return cls(name, target=target, passed=False, error=str(error).splitlines()[0])


@dataclass
class Line:
    """A line of a plot, or in a plot of bars, the bars of one colour."""

    name: str
    points: list  # of (x, y), (x, y, least, most) or (x, name of a row); with bars, x is a word


@dataclass
class Plot:
    """A plot: lines over numbers, or bars over words."""

    title: str
    x: str  # what the axis says
    y: str
    lines: list
    kind: str = "lines"  # lines | bars
    x_log: bool = False
    y_log: bool = False


@dataclass
class Section:
    """What a section measured, and how."""

    name: str
    title: str
    prose: str  # markdown: the method, and what the figures say
    rows: list
    plots: list = field(default_factory=list)
    commands: dict = field(default_factory=dict)  # what was run, by a word for it
    value_is: str = "value"  # heads of three columns
    baseline_is: str = "baseline"
    ratio_is: str = "ratio"
    order: list = field(default_factory=list)  # names of all rows there are, also the unmeasured

    def record(self):
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Context:
    """What a section is given."""

    directory: Path  # temporary, and the section's own
    host: dict  # see host.facts()
    quick: bool  # the whole of a section below a minute
    soak: bool  # as long as it takes
    rows: re.Pattern  # the rows that are wanted

    def wants(self, name):
        """Whether a row of this name is to be measured."""
        return bool(self.rows.search(name))

    def chosen(self, quick, normal, soak=None):
        """The value for this length of run."""
        if self.quick:
            return quick
        return soak if self.soak and soak is not None else normal

    @staticmethod
    def say(text):
        """Progress, for people."""
        print(text, file=sys.stderr, flush=True)

    @staticmethod
    def program(package, name, kind="bin"):
        """The path of a program of this repository, built first. `kind` is bin or example."""
        return built(package, kind, name)

    @staticmethod
    def hugepages(octets):
        """A context in which so many octets of hugepages can be had, besides what is in use."""
        return hugepages(octets)

    def row(self, name, measure, target=""):
        """The row that `measure()` returns, or the row that says why it could not."""
        self.say(f"{name}:")
        try:
            return measure()
        except (BenchError, OSError, ValueError) as error:
            self.say(f"  failed: {error}")
            return Row.failed(name, error, target)
