"""A record of results as markdown: what `README.md` of a results directory says."""

import json


def markdown(record):
    """The whole report."""
    lines = ["# Weir's benchmarks", "", *machine(record["host"]), "", *summary(record), ""]
    for section in record["sections"]:
        lines += [*chapter(section), ""]
    lines += [f"CPU flags: {record['host']['cpu_flags']}", ""]
    return "\n".join(lines)


def machine(host):
    """What was measured on."""
    return [f"{host['cpu']} (family/model {host['cpu_family_model']}, {host['cpus']} CPUs, "
            f"{host['cpu_cache']} cache), kernel {host['kernel']}, DPDK {host['dpdk']}, "
            f"{host['rustc']}."]


def summary(record):
    """How many targets were met, and which were not: what was not won is said first."""
    judged = [(section, row) for section in record["sections"] for row in section["rows"]
              if row["passed"] is not None]
    lost = [f"- {section['title']}: {row['name']}: {row['error'] or value(row)}"
            f" (target {row['target'] or 'to be measured'})"
            for section, row in judged if not row["passed"]]
    text = f"**{len(judged) - len(lost)} of {len(judged)} targets are met.**"
    return [text + (" Not met:" if lost else ""), *([""] if lost else []), *lost]


def chapter(section):
    """A section: its prose, its table, where the figures come from, its commands."""
    lines = [f"## {section['title']}", "", section["prose"].strip(), ""]
    lines += table(head(section), [cells(row) for row in section["rows"]])
    lines += ["", *origins(section)]
    if section["commands"]:
        lines += ["", "```text", *section["commands"].values(), "```"]
    return lines


def head(section):
    """The columns."""
    return ["", section["value_is"], "spread", section["baseline_is"], section["ratio_is"],
            "target", "", "note"]


def cells(row):
    """A row's text, column by column."""
    verdict = {None: "", True: "pass", False: "**fail**"}[row["passed"]]
    ratio = "" if row["ratio"] is None else number(row["ratio"]) + span(row["ratio_spread"], " ")
    baseline = "" if row["baseline"] is None else number(row["baseline"])
    shown = f"**{value(row)}**" if row["value"] is not None else ""
    return [row["name"], shown, span(row["spread"]), baseline, ratio, row["target"], verdict,
            row["error"] or row["note"]]


def value(row):
    """The figure with its unit."""
    return "" if row["value"] is None else f"{number(row['value'])} {row['unit']}".strip()


def number(figure):
    """A figure with the digits that mean something."""
    if isinstance(figure, int) or abs(figure) >= 1000:
        return f"{figure:,.0f}"
    digits = 1 if abs(figure) >= 100 else 2 if abs(figure) >= 10 else 3
    return f"{figure:.{digits}f}" if abs(figure) >= 0.001 or figure == 0 else f"{figure:.1e}"


def span(ends, before=""):
    """A spread."""
    if ends is None:
        return ""
    text = f"{number(ends[0])} … {number(ends[1])}"
    return f"{before}({text})" if before else text


def table(columns, rows):
    """Markdown's. Columns that are empty everywhere are left out."""
    used = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    line = lambda words: "| " + " | ".join(words[i].replace("|", "\\|") for i in used) + " |"
    return [line(columns), "|---" * len(used) + "|", *map(line, rows)] if used else []


def origins(section):
    """Which commit and command the rows come from."""
    seen = {}
    for row in section["rows"]:
        seen.setdefault(json.dumps(row.get("origin", {}), sort_keys=True), []).append(row["name"])
    lines = []
    for text, names in seen.items():
        origin = json.loads(text)
        if not origin:
            continue
        dirty = " with uncommitted changes" if origin["uncommitted"] else ""
        which = "Measured" if len(seen) == 1 else f"{len(names)} rows ({names[0]}, …) measured"
        lines.append(f"{which} {origin['date']} at commit {origin['commit']}{dirty}, DPDK "
                     f"{origin['dpdk']}: `{origin['command']}`.  ")
    return lines
