"""A record of results as one HTML page: no scripts, nothing from elsewhere, light and dark."""

import html as escape
import re

import plot
import text

STYLE = """
:root { color-scheme: light dark; --line: #c8c8c8; --soft: #666; --paper: #fff; --ink: #1b1b1b;
  --c0: #1668b8; --c1: #c2410c; --c2: #15803d; --c3: #7e22ce; --c4: #a16207; --c5: #be123c; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --soft: #a0a0a0; --paper: #16181c;
  --ink: #e6e6e6; --c0: #6cb2f5; --c1: #fb923c; --c2: #4ade80; --c3: #c4a1ff; --c4: #facc15;
  --c5: #fb7185; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--paper); color: var(--ink); }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.9rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.6rem; text-align: left; }
pre { overflow-x: auto; border: 1px solid var(--line); padding: 0.6rem; font-size: 0.8rem; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; margin: 1rem 0; display: block; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } svg .title { font-weight: 600; font-size: 14px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
"""


def html(record):
    """The page."""
    title = "Weir's benchmarks"
    start = ["# " + title, "", *text.machine(record["host"]), "", *text.summary(record)]
    body = [converted("\n".join(start))]
    for section in record["sections"]:
        body.append(converted("\n".join(text.chapter(section))))
        body += [plot.svg(resolved(drawn, section["rows"])) for drawn in section["plots"]]
    body.append(converted(f"CPU flags: {record['host']['cpu_flags']}"))
    return ("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width\">\n"
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            + "\n".join(body) + "\n</body>\n</html>\n")


def resolved(drawn, rows):
    """A plot whose points are rows, with the rows' figures; points without one are left out."""
    rows = {row["name"]: row for row in rows}
    lines = []
    for line in drawn["lines"]:
        points = []
        for point in line["points"]:
            row = rows.get(point[1])
            if row and row["value"] is not None:
                points.append([point[0], row["value"], *(row["spread"] or ())])
            elif not isinstance(point[1], str):
                points.append(point)
        if points:
            lines.append({**line, "points": points})
    return {**drawn, "lines": lines}


def converted(markdown):
    """HTML of the little markdown that reports use: headings, paragraphs, lists, tables, code."""
    out = []
    # A fenced block may hold empty lines; everything else ends at one.
    for index, part in enumerate(re.split(r"^```\w*\n(.*?)^```$", markdown, flags=re.M | re.S)):
        if index % 2:
            out.append(f"<pre>{escape.escape(part)}</pre>")
        else:
            out += [block(lines) for lines in re.split(r"\n\s*\n", part) if lines.strip()]
    return "\n".join(out)


def block(lines):
    """One block between empty lines."""
    lines = lines.strip("\n")
    heading = re.match(r"(#+) (.*)", lines)
    if heading:
        level, rest = len(heading[1]), lines[heading.end():]
        return f"<h{level}>{inline(heading[2])}</h{level}>" + (block(rest) if rest.strip() else "")
    if lines.startswith("|"):
        return table(lines.splitlines())
    if lines.startswith("- "):
        items = re.split(r"^- ", lines, flags=re.M)[1:]
        return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in items) + "</ul>"
    return "<p>" + inline(lines).replace("  \n", "<br>\n") + "</p>"


def table(lines):
    """A table; the second line is the rule."""
    rows = [[cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in lines]
    row = lambda cells, tag: "<tr>" + "".join(f"<{tag}>{inline(cell)}</{tag}>"
                                              for cell in cells) + "</tr>"
    return ("<table>\n" + row(rows[0], "th") + "\n"
            + "\n".join(row(cells, "td") for cells in rows[2:]) + "\n</table>")


def inline(words):
    """Code, emphasis and links. What is code is nothing else."""
    out = []
    for index, part in enumerate(re.split(r"`([^`]+)`", words)):
        part = escape.escape(part, quote=False)
        if index % 2:
            out.append(f"<code>{part}</code>")
            continue
        part = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", part)
        part = re.sub(r"(?<!\w)\*(.+?)\*(?!\w)", r"<em>\1</em>", part)
        out.append(re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", r'<a href="\2">\1</a>', part))
    return "".join(out)
