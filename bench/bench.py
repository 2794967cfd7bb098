#!/usr/bin/python3
"""`make bench`: runs sections of benchmarks, and keeps what they measured.

A section is a module beside this one (see section.py). Which run, and how long, is said by the
environment; bench/run.sh lists it. The exit code says whether everything that was measured met its
target.
"""

import datetime
import importlib
import os
import re
import shlex
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import report
import text
from host import BenchError, facts
from section import Context, Row, Section

SECTIONS = ("e2e", "lookup", "churn", "peers", "micro")
SHM = "/dev/shm"
KNOBS = ("SECTIONS", "ROWS", "QUICK", "SOAK")


def chosen():
    """The sections to run, in order: those that SECTIONS names, or all that there are."""
    here = Path(__file__).resolve().parent
    there = [name for name in SECTIONS if (here / f"{name}.py").exists()]
    words = [word for word in re.split(r"[,\s]+", os.environ.get("SECTIONS", "")) if word]
    unknown = [word for word in words if word not in there]
    if unknown:
        raise BenchError(f"no section {', '.join(unknown)}; there are: {', '.join(there)}")
    return [name for name in there if not words or name in words]


def command():
    """How this run was asked for."""
    knobs = [f"{key}={shlex.quote(os.environ[key])}" for key in KNOBS if os.environ.get(key)]
    return " ".join([*knobs, "make bench"])


def run(name, context):
    """One section as plain data. One that breaks is a result too."""
    context.say(f"== {name}")
    try:
        section = importlib.import_module(name).measure(context)
    except Exception as error:  # Whatever it is, the other sections shall still be measured.
        traceback.print_exc()
        section = Section(name, name, "", [Row.failed("the whole section", repr(error))])
    return section.record()


def stamped(section, context):
    """Notes in each row when and from what it was measured; rows can outlive a run."""
    keys = ("commit", "uncommitted", "dpdk", "rustc", "kernel")
    origin = {"date": datetime.date.today().isoformat(), "command": command(),
              **{key: context.host[key] for key in keys}}
    for row in section["rows"]:
        row["origin"] = origin
    return section


def main():
    """Runs everything; the exit code says whether all targets were met."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    quick, rows = bool(os.environ.get("QUICK")), os.environ.get("ROWS", "")
    host, sections = facts(), []
    for name in chosen():
        # In memory, so that nothing is written to a disk while something is measured.
        with tempfile.TemporaryDirectory(prefix=f"weir-bench-{name}-", dir=SHM) as directory:
            context = Context(Path(directory), host, quick, bool(os.environ.get("SOAK")),
                              re.compile(rows))
            sections.append(stamped(run(name, context), context))
    measured = [row for section in sections for row in section["rows"]]
    if not measured:
        raise BenchError("no row has such a name")
    print(text.markdown({"host": host, "sections": sections}))
    if os.environ.get("SAVE") or not (quick or rows):
        print(f"written to {report.save(host, sections)}", file=sys.stderr)
    return 0 if all(row["passed"] is not False for row in measured) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as problem:
        sys.exit(f"bench: {problem}")
