#!/usr/bin/python3
"""The results as machines and as people read them.

    bench/report.py DIRECTORY     makes README.md and index.html anew from DIRECTORY/results.json

`results/DATE-HOST/results.json` is the only source; sections and rows that a run did not measure
are kept from the newest directory of the same class of machine.
"""

import datetime
import json
import sys
from pathlib import Path

import page
import text
from host import REPOSITORY, host_class

FORMAT = 2  # of results.json
RESULTS = REPOSITORY / "bench" / "results"


def save(host, sections):
    """Writes all files of today's directory and returns it, relative to the repository."""
    name = host_class(host)
    directory = RESULTS / f"{datetime.date.today().isoformat()}-{name}"
    record = {"format": FORMAT, "host": host, "sections": merged(newest(name), sections)}
    directory.mkdir(parents=True, exist_ok=True)
    octets = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (directory / "results.json").write_text(octets, encoding="utf-8")
    write(directory)
    return directory.relative_to(REPOSITORY)


def newest(name):
    """The sections of the newest results of a class of machine."""
    for directory in sorted(RESULTS.glob(f"????-??-??-{name}"), reverse=True):
        record = json.loads((directory / "results.json").read_text(encoding="utf-8"))
        if record.get("format") == FORMAT:
            return record["sections"]
    return []


def merged(old, new):
    """Sections by name: new rows in the place of old ones, the rest as it was."""
    result = {section["name"]: section for section in old}
    for section in new:
        before = result.get(section["name"])
        result[section["name"]] = joined(before, section) if before else section
    return list(result.values())


def joined(old, new):
    """One section. Its `order` says which rows there are still."""
    rows = {row["name"]: row for row in old["rows"] + new["rows"]}
    rank = {name: index for index, name in enumerate(new["order"])}
    kept = [row for row in rows.values() if row["name"] in rank or not rank]
    kept.sort(key=lambda row: rank.get(row["name"], 0))
    plots = {plot["title"]: plot for plot in old["plots"] + new["plots"]}
    commands = {**old["commands"], **new["commands"]}
    return {**new, "rows": kept, "plots": list(plots.values()), "commands": commands}


def write(directory):
    """Makes what people read from what machines read."""
    record = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    (directory / "README.md").write_text(text.markdown(record), encoding="utf-8")
    (directory / "index.html").write_text(page.html(record), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
